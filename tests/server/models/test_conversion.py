# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool process of the extra `export`.

Ultralytics needs gigabytes and cannot live beside Home Assistant. A stand-in of the same interface shows that the tool
is found, called as it must be and its failures told; with `HSI_EXPORT_PYTHON`, an interpreter that has the extra, the
real one exports a real network.
"""

import asyncio
import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from inference_server.models.catalogue import ModelEntry
from inference_server.models.coco import COCO_NAMES
from inference_server.models.conversion import EXPORTER_PACKAGE, convert
from inference_server.models.errors import ConversionError, ExporterMissingError
from tests.support.detectors import detector_on

STAND_IN = """
import os, pathlib
class YOLO:
    def __init__(self, path, task):
        self.path = pathlib.Path(path)
    def export(self, **options):
        if self.path.read_bytes() == b"broken":
            raise RuntimeError("this is no checkpoint")
        told = {name: os.environ.get(name) for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "ULTRALYTICS_SAFE_LOAD")}
        target = self.path.with_suffix(".onnx")
        target.write_text(f"{options} {told}")
        return str(target)
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter that has the stand-in."""
    (tmp_path / "site" / "ultralytics").mkdir(parents=True)
    (tmp_path / "site" / "ultralytics" / "__init__.py").write_text(STAND_IN)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path / "site"}" exec "{sys.executable}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


async def test_the_tool_asks_for_the_head_without_suppression(tmp_path: Path, yolo26n: ModelEntry, python: str) -> None:
    weights, target = tmp_path / "yolo26n.pt", tmp_path / "m.tmp"
    weights.write_bytes(b"a checkpoint")
    await convert(yolo26n, weights, target, python)
    told = target.read_text()
    assert "'format': 'onnx', 'imgsz': 640, 'nms': False, 'dynamic': True" in told
    assert "{'YOLO_OFFLINE': '1', 'YOLO_AUTOINSTALL': 'false', 'ULTRALYTICS_SAFE_LOAD': '1'}" in told


async def test_a_failure_is_told(tmp_path: Path, yolo26n: ModelEntry, python: str) -> None:
    weights = tmp_path / "yolo26n.pt"
    weights.write_bytes(b"broken")
    with pytest.raises(ConversionError, match=r"could not convert yolo26n\.pt: RuntimeError: this is no checkpoint"):
        await convert(yolo26n, weights, tmp_path / "m.tmp", python)


async def test_no_exporter(tmp_path: Path, yolo26n: ModelEntry) -> None:
    with pytest.raises(ExporterMissingError, match=r"yolo26n\.pt is a PyTorch checkpoint"):
        await convert(yolo26n, tmp_path / "yolo26n.pt", tmp_path / "m.tmp")


def test_the_named_package_is_that_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert EXPORTER_PACKAGE in project["project"]["optional-dependencies"]["export"]


NETWORK = """
import sys
from ultralytics import YOLO
model = YOLO("yolo26n.yaml")
model.model.names = dict(enumerate(sys.argv[2].split(",")))
model.save(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "HSI_EXPORT_PYTHON" not in os.environ, reason="HSI_EXPORT_PYTHON names no interpreter with ultralytics"
)
async def test_a_real_network(tmp_path: Path, yolo26n: ModelEntry) -> None:
    """YOLO26n with random weights: the contract is that of the published ones."""
    python, weights, target = os.environ["HSI_EXPORT_PYTHON"], tmp_path / "yolo26n.pt", tmp_path / "m.onnx"
    environment = {**os.environ, "YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(tmp_path)}
    maker = await asyncio.create_subprocess_exec(python, "-c", NETWORK, weights, ",".join(COCO_NAMES), env=environment)
    assert await maker.wait() == 0
    await convert(yolo26n, weights, target, python)
    assert detector_on(target).input_size == 640
