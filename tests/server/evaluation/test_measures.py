# SPDX-License-Identifier: AGPL-3.0-or-later
"""The measures, on verdicts that are made up; and the split."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference_server.core.assessment import Assessment, AssessmentSource, Factor, LevelThresholds, RiskLevel
from inference_server.evaluation.loading import load_scenarios
from inference_server.evaluation.measures import measure, report
from inference_server.evaluation.outcome import Evaluator, Outcome
from inference_server.evaluation.player import Player
from inference_server.evaluation.scenario import Scenario
from inference_server.evaluation.split import Split, held_out
from inference_server.risk.evidence import Evidence
from inference_server.settings import Settings
from tests.server.evaluation.scripts import HEAD, WALK, written


class ScoreByMinute:
    """A judge whose score is told by the minute at which an event ends."""

    name = "clock"

    def __init__(self, scores: Mapping[int, int]) -> None:
        """Take the score of each minute."""
        self._scores = scores

    async def judge(self, evidence: Evidence) -> Assessment:
        """Return that score."""
        score = self._scores[evidence.now.minute]
        factors = (Factor("person_seen", score, "seen"),)
        return Assessment(score, "", "", factors, AssessmentSource.MODEL, True, datetime(2026, 1, 1, tzinfo=UTC))


def _scenarios(folder: Path, *expected: tuple[str, str]) -> tuple[Scenario, ...]:
    """Return scenarios, one a minute, with their tag and what is expected of them."""
    texts = [
        HEAD.replace("test-scenario", f"number-{minute:02}").replace("[ordinary]", f"[{tag}]")
        + WALK.replace("12:00:00", f"12:{minute:02}:00")
        + f"expect: {expect}\n"
        for minute, (tag, expect) in enumerate(expected)
    ]
    return load_scenarios(written(folder, "---\n".join(texts)))


async def _outcomes(
    folder: Path, scores: list[int], *expected: tuple[str, str], apart: frozenset[str] = frozenset()
) -> tuple[Outcome, ...]:
    judge = ScoreByMinute(dict(enumerate(scores)))
    evaluator = Evaluator(Player(Settings()), judge, LevelThresholds())
    return await evaluator.evaluate(_scenarios(folder, *expected), apart)


async def test_alerts_are_measured_where_experts_agree(tmp_path: Path) -> None:
    outcomes = await _outcomes(
        tmp_path,
        [70, 20, 65, 10, 90, 61],
        ("threat", "{level: [high, critical]}"),  # caught
        ("threat", "{level: high}"),  # missed
        ("ordinary", "{level: low}"),  # false
        ("ordinary", "{level: low}"),
        ("ordinary", "{level: [low, medium]}"),  # false, and critical
        ("ordinary", "{level: [medium, high]}"),  # either
    )
    found = measure(outcomes)
    assert (found.recall, found.precision) == (1 / 2, 1 / 3)
    assert (found.must_alert, found.caught, found.false_alerts, found.either) == (2, 1, 2, 1)
    assert found.ordinary_critical == ("number-04",)
    assert found.within == 3
    assert [found.mix[level] for level in RiskLevel] == [2, 0, 3, 1]
    assert found.confusion[RiskLevel.HIGH] == {"low": 1, "medium": 0, "high": 2, "critical": 0}
    assert found.confusion[RiskLevel.LOW] == {"low": 1, "medium": 0, "high": 1, "critical": 0}
    assert found.confusion[RiskLevel.MEDIUM] == {"low": 0, "medium": 0, "high": 0, "critical": 1}
    centres = [80, 72, 14.5, 14.5, 29.5, 57]
    errors = [abs(score - centre) for score, centre in zip([70, 20, 65, 10, 90, 61], centres, strict=True)]
    assert found.mean_error == pytest.approx(sum(errors) / 6)
    assert len(found.failures()) == 3


async def test_without_alerts_there_is_nothing_to_divide(tmp_path: Path) -> None:
    found = measure(await _outcomes(tmp_path, [5], ("ordinary", "{level: low}")))
    assert (found.recall, found.precision, found.failures()) == (None, None, ())


async def test_factors_that_must_be_or_must_not(tmp_path: Path) -> None:
    (outcome,) = await _outcomes(
        tmp_path, [5], ("ordinary", "{level: low, must: [in_entry, person_seen], must_not: [person_seen]}")
    )
    assert outcome.is_within
    assert outcome.violations == ("lacks in_entry", "has person_seen")
    assert measure([outcome]).violations == 1


async def test_the_worst_come_first_and_the_splits_apart(tmp_path: Path) -> None:
    outcomes = await _outcomes(
        tmp_path,
        [40, 80, 10],
        *[("ordinary", "{level: low}")] * 3,
        apart=frozenset({"number-01"}),
    )
    found = report("clock", outcomes)
    assert [one.scenario.id for one in found.worst] == ["number-01", "number-00"]
    assert found.splits[Split.TRAINING].count == 2
    assert found.splits[Split.HELD_OUT].false_alerts == 1
    assert found.failures() == ("held-out: the alert precision is 0.00; it should be 0.85 or more",)
    assert found.tags["bare"].count == 3


async def test_a_part_may_have_its_own_expectation(tmp_path: Path) -> None:
    walk = WALK.replace('8 right"}]\n', '8 right"}]\n    expect: {level: high, must: [in_entry]}\n')
    later = walk.replace("happenings:\n", "").replace("12:00:00", "12:01:00").replace("level: high", "level: low")
    text = HEAD + walk + later + "expect: {level: high}\n"
    judge = ScoreByMinute({0: 70, 1: 65})
    evaluator = Evaluator(Player(Settings()), judge, LevelThresholds())
    (outcome,) = await evaluator.evaluate(load_scenarios(written(tmp_path, text)), frozenset())
    assert outcome.violations == (
        "happening 1: lacks in_entry",
        "happening 2: scored 65, expected low",
        "happening 2: lacks in_entry",
    )


def test_the_held_out_fifth_has_its_share_of_threats_and_does_not_depend_on_order(tmp_path: Path) -> None:
    kinds = [("threat", "{level: high}")] * 11 + [("ordinary", "{level: low}")] * 40
    scenarios = _scenarios(tmp_path, *kinds)
    apart = held_out(scenarios)
    assert sum(one.is_threat for one in scenarios if one.id in apart) == 3
    assert len(apart) == 11
    assert held_out(reversed(scenarios)) == apart
