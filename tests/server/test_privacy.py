# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing leaves the house."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_onnx_runtime_tells_its_maker_nothing(tmp_path: Path) -> None:
    """Its Linux builds report to their maker by default, and keep a device id and a queue in the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    use = (
        "import inference_server.detection.backends.onnx, onnxruntime; "
        "onnxruntime.SessionOptions(); onnxruntime.get_available_providers()"
    )
    subprocess.run([sys.executable, "-c", use], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "use",
    [
        "from inference_server.detection.backends.openvino import library; print(library().Core().available_devices)",
        "from inference_server.hardware.intel import openvino_devices; print(openvino_devices())",
    ],
)
def test_openvino_tells_its_maker_nothing(use: str, tmp_path: Path) -> None:
    """It reports each import through a package, here one that would be found and leaves a trace when it is used."""
    trace = tmp_path / "trace"
    reporter = tmp_path / "packages" / "openvino_telemetry"
    (reporter / "backend").mkdir(parents=True)
    (reporter / "__init__.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Telemetry:\n    pass\n")
    (reporter / "backend" / "__init__.py").write_text("backend_ga4 = None\n")
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(reporter.parent)}
    done = subprocess.run([sys.executable, "-c", use], env=environment, check=True, capture_output=True, text=True)
    assert "CPU" in done.stdout
    assert not trace.exists()
    assert not (tmp_path / "home").exists()
