# SPDX-License-Identifier: AGPL-3.0-or-later
"""Consulting the analyst: the prompt, the question, and a second chance for an answer that is none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import ValidationError

from inference_server.core.assessment import Analysis, Assessment
from inference_server.core.event import Event
from inference_server.pipeline.cases import Case as EventCase
from inference_server.pipeline.cases import told_of
from inference_server.pipeline.prompting import ActivePrompt
from inference_server.risk.analyst.language_model import BadAnswer, LanguageAnswer, LanguageRequest, Speaker, Turn
from inference_server.risk.prompts.case import Case
from inference_server.risk.prompts.rendering import Installation, PromptTooLong, Rendered, render
from inference_server.risk.prompts.text import Prompt
from inference_server.risk.ruling import Asked
from inference_server.risk.verdict import Verdict, verdict_schema
from inference_server.settings import AnalystSettings

ANSWER_TOKENS = 640
"""As many as the longest answer that fits the schema may need."""
FRAME_TOKENS = 96
"""What a chat format adds around the texts."""
SHOWN_OF_A_BAD_ANSWER = 1000
"""Characters of it that are shown again."""


type ReadPrompt = Callable[[], Awaitable[ActivePrompt]]
"""Returns the prompt that is in use now."""

type Pictures = Callable[[Event], Awaitable[tuple[bytes, ...]]]
"""Returns the pictures of an event that a model is shown."""


class Oracle(Protocol):
    """Whoever answers."""

    @property
    def sees_pictures(self) -> bool:
        """Whether pictures are of use."""
        ...

    async def ask(self, request: LanguageRequest, event_id: int) -> LanguageAnswer:
        """Return the answer. Raises ModelError, ServiceDownError."""
        ...


@dataclass(frozen=True, slots=True)
class Consulted:
    """A verdict, what it is about, and how it came about."""

    asked: Asked
    verdict: Verdict
    analysis: Analysis
    repaired: bool
    """Whether the first answer was none."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the analyst answered, and whether that took a second try."""

    verdict: Verdict
    answer: LanguageAnswer
    repaired: bool


class Consulting:
    """Asks the analyst about events."""

    def __init__(
        self,
        analyst: Oracle,
        settings: AnalystSettings,
        *,
        budget_tokens: int,
        installation: Installation,
        active: ReadPrompt,
        pictures: Pictures,
    ) -> None:
        """Take whom to ask, which prompt is in use, and what gives the pictures for a model that sees.

        A prompt has `budget_tokens` at most, and no more than the model's context has room for.
        """
        self._analyst = analyst
        self._seconds = settings.timeout_seconds
        self._budget = min(budget_tokens, settings.context_tokens - ANSWER_TOKENS - FRAME_TOKENS)
        self._installation = installation
        self._active = active
        self._pictures = pictures

    async def consult(self, case: EventCase) -> Consulted:
        """Return the analyst's verdict on an event. Raises ModelError (BadAnswer after two tries), ServiceDownError."""
        active = await self._active()
        about = told_of(case)
        rendered = self._rendered(about, active.prompt)
        pictures = await self._pictures(case.event) if self._analyst.sees_pictures else ()
        subject = f"event {case.event.id}"
        answered = await self.ask(about, rendered, subject=subject, number=case.event.id, pictures=pictures)
        version = f", version {active.number}" if active.number else ", as shipped"
        asked = Asked(case.evidence, case.rules, rendered.items)
        return Consulted(
            asked, answered.verdict, analysis_of(answered, case.rules, active.prompt.name + version), answered.repaired
        )

    async def judge(self, about: Case, rendered_from: Prompt, number: int) -> tuple[Answered, Rendered]:
        """Return the answer about a case that is no event of the database, and what was sent. Raises as `consult`."""
        rendered = self._rendered(about, rendered_from)
        return await self.ask(about, rendered, number=number), rendered

    async def ask(
        self,
        about: Case,
        rendered: Rendered,
        *,
        number: int,
        subject: str | None = None,
        pictures: tuple[bytes, ...] = (),
    ) -> Answered:
        """Return what the analyst answers to a prompt. `number` tells apart what it fails at; raises as `consult`."""
        request = LanguageRequest(
            prefix=rendered.prefix,
            prompt=rendered.prompt,
            schema=verdict_schema([factor.name for factor in about.assessment.factors], rendered.evidence_ids),
            max_tokens=ANSWER_TOKENS,
            pictures=pictures,
            priority=about.assessment.score,
            subject=subject,
            deadline_seconds=self._seconds,
        )
        try:
            answer, verdict = await self._asked(request, number)
        except BadAnswer as error:
            answer, verdict = await self._asked(_once_more(request, error), number)
            return Answered(verdict, answer, repaired=True)
        return Answered(verdict, answer, repaired=False)

    def _rendered(self, about: Case, prompt: Prompt) -> Rendered:
        try:
            return render(about, prompt, self._budget, installation=self._installation)
        except PromptTooLong as error:
            raise BadAnswer(str(error), "", error.remedy) from error

    async def _asked(self, request: LanguageRequest, number: int) -> tuple[LanguageAnswer, Verdict]:
        answer = await self._analyst.ask(request, number)
        try:
            return answer, Verdict.model_validate(answer.value)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise BadAnswer(f"The answer does not fit: {where}: {problem['msg']}.", answer.text) from error


def _once_more(request: LanguageRequest, error: BadAnswer) -> LanguageRequest:
    """Return the request again with what was wrong with the answer."""
    said = error.text[:SHOWN_OF_A_BAD_ANSWER]
    earlier = (Turn(Speaker.USER, request.prompt), Turn(Speaker.ASSISTANT, said or "(nothing)"))
    prompt = f"{error} Answer again, with one JSON object of the wanted form and nothing else."
    return replace(request, earlier=earlier, prompt=prompt, temperature=0.0)


def analysis_of(answered: Answered, rules: Assessment, prompt: str) -> Analysis:
    """Return how a verdict came about."""
    answer = answered.answer
    return Analysis(
        model=answer.model[:200],
        prompt=prompt,
        seconds=round(answer.seconds, 3),
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        confidence=answered.verdict.confidence,
        rules_score=rules.score,
        rules_summary=rules.summary,
    )
