# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool process that turns an Ultralytics checkpoint into ONNX.

Usage: python export_ultralytics.py WEIGHTS.pt TARGET.onnx INPUT_SIZE [TASK]

Needs nothing of ours, and the packages of the extra `export`. The network has two heads; `nms=False` asks for the one
that needs no suppression of duplicates, whose output is [N, 300, 6]: x1, y1, x2, y2 in pixels of the input, score,
class; of a model for poses 17 joints follow. TASK is `detect` or `pose`.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

TOOL_ENVIRONMENT = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
}
"""Keeps the library from installing packages, using the network and unpickling code. Read when it is imported."""


def export(weights: Path, target: Path, input_size: int, task: str) -> None:
    """Write the ONNX form of a checkpoint; N is dynamic. Raises whatever the library raises."""
    # The library is not typed, and is absent from the server's own environment.
    from ultralytics import YOLO  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    # The library writes beside the checkpoint.
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(weights, folder)
        model: Any = YOLO(str(copy), task=task)
        written = model.export(format="onnx", imgsz=input_size, nms=False, dynamic=True, simplify=False, device="cpu")
        shutil.move(written, target)


if __name__ == "__main__":
    os.environ.update(TOOL_ENVIRONMENT)
    export(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "detect")
