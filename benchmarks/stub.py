# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector that costs nearly nothing, and pictures that cost nothing to make different."""

import io
from pathlib import Path

from PIL import Image

from scripts.development.samples import TWO_PEOPLE, sample_path
from tests.server.detection.graphs import constant_model, end_to_end

SIZE = (640, 360)
_START = 2
"""Bytes of a JPEG's start marker; a comment may follow it."""


def stub_settings(folder: Path) -> dict[str, str]:
    """Return the settings of a server that sees one person in every picture."""
    model = constant_model(folder / "stub.onnx", end_to_end((10, 10, 30, 50, 0.9, 0)))
    return {"HSI_DETECTOR__MODEL_FILE": str(model), "HSI_MDNS": "false", "HSI_LOG_LEVEL": "warning"}


def base_jpeg() -> bytes:
    """Return a picture of people as a camera sends it."""
    target = io.BytesIO()
    Image.open(sample_path(TWO_PEOPLE)).convert("RGB").resize(SIZE).save(target, "JPEG", quality=80)
    return target.getvalue()


def different(jpeg: bytes, number: int) -> bytes:
    """Return the picture with a comment that makes it another content."""
    comment = number.to_bytes(8)
    return jpeg[:_START] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[_START:]
