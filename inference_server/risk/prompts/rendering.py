# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendering: a prompt and what it is about become the texts that a language model is sent, within a budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from inference_server.core.assessment import LevelThresholds, RiskLevel, risk_level, scores_of
from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.item import Item
from inference_server.risk.prompts.quoting import quoted
from inference_server.risk.prompts.sections import ANALYST_SECTIONS
from inference_server.risk.prompts.summary_sections import SUMMARY_SECTIONS
from inference_server.risk.prompts.text import Prompt, PromptSection, filled
from inference_server.risk.prompts.tokens import estimate

BUDGET_SETTING = "risk.prompt_tokens"

type Count = Callable[[str], int]
"""Returns how many tokens a text has."""


class PromptTooLong(Exception):
    """What must be told does not fit into the budget. `remedy` names the setting."""

    def __init__(self, needed: int, budget: int) -> None:
        """Take how many tokens are needed, and how many there are."""
        super().__init__(f"The prompt needs {needed} tokens without all that can be left out, and may have {budget}.")
        self.needed = needed
        self.remedy = f"Raise {BUDGET_SETTING}, or shorten the prefix of the prompt."


@dataclass(frozen=True, slots=True)
class Installation:
    """What is the same for every event of a home."""

    thresholds: LevelThresholds = field(default_factory=LevelThresholds)
    more_factors: tuple[str, ...] = ()
    """Factors that the analyst may name besides those of the rules."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a language model is sent. `prefix` is the same for everything that a version is asked about."""

    prefix: str
    prompt: str
    left_out: tuple[str, ...]
    """Ids of the sections for which there was no room, the least useful first."""
    items: tuple[Item, ...]
    """The lines that were told and can be cited."""
    tokens: int
    """Of both texts, as they were counted."""

    @property
    def evidence_ids(self) -> frozenset[str]:
        """The ids that an answer may cite."""
        return frozenset(item.id for item in self.items)


def render(
    case: Case,
    prompt: Prompt,
    budget_tokens: int,
    *,
    installation: Installation = Installation(),
    count: Count = estimate,
) -> Rendered:
    """Return what the analyst is sent about an event. Raises PromptTooLong; ValueError for a prompt of another kind."""
    _check_kind(prompt, PromptKind.ANALYST)
    score = case.assessment.score
    values = {
        "camera": quoted(case.camera),
        "rules_score": str(score),
        "rules_level": risk_level(score, installation.thresholds).value,
    }
    told = {section.id: ANALYST_SECTIONS[section.id](case) for section in prompt.sections}
    prefix, task = _around(prompt, installation, values)
    return _fitted(prompt, told, prefix, task, budget_tokens, count=count)


def render_summary(
    period: Period,
    prompt: Prompt,
    budget_tokens: int,
    *,
    installation: Installation = Installation(),
    count: Count = estimate,
) -> Rendered:
    """Return what a model is sent for a summary. Raises PromptTooLong; ValueError for a prompt of another kind."""
    _check_kind(prompt, PromptKind.SUMMARY)
    same_day = period.since.date() == period.until.date()
    values = {"period": f"{period.since:%A, %H:%M} to {period.until:{'%H:%M' if same_day else '%A, %H:%M'}}"}
    told = {section.id: SUMMARY_SECTIONS[section.id](period, installation.thresholds) for section in prompt.sections}
    prefix, task = _around(prompt, installation, values)
    return _fitted(prompt, told, prefix, task, budget_tokens, count=count)


def _check_kind(prompt: Prompt, kind: PromptKind) -> None:
    if prompt.kind is not kind:
        raise ValueError(f"the prompt is of the kind {prompt.kind}, not {kind}")


def _constants(installation: Installation) -> dict[str, str]:
    levels = {level: scores_of(level, installation.thresholds) for level in RiskLevel}
    ranges = {level.value: f"{scores[0]}-{scores[-1]}" for level, scores in levels.items()}
    return {**ranges, "more_factors": ", ".join(installation.more_factors) or "none"}


def _around(prompt: Prompt, installation: Installation, values: Mapping[str, str]) -> tuple[str, str]:
    """Return the prefix, which depends on nothing that is asked about, and the task."""
    constants = _constants(installation)
    return filled(prompt.prefix, constants), filled(prompt.task, {**constants, **values})


def _fitted(
    prompt: Prompt, told: Mapping[str, tuple[Item, ...]], prefix: str, task: str, budget: int, *, count: Count
) -> Rendered:
    kept = [section for section in prompt.sections if told[section.id]]
    droppable = sorted((s for s in kept if not s.core), key=lambda s: (s.usefulness, -kept.index(s)))
    left_out: list[PromptSection] = []
    while True:
        text = "\n\n".join([*_blocks(kept, told), *_note(left_out), task])
        tokens = count(f"{prefix}\n\n{text}")
        if tokens <= budget:
            items = tuple(item for section in kept for item in told[section.id])
            return Rendered(prefix, text, tuple(section.id for section in left_out), items, tokens)
        if not droppable:
            raise PromptTooLong(tokens, budget)
        left_out.append(droppable.pop(0))
        kept.remove(left_out[-1])


def _blocks(kept: Sequence[PromptSection], told: Mapping[str, tuple[Item, ...]]) -> Iterator[str]:
    for section in kept:
        yield "\n".join([section.title, *(item.line for item in told[section.id])])


def _note(left_out: Sequence[PromptSection]) -> Iterator[str]:
    if left_out:
        yield f"Not told for want of room: {', '.join(section.title.lower() for section in left_out)}."
