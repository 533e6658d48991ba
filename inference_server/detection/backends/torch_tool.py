# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that runs an Ultralytics checkpoint with PyTorch, for `pytorch.py`.

Usage: python torch_tool.py MODEL.pt DEVICE PRECISION

Needs nothing of ours, and the package ultralytics. DEVICE is auto, cpu or cuda, PRECISION f32 or f16. Writes one line
of JSON: what the model says of itself, or {"error", "kind"}. Then it answers each batch of the input with one output.
Both travel as the number of sides (uint32), the sides (uint32 each) and float32 values, little-endian; an error as the
number ERROR, its length in bytes and its text. It ends when its input does.
"""

import json
import os
import struct
import sys
from typing import Any, BinaryIO

ENVIRONMENT = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
}
"""Keeps the library from installing packages, using the network and unpickling code. Read when it is imported."""
ERROR = 0xFFFFFFFF
MOST_SIDES = 4


def main(path: str, device: str, precision: str) -> None:
    """Load the model and answer."""
    # What the libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        model, metadata, place = _load(path, device, precision)
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise is told
        _tell(answers, {"error": f"{type(error).__name__}: {error}", "kind": _kind(error)})
        return
    _tell(answers, {"metadata": metadata, "provider": f"PyTorch {place} {precision}"})
    while (batch := _read(sys.stdin.buffer)) is not None:
        try:
            answer = _run(model, batch, place, precision)
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise is told
            text = f"{type(error).__name__}: {error}".encode()
            answers.write(struct.pack("<II", ERROR, len(text)) + text)
        else:
            answers.write(struct.pack(f"<{1 + answer.ndim}I", answer.ndim, *answer.shape))
            answers.write(answer.tobytes())
        answers.flush()


def _load(path: str, device: str, precision: str) -> tuple[Any, dict[str, str], str]:
    import torch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    from ultralytics.nn.tasks import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        load_checkpoint,
    )

    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise LookupError(f"PyTorch {torch.__version__} finds no GPU")
    place = "cuda" if has_gpu and device != "cpu" else "cpu"
    if precision == "f16" and place == "cpu":
        raise LookupError("f16 needs a GPU")
    model = load_checkpoint(path, device=torch.device(place))[0]
    if hasattr(model, "end2end"):
        model.end2end = True
    model = model.fuse(verbose=False) if hasattr(model, "fuse") else model
    model = (model.half() if precision == "f16" else model.float()).eval()
    metadata = {
        "task": str(getattr(model, "task", "detect")),
        "names": str(dict(model.names)),
        "stride": str(int(model.stride.max())),
        "end2end": str(bool(getattr(model, "end2end", False))),
        "imgsz": str(getattr(model, "args", {}).get("imgsz", 640)),
    }
    return model, metadata, place


def _kind(error: Exception) -> str:
    """Tell what is missing from what is wrong with the file."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in {"torch", "ultralytics"}:
        return "absent"
    return "unavailable" if isinstance(error, LookupError) and type(error) is LookupError else "unusable"


def _run(model: Any, batch: Any, place: str, precision: str) -> Any:
    import torch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    with torch.inference_mode():
        pictures = torch.from_numpy(batch).to(place)
        found = model(pictures.half() if precision == "f16" else pictures)
        found = found[0] if isinstance(found, list | tuple) else found
        return found.float().cpu().contiguous().numpy()


def _tell(answers: BinaryIO, said: dict[str, Any]) -> None:
    answers.write(json.dumps(said).encode() + b"\n")
    answers.flush()


def _read(source: BinaryIO) -> Any:
    import numpy as np  # noqa: PLC0415

    head = source.read(4)
    if len(head) < 4:
        return None
    sides = struct.unpack(f"<{MOST_SIDES}I", source.read(4 * MOST_SIDES))
    size = 4 * int(np.prod(sides, dtype=np.int64))
    return np.frombuffer(bytearray(source.read(size)), np.float32).reshape(sides)


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main(*sys.argv[1:4])
