# SPDX-License-Identifier: AGPL-3.0-or-later
"""Assessments of an event: all that there were, and another one by the analyst."""

from http import HTTPMethod
from types import NoneType

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, event_not_found
from inference_server.api.routes.events import OneEvent
from inference_server.api.routing import AnyRoute, Route
from inference_server.api.schema import Confidence, FactorObject, RiskObject, Score, UtcTime, WireObject
from inference_server.core.assessment import Assessment, AssessmentSource, LevelThresholds
from inference_server.core.status import AnalystState
from inference_server.storage import events
from inference_server.storage.tokens import Scope


class AnalysisObject(WireObject):
    """How a model came to an assessment, and from which one of the rules."""

    model: str
    prompt: str
    seconds: float
    tokens_in: int
    tokens_out: int
    confidence: Confidence
    rules_score: Score
    rules_summary: str


class AssessmentObject(WireObject):
    """One assessment; `analysis` is null where the rules judged."""

    risk: RiskObject
    summary: str
    reasoning: str
    factors: tuple[FactorObject, ...]
    source: AssessmentSource
    verified: bool
    assessed_at: UtcTime
    analysis: AnalysisObject | None


class AssessmentList(WireObject):
    """Every assessment of an event, oldest first."""

    items: tuple[AssessmentObject, ...]


async def find(context: ApiContext, asked: OneEvent) -> AssessmentList:
    """Return every assessment that an event has had."""
    async with context.database.reading() as connection:
        if await events.get(connection, asked.event_id) is None:
            raise event_not_found(asked.event_id)
        found = await events.assessments_of(connection, asked.event_id)
    return AssessmentList(items=tuple(_shown(item, context.thresholds) for item in found))


async def reanalyse(context: ApiContext, asked: OneEvent) -> None:
    """Have the analyst judge an event once more, before all others that wait."""
    async with context.database.reading() as connection:
        event = await events.get(connection, asked.event_id)
    if event is None:
        raise event_not_found(asked.event_id)
    status = context.analyst_status()
    if status.state is AnalystState.OFF:
        raise ProblemError(
            ProblemCode.NO_ANALYST,
            "No language model explains events.",
            status.message or "Set analyst.url, analyst.model or analyst.model_file.",
        )
    await context.reanalyse(event)


def _shown(value: Assessment, thresholds: LevelThresholds) -> AssessmentObject:
    analysis = value.analysis
    return AssessmentObject(
        risk=schema.risk(value.score, thresholds),
        summary=value.summary,
        reasoning=value.reasoning,
        factors=tuple(FactorObject.model_validate(factor, from_attributes=True) for factor in value.factors),
        source=value.source,
        verified=value.verified,
        assessed_at=value.assessed_at,
        analysis=AnalysisObject.model_validate(analysis, from_attributes=True) if analysis else None,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/events/{event_id}/assessments",
        summary="Every assessment of an event, oldest first",
        scope=Scope.READ,
        parameters=OneEvent,
        answer=AssessmentList,
        handler=find,
        problems=(ProblemCode.EVENT_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/events/{event_id}/reanalyse",
        summary="Have the analyst judge an event once more",
        scope=Scope.INTEGRATION,
        parameters=OneEvent,
        answer=NoneType,
        handler=reanalyse,
        problems=(ProblemCode.EVENT_NOT_FOUND, ProblemCode.NO_ANALYST),
        later=True,
    ),
)
