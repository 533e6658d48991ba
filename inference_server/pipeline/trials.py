# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trials of prompts: the analyst answers, and its verdict is bounded as every other one. Nothing is written."""

from inference_server.core.assessment import LevelThresholds
from inference_server.core.clock import Clock
from inference_server.core.status import AnalystState
from inference_server.pipeline.analyst import Analyst
from inference_server.pipeline.breaker import ServiceDownError
from inference_server.pipeline.consulting import Consulting, analysis_of
from inference_server.risk.analyst.language_model import LanguageRequest, ModelError
from inference_server.risk.analyst.schema import JsonSchema
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.rendering import Rendered
from inference_server.risk.prompts.trial import AnalystUnavailable, Opinion
from inference_server.risk.ruling import Asked, rule

NO_EVENT = 0
"""Stands for what is tried where the analyst counts at which events it fails."""
SUMMARY_TOKENS = 400
_SUMMARY = JsonSchema(
    {
        "type": "object",
        "properties": {"summary": {"type": "string", "maxLength": 1000}},
        "required": ["summary"],
        "additionalProperties": False,
    }
)
_LATER = "Try it again later; GET /api/system/info tells how the analyst is."


class TrialAnalyst:
    """Implements PromptAnalyst of the API."""

    def __init__(self, analyst: Analyst, consulting: Consulting, thresholds: LevelThresholds, clock: Clock) -> None:
        """Take whom to ask."""
        self._analyst = analyst
        self._consulting = consulting
        self._thresholds = thresholds
        self._clock = clock

    async def judge(self, case: Case, rendered: Rendered) -> Opinion:
        """Return what the analyst makes of an event. Raises AnalystUnavailable."""
        self._check()
        try:
            answered = await self._consulting.ask(case, rendered, number=NO_EVENT)
        except (ModelError, ServiceDownError) as error:
            raise _unavailable(error) from error
        analysis = analysis_of(answered, case.assessment, "tried")
        asked = Asked(case.evidence, case.assessment, rendered.items)
        ruling = rule(asked, answered.verdict, analysis, self._thresholds, self._clock.now())
        return Opinion(
            score=ruling.assessment.score,
            model_score=answered.verdict.score,
            summary=ruling.assessment.summary,
            reasoning=ruling.assessment.reasoning,
            seconds=analysis.seconds,
        )

    async def summarise(self, period: Period, rendered: Rendered) -> str:  # noqa: ARG002 - the prompt tells of it
        """Return a summary. Raises AnalystUnavailable."""
        self._check()
        request = LanguageRequest(
            prefix=rendered.prefix, prompt=rendered.prompt, schema=_SUMMARY, max_tokens=SUMMARY_TOKENS
        )
        try:
            answer = await self._analyst.ask(request, NO_EVENT)
        except (ModelError, ServiceDownError) as error:
            raise _unavailable(error) from error
        value = answer.value
        return str(value.get("summary", "")) if isinstance(value, dict) else ""

    def _check(self) -> None:
        status = self._analyst.status
        if status.state is not AnalystState.OK:
            raise AnalystUnavailable(status.message or "The analyst is not ready.", _LATER)


def _unavailable(error: Exception) -> AnalystUnavailable:
    return AnalystUnavailable(str(error), getattr(error, "remedy", "") or _LATER)
