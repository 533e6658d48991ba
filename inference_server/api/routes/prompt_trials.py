# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trying prompts on what is stored: what would be sent, and what the analyst would answer. Nothing is written."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPMethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, event_not_found, prompt_not_found
from inference_server.api.routing import AnyRoute, Parameters, Route, RowId
from inference_server.api.schema import RiskObject, WireObject
from inference_server.core.assessment import RiskLevel, risk_level
from inference_server.core.event import Event
from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.rendering import PromptTooLong, Rendered, render, render_summary
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.text import MOST_CHARACTERS, Prompt, PromptError, read_prompt
from inference_server.risk.prompts.trial import AnalystUnavailable, Opinion, compare
from inference_server.storage import events, prompts
from inference_server.storage.events import EventFilter
from inference_server.storage.tokens import Scope

MOST_EVENTS = 20
NO_ANALYST = "No language model is set up here that could answer."
NO_ANALYST_REMEDY = "What would be sent is shown all the same; docs/models.md says how to install an analyst."


class TriedPrompt(BaseModel):
    """A stored version, or a text that is not stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: RowId | None = None
    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "TriedPrompt":
        if (self.number is None) == (self.text is None):
            raise ValueError("a prompt is tried by its number or by its text")
        return self


class TrialBody(BaseModel):
    """What is tried on what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: Annotated[tuple[TriedPrompt, ...], Field(max_length=2)] = ()
    """One, or two to compare; none means the version in use."""
    event_ids: Annotated[tuple[RowId, ...], Field(max_length=MOST_EVENTS)] = ()
    """None means the newest ones."""
    newest: Annotated[int, Field(ge=1, le=MOST_EVENTS)] = 3
    hours: Annotated[float, Field(ge=1, le=168, allow_inf_nan=False)] = 24.0
    """Of a summary: how far back from now it reaches."""
    budget_tokens: Annotated[int, Field(ge=100, le=131_072)] | None = None
    """None means what the settings allow."""
    ask: bool = True
    """Whether the analyst is asked, where there is one."""


class PromptTrial(Parameters):
    """Names a kind of prompt, and what is tried."""

    kind: PromptKind
    body: TrialBody


class TriedPromptObject(WireObject):
    """A prompt that was tried. A number of null is a text that is not stored."""

    number: int | None
    name: str
    warnings: tuple[str, ...]


class AnswerObject(WireObject):
    """What the analyst answered. The scores are null for a summary."""

    risk: RiskObject | None
    model_score: int | None
    """What the model said, before it was brought within the bounds of every verdict."""
    summary: str
    reasoning: str
    seconds: float | None


class SentObject(WireObject):
    """What would be sent with one prompt, and what came back."""

    prefix: str
    prompt: str
    tokens: int
    left_out: tuple[str, ...]
    evidence_ids: tuple[str, ...]
    problem: str | None
    """Why nothing can be sent, or nothing came back."""
    remedy: str | None
    answer: AnswerObject | None


class TrialItem(WireObject):
    """One event, or one time, with what each prompt makes of it, in the order of the prompts."""

    event_id: int | None
    camera_id: str | None
    rules: RiskObject | None
    sent: tuple[SentObject, ...]


class LevelChangeObject(WireObject):
    """An event whose level the second prompt changes."""

    event_id: int
    first: RiskLevel
    second: RiskLevel


class ComparisonObject(WireObject):
    """The second prompt's answers beside the first one's."""

    events: int
    mean_difference: float
    mean_absolute_difference: float
    level_changes: tuple[LevelChangeObject, ...]


class NotAvailableObject(WireObject):
    """Why nobody answers."""

    detail: str
    remedy: str


class TrialResult(WireObject):
    """What a trial showed."""

    prompts: tuple[TriedPromptObject, ...]
    items: tuple[TrialItem, ...]
    comparison: ComparisonObject | None
    """Null where fewer than two prompts were answered."""
    not_available: NotAvailableObject | None
    """Null where an analyst answers, or nobody was to be asked."""


