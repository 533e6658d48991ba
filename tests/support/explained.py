# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pipeline whose events are explained by a model that follows a script."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import URL

from inference_server.core.assessment import Assessment, LevelThresholds
from inference_server.core.detection import Detection
from inference_server.core.message import StageName
from inference_server.core.prompt import PromptKind
from inference_server.core.signal import Signal
from inference_server.pipeline.analyse import AnalyseStage
from inference_server.pipeline.analyst import Analyst
from inference_server.pipeline.best_picture import BestPictures
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.cases import Cases
from inference_server.pipeline.consulting import Consulting
from inference_server.pipeline.explaining import Explaining
from inference_server.pipeline.prompting import ActivePrompt, Prompts
from inference_server.risk.analyst.language_model import (
    LanguageAnswer,
    LanguageRequest,
    LanguageStatus,
    ModelDown,
    ModelState,
    Told,
    value_for,
)
from inference_server.risk.prompts.rendering import Installation
from inference_server.risk.verdict import OWN_FACTORS
from inference_server.settings import AnalystSettings, RiskSettings
from inference_server.storage import events, messages
from tests.support.bench import Bench, bench
from tests.support.home import MovableClock

RULES_SCORE = re.compile(r"The rules say (\d+)")
EVENT = re.compile(r"event (\d+)")

type Script = Callable[[LanguageRequest], Any]
"""Returns the answer as a value or a text, or an exception that is raised."""


def says(score: int | None = None, summary: str = "A person is there.", **changes: Any) -> dict[str, Any]:
    """Return an answer that fits the schema."""
    given: dict[str, Any] = {
        "reasoning": "Seen in T1.",
        "factors": [],
        "score": score,
        "confidence": 0.5,
        "summary": summary,
    }
    return {**given, "score": score, "summary": summary, **changes}


def as_the_rules(request: LanguageRequest) -> dict[str, Any]:
    """Agree with the rules."""
    found = RULES_SCORE.search(request.prompt if not request.earlier else request.earlier[0].text)
    assert found is not None
    return says(int(found[1]))


@dataclass
class ScriptedModel:
    """Answers by a script. While `down` is set it is not there; while `thinking` is cleared it thinks."""

    script: Script = as_the_rules
    down: bool = False
    asked: list[LanguageRequest] = field(default_factory=list)
    opened: int = 0
    cancelled: int = 0
    sees_pictures: bool = False

    def __post_init__(self) -> None:
        """Be ready to answer at once."""
        self.thinking = asyncio.Event()
        self.thinking.set()
        self.began = asyncio.Event()

    @property
    def status(self) -> LanguageStatus:
        """How it is."""
        state = ModelState.DOWN if self.down else ModelState.READY
        return LanguageStatus(state=state, model="Scripted", engine="script", sees_pictures=self.sees_pictures)

    @property
    def subjects(self) -> list[int]:
        """The events that it was asked about, in order."""
        return [int(EVENT.fullmatch(request.subject or "")[1]) for request in self.asked]  # type: ignore[index]

    async def load(self) -> None:
        """Raise ModelDown while it is down."""
        if self.down:
            raise ModelDown("The model is away.", "Bring it back.")
        self.opened += 1

    async def answer(self, request: LanguageRequest, _told: Told | None = None) -> LanguageAnswer:
        """Answer by the script."""
        self.asked.append(request)
        self.began.set()
        if self.down:
            raise ModelDown("The model is away.", "Bring it back.")
        try:
            await self.thinking.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        said = self.script(request)
        if isinstance(said, BaseException):
            raise said
        text = said if isinstance(said, str) else json.dumps(said)
        return LanguageAnswer(
            value=value_for(request, text, complete=True),
            text=text,
            model="Scripted",
            seconds=0.25,
            tokens_in=100,
            tokens_evaluated=20,
            tokens_out=40,
        )

    async def close(self) -> None:
        """Do nothing."""


@dataclass
class Explained:
    """A pipeline with an analyst."""

    bench: Bench
    model: ScriptedModel
    analyst: Analyst
    analyse: AnalyseStage

    async def see(self, *seen: Detection, **where: Any) -> None:
        """Take a picture in and do what it makes, but for the analysis."""
        await self.bench.see(*seen, **where)

    async def explain(self) -> None:
        """Let the analyst do what is available now."""
        await asyncio.wait_for(self.analyst.ready(), 10)
        await self.bench.work(self.analyse)

    async def waiting(self) -> int:
        """Return how many events wait for the analyst."""
        async with self.bench.database.reading() as connection:
            return await messages.count(connection, StageName.ANALYSE)

    async def until_done(self) -> None:
        """Return when nothing waits for the analyst any more."""
        while await self.waiting():  # noqa: ASYNC110 - the messages are in a database
            await asyncio.sleep(0.01)

    async def history(self, event_id: int = 1) -> Sequence[Assessment]:
        """Return the assessments of an event."""
        async with self.bench.database.reading() as connection:
            return await events.assessments_of(connection, event_id)

    def stage(self, broker: Broker | None = None, analyst: Analyst | None = None) -> AnalyseStage:
        """Return another worker's stage on the same database."""
        return _stage(self.bench, broker or self.bench.broker, analyst or self.analyst)


def consulting_of(made: Bench, analyst: Analyst) -> Consulting:
    """Return what asks the analyst by the prompt that is in use."""
    prompts = Prompts(made.health)

    async def active() -> ActivePrompt:
        async with made.database.reading() as connection:
            return await prompts.active(connection, PromptKind.ANALYST)

    return Consulting(
        analyst,
        AnalystSettings(),
        budget_tokens=RiskSettings().prompt_tokens,
        installation=Installation(more_factors=tuple(OWN_FACTORS)),
        active=active,
        pictures=BestPictures(made.database, made.media).of,
    )


def _stage(made: Bench, broker: Broker, analyst: Analyst, max_age: timedelta = timedelta(days=1)) -> AnalyseStage:
    return AnalyseStage(
        made.database,
        broker,
        made.announced,
        made.clock,
        analyst=analyst,
        cases=Cases(RiskSettings(), ZoneInfo("UTC"), made.clock),
        incidents=made.keeper,
        consulting=consulting_of(made, analyst),
        thresholds=LevelThresholds(),
        judged=lambda: made.judging.status.judges,
        max_age=max_age,
        look_seconds=0.01,
    )


@asynccontextmanager
async def explained(
    folder: Path,
    model: ScriptedModel | None = None,
    clock: MovableClock | None = None,
    *,
    where: URL | None = None,
    from_score: int = 0,
    wanted: bool = True,
) -> AsyncIterator[Explained]:
    """Give a pipeline whose analyst is looked after, on either database."""
    model, clock = model or ScriptedModel(), clock or MovableClock()

    async def opened() -> ScriptedModel:
        return model

    holder: list[Analyst] = []
    explaining = Explaining(lambda: wanted and holder[0].wanted, from_score)
    async with bench(folder, clock, where=where, explaining=explaining) as made:
        analyst = Analyst(opened, made.health, Signal(), expected=True, first_delay_seconds=0.01)
        holder.append(analyst)
        keeping = asyncio.create_task(analyst.run())
        try:
            yield Explained(made, model, analyst, _stage(made, made.broker, analyst))
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
