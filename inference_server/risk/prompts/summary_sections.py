# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sections of a summary's prompt: what happened in an hour or a day, in lines that can be cited. Pure functions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from inference_server.core.assessment import LevelThresholds, RiskLevel, risk_level
from inference_server.risk.prompts.case import Period, Told
from inference_server.risk.prompts.item import Item, listed, numbered
from inference_server.risk.prompts.quoting import LONGEST_NOTE, quoted
from inference_server.risk.prompts.sections import compared

MOST_INCIDENTS = 8
MOST_EVENTS = 10
MOST_CAMERAS = 20

type OfPeriod = Callable[[Period, LevelThresholds], tuple[Item, ...]]


def counts(period: Period, thresholds: LevelThresholds) -> tuple[Item, ...]:
    """Return how many events there were, by level, and what was not judged."""
    levels = Counter(risk_level(event.score, thresholds) for event in period.events)
    by_level = ", ".join(f"{level.value} {levels[level]}" for level in reversed(RiskLevel) if levels[level])
    texts = [f"Events: {len(period.events)}{f' ({by_level})' if by_level else ''}; incidents: {len(period.incidents)}."]
    unverified = sum(1 for event in period.events if not event.verified)
    if unverified:
        texts.append(f"Judged by the rules alone: {unverified}.")
    return numbered("N", [*texts, *_gaps(period)])


def _gaps(period: Period) -> Iterable[str]:
    if period.not_judged is None:
        return ["Whether all cameras were judged all of the time is unknown."]
    gaps = sorted((span, name) for name, span in period.not_judged.items() if span > timedelta(0))
    texts = [f"The camera {quoted(name)} could not be judged for {_minutes(span)}." for span, name in reversed(gaps)]
    return listed(texts, MOST_CAMERAS, "such cameras") or ["All cameras were judged all of the time."]


def incidents(period: Period, thresholds: LevelThresholds) -> tuple[Item, ...]:
    """Return the incidents, the most serious first."""
    texts = [_told(incident, thresholds) for incident in _most_serious(period.incidents)]
    return numbered("I", listed(texts, MOST_INCIDENTS, "incidents"))


def events(period: Period, thresholds: LevelThresholds) -> tuple[Item, ...]:
    """Return the events, the most serious first."""
    texts = [_told(event, thresholds) for event in _most_serious(period.events)]
    return numbered("E", listed(texts, MOST_EVENTS, "events"))


def cameras(period: Period, _thresholds: LevelThresholds) -> tuple[Item, ...]:
    """Return how many events each camera had, the busiest first."""
    busiest = sorted(period.by_camera.items(), key=lambda counted: (-counted[1], counted[0]))
    texts = [f"{quoted(name)}: {count} {'event' if count == 1 else 'events'}." for name, count in busiest]
    return numbered("C", listed(texts, MOST_CAMERAS, "cameras"))


def unusual(period: Period, _thresholds: LevelThresholds) -> tuple[Item, ...]:
    """Return of what more was seen than usual."""
    return numbered("B", [compared(expectation) for expectation in period.unusual])


def _most_serious(told: Iterable[Told]) -> list[Told]:
    return sorted(told, key=lambda one: (-one.score, one.started_at, one.summary))


def _told(one: Told, thresholds: LevelThresholds) -> str:
    level = risk_level(one.score, thresholds).value
    until = f" to {one.ended_at:%H:%M}" if one.ended_at else ""
    where = ", ".join(quoted(name) for name in one.cameras[:MOST_CAMERAS])
    verified = "" if one.verified else ", by the rules alone"
    return (
        f"{one.started_at:%H:%M}{until} on {where}: {level} {one.score}{verified}: {quoted(one.summary, LONGEST_NOTE)}."
    )


def _minutes(span: timedelta) -> str:
    minutes = span.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"


SUMMARY_SECTIONS: Mapping[str, OfPeriod] = {
    "counts": counts,
    "incidents": incidents,
    "events": events,
    "cameras": cameras,
    "unusual": unusual,
}
"""By id."""
