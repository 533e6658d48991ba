# SPDX-License-Identifier: AGPL-3.0-or-later
"""A GGUF model as a language model: one process, restarted when it dies, and one request at a time."""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_server.risk.analyst.language_model import (
    LanguageAnswer,
    LanguageRequest,
    LanguageStatus,
    ModelDown,
    ModelError,
    ModelState,
    Told,
    value_for,
    without_thoughts,
)
from inference_server.risk.analyst.line import Line
from inference_server.risk.analyst.llama import frames
from inference_server.risk.analyst.llama.gguf import check_gguf
from inference_server.risk.analyst.llama.process import COMMAND, ModelProcess, WorkerDiedError

_LOGGER = logging.getLogger(__name__)

ENGINE = "llama.cpp"
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
ATTEMPTS = 2
"""A request whose process died gets another one once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaOptions:
    """Which model is run, and how."""

    path: Path
    name: str
    context_tokens: int = 4096
    threads: int = 1
    gpu_layers: int = 0
    """How many layers a GPU holds; -1 for as many as fit."""
    thinking: bool = False
    most_waiting: int = 32
    stall_seconds: float = 60.0
    """After so long without a sign of life the process is killed."""
    load_seconds: float = 300.0
    command: Sequence[str] = COMMAND


class LlamaCppModel:
    """Implements LanguageModel. The process starts with `load`, or else with the first request."""

    def __init__(self, options: LlamaOptions) -> None:
        """Take the options; nothing is started."""
        self._options = options
        self._line = Line(options.most_waiting)
        self._numbers = itertools.count(1)
        self._process: ModelProcess | None = None
        self._loaded: frames.Loaded | None = None
        self._starting: asyncio.Task[ModelProcess] | None = None
        self._failures = 0
        """In a row: deaths and failed starts."""
        self._not_before = 0.0
        self._error: ModelError | None = None
        self._speed: float | None = None
        self._closed = False

    @property
    def status(self) -> LanguageStatus:
        """How it is now."""
        error = self._error
        return LanguageStatus(
            state=self._state,
            model=self._options.name,
            engine=ENGINE,
            device=self._loaded.device if self._loaded else None,
            context_tokens=self._loaded.context_tokens if self._loaded else self._options.context_tokens,
            waiting=self._line.waiting,
            running=self._line.running,
            tokens_per_second=self._speed,
            message=f"{error} {error.remedy}".strip() if error else None,
        )

    @property
    def _state(self) -> ModelState:
        if self._process is not None and self._process.is_alive:
            return ModelState.READY
        if self._starting is not None:
            return ModelState.LOADING
        return ModelState.DOWN if self._error else ModelState.IDLE

    @property
    def pid(self) -> int | None:
        """The id of the model's process, if there is one."""
        return self._process.pid if self._process and self._process.is_alive else None

    async def load(self) -> None:
        """Return once the model is loaded. Raises Refused, ModelDown."""
        await self._living()

    async def answer(self, request: LanguageRequest, told: Told | None = None) -> LanguageAnswer:
        """Return the answer. Raises ModelError."""
        return await self._line.through(request, lambda: self._answered(request, told))

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        process, self._process = self._process, None
        if process is not None:
            await process.kill()

    async def _answered(self, request: LanguageRequest, told: Told | None) -> LanguageAnswer:
        begun = asyncio.get_running_loop().time()
        done = await self._done(request, told)
        self._failures = 0
        self._speed = round(done.tokens_out / done.seconds, 1) if done.seconds > 0 else self._speed
        text = without_thoughts(done.text)
        return LanguageAnswer(
            value=value_for(request, done.text, complete=done.complete),
            text=text,
            model=self._options.name,
            seconds=asyncio.get_running_loop().time() - begun,
            tokens_in=done.tokens_in,
            tokens_evaluated=done.tokens_evaluated,
            tokens_out=done.tokens_out,
            complete=done.complete,
        )

    async def _done(self, request: LanguageRequest, told: Told | None) -> frames.Done:
        """Ask the process, and a new one if that dies before it said anything that was passed on."""
        heard = False

        def hear(text: str) -> None:
            nonlocal heard
            if told is not None:
                heard = True
                told(text)

        for attempt in range(1, ATTEMPTS + 1):
            process = await self._living()
            try:
                return await process.ask(self._frame(request), hear)
            except WorkerDiedError as error:
                self._died(error)
                if heard or attempt == ATTEMPTS:
                    raise self._down(f"The process of the model died while it answered: {error}.") from error
        raise AssertionError

    def _frame(self, request: LanguageRequest) -> frames.Ask:
        turns = [["system", request.prefix]] if request.prefix else []
        turns += [[turn.speaker.value, turn.text] for turn in request.earlier]
        return frames.Ask(
            number=next(self._numbers),
            turns=[*turns, ["user", request.prompt]],
            schema=request.schema.text if request.schema else None,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            stop=list(request.stop),
            thinking=self._options.thinking,
        )

    async def _living(self) -> ModelProcess:
        """Return a process that has loaded the model, starting one; all who want it wait for the same start."""
        if self._closed:
            raise ModelDown("The model was closed.")
        if self._process is not None and self._process.is_alive:
            return self._process
        if self._process is not None:
            process, self._process = self._process, None
            await process.kill()
            self._died(WorkerDiedError("it was killed"))
        if self._starting is None:
            wait = self._not_before - asyncio.get_running_loop().time()
            if wait > 0 and self._error is not None:
                if isinstance(self._error, ModelDown):
                    raise self._down(str(self._error))
                raise type(self._error)(str(self._error), self._error.remedy)
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(lambda start: start.cancelled() or start.exception())
        return await asyncio.shield(self._starting)

    async def _start(self) -> ModelProcess:
        options = self._options
        setup = frames.Setup(str(options.path), options.context_tokens, options.threads, options.gpu_layers)
        begun = asyncio.get_running_loop().time()
        try:
            await asyncio.to_thread(check_gguf, options.path)
            process, loaded = await ModelProcess.start(
                setup,
                stall_seconds=options.stall_seconds,
                load_seconds=options.load_seconds,
                command=options.command,
            )
        except (ModelError, OSError) as error:
            failed = error if isinstance(error, ModelError) else ModelDown(f"No process can be started: {error}.")
            self._fail(failed)
            raise failed from error
        else:
            _LOGGER.info(
                "%s is loaded on %s in %.1f s", options.name, loaded.device, asyncio.get_running_loop().time() - begun
            )
            for note in loaded.notes:
                _LOGGER.warning("%s: %s", options.name, note)
            self._process, self._loaded, self._error = process, loaded, None
            return process
        finally:
            self._starting = None

    def _died(self, error: WorkerDiedError) -> None:
        """Note a death. The first one is no reason to wait."""
        _LOGGER.warning("The process of %s died: %s", self._options.name, error)
        self._process = None
        self._fail(ModelDown(f"The process of the model died: {error}."), spare=1)

    def _fail(self, error: ModelError, spare: int = 0) -> None:
        self._error = error
        self._failures += 1
        steps = self._failures - 1 - spare
        wait = min(FIRST_WAIT_SECONDS * 2**steps, LONGEST_WAIT_SECONDS) if steps >= 0 else 0.0
        self._not_before = asyncio.get_running_loop().time() + wait

    def _down(self, message: str) -> ModelDown:
        wait = max(0.0, self._not_before - asyncio.get_running_loop().time())
        return ModelDown(message, "It is started again by itself; the log says more.", retry_after=max(1.0, wait))
