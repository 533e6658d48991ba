# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendering: the same prefix for all, the least useful left out first, nothing cut, nothing obeyed."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import LevelThresholds
from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.rendering import (
    BUDGET_SETTING,
    Installation,
    PromptTooLong,
    Rendered,
    render,
    render_summary,
)
from inference_server.risk.prompts.sections import ANALYST_SECTIONS
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.text import read_prompt
from inference_server.risk.prompts.tokens import estimate
from inference_server.settings import RiskSettings
from tests.server.risk.prompts.test_quoting import NASTY
from tests.server.risk.prompts.test_summary import a_period
from tests.support.cases import a_case, a_full_case

ANALYST = read_prompt(PromptKind.ANALYST, newest_shipped(PromptKind.ANALYST).text)
SUMMARY = read_prompt(PromptKind.SUMMARY, newest_shipped(PromptKind.SUMMARY).text)
ENOUGH = RiskSettings().prompt_tokens
FULL = render(a_full_case(), ANALYST, ENOUGH)
LINE = re.compile(r"[A-Z]\d+ \S.*")


def test_the_prefix_of_every_event_is_the_same_to_the_byte() -> None:
    rendered = [render(a_full_case(name), ANALYST, ENOUGH) for name in NASTY]
    rendered += [render(a_case(), ANALYST, ENOUGH), render(a_full_case(), ANALYST, FULL.tokens - 1)]
    assert {one.prefix.encode() for one in rendered} == {FULL.prefix.encode()}
    assert {render_summary(a_period(name), SUMMARY, ENOUGH).prefix for name in NASTY} == {
        render_summary(a_period(), SUMMARY, ENOUGH).prefix
    }


def test_the_prefix_tells_the_levels_of_this_home_and_what_the_analyst_may_add() -> None:
    here = Installation(LevelThresholds(20, 50, 90), ("delivery_likely", "ordinary_visit"))
    prefix = render(a_case(), ANALYST, ENOUGH, installation=here).prefix
    assert "low 0-19, medium 20-49, high 50-89, critical 90-100" in prefix
    assert "delivery_likely, ordinary_visit" in prefix
    assert "{" not in FULL.prefix


def test_the_anchors_of_the_design_are_told() -> None:
    for anchor in ("0-10", "0-15", "5-15", "20-35", "35-65", "65-85", "80-95", "85-100", "85 are low", "1 critical"):
        assert anchor in FULL.prefix


def test_everything_fits_into_the_budget_that_is_set_by_default() -> None:
    assert FULL.left_out == ()
    assert FULL.tokens == estimate(f"{FULL.prefix}\n\n{FULL.prompt}") <= ENOUGH
    assert FULL.prompt.endswith('The rules say 65 (high). Judge this event on the camera "Front door".')


def _least() -> int:
    """Return what a prompt needs without all that can be left out."""
    with pytest.raises(PromptTooLong) as short:
        render(a_full_case(), ANALYST, 1)
    return short.value.needed


LEAST = _least()


@given(st.integers(LEAST, FULL.tokens + 10))
def test_sections_leave_in_the_order_of_their_use_and_whole(budget: int) -> None:
    rendered = render(a_full_case(), ANALYST, budget)
    assert rendered.tokens <= budget
    by_use = sorted((s for s in ANALYST.sections if not s.core), key=lambda section: section.usefulness)
    assert list(rendered.left_out) == [section.id for section in by_use][: len(rendered.left_out)]
    _is_whole(rendered)
    told = {section.id for section in ANALYST.sections} - set(rendered.left_out)
    assert {item.id for item in rendered.items} == {
        item.id for name in told for item in ANALYST_SECTIONS[name](a_full_case())
    }
    more = render(a_full_case(), ANALYST, budget + 50)
    assert set(more.left_out) <= set(rendered.left_out)


def test_what_was_left_out_is_said() -> None:
    rendered = render(a_full_case(), ANALYST, FULL.tokens - 1)
    assert rendered.left_out == ("baseline",)
    assert "Not told for want of room: usual at this hour." in rendered.prompt
    assert "B1" not in rendered.evidence_ids


@pytest.mark.parametrize("budget", [-1, 0, 100, LEAST - 1])
def test_what_must_be_told_is_never_left_out(budget: int) -> None:
    with pytest.raises(PromptTooLong, match="needs") as short:
        render(a_full_case(), ANALYST, budget)
    assert (short.value.needed, BUDGET_SETTING in short.value.remedy) == (LEAST, True)
    assert render(a_full_case(), ANALYST, LEAST).evidence_ids == {"T1", "T2", "Z1", "Z2", "Z3", "Z4", "F1", "F2"}


def test_a_tokenizer_of_the_model_may_count() -> None:
    rendered = render(a_full_case(), ANALYST, 1000, count=lambda text: len(text.split()))
    assert rendered.tokens == len(f"{rendered.prefix} {rendered.prompt}".split())
    assert rendered.left_out == ()


@given(st.one_of(st.sampled_from(NASTY), st.text(max_size=80)))
def test_a_name_changes_nothing_but_its_own_quote(name: str) -> None:
    honest, rendered = FULL, render(a_full_case(name), ANALYST, 10 * ENOUGH)
    _is_whole(rendered)
    assert rendered.evidence_ids == honest.evidence_ids
    assert _without_quotes(rendered.prompt) == _without_quotes(honest.prompt)


def test_a_prompt_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind summary"):
        render(a_case(), SUMMARY, ENOUGH)
    with pytest.raises(ValueError, match="kind analyst"):
        render_summary(a_period(), ANALYST, ENOUGH)


def test_a_value_that_looks_like_a_variable_is_not_filled() -> None:
    assert '"(rules_score)"' in render(replace(a_case(), camera="{rules_score}"), ANALYST, ENOUGH).prompt


def _is_whole(rendered: Rendered) -> None:
    """Check that the prompt is made of titles, whole items and the task."""
    titles = {section.title for section in ANALYST.sections}
    *blocks, task = rendered.prompt.split("\n\n")
    assert task.startswith("The rules say")
    lines = [line for block in blocks if not block.startswith("Not told") for line in block.split("\n")]
    assert [line for line in lines if line not in titles] == [item.line for item in rendered.items]
    assert all(LINE.fullmatch(line) for line in lines if line not in titles)


def _without_quotes(text: str) -> str:
    return re.sub(r'"[^"]*"', '""', text)
