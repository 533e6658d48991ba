# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models folder: what is installed, how it gets there, and which model a setting means."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference_server.core.model import ModelFile, ModelProblem, ModelSummary, Pull, PullState, PullStep
from inference_server.models.catalogue import CATALOGUE, Conversion, HttpsSource, ModelEntry, Weights
from inference_server.models.conversion import EXPORTER_PACKAGE, convert
from inference_server.models.digest import (
    Progress,
    is_intact,
    matches_note,
    note_digest,
    noted_digest,
    sha256_of,
    sha256_told,
    silent,
)
from inference_server.models.errors import ConversionError, ExporterMissingError, ModelUnavailable, SourceError
from inference_server.models.fetching import Fetcher
from inference_server.models.locking import exclusive, is_held
from inference_server.models.places import Footprint, Places
from inference_server.models.quantised import QuantisedModels
from inference_server.models.room import Room, free_bytes, room_for
from inference_server.models.threads import Stop, in_thread
from inference_server.models.verification import FileCheck, verify_files, verify_own, verify_quantised
from inference_server.settings import DetectorSettings

DEFAULT_DETECTOR = "yolo26n"
"""What runs where neither the settings nor a tier of hardware name another one."""
_LOCK_SECONDS = 900.0
_START_UP_LOCK_SECONDS = 10.0
_REMOVAL_LOCK_SECONDS = 1.0

type Steps = Callable[[PullStep], None]
"""Told what is being done."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The file that is used. `message` says why it is not the one that was asked for, and what to do.

    `missing` is why the wanted one could not be had, where that was tried.
    """

    path: Path
    model_id: str
    name: str
    fallback: bool = False
    message: str | None = None
    missing: ModelUnavailable | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ModelState:
    """A catalogue entry and where it is, if it is installed. `supplied`: the owner put it there."""

    entry: ModelEntry
    path: Path | None
    supplied: bool


