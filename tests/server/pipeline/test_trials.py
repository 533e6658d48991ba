# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trials of prompts: the analyst answers within its bounds, and nothing is written."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from inference_server.core.assessment import LevelThresholds
from inference_server.pipeline.cases import Cases, told_of
from inference_server.pipeline.trials import TrialAnalyst
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.rendering import render
from inference_server.risk.prompts.trial import AnalystUnavailable
from inference_server.settings import RiskSettings
from tests.support.bench import a_person
from tests.support.explained import Explained, ScriptedModel, consulting_of, explained, says
from tests.support.home import START
from tests.support.verdicts import PROMPT

NIGHT = Period(since=START, until=START)


async def _case(home: Explained) -> Case:
    await home.see(a_person())
    cases = Cases(RiskSettings(), ZoneInfo("UTC"), home.bench.clock)
    async with home.bench.database.reading() as connection:
        case = await cases.read(connection, 1)
    assert case is not None
    return told_of(case)


def _trials(home: Explained) -> TrialAnalyst:
    return TrialAnalyst(home.analyst, consulting_of(home.bench, home.analyst), LevelThresholds(), home.bench.clock)


async def test_an_opinion_is_bounded_and_not_written(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _request: says(100, "A man with a gun."))
    async with explained(tmp_path, model) as home:
        case = await _case(home)
        await home.analyst.ready()
        opinion = await _trials(home).judge(case, render(case, PROMPT, 10_000))
        assert (opinion.score, opinion.model_score) == (case.assessment.score + 20, 100)
        assert opinion.summary == case.assessment.summary
        assert len(await home.history()) == 1


async def test_a_summary_is_what_the_model_says(tmp_path: Path) -> None:
    async with explained(tmp_path, ScriptedModel(lambda _request: {"summary": "All quiet."})) as home:
        case = await _case(home)
        await home.analyst.ready()
        assert await _trials(home).summarise(NIGHT, render(case, PROMPT, 10_000)) == "All quiet."


async def test_an_analyst_that_is_down_is_not_available(tmp_path: Path) -> None:
    async with explained(tmp_path, ScriptedModel(down=True)) as home:
        case = await _case(home)
        with pytest.raises(AnalystUnavailable) as caught:
            await _trials(home).judge(case, render(case, PROMPT, 10_000))
        assert caught.value.remedy


async def test_an_answer_that_is_none_is_told(tmp_path: Path) -> None:
    async with explained(tmp_path, ScriptedModel(lambda _request: "nonsense")) as home:
        case = await _case(home)
        await home.analyst.ready()
        with pytest.raises(AnalystUnavailable, match="no JSON"):
            await _trials(home).judge(case, render(case, PROMPT, 10_000))
