# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a judge made of a scenario, beside what was expected."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from inference_server.core.assessment import Factor, LevelThresholds, RiskLevel, risk_level, scores_of
from inference_server.evaluation.judge import Judge
from inference_server.evaluation.player import PlayedEvent, Player
from inference_server.evaluation.scenario import Expect, Happening, Scenario
from inference_server.evaluation.staging import start_of

ALERT = RiskLevel.HIGH
"""An alert is of this level or above."""


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """An event of a scenario with its verdict. `started_at` is in the home's time zone."""

    camera: str
    started_at: datetime
    score: int
    level: RiskLevel
    summary: str
    factors: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """Levels, and their scores, that are accepted."""

    lowest: RiskLevel
    highest: RiskLevel
    scores: range

    @property
    def centre(self) -> float:
        """The middle of its scores."""
        return (self.scores[0] + self.scores[-1]) / 2

    def nearest(self, level: RiskLevel) -> RiskLevel:
        """Return the accepted level that is nearest to one."""
        if level.rank < self.lowest.rank:
            return self.lowest
        return self.highest if level.rank > self.highest.rank else level

    def distance(self, score: int) -> int:
        """Return by how much a score misses the band, 0 within."""
        return max(0, self.scores[0] - score, score - self.scores[-1])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario: its most serious event is its verdict; without any event that is a score of 0."""

    scenario: Scenario
    tags: tuple[str, ...]
    """Its own, and those that follow from it: the light, the mode, the home, whether an enricher tells anything."""
    band: Band
    score: int
    level: RiskLevel
    events: tuple[JudgedEvent, ...]
    violations: tuple[str, ...]
    held_out: bool = False

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Those of the most serious event."""
        return max(self.events, key=lambda event: event.score).factors if self.events else ()

    @property
    def is_within(self) -> bool:
        """Whether the score lies in the band."""
        return self.band.distance(self.score) == 0

    @property
    def alerted(self) -> bool:
        """Whether it was an alert."""
        return self.level.rank >= ALERT.rank

    @property
    def must_alert(self) -> bool:
        """Whether an expert insists on an alert."""
        return self.band.lowest.rank >= ALERT.rank

    @property
    def may_alert(self) -> bool:
        """Whether an expert accepts one."""
        return self.band.highest.rank >= ALERT.rank


class Evaluator:
    """Plays scenarios and has them judged."""

    def __init__(self, player: Player, judge: Judge, thresholds: LevelThresholds) -> None:
        """Take the parts."""
        self._player = player
        self._judge = judge
        self._thresholds = thresholds

    async def evaluate(self, scenarios: Sequence[Scenario], held_out: frozenset[str]) -> tuple[Outcome, ...]:
        """Return what the judge makes of each scenario, in their order."""
        found = [await self._outcome(scenario) for scenario in scenarios]
        return tuple(replace(one, held_out=one.scenario.id in held_out) for one in found)

    async def _outcome(self, scenario: Scenario) -> Outcome:
        played = self._player.play(scenario)
        events = tuple([await self._judged(event, scenario) for event in played])
        worst = max(events, key=lambda event: event.score, default=None)
        score = worst.score if worst else 0
        return Outcome(
            scenario=scenario,
            tags=_tags(scenario, played),
            band=self._band(scenario.expect),
            score=score,
            level=risk_level(score, self._thresholds),
            events=events,
            violations=(*_of_factors(scenario.expect, worst, events), *self._of_happenings(scenario, events)),
        )

    async def _judged(self, event: PlayedEvent, scenario: Scenario) -> JudgedEvent:
        verdict = await self._judge.judge(event.evidence)
        local = event.started_at.astimezone(scenario.home.zone)
        level = risk_level(verdict.score, self._thresholds)
        return JudgedEvent(event.camera, local, verdict.score, level, verdict.summary, verdict.factors)

    def _band(self, expect: Expect) -> Band:
        low, high = (scores_of(level, self._thresholds) for level in expect.level)
        return Band(*expect.level, range(low.start, high.stop))

    def _of_happenings(self, scenario: Scenario, events: Sequence[JudgedEvent]) -> list[str]:
        violations = []
        for number, happening in enumerate(scenario.happenings, start=1):
            if (expect := happening.expect) is None:
                continue
            here = _begun_in(happening, scenario, events)
            worst = max(here, key=lambda event: event.score, default=None)
            score = worst.score if worst else 0
            if self._band(expect).distance(score):
                violations.append(f"happening {number}: scored {score}, expected {_span(expect)}")
            violations += [f"happening {number}: {problem}" for problem in _of_factors(expect, worst, here)]
        return violations


def _begun_in(happening: Happening, scenario: Scenario, events: Sequence[JudgedEvent]) -> list[JudgedEvent]:
    start = start_of(happening, scenario)
    others = (start_of(one, scenario) for one in scenario.happenings if one.camera == happening.camera)
    end = min((other for other in others if other > start), default=None)
    return [
        event
        for event in events
        if event.camera == happening.camera and start <= event.started_at and (end is None or event.started_at < end)
    ]


def _of_factors(expect: Expect, worst: JudgedEvent | None, events: Sequence[JudgedEvent]) -> list[str]:
    found = {factor.name for factor in worst.factors} if worst else set()
    anywhere = {factor.name for event in events for factor in event.factors}
    missing = [f"lacks {name}" for name in expect.must if name not in found]
    return missing + [f"has {name}" for name in expect.must_not if name in anywhere]


def _span(expect: Expect) -> str:
    low, high = expect.level
    return low if low is high else f"{low} to {high}"


def _tags(scenario: Scenario, played: Sequence[PlayedEvent]) -> tuple[str, ...]:
    context = scenario.context
    if not played:
        light = "unseen"
    elif played[0].evidence.night:
        light = "night"
    else:
        light = "dusk" if context and context.sun_is_up is False else "day"
    mode = context.mode if context and context.mode else "mode-unknown"
    enriched = "enriched" if scenario.is_enriched else "bare"
    return tuple(dict.fromkeys((*scenario.tags, light, str(mode), scenario.home_name.replace("_", "-"), enriched)))