class ModelStore:
    """The weights below one folder; `Places` says where what is."""

    def __init__(
        self,
        folder: Path,
        *,
        catalogue: Sequence[ModelEntry] = CATALOGUE,
        python: str = sys.executable,
        offline: Path | None = None,
        fetcher: Fetcher | None = None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Use a folder, which need not exist yet, and the interpreter that has the extra `export`, if any has.

        Files are taken from the folder `offline` first. `free` says how much room there is.
        """
        self._places = Places(folder)
        self._entries = {entry.id: entry for entry in catalogue}
        self._python = python
        self._fetcher = fetcher or Fetcher(offline)
        self.room = Room(folder, free)
        """Of the disk that the models folder is on."""

    @property
    def folder(self) -> Path:
        """The models folder."""
        return self._places.folder

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """The catalogue."""
        return tuple(self._entries.values())

    def entry(self, model_id: str) -> ModelEntry:
        """Return a catalogue entry. Raises ModelUnavailable for an unknown id."""
        entry = self._entries.get(model_id)
        if entry is None:
            raise self._unknown(model_id)
        return entry

    @property
    def quantised(self) -> QuantisedModels:
        """The quantised forms of detectors."""
        return self._places.quantised

    def free(self) -> int:
        """Return how many bytes the models folder has room for. Raises OSError."""
        return self.room.free()

    def installed(self, model_id: str) -> Path | None:
        """Return what is loaded of a model that can be used now; None also for one that is damaged."""
        if supplied := self._places.supplied(model_id):
            return supplied
        entry = self._entries.get(model_id)
        return self._places.loaded(entry) if entry and self._places.is_installed(entry) else None

    def footprint(self, model_ids: Sequence[str]) -> tuple[Footprint, ...]:
        """Return what changes whenever what is loaded of one of these models does; cheap, no file is read."""
        return tuple(self._places.footprint(model_id, self._entries.get(model_id)) for model_id in model_ids)

    def states(self) -> tuple[ModelState, ...]:
        """Return the catalogue with what is installed of it."""
        return tuple(
            ModelState(entry, self.installed(entry.id), self._places.supplied(entry.id) is not None)
            for entry in self._entries.values()
        )

    def summary(self, entry: ModelEntry, *, in_use: bool, pull: Pull | None) -> ModelSummary:
        """Return what is to be told of a model; without a pull of this process' own, what another one left or does."""
        supplied = self._places.supplied(entry.id) is not None
        installed = supplied or self._places.is_installed(entry)
        return ModelSummary(
            id=entry.id,
            name=entry.name,
            capability=entry.capability,
            purpose=entry.purpose,
            licence=entry.licence,
            memory=entry.memory,
            device=entry.device,
            files=tuple(
                ModelFile(file.file_name, file.size, file.size_exact, self._places.digest(file), bool(file.sha256))
                for file in entry.files
            ),
            installed=installed,
            supplied=supplied,
            in_use=in_use,
            pull=pull or (None if installed else self._found_pull(entry)),
        )

    def _found_pull(self, entry: ModelEntry) -> Pull | None:
        held = min(self._places.held(entry), entry.size)
        if is_held(self._places.lock(entry.id)):
            return Pull(entry.id, PullState.ELSEWHERE, PullStep.DOWNLOADING, held, entry.size)
        if self._places.has_part(entry):
            return Pull(entry.id, PullState.INTERRUPTED, PullStep.DOWNLOADING, held, entry.size)
        return None

    def verify(self, model_id: str) -> tuple[FileCheck, ...]:
        """Check every file of a model that is there against its digest. Raises ModelUnavailable for an unknown id."""
        checks: list[FileCheck] = []
        if supplied := self._places.supplied(model_id):
            checks.append(verify_own(supplied))
        elif not self._known(model_id):
            raise self._unknown(model_id)
        if entry := self._entries.get(model_id):
            checks += verify_files(entry, self._places)
        checks += verify_quantised(self.quantised, model_id, self.installed(model_id))
        return tuple(checks)

    async def pull(
        self,
        model_id: str,
        progress: Progress = silent,
        *,
        accept_unpinned: bool = False,
        lock_seconds: float = _LOCK_SECONDS,
        steps: Steps = lambda _step: None,
    ) -> Path:
        """Install a model, unless it is, and return what is loaded. What is there is read and checked.

        Raises ModelUnavailable, whose message says what failed and whose remedy what to do.
        """
        if supplied := self._places.supplied(model_id):
            return supplied
        entry = self.entry(model_id)
        if not entry.pinned and not accept_unpinned and not await asyncio.to_thread(self._places.is_installed, entry):
            raise _unpinned(entry)
        try:
            return await self._install(entry, progress, steps, lock_seconds)
        except TimeoutError as error:
            raise self._unavailable(entry, "is being installed by another process", ModelProblem.BUSY) from error
        except OSError as error:
            reason = f"could not be stored in {self.folder} ({error.strerror or error})"
            raise ModelUnavailable(f"{entry.name} {reason}", "Check the free space and the folder's owner.") from error

    async def remove(self, model_id: str, *, own: bool = False) -> int:
        """Delete what a pull or an import of a model left, and return how many bytes that freed.

        A file that its owner put there by hand is deleted only with `own`. Raises ModelUnavailable; OSError.
        """
        supplied = self._places.supplied(model_id)
        if supplied is None and not self._known(model_id):
            raise self._unknown(model_id)
        try:
            async with exclusive(self._places.lock(model_id), _REMOVAL_LOCK_SECONDS):
                return await asyncio.to_thread(self._delete, model_id, supplied, own)
        except FileNotFoundError as error:
            raise _not_installed(model_id) from error
        except TimeoutError as error:
            raise ModelUnavailable(
                f"{model_id} is being installed", "Cancel that first, or wait for it.", ModelProblem.BUSY
            ) from error

    def _delete(self, model_id: str, supplied: Path | None, own: bool) -> int:
        files = list(self._places.all_files(self._entries[model_id])) if model_id in self._entries else []
        if supplied is not None and (own or noted_digest(supplied)):
            files += [supplied, supplied.with_name(f"{supplied.name}.sha256")]
        if Path(model_id).name == model_id:
            files += self._places.quantised.files(model_id)
        there = [path for path in files if path.is_file()]
        if not there:
            if supplied is None:
                raise _not_installed(model_id)
            raise ModelUnavailable(
                f"{supplied} was not put there by the server", "Delete it yourself, or say --force.", ModelProblem.BUSY
            )
        freed = sum(path.stat().st_size for path in there)
        for path in there:
            path.unlink()
        for folder in {path.parent for path in there} - {self.folder}:
            if not any(folder.iterdir()):
                folder.rmdir()
        return freed

    async def resolve(self, settings: DetectorSettings) -> ResolvedModel:
        """Return the model that the settings mean, installing it, or the fallback with the reason.

        Order: the user's own file, the wanted model, the fallback. A host that does not answer costs seconds, not
        minutes. Raises ModelUnavailable when nothing of that can be had.
        """
        if settings.model_file is not None:
            return _own_file(settings.model_file)
        wanted = settings.model or DEFAULT_DETECTOR
        try:
            path = await self.pull(wanted, lock_seconds=_START_UP_LOCK_SECONDS)
            return ResolvedModel(path, wanted, self.name_of(wanted))
        except ModelUnavailable as error:
            if settings.fallback_model in {None, wanted}:
                raise
            return await self._fall_back(settings.fallback_model or "", error)

    def best_installed(self, model_ids: Sequence[str], missing: ModelUnavailable | None = None) -> ResolvedModel | None:
        """Return the first of these models that is installed, None where none is; nothing is downloaded.

        The first one is the wanted one; `missing` is why it could not be had, if that is known.
        """
        for model_id in model_ids:
            if path := self.installed(model_id):
                name = self.name_of(model_id)
                if model_id == model_ids[0]:
                    return ResolvedModel(path, model_id, name)
                return _stand_in(path, model_id, name, missing or self._not_there(model_ids[0]))
        return None

    def _not_there(self, model_id: str) -> ModelUnavailable:
        if model_id not in self._entries:
            return self._unknown(model_id)
        return ModelUnavailable(
            f"{self.name_of(model_id)} is not installed",
            f"It is tried again by itself; `hsi models pull {model_id}` does so at once.",
            ModelProblem.NOT_INSTALLED,
        )

    async def _fall_back(self, model_id: str, reason: ModelUnavailable) -> ResolvedModel:
        try:
            path = await self.pull(model_id)
        except ModelUnavailable as error:
            raise ModelUnavailable(f"{reason}. The fallback: {error}", f"{reason.remedy} {error.remedy}") from error
        return _stand_in(path, model_id, self.name_of(model_id), reason)

    async def _install(self, entry: ModelEntry, progress: Progress, steps: Steps, lock_seconds: float) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        async with exclusive(self._places.lock(entry.id), lock_seconds):
            converted = self._places.converted(entry)
            if converted is not None and await asyncio.to_thread(matches_note, converted):
                return converted
            try:
                await self._download(entry, progress, steps)
            finally:
                shutil.rmtree(self._places.archives(entry.id), ignore_errors=True)
            if converted:
                steps(PullStep.CONVERTING)
                converted.parent.mkdir(exist_ok=True)
                await self._convert(entry, self._places.download(entry.weights), converted)
        return self._places.loaded(entry)

    async def _download(self, entry: ModelEntry, progress: Progress, steps: Steps) -> None:
        steps(PullStep.CHECKING)
        there = {
            file.file_name for file in entry.files if await in_thread(_is_right, self._places.download(file), file)
        }
        missing = [file for file in entry.files if file.file_name not in there]
        self.room.check(entry.name, self._needed(entry, missing))
        done = sum(file.size for file in entry.files if file.file_name in there)
        for file in missing:
            steps(PullStep.DOWNLOADING)
            target = self._places.download(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                await self._fetcher.fetch(
                    file,
                    target,
                    _after(progress, done, entry.size),
                    lambda: steps(PullStep.CHECKING),
                    archives=self._places.archives(entry.id),
                )
            except SourceError as error:
                raise self._unavailable(entry, f"could not be downloaded ({error})") from error
            done += file.size
        progress(entry.size, entry.size)

    def check_room(self, *model_ids: str) -> int:
        """Return how many bytes of disk the pulls of these models need together.

        Raises ModelUnavailable where there are not as many free, and for an unknown id; OSError.
        """
        entries = [self.entry(model_id) for model_id in model_ids]
        needed = sum(self._needed(entry, self._absent(entry)) for entry in entries if not self.installed(entry.id))
        self.room.check(entries[0].name if len(entries) == 1 else "All of them together", needed)
        return needed

    def _absent(self, entry: ModelEntry) -> list[Weights]:
        return [file for file in entry.files if not self._places.download(file).exists()]

    def _needed(self, entry: ModelEntry, missing: Sequence[Weights]) -> int:
        """Return how many bytes of disk a pull needs, beside what it has already."""
        needed = sum(max(0, room_for(file) - self._places.half(file)) for file in missing)
        if entry.conversion is not Conversion.NONE:
            needed += 2 * entry.size  # half-precision weights become single-precision ones
        return needed

    async def _convert(self, entry: ModelEntry, weights: Path, converted: Path) -> None:
        temporary = converted.with_suffix(".tmp")
        try:
            await convert(entry, weights, temporary, self._python)
        except ExporterMissingError as error:
            raise self._not_exported(entry, error) from error
        except ConversionError as error:
            raise self._unavailable(entry, f"was downloaded, but {error}") from error
        digest = await asyncio.to_thread(sha256_of, temporary)
        temporary.replace(converted)
        note_digest(converted, digest)

    def name_of(self, model_id: str) -> str:
        """Return the name of a model for people."""
        entry = self._entries.get(model_id)
        return entry.name if entry else model_id

    def _known(self, model_id: str) -> bool:
        """Say whether a model is of the catalogue, or one whose quantised form is here."""
        return model_id in self._entries or self.quantised.report(model_id) is not None

    def _unknown(self, model_id: str) -> ModelUnavailable:
        known = ", ".join(self._entries)
        return ModelUnavailable(
            f'There is no model "{model_id}" in the catalogue',
            f"Choose one of {known}, or put {model_id}.onnx into {self.folder}.",
            ModelProblem.UNKNOWN,
        )

    def _unavailable(
        self, entry: ModelEntry, reason: str, problem: ModelProblem = ModelProblem.FAILED
    ) -> ModelUnavailable:
        way = "with internet access" if any(isinstance(s, HttpsSource) for s in entry.weights.sources) else "again"
        if entry.conversion is Conversion.NONE:
            remedy = f"Run `hsi models pull {entry.id}` {way}, or carry its files here (docs/models.md)."
        else:
            remedy = (
                f"To use {entry.name} put {entry.id}.onnx into {self.folder} "
                f"or run `hsi models pull {entry.id}` with internet access."
            )
        return ModelUnavailable(f"{entry.name} {reason}", remedy, problem)

    def _not_exported(self, entry: ModelEntry, error: ExporterMissingError) -> ModelUnavailable:
        return ModelUnavailable(
            f"{entry.name} was downloaded, but {error}",
            f"To use {entry.name} run `{self._python} -m pip install {EXPORTER_PACKAGE}` (several gigabytes) and "
            f"then `hsi models pull {entry.id}`, or put an exported {entry.id}.onnx into {self.folder}.",
        )


def _stand_in(path: Path, model_id: str, name: str, missing: ModelUnavailable) -> ResolvedModel:
    message = f"{missing}; {name} is used instead. {missing.remedy}"
    return ResolvedModel(path, model_id, name, fallback=True, message=message, missing=missing)


def _after(progress: Progress, before: int, total: int) -> Progress:
    """Return what turns the progress of one file into that of all."""

    def tell(done: int, _total: int | None) -> None:
        progress(min(before + done, total), total)

    return tell


def _is_right(stop: Stop, path: Path, file: Weights) -> bool:
    """Say whether a download is there and right, reading all of it."""
    expected = file.sha256 or noted_digest(path)
    if expected is None or not path.exists() or sha256_told(stop, path) != expected:
        return False
    return is_intact(path, expected)


def _unpinned(entry: ModelEntry) -> ModelUnavailable:
    return ModelUnavailable(
        f"Nobody has published a digest of {entry.name} by which to recognise the right file",
        f"`hsi models pull {entry.id} --accept-unpinned` takes what its source gives, notes the digest, shows it and "
        "holds the files to it from then on.",
        ModelProblem.UNPINNED,
    )


def _not_installed(model_id: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{model_id} is not installed", "`hsi models list` shows what is.", ModelProblem.NOT_INSTALLED
    )


def _own_file(path: Path) -> ResolvedModel:
    if not path.is_file():
        raise ModelUnavailable(
            f"The model file {path} does not exist", "Correct `detector.model_file` or remove it to use the catalogue."
        )
    return ResolvedModel(path, path.stem, path.name)
