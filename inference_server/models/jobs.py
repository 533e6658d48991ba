# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models that are installed in the background: one job each, whoever asked for it and is gone since."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from inference_server.core.clock import Clock
from inference_server.core.model import (
    ImportedModel,
    ModelProblem,
    ModelSummary,
    ModelUnavailable,
    Pull,
    PullState,
    PullStep,
)
from inference_server.core.signal import Signal
from inference_server.models.catalogue import Conversion
from inference_server.models.digest import noted_digest
from inference_server.models.importing import Validate, import_file
from inference_server.models.incoming import Incoming, receiving
from inference_server.models.store import ModelStore

_LOGGER = logging.getLogger(__name__)

MOST_OWN_BYTES = 4 << 30
"""How large a detector of the owner's own may be; a file of the catalogue may be as large as it is."""
RECEIVED_AT_ONCE = 2
_TOLD_SECONDS = 0.1
"""The shortest time between two counts of bytes."""


class ModelJobs:
    """Installs and removes models, and tells how far each is.

    A job ends with the server; what it had downloaded is kept, and its model is called interrupted until somebody asks
    for it again.
    """

    def __init__(
        self,
        store: ModelStore,
        clock: Clock,
        *,
        parallel: int,
        in_use: Callable[[], str | None],
        validate: Validate,
    ) -> None:
        """Take how many are installed at a time, what tells which model is in use, and what tries a detector."""
        self._store = store
        self._clock = clock
        self._in_use = in_use
        self._validate = validate
        self._receiving = 0
        self.most_import_bytes = max(
            (MOST_OWN_BYTES, *(file.most_bytes for one in store.entries for file in one.files))
        )
        """How many bytes a file may have that is sent."""
        self._turns = asyncio.Semaphore(parallel)
        self._pulls: dict[str, Pull] = {}
        self._failures: dict[str, Pull] = {}
        """The last failure of each model that was not installed since."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.changed = Signal()
        """Notified with every change of a pull."""
        self.settled = Signal()
        """Notified when a model was installed or removed here."""

    @property
    def pulls(self) -> tuple[Pull, ...]:
        """The pulls of this process, those that are over too."""
        return tuple(self._pulls.values())

    async def run(self) -> None:
        """Wait until cancelled, then end the jobs."""
        try:
            await asyncio.Event().wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def list_all(self) -> tuple[ModelSummary, ...]:
        """Return the catalogue, and how every model of it is."""
        return await asyncio.to_thread(lambda: tuple(map(self._summary, (entry.id for entry in self._store.entries))))

    async def get(self, model_id: str) -> ModelSummary:
        """Return one model. Raises ModelUnavailable for an unknown id."""
        return await asyncio.to_thread(self._summary, model_id)

    async def free_bytes(self) -> int:
        """Return how many bytes there is room for. Raises OSError."""
        return await asyncio.to_thread(self._store.free)

    def ask(self, model_id: str, *, accept_unpinned: bool) -> Pull:
        """Let a model be installed; one that is being installed already goes on.

        Raises ModelUnavailable for an unknown id, for a model without published digests unless that is accepted, and
        where there is no room for it; OSError.
        """
        entry = self._store.entry(model_id)
        if not entry.pinned and not accept_unpinned:
            raise ModelUnavailable(
                f"Nobody has published a digest of {entry.name} by which to recognise the right file",
                "Ask with accept_unpinned=true to take what its source gives; the files are held to it from then on.",
                ModelProblem.UNPINNED,
            )
        running = self._pulls.get(model_id)
        if running is not None and not running.state.is_over:
            return running
        self._store.check_room(model_id)
        pull = Pull(model_id, PullState.WAITING, PullStep.DOWNLOADING, 0, entry.size, asked_at=self._clock.now())
        self._set(pull)
        task = asyncio.create_task(self._pull(model_id, accept_unpinned), name=f"pull of {model_id}")
        self._tasks[model_id] = task
        task.add_done_callback(lambda _task: self._tasks.pop(model_id, None))
        return pull

    def note_failed(self, model_id: str, error: ModelUnavailable) -> None:
        """Note that a model could not be had that nobody asked this for, so that it is told with the others."""
        running = self._pulls.get(model_id)
        if running is not None and not running.state.is_over:
            return
        now = self._clock.now()
        size = next((entry.size for entry in self._store.entries if entry.id == model_id), 0)
        pull = Pull(model_id, PullState.FAILED, PullStep.DOWNLOADING, 0, size, asked_at=now, ended_at=now)
        self._set(replace(pull, error=str(error), remedy=error.remedy))

    async def failed(self) -> tuple[Pull, ...]:
        """Return the pulls that failed, also while they are tried again.

        Those are forgotten whose model somebody else has installed since.
        """
        failed = tuple(self._failures)
        here = await asyncio.to_thread(lambda: [one for one in failed if self._store.installed(one)]) if failed else ()
        for model_id in here:
            pull = self._pulls.get(model_id)
            if pull is None or pull.state.is_over:
                self._forget(model_id)
        return tuple(self._failures.values())

    async def cancel(self, model_id: str) -> None:
        """End a pull if one is under way, keeping what it has downloaded; forget one that failed.

        Raises ModelUnavailable for an unknown id.
        """
        pull = self._pulls.get(model_id)
        if pull is None:
            self._store.entry(model_id)
        task = self._tasks.get(model_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if model_id in self._failures:
            self._forget(model_id)

    async def remove(self, model_id: str, *, force: bool) -> None:
        """Delete the files of a model. Raises ModelUnavailable, also for the one in use unless forced; OSError."""
        if model_id == self._in_use() and not force:
            raise ModelUnavailable(
                f"{model_id} is in use", "Choose another one in `detector.model` first.", ModelProblem.IN_USE
            )
        if model_id in self._tasks:
            raise ModelUnavailable(f"{model_id} is being installed", "Cancel that first.", ModelProblem.BUSY)
        await self._store.remove(model_id, own=force)
        self._forget(model_id)
        self.settled.notify()

    @contextmanager
    def receiving(self, size: int | None) -> Iterator[Incoming]:
        """Give what receives a file of so many bytes, if that is known; it is gone afterwards unless it is taken in.

        Raises ModelUnavailable while others are being received, and where there is no room; OSError.
        """
        if self._receiving >= RECEIVED_AT_ONCE:
            raise ModelUnavailable(
                f"{RECEIVED_AT_ONCE} models are being received, and no more at the same time",
                "Send it again when they are through.",
                ModelProblem.BUSY,
            )
        self._receiving += 1
        try:
            with receiving(self._store.folder / ".incoming", size, self._store.room) as incoming:
                yield incoming
        finally:
            self._receiving -= 1

    async def take_in(self, incoming: Incoming, name: str, model_id: str | None) -> ImportedModel:
        """Install a file that was received, which its sender gave this name, as `import_file` says.

        Raises ModelUnavailable; OSError.
        """
        file = await asyncio.to_thread(incoming.finish, name)
        size = file.stat().st_size
        model_id, path = await import_file(self._store, file, model_id, self._validate, move=True)
        _LOGGER.info("%s was sent here and is taken in", model_id)
        self.settled.notify()
        self.changed.notify()
        entry = next((entry for entry in self._store.entries if entry.id == model_id), None)
        converted = entry is not None and entry.conversion is not Conversion.NONE and path.suffix != ".onnx"
        pull = self.ask(model_id, accept_unpinned=False) if converted else None
        return ImportedModel(model_id, size, noted_digest(path) or "", pull)

    def _forget(self, model_id: str) -> None:
        failure = self._failures.pop(model_id, None)
        if self._pulls.pop(model_id, None) or failure:
            self.changed.notify()

    def _summary(self, model_id: str) -> ModelSummary:
        pull = self._pulls.get(model_id)
        kept = pull if pull is not None and pull.state is not PullState.DONE else None
        return self._store.summary(self._store.entry(model_id), in_use=model_id == self._in_use(), pull=kept)

    async def _pull(self, model_id: str, accept_unpinned: bool) -> None:
        try:
            async with self._turns:
                self._change(model_id, state=PullState.RUNNING)
                await self._store.pull(
                    model_id,
                    self._progress(model_id),
                    accept_unpinned=accept_unpinned,
                    steps=lambda step: self._change(model_id, step=step),
                )
        except asyncio.CancelledError:
            self._end(model_id, PullState.CANCELLED)
            raise
        except ModelUnavailable as error:
            _LOGGER.warning("%s. %s", error, error.remedy)
            self._end(model_id, PullState.FAILED, str(error), error.remedy)
        except Exception as error:
            _LOGGER.exception("The pull of %s failed", model_id)
            self._end(model_id, PullState.FAILED, f"{type(error).__name__}: {error}", "Report it with the log.")
        else:
            _LOGGER.info("%s is installed", model_id)
            self._end(model_id, PullState.DONE)
            self.settled.notify()

    def _progress(self, model_id: str) -> Callable[[int, int | None], None]:
        """Return what takes the bytes of a pull, from whichever thread."""
        loop = asyncio.get_running_loop()
        told_at = 0.0

        def tell(done: int, total: int | None) -> None:
            nonlocal told_at
            now = time.monotonic()
            if now - told_at >= _TOLD_SECONDS or done == total:
                told_at = now
                loop.call_soon_threadsafe(self._count, model_id, done)

        return tell

    def _count(self, model_id: str, done: int) -> None:
        pull = self._pulls.get(model_id)
        if pull is not None and pull.state is PullState.RUNNING:
            self._set(replace(pull, done_bytes=min(done, pull.total_bytes)))

    def _change(self, model_id: str, *, state: PullState | None = None, step: PullStep | None = None) -> None:
        pull = self._pulls[model_id]
        self._set(replace(pull, state=state or pull.state, step=step or pull.step))

    def _end(self, model_id: str, state: PullState, error: str | None = None, remedy: str | None = None) -> None:
        pull = self._pulls[model_id]
        done = pull.total_bytes if state is PullState.DONE else pull.done_bytes
        self._set(replace(pull, state=state, done_bytes=done, ended_at=self._clock.now(), error=error, remedy=remedy))

    def _set(self, pull: Pull) -> None:
        self._pulls[pull.model_id] = pull
        if pull.state is PullState.FAILED:
            self._failures[pull.model_id] = pull
        elif pull.state is PullState.DONE:
            self._failures.pop(pull.model_id, None)
        self.changed.notify()
