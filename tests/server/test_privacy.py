# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing leaves the house."""

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_tells_its_maker_nothing(tmp_path: Path) -> None:
    """Its Linux builds report to their maker by default, and keep a device id and a queue in the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    use = (
        "import inference_server.detection.onnx_detector, onnxruntime; "
        "onnxruntime.SessionOptions(); onnxruntime.get_available_providers()"
    )
    subprocess.run([sys.executable, "-c", use], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []
