# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scenarios of the repository: what they are, and how well the rules alone judge them."""

import asyncio

import pytest

from inference_server.core.assessment import LevelThresholds
from inference_server.evaluation.judge import RulesJudge
from inference_server.evaluation.loading import load_scenarios
from inference_server.evaluation.measures import PRECISION_BAR, RECALL_BAR, Report, report
from inference_server.evaluation.outcome import Evaluator
from inference_server.evaluation.player import Player
from inference_server.evaluation.scenario import Scenario
from inference_server.evaluation.split import Split, held_out
from inference_server.risk.weights import shipped_weights
from inference_server.settings import Settings
from tests.server.evaluation.scripts import ROOT, SCENARIOS


@pytest.fixture(scope="module")
def scenarios() -> tuple[Scenario, ...]:
    """Give all scenarios."""
    return load_scenarios(SCENARIOS)


@pytest.fixture(scope="module")
def found(scenarios: tuple[Scenario, ...]) -> Report:
    """Give what the rules alone make of them."""
    return _judged(scenarios)


def _judged(scenarios: tuple[Scenario, ...]) -> Report:
    evaluator = Evaluator(Player(Settings()), RulesJudge(shipped_weights()), LevelThresholds())
    return report("rules", asyncio.run(evaluator.evaluate(scenarios, held_out(scenarios))))


def test_they_are_many_and_as_in_life(scenarios: tuple[Scenario, ...], found: Report) -> None:
    assert len(scenarios) >= 120
    threats = [one for one in scenarios if one.is_threat]
    assert len(scenarios) - len(threats) >= 9 * len(threats)
    assert sum("awkward" in one.tags for one in scenarios) >= len(scenarios) / 3
    assert {"day", "dusk", "night", "home", "away", "disarmed", "mode-unknown"} <= set(found.tags)
    assert len({one.home_name for one in scenarios}) >= 6
    assert all(found.tags[light].count >= 30 for light in ("day", "dusk", "night"))


def test_most_ordinary_scenarios_need_no_enricher(scenarios: tuple[Scenario, ...]) -> None:
    ordinary = [one for one in scenarios if not one.is_threat]
    assert sum(not one.is_enriched for one in ordinary) > 0.6 * len(ordinary)
    assert sum(not one.is_enriched for one in scenarios if one.is_threat) >= 10


def test_a_fifth_is_held_out_with_its_share_of_threats(scenarios: tuple[Scenario, ...]) -> None:
    apart = held_out(scenarios)
    assert 0.2 <= len(apart) / len(scenarios) < 0.21
    assert sum(one.is_threat for one in scenarios if one.id in apart) >= 6


@pytest.mark.parametrize("split", Split)
def test_the_rules_alone_alert_when_they_should_and_only_then(found: Report, split: Split) -> None:
    measures = found.splits[split]
    assert measures.recall is not None
    assert measures.precision is not None
    assert measures.recall >= RECALL_BAR
    assert measures.precision >= PRECISION_BAR
    assert measures.ordinary_critical == ()
    assert measures.within >= 0.95 * measures.count


@pytest.mark.parametrize("split", Split)
def test_the_page_tells_what_is_measured(found: Report, split: Split) -> None:
    m = found.splits[split]
    row = (
        f"| {split} | {m.count} | {m.within} | {m.must_alert} | {m.recall:.2f} | {m.false_alerts} | {m.precision:.2f} "
        f"| {m.either} | {len(m.ordinary_critical)} |"
    )
    assert row in (ROOT / "docs" / "evaluation.md").read_text("utf-8")


def test_two_runs_say_the_same(scenarios: tuple[Scenario, ...], found: Report) -> None:
    before = {one.scenario.id: one for one in found.outcomes}
    again = _judged(scenarios[::4])
    assert all(before[one.scenario.id].events == one.events for one in again.outcomes)
    assert [one.score for one in again.outcomes] == [before[one.scenario.id].score for one in again.outcomes]
