# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models folder: what is installed, how it gets there, and which model a setting means."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from inference_server.models.places import Places
from inference_server.models.quantised import NotQuantised, QuantisedModels
from inference_server.models.threads import Stop, in_thread
from inference_server.settings import DetectorSettings

DEFAULT_DETECTOR = "yolo26n"
"""What runs where neither the settings nor a tier of hardware name another one."""
_LOCK_SECONDS = 900.0
_START_UP_LOCK_SECONDS = 10.0
_REMOVAL_LOCK_SECONDS = 1.0
SPARE_BYTES = 100 << 20
"""What a disk keeps free besides a model."""

type Steps = Callable[[PullStep], None]
"""Told what is being done."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The file that is used. `message` says why it is not the one that was asked for, and what to do."""

    path: Path
    model_id: str
    name: str
    fallback: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """A catalogue entry and where it is, if it is installed. `supplied`: the owner put it there."""

    entry: ModelEntry
    path: Path | None
    supplied: bool


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The finding on one file of a model."""

    path: Path
    ok: bool
    detail: str


def free_bytes(folder: Path) -> int:
    """Return how many bytes a folder, or the nearest one above it that exists, has room for. Raises OSError."""
    present = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(present).free


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
        self._free = free

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
        return self._free(self.folder)

    def installed(self, model_id: str) -> Path | None:
        """Return what is loaded of a model that can be used now; None also for one that is damaged."""
        if supplied := self._places.supplied(model_id):
            return supplied
        entry = self._entries.get(model_id)
        return self._places.loaded(entry) if entry and self._places.is_installed(entry) else None

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
            checks.append(_verify_own(supplied))
        elif not self._known(model_id):
            raise self._unknown(model_id)
        if entry := self._entries.get(model_id):
            checks += self._verify_files(entry)
        checks += self._verify_quantised(model_id)
        return tuple(checks)

    def _verify_quantised(self, model_id: str) -> list[FileCheck]:
        path, report = self.quantised.path(model_id), self.quantised.report(model_id)
        if report is None and not path.is_file():
            return []
        if report is not None and not report.accepted:
            return [FileCheck(path, True, f"not kept: {report.summary}")]
        source = self.installed(model_id)
        if source is None:
            return [
                FileCheck(
                    path,
                    matches_note(path),
                    f"of a model that is not in {self.folder}: {report.summary if report else 'no report'}",
                )
            ]
        try:
            return [FileCheck(path, True, self.quantised.current(model_id, source).summary)]
        except (NotQuantised, OSError) as error:
            return [FileCheck(path, False, str(error))]

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
            return ResolvedModel(path, wanted, self._name_of(wanted))
        except ModelUnavailable as error:
            if settings.fallback_model in {None, wanted}:
                raise
            return await self._fall_back(settings.fallback_model or "", error)

    async def _fall_back(self, model_id: str, reason: ModelUnavailable) -> ResolvedModel:
        try:
            path = await self.pull(model_id)
        except ModelUnavailable as error:
            raise ModelUnavailable(f"{reason}. The fallback: {error}", f"{reason.remedy} {error.remedy}") from error
        name = self._name_of(model_id)
        message = f"{reason}; {name} is used instead. {reason.remedy}"
        return ResolvedModel(path, model_id, name, fallback=True, message=message)

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
        self._make_room(entry, missing)
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

    def check_room(self, model_id: str) -> None:
        """Raise ModelUnavailable where the disk cannot hold what is missing of a model; OSError."""
        entry = self.entry(model_id)
        self._make_room(entry, [file for file in entry.files if not self._places.download(file).exists()])

    def _make_room(self, entry: ModelEntry, missing: Sequence[Weights]) -> None:
        """Raise ModelUnavailable where the disk cannot hold what is missing: better now than after hours."""
        needed = sum(map(_room_for, missing))
        if missing and entry.conversion is not Conversion.NONE:
            needed += 2 * entry.size  # half-precision weights become single-precision ones
        if not needed:
            return
        needed += SPARE_BYTES - min(self._places.held(entry), needed)
        free = self._free(self.folder)
        if free < needed:
            raise ModelUnavailable(
                f"{entry.name} needs {_megabytes(needed)} in {self.folder}, where {_megabytes(free)} are free",
                "Make room, or name a folder on another disk in HSI_MODELS_DIR.",
                ModelProblem.NO_SPACE,
            )

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

    def _verify_files(self, entry: ModelEntry) -> list[FileCheck]:
        checks = []
        for file in entry.files:
            path = self._places.download(file)
            expected = self._places.digest(file)
            if path.exists():
                found = sha256_of(path)
                right = "as published" if file.sha256 else "as first pulled"
                good = found == expected
                checks.append(FileCheck(path, good, right if good else f"SHA-256 {found}, not {expected}"))
        converted = self._places.converted(entry)
        if converted and converted.exists():
            good = matches_note(converted)
            checks.append(FileCheck(converted, good, "as converted" if good else "changed since it was converted"))
        return checks

    def _name_of(self, model_id: str) -> str:
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


def _room_for(file: Weights) -> int:
    """Return how many bytes a download takes at its most: what comes in an archive is there twice for a moment."""
    return file.size if isinstance(file.sources[0], HttpsSource) else 2 * file.size


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


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


def _verify_own(path: Path) -> FileCheck:
    digest, noted = sha256_of(path), noted_digest(path)
    if noted is not None and noted != digest:
        return FileCheck(path, False, f"SHA-256 {digest}, not {noted} as when it was imported")
    return FileCheck(path, True, f"your own file, SHA-256 {digest}")


def _own_file(path: Path) -> ResolvedModel:
    if not path.is_file():
        raise ModelUnavailable(
            f"The model file {path} does not exist", "Correct `detector.model_file` or remove it to use the catalogue."
        )
    return ResolvedModel(path, path.stem, path.name)
