# SPDX-License-Identifier: AGPL-3.0-or-later
"""Taking in a file that somebody has: by its digest, else as a detector of the owner's own, tried before it counts."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from inference_server.core.model import Capability, ModelProblem, ModelUnavailable
from inference_server.models.catalogue import ModelEntry, Weights
from inference_server.models.copying import copy_told
from inference_server.models.digest import make_durable, note_digest, sha256_told
from inference_server.models.fetching import part_of
from inference_server.models.https import forget_part
from inference_server.models.locking import exclusive
from inference_server.models.places import Places
from inference_server.models.store import ModelStore
from inference_server.models.threads import Stop, in_thread

MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LOCK_SECONDS = 10.0

type Validate = Callable[[Path], None]
"""Runs a file as a detector once; raises ModelUnavailable when it cannot be one."""


async def import_file(
    store: ModelStore, file: Path, model_id: str | None, validate: Validate, *, move: bool = False
) -> tuple[str, Path]:
    """Take in a file and return the id of its model and where the file is now; the original stays, unless moved.

    A file of the catalogue is recognised by its digest. Any other one needs an id: that of a detector, of the
    catalogue or a new one, whose own file it becomes, or that of a model whose digest nobody has published. Raises
    ModelUnavailable; OSError.
    """
    if model_id is not None and not MODEL_ID.fullmatch(model_id):
        raise ModelUnavailable(
            f'"{model_id[:80]}" cannot be the id of a model',
            "Use up to 64 small letters, digits, dots, dashes and underscores, a letter or digit first.",
            ModelProblem.UNKNOWN,
        )
    if not file.is_file():
        raise ModelUnavailable(f"{file} is no file", "Name the file of a model.")
    digest = await in_thread(sha256_told, file)
    entry, weights = _recognised(store, digest)
    if entry is not None and weights is not None and model_id in {None, entry.id}:
        return entry.id, await _take(store, entry.id, file, Places(store.folder).download(weights), digest, move=move)
    if model_id is None:
        raise ModelUnavailable(
            f"{file.name} (SHA-256 {digest}) is none of the catalogue's files",
            "To use it as a detector of your own say which: `--as ID`, or `model_id` over the API.",
            ModelProblem.REFUSED,
        )
    target = await _own_place(store, file, model_id, digest, validate)
    return model_id, await _take(store, model_id, file, target, digest, move=move)


def _recognised(store: ModelStore, digest: str) -> tuple[ModelEntry | None, Weights | None]:
    found = ((entry, file) for entry in store.entries for file in entry.files if file.sha256 == digest)
    return next(found, (None, None))


async def _own_place(store: ModelStore, file: Path, model_id: str, digest: str, validate: Validate) -> Path:
    """Return where a file belongs that the catalogue does not know by its digest. Raises ModelUnavailable."""
    places = Places(store.folder)
    entry = next((entry for entry in store.entries if entry.id == model_id), None)
    if file.suffix.lower() == ".onnx" and (entry is None or entry.capability is Capability.DETECTION):
        await asyncio.to_thread(validate, file)
        return places.own(model_id)
    if entry is None or entry.capability is Capability.DETECTION:
        raise ModelUnavailable(
            f"{file.name} is neither the published file of {model_id} nor an ONNX file",
            "Export it first (docs/models.md says how) and import the .onnx file.",
            ModelProblem.REFUSED,
        )
    named = next((weights for weights in entry.files if Path(weights.file_name).name == file.name), None)
    if named is None or named.sha256 is not None:
        expected = ", ".join(f"{Path(weights.file_name).name} ({weights.sha256 or 'any'})" for weights in entry.files)
        raise ModelUnavailable(
            f"{file.name} with the SHA-256 {digest} is no file of {entry.name}; expected was one of: {expected}",
            f"`hsi models pull {entry.id}` downloads the right files.",
            ModelProblem.REFUSED,
        )
    return places.download(named)


async def _take(store: ModelStore, model_id: str, file: Path, target: Path, digest: str, *, move: bool) -> Path:
    """Bring a file to its place, under the model's lock, and note its digest."""
    size = file.stat().st_size
    if not move:
        store.room.check(file.name, size)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        async with exclusive(Places(store.folder).lock(model_id), _LOCK_SECONDS):
            await in_thread(_bring, file, target, digest, move=move)
    except TimeoutError as error:
        raise ModelUnavailable(
            f"{model_id} is being installed by another process", "Wait for it, or cancel it.", ModelProblem.BUSY
        ) from error
    return target


def _bring(stop: Stop, file: Path, target: Path, digest: str, *, move: bool) -> None:
    part = part_of(target)
    forget_part(part)
    try:
        if move:
            file.replace(part)
        else:
            with file.open("rb") as source:
                copy_told(stop, source, part, file.stat().st_size)
            if sha256_told(stop, part) != digest:
                raise ModelUnavailable(f"{file} changed while it was being copied", "Import it again when it is whole.")
        make_durable(stop, part)
        part.replace(target)
    finally:
        forget_part(part)
    note_digest(target, digest)
