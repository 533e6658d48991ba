# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights become ONNX: here for Darknet, in a tool process for Ultralytics."""

import asyncio
import sys
import tempfile
from pathlib import Path

from inference_server.models import export_ultralytics
from inference_server.models.catalogue import Conversion, ModelEntry
from inference_server.models.errors import ConversionError, ExporterMissingError
from inference_server.models.programs import run_program

EXPORTER_PACKAGE = "ultralytics==8.4.190"
"""What the extra `export` installs; kept equal to it by a test."""

_EXPORT_SECONDS = 600.0
_TOOL = export_ultralytics.__file__
_HAS_EXPORTER = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ultralytics') is None)"


async def convert(entry: ModelEntry, weights: Path, target: Path, python: str = sys.executable) -> None:
    """Write the ONNX form of an entry's weights to `target`, exporting where needed with the interpreter `python`.

    Raises ExporterMissingError where that interpreter has no exporter, ConversionError, OSError.
    """
    match entry.conversion:
        case Conversion.YOLOV3_TINY:
            # The package onnx takes 18 MB of memory, and is needed this once.
            from inference_server.models.darknet import convert_yolov3_tiny  # noqa: PLC0415

            metadata = {"description": entry.name, "license": entry.licence.name, "source": entry.weights.file_name}
            await asyncio.to_thread(convert_yolov3_tiny, weights, target, entry.input_size, metadata)
        case Conversion.ULTRALYTICS:
            await _export(entry, weights, target, python, "detect")
        case Conversion.ULTRALYTICS_POSE:
            await _export(entry, weights, target, python, "pose")
        case Conversion.NONE:
            raise ConversionError(f"{entry.name} is loaded as it is")


async def _export(entry: ModelEntry, weights: Path, target: Path, python: str, task: str) -> None:
    returncode, _ = await _run(python, "-c", _HAS_EXPORTER)
    if returncode != 0:
        raise ExporterMissingError(f"{weights.name} is a PyTorch checkpoint and its exporter is not installed")
    # Run as a file, -P: an interpreter made for exporting needs nothing of ours, and finds nothing of ours either.
    returncode, errors = await _run(python, "-P", _TOOL, str(weights), str(target), str(entry.input_size), task)
    if returncode != 0 or not target.exists():
        raise ConversionError(f"the exporter could not convert {weights.name}: {_last_line(errors)}")


async def _run(*command: str) -> tuple[int, bytes]:
    """Run a command and return its exit status and what it wrote to the error stream."""
    with tempfile.TemporaryDirectory(prefix="export-") as settings:
        environment = {**export_ultralytics.TOOL_ENVIRONMENT, "YOLO_CONFIG_DIR": settings}
        try:
            return await run_program(*command, seconds=_EXPORT_SECONDS, environment=environment)
        except TimeoutError as error:
            raise ConversionError(f"the exporter took more than {_EXPORT_SECONDS:.0f} seconds") from error


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it gave no reason"
