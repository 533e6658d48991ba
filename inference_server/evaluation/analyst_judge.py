# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst as a judge of scenarios: asked and bounded as in the pipeline."""

from inference_server.core.assessment import Assessment, LevelThresholds
from inference_server.core.event import Event
from inference_server.evaluation.judge import RulesJudge
from inference_server.pipeline.consulting import Consulting, analysis_of
from inference_server.pipeline.prompting import ActivePrompt
from inference_server.risk.analyst.language_model import BadAnswer, LanguageAnswer, LanguageModel, LanguageRequest
from inference_server.risk.evidence import Evidence
from inference_server.risk.prompts.case import Case
from inference_server.risk.prompts.rendering import Installation
from inference_server.risk.prompts.text import Prompt
from inference_server.risk.ruling import Asked, rule
from inference_server.risk.verdict import OWN_FACTORS
from inference_server.risk.weights import Weights
from inference_server.settings import Settings

_NO_EVENT = 0
CAMERA = "Camera"
"""What the camera of a scenario is called: its own name would say what is expected."""


class _Direct:
    """Asks a model, without a breaker: whoever evaluates waits."""

    sees_pictures = False

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    async def ask(self, request: LanguageRequest, event_id: int) -> LanguageAnswer:  # noqa: ARG002 - nobody counts
        return await self._model.answer(request)


class AnalystJudge:
    """Implements Judge. An answer that cannot be used leaves the rules' assessment, as in the pipeline."""

    name = "analyst"

    def __init__(self, model: LanguageModel, prompt: Prompt, weights: Weights, settings: Settings) -> None:
        """Take whom to ask, and how."""
        self._rules = RulesJudge(weights)
        self._prompt = prompt
        self._thresholds: LevelThresholds = settings.risk.thresholds
        self._consulting = Consulting(
            _Direct(model),
            settings.analyst,
            budget_tokens=settings.risk.prompt_tokens,
            installation=Installation(self._thresholds, tuple(OWN_FACTORS)),
            active=self._active,
            pictures=_no_pictures,
        )

    async def judge(self, evidence: Evidence) -> Assessment:
        """Return the analyst's assessment, within bounds. Raises ModelError."""
        rules = await self._rules.judge(evidence)
        started_at = min((track.first_seen_at for track in evidence.tracks), default=evidence.now)
        pictures = max((track.frames for track in evidence.tracks), default=1)
        case = Case(camera=CAMERA, evidence=evidence, assessment=rules, started_at=started_at, pictures=pictures)
        try:
            answered, rendered = await self._consulting.judge(case, self._prompt, _NO_EVENT)
        except BadAnswer:
            return rules
        analysis = analysis_of(answered, rules, self._prompt.name)
        asked = Asked(evidence, rules, rendered.items)
        return rule(asked, answered.verdict, analysis, self._thresholds, evidence.now).assessment

    async def _active(self) -> ActivePrompt:
        return ActivePrompt(None, self._prompt)


async def _no_pictures(_event: Event) -> tuple[bytes, ...]:
    return ()
