# SPDX-License-Identifier: AGPL-3.0-or-later
"""How events were judged of late, compared with what is usual."""

from collections import Counter
from collections.abc import Sequence

from inference_server.api.context import ApiContext
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import WireObject
from inference_server.core.assessment import RiskLevel
from inference_server.core.feedback import FeedbackKind
from inference_server.core.mix import DayMix
from inference_server.observability.health import HealthState
from inference_server.risk import drift
from inference_server.risk.drift import DriftState
from inference_server.storage import feedback, verdicts
from inference_server.storage.tokens import Scope


class MixObject(WireObject):
    """The levels of the events of the last hours, and which share of them an analyst has verified."""

    hours: int
    events: int
    levels: dict[RiskLevel, int]
    percent: dict[RiskLevel, float] | None
    verified: float | None
    """0 to 1; null like `percent` where there was no event."""


class ExcessObject(WireObject):
    """Too many events of a level or worse, in per cent."""

    level: RiskLevel
    percent: float
    usual_percent: float


class JudgingObject(WireObject):
    """The mix of levels."""

    state: DriftState
    excess: ExcessObject | None
    usual_percent: dict[RiskLevel, float]
    mixes: tuple[MixObject, ...]
    """Of the last 7 days and the last 24 hours."""
    feedback: dict[FeedbackKind, int]
    """How much of each kind counts."""


async def get(context: ApiContext, _asked: Parameters) -> JudgingObject:
    """Return the mix of levels."""
    async with context.database.reading() as connection:
        days = await verdicts.days(connection, context.clock.now(), drift.DAYS, context.thresholds)
        said = await feedback.counts(connection)
    shares = context.risk.usual.shares
    found = drift.judge(days, shares, drifted=_drifted(context))
    excess = found.excess
    return JudgingObject(
        state=found.state,
        excess=ExcessObject(level=excess.level, percent=_percent(excess.share), usual_percent=_percent(excess.usual))
        if excess
        else None,
        usual_percent={level: _percent(share) for level, share in shares.items()},
        mixes=(_mix(days), _mix(days[:1])),
        feedback=dict(said),
    )


def _drifted(context: ApiContext) -> bool:
    return any(part.name == drift.JUDGING and part.state is HealthState.DEGRADED for part in context.health.components)


def _mix(days: Sequence[DayMix]) -> MixObject:
    levels: Counter[RiskLevel] = Counter()
    for day in days:
        levels.update(day.total())
    events = levels.total()
    return MixObject(
        hours=24 * len(days),
        events=events,
        levels={level: levels[level] for level in RiskLevel},
        percent={level: _percent(levels[level] / events) for level in RiskLevel} if events else None,
        verified=round(sum(day.verified for day in days) / events, 3) if events else None,
    )


def _percent(share: float) -> float:
    return round(100 * share, 1)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/system/judging",
        summary="The levels of the events of the last days, compared with what is usual",
        scope=Scope.READ,
        parameters=Parameters,
        answer=JudgingObject,
        handler=get,
    ),
)