@dataclass(frozen=True, slots=True)
class _Tried:
    number: int | None
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one prompt made of something, and the opinion about an event that came back."""

    shown: SentObject
    opinion: Opinion | None = None


def read(kind: PromptKind, text: str) -> Prompt:
    """Return the prompt that a text means. Raises ProblemError."""
    try:
        return read_prompt(kind, text)
    except PromptError as error:
        raise ProblemError(ProblemCode.PROMPT_UNUSABLE, f"{error}.", error.remedy) from error


async def attempt(context: ApiContext, asked: PromptTrial) -> TrialResult:
    """Try prompts."""
    deadline = asyncio.get_running_loop().time() + context.limits.trial_seconds
    return await (_of_period if asked.kind is PromptKind.SUMMARY else _of_events)(context, asked, deadline)


async def _of_period(context: ApiContext, asked: PromptTrial, deadline: float) -> TrialResult:
    until = context.clock.now()
    async with context.database.reading() as connection:
        tried = await _tried(connection, asked)
        period = await context.prompts.cases.of_period(connection, until - timedelta(hours=asked.body.hours), until)
    trial = _Trial(context, asked.body, tried, deadline)
    return trial.result([await trial.of_period(period)], [])


async def _of_events(context: ApiContext, asked: PromptTrial, deadline: float) -> TrialResult:
    async with context.database.reading() as connection:
        tried = await _tried(connection, asked)
        found = [
            (event, await context.prompts.cases.of_event(connection, event))
            for event in await _events(connection, asked.body)
        ]
    trial = _Trial(context, asked.body, tried, deadline)
    rows = [(event, case, await trial.of_case(case)) for event, case in found]
    items = [trial.item(event, case, row) for event, case, row in rows]
    pairs = [(event.id, row[0].opinion, row[-1].opinion) for event, _, row in rows]
    return trial.result(items, pairs if len(tried) > 1 else [])


async def _tried(connection: AsyncConnection, asked: PromptTrial) -> list[_Tried]:
    if asked.body.prompts:
        return [await _one(connection, asked.kind, prompt) for prompt in asked.body.prompts]
    active = await prompts.active(connection, asked.kind)
    if active is None:
        return [_Tried(None, read(asked.kind, newest_shipped(asked.kind).text))]
    return [_Tried(active.number, read(asked.kind, active.text))]


async def _one(connection: AsyncConnection, kind: PromptKind, wanted: TriedPrompt) -> _Tried:
    if wanted.number is None:
        return _Tried(None, read(kind, wanted.text or ""))
    if (version := await prompts.get(connection, kind, wanted.number)) is None:
        raise prompt_not_found(kind, wanted.number)
    return _Tried(version.number, read(kind, version.text))


async def _events(connection: AsyncConnection, body: TrialBody) -> Sequence[Event]:
    if not body.event_ids:
        return (await events.find(connection, EventFilter(), limit=body.newest, cursor=None)).items
    found = {event.id: event for event in await events.get_many(connection, body.event_ids)}
    if missing := next((event_id for event_id in body.event_ids if event_id not in found), None):
        raise event_not_found(missing)
    return [found[event_id] for event_id in dict.fromkeys(body.event_ids)]


class _Trial:
    """Renders and asks for one request."""

    def __init__(self, context: ApiContext, body: TrialBody, tried: Sequence[_Tried], deadline: float) -> None:
        self._parts = context.prompts
        self._thresholds = context.prompts.installation.thresholds
        self._asks = body.ask
        self._analyst = context.prompts.analyst if body.ask else None
        self._budget = body.budget_tokens or context.prompts.budget_tokens
        self._tried = tried
        self._deadline = deadline

    async def of_case(self, case: Case) -> list[_Sent]:
        """Return what each prompt makes of an event."""
        return [await self._about_event(case, one.prompt) for one in self._tried]

    async def of_period(self, period: Period) -> TrialItem:
        """Return what each prompt makes of a time."""
        sent = [await self._about_period(period, one.prompt) for one in self._tried]
        return TrialItem(event_id=None, camera_id=None, rules=None, sent=tuple(sent))

    async def _about_event(self, case: Case, prompt: Prompt) -> _Sent:
        try:
            rendered = render(case, prompt, self._budget, installation=self._parts.installation)
        except PromptTooLong as error:
            return _Sent(_nothing_sent(error))
        analyst = self._analyst
        if analyst is None:
            return _Sent(_sent(rendered))
        opinion = await self._answer(lambda: analyst.judge(case, rendered))
        if isinstance(opinion, AnalystUnavailable):
            return _Sent(_sent(rendered, unavailable=opinion))
        answer = AnswerObject(
            risk=self._risk(opinion.score),
            model_score=opinion.model_score,
            summary=opinion.summary,
            reasoning=opinion.reasoning,
            seconds=opinion.seconds,
        )
        return _Sent(_sent(rendered, answer), opinion)

    async def _about_period(self, period: Period, prompt: Prompt) -> SentObject:
        try:
            rendered = render_summary(period, prompt, self._budget, installation=self._parts.installation)
        except PromptTooLong as error:
            return _nothing_sent(error)
        analyst = self._analyst
        if analyst is None:
            return _sent(rendered)
        summary = await self._answer(lambda: analyst.summarise(period, rendered))
        if isinstance(summary, AnalystUnavailable):
            return _sent(rendered, unavailable=summary)
        return _sent(rendered, AnswerObject(risk=None, model_score=None, summary=summary, reasoning="", seconds=None))

    async def _answer[Answer](self, ask: Callable[[], Awaitable[Answer]]) -> Answer | AnalystUnavailable:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await ask()
        except AnalystUnavailable as error:
            return error
        except TimeoutError:
            return AnalystUnavailable(
                "The analyst took too long for all answers together.", "Try fewer events at a time."
            )

    def item(self, event: Event, case: Case, sent: Sequence[_Sent]) -> TrialItem:
        """Return what was made of an event as it is told."""
        return TrialItem(
            event_id=event.id,
            camera_id=event.camera_id,
            rules=self._risk(case.assessment.score),
            sent=tuple(one.shown for one in sent),
        )

    def result(
        self, items: Sequence[TrialItem], pairs: Sequence[tuple[int, Opinion | None, Opinion | None]]
    ) -> TrialResult:
        """Return the trial as it is told."""
        comparison = compare(pairs, self._thresholds)
        nobody = self._asks and self._analyst is None
        return TrialResult(
            prompts=tuple(
                TriedPromptObject(number=one.number, name=one.prompt.name, warnings=one.prompt.warnings)
                for one in self._tried
            ),
            items=tuple(items),
            comparison=comparison
            and ComparisonObject(
                events=comparison.events,
                mean_difference=round(comparison.mean_difference, 2),
                mean_absolute_difference=round(comparison.mean_absolute_difference, 2),
                level_changes=tuple(
                    LevelChangeObject(event_id=change.event_id, first=change.first, second=change.second)
                    for change in comparison.level_changes
                ),
            ),
            not_available=NotAvailableObject(detail=NO_ANALYST, remedy=NO_ANALYST_REMEDY) if nobody else None,
        )

    def _risk(self, score: int) -> RiskObject:
        return RiskObject(score=score, level=risk_level(score, self._thresholds))


def _sent(
    rendered: Rendered, answer: AnswerObject | None = None, unavailable: AnalystUnavailable | None = None
) -> SentObject:
    return SentObject(
        prefix=rendered.prefix,
        prompt=rendered.prompt,
        tokens=rendered.tokens,
        left_out=rendered.left_out,
        evidence_ids=tuple(item.id for item in rendered.items),
        problem=str(unavailable) if unavailable else None,
        remedy=unavailable.remedy if unavailable else None,
        answer=answer,
    )


def _nothing_sent(error: PromptTooLong) -> SentObject:
    return SentObject(
        prefix="",
        prompt="",
        tokens=error.needed,
        left_out=(),
        evidence_ids=(),
        problem=str(error),
        remedy=error.remedy,
        answer=None,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method=HTTPMethod.POST,
        path="/api/prompts/{kind}/test",
        summary="Try one or two prompts on what is stored; nothing is written",
        scope=Scope.ADMIN,
        parameters=PromptTrial,
        answer=TrialResult,
        handler=attempt,
        problems=(
            ProblemCode.PROMPT_NOT_FOUND,
            ProblemCode.PROMPT_UNUSABLE,
            ProblemCode.EVENT_NOT_FOUND,
            ProblemCode.TOO_SLOW,
        ),
    ),
)
