# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi models quantise`."""

import argparse
import asyncio
import glob
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference_server.commands.command import Commands, opened
from inference_server.core.model import ModelProblem, ModelUnavailable
from inference_server.detection import quantisation
from inference_server.detection.backends.network import NetworkDetector
from inference_server.detection.backends.onnx import model_input
from inference_server.detection.backends.opening import Load, default_loaders
from inference_server.detection.detector import Detector
from inference_server.detection.errors import BackendUnavailable, DetectorUnusable
from inference_server.detection.quantisation import Calibration, TooFewPictures
from inference_server.hardware.detector import detector_of
from inference_server.models.digest import sha256_of
from inference_server.models.locking import exclusive
from inference_server.models.places import Places
from inference_server.models.quantised import FOLDER, Check, Form, Method, QuantisedModels, Report
from inference_server.models.quantising import quantise
from inference_server.models.store import ModelStore
from inference_server.models.tool_process import ToolError
from inference_server.settings import Backend, DetectorSettings, Device, Precision, Settings
from inference_server.storage import frames
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.frames import SampledFrame
from inference_server.storage.media import MediaFolder

USUAL_PICTURES = 200
_LOOKED_AT = 20_000
"""Stored pictures of which those are chosen that are used."""
_LOCK_SECONDS = 1.0
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_RUNTIMES = (Backend.ONNX, Backend.OPENVINO)

type Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """The model that is quantised."""

    model_id: str
    path: Path


@dataclass(frozen=True, slots=True)
class Pictures:
    """How each picture is read, and of how many cameras and hours of the day they are (0: unknown)."""

    reads: Sequence[Read]
    cameras: int = 0
    hours: int = 0


def register(models: Commands) -> None:
    """Add the command."""
    parser = models.add_parser(
        "quantise", help="make the form of a detector in 8-bit numbers, and try whether it sees the same"
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="instead of the detector that the settings mean")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="instead of those that the server has stored")
    parser.add_argument("--pictures-count", type=_count, default=USUAL_PICTURES, metavar="N", help="how many to take")
    parser.add_argument("--method", type=Method, choices=list(Method), default=Method.MINMAX, help="of calibration")
    parser.add_argument("--for-tensorrt", action="store_true", help="in the form that TensorRT takes")
    parser.add_argument("--even-if-slower", action="store_true", help="take it even where it gains no time")
    parser.set_defaults(command=_quantise)


def _count(text: str) -> int:
    least, most = quantisation.LEAST_PICTURES, quantisation.MOST_PICTURES
    if not (text.isascii() and text.isdecimal() and least <= int(text[:9]) <= most):
        raise argparse.ArgumentTypeError(f"the number of pictures is {least} to {most}")
    return int(text)


async def _quantise(options: argparse.Namespace, settings: Settings) -> int:
    try:
        source = await _source(options.model, settings)
        pictures = await _pictures(options, settings)
        report = await _made(source, pictures, options, settings)
    except (TooFewPictures, ToolError) as error:
        print(f"{_sentence(str(error))} Nothing was changed.", file=sys.stderr)
        return 1
    for check in report.checks:
        print(f"{check.runtime}: {check.summary}")
        if check.refused:
            print(f"{check.runtime}: REFUSED, because {check.refused}", file=sys.stderr)
    if not report.accepted:
        print(f"{source.model_id} stays as it is: no runtime here may use its quantised form.", file=sys.stderr)
        return 1
    print(f"Kept. It is used with detector.precision=int8, from the next start on, by {', '.join(report.accepted)}.")
    return 0


async def _source(model_id: str | None, settings: Settings) -> Source:
    """Return the model that is meant. Raises ModelUnavailable."""
    if model_id is None:
        resolved = await detector_of(settings)
        source = Source(resolved.model_id, resolved.path)
    else:
        store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
        own = settings.detector.model_file
        path = own if own is not None and own.stem == model_id else store.installed(model_id)
        if path is None:
            store.entry(model_id)
            raise ModelUnavailable(
                f"{model_id} is not installed", f"Run `hsi models pull {model_id}`.", ModelProblem.NOT_INSTALLED
            )
        source = Source(model_id, path)
    if source.path.suffix.lower() != ".onnx":
        raise ModelUnavailable(f"{source.path.name} is no ONNX file", "Only detectors as ONNX files are quantised.")
    return source


async def _pictures(options: argparse.Namespace, settings: Settings) -> Pictures:
    """Return pictures of a folder, evenly by their names, or of all cameras and hours. Raises TooFewPictures."""
    if options.pictures is not None:
        return await asyncio.to_thread(_of_folder, options.pictures, options.pictures_count)
    async with opened(settings) as database, database.reading() as connection:
        stored = await frames.sample(connection, _LOOKED_AT)
    chosen = spread(stored, options.pictures_count)
    media = MediaFolder(DataFolder(settings.data_dir).media)
    return Pictures(
        [partial(media.read, frame.media_path) for frame in chosen],
        cameras=len({frame.camera_id for frame in chosen}),
        hours=len({frame.captured_at.hour for frame in chosen}),
    )


