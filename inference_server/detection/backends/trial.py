# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a file can be a detector: it is loaded, and run once on the processor."""

from collections.abc import Callable
from pathlib import Path

from inference_server.core.model import ModelProblem, ModelUnavailable
from inference_server.detection.backends.network import NetworkDetector
from inference_server.detection.backends.onnx import OnnxNetwork
from inference_server.detection.errors import DetectorUnusable
from inference_server.settings import DetectorSettings


def detector_trial(settings: DetectorSettings) -> Callable[[Path], None]:
    """Return what tries an ONNX file, for seconds; it raises ModelUnavailable with what is wrong with the file."""

    def validate(file: Path) -> None:
        try:
            NetworkDetector(OnnxNetwork(file, settings), settings, name=file.stem)
        except DetectorUnusable as error:
            remedy = "Export it as docs/models.md says, or choose another file."
            raise ModelUnavailable(str(error), remedy, ModelProblem.REFUSED) from error

    return validate
