# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report for programs: JSON, as docs/evaluation.md describes it."""

import json

from inference_server.evaluation.measures import Measures, Report
from inference_server.evaluation.outcome import JudgedEvent, Outcome

VERSION = 1
"""Of the format; a field may be added within one."""

type Json = dict[str, object]


def as_json(found: Report) -> str:
    """Return the report as a JSON document."""
    document = {
        "version": VERSION,
        "judge": found.judge,
        "failures": found.failures(),
        "measures": {"all": _measures(found.total)} | {name: _measures(part) for name, part in found.splits.items()},
        "tags": {tag: _measures(part) for tag, part in found.tags.items()},
        "scenarios": [_outcome(one) for one in found.outcomes],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _measures(found: Measures) -> Json:
    return {
        "count": found.count,
        "within": found.within,
        "alerts": {
            "recall": found.recall,
            "precision": found.precision,
            "expected": found.must_alert,
            "caught": found.caught,
            "false": found.false_alerts,
            "either": found.either,
        },
        "confusion": {expected: dict(row) for expected, row in found.confusion.items()},
        "mix": dict(found.mix),
        "mean_error": round(found.mean_error, 3),
        "ordinary_critical": found.ordinary_critical,
        "violations": found.violations,
    }


def _outcome(one: Outcome) -> Json:
    return {
        "id": one.scenario.id,
        "title": one.scenario.title,
        "tags": one.tags,
        "held_out": one.held_out,
        "expected": [one.band.lowest, one.band.highest],
        "score": one.score,
        "level": one.level,
        "within": one.is_within,
        "violations": one.violations,
        "events": [_event(event) for event in one.events],
    }


def _event(event: JudgedEvent) -> Json:
    return {
        "camera": event.camera,
        "started_at": event.started_at.isoformat(),
        "score": event.score,
        "level": event.level,
        "summary": event.summary,
        "factors": [{"name": one.name, "points": one.points, "evidence": one.evidence} for one in event.factors],
    }