def _of_folder(folder: Path, count: int) -> Pictures:
    if not folder.is_dir():
        raise TooFewPictures(f"{folder} is no folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    return Pictures([path.read_bytes for path in _evenly(files, count)])


def spread(stored: Sequence[SampledFrame], count: int) -> list[SampledFrame]:
    """Return at most `count` frames: alike many of each camera and hour of the day, as far as there are.

    Within an hour they are evenly from the first to the last. They come in the order of their contents' digests, so
    that every fourth is of all cameras and hours too.
    """
    groups: dict[tuple[str, int], list[SampledFrame]] = defaultdict(list)
    for frame in sorted(stored, key=lambda frame: (frame.captured_at, frame.media_path)):
        groups[frame.camera_id, frame.captured_at.hour].append(frame)
    left, chosen = min(count, len(stored)), []
    smallest_first = sorted(groups.values(), key=len)
    for number, group in enumerate(smallest_first):
        taken = _evenly(group, -(-left // (len(smallest_first) - number)))
        chosen += taken
        left -= len(taken)
    return sorted(chosen, key=lambda frame: frame.media_path.rpartition("/")[2])


def _evenly[Item](items: Sequence[Item], count: int) -> list[Item]:
    if len(items) <= count:
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]


async def _made(source: Source, pictures: Pictures, options: argparse.Namespace, settings: Settings) -> Report:
    """Make a form, compare it and keep it with its report. Raises TooFewPictures, ToolError, ModelUnavailable."""
    if len(pictures.reads) < quantisation.LEAST_PICTURES:
        raise TooFewPictures(
            f"{len(pictures.reads)} pictures are there; at least {quantisation.LEAST_PICTURES} are needed, better 100 "
            "to 500 of all cameras, by day and by night"
        )
    if pictures.hours in {1, 2, 3}:
        print("The pictures are of a few hours of the day only: better wait for a day and a night.", file=sys.stderr)
    kept = QuantisedModels(settings.models_folder / FOLDER)
    kept.folder.mkdir(parents=True, exist_ok=True)
    try:
        async with exclusive(Places(settings.models_folder).lock(source.model_id), _LOCK_SECONDS):
            prefix = f".{source.model_id}-"
            for left in kept.folder.glob(f"{glob.escape(prefix)}*"):  # by one that was killed
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=kept.folder, prefix=prefix) as folder:
                return await _made_in(
                    Path(folder), kept, source, pictures=pictures, options=options, detector=settings.detector
                )
    except TimeoutError as error:
        raise ModelUnavailable(
            f"{source.model_id} is being worked on by another process", "Wait for it.", ModelProblem.BUSY
        ) from error


async def _made_in(
    folder: Path,
    kept: QuantisedModels,
    source: Source,
    *,
    pictures: Pictures,
    options: argparse.Namespace,
    detector: DetectorSettings,
) -> Report:
    values, half = folder / "pictures.npy", folder / "half.onnx"
    try:
        size = (await asyncio.to_thread(model_input, source.path, detector)).size
        digest = await asyncio.to_thread(sha256_of, source.path)
        calibration = await asyncio.to_thread(
            quantisation.write_calibration,
            pictures.reads,
            size,
            values,
            _shown("reading pictures"),
        )
        form = Form.SYMMETRIC if options.for_tensorrt else Form.ASYMMETRIC
        await quantise(source.path, half, values, method=options.method, form=form, progress=_shown("calibrating"))
        checks = await asyncio.to_thread(_checks, source.path, half, detector, calibration, options.even_if_slower)
    except DetectorUnusable as error:
        raise ModelUnavailable(str(error), "Quantise a detector, as docs/models.md describes them.") from error
    if calibration.unreadable:
        print(f"{calibration.unreadable} pictures could not be read and were left out.", file=sys.stderr)
    report = Report(
        source=digest,
        size=size,
        method=options.method,
        form=form,
        pictures=calibration.written,
        held_out=len(calibration.held_out),
        cameras=pictures.cameras,
        checks=checks,
    )
    await asyncio.to_thread(kept.keep, source.model_id, half, report)
    return report


def _checks(
    path: Path, half: Path, settings: DetectorSettings, calibration: Calibration, even_if_slower: bool
) -> tuple[Check, ...]:
    """Compare on each runtime that is here. Raises TooFewPictures, DetectorUnusable."""
    chosen = settings.model_copy(
        update={"confidence": quantisation.LOWEST, "class_confidence": {}, "precision": Precision.F32}
    )
    loaders = default_loaders(half.parent)
    checks = []
    for runtime in _RUNTIMES:
        try:
            model, form = (_detector(loaders[runtime], each, chosen) for each in (path, half))
        except BackendUnavailable as error:
            print(f"{runtime}: not compared, {error}", file=sys.stderr)
            continue
        checks.append(quantisation.compare(runtime, model, form, calibration.held_out, even_if_slower=even_if_slower))
    return tuple(checks)


def _detector(load: Load, path: Path, settings: DetectorSettings) -> Detector:
    return NetworkDetector(load(path, settings, Device.CPU), settings, name=path.stem)


def _shown(what: str) -> Callable[[float], None]:
    """Return what shows how far something is, on a terminal."""

    def show(done: float) -> None:
        if sys.stderr.isatty():
            print(f"\r{what} {done:4.0%}", end="\n" if done >= 1 else "", file=sys.stderr, flush=True)

    return show


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
