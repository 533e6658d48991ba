# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every backend does alike: small models for the contracts and the refusals, a real one for real pictures.

ONNX Runtime and OpenVINO run here on the processor. On an NVIDIA GPU the same suite runs on CUDA and on TensorRT.
"""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from inference_server.core.detection import Box, Label
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.preprocess import decode_picture
from inference_server.settings import Backend, DetectorSettings, Device
from scripts.development.samples import TWO_PEOPLE, sample_path
from tests.server.detection.graphs import COCO_METADATA, SIZE, candidates, constant_model, end_to_end
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path

PERSON, CAR = 0, 2
ROW = (8.0, 8.0, 24.0, 40.0, 0.9, PERSON)
GREY = Picture(np.full((SIZE, SIZE, 3), 128, np.uint8), 2 * SIZE, 2 * SIZE)

gpu = pytest.mark.gpu


@pytest.fixture(
    params=[
        pytest.param((Backend.ONNX, Device.CPU, "CPUExecutionProvider"), id="onnx"),
        pytest.param((Backend.OPENVINO, Device.CPU, "OpenVINO CPU f32"), id="openvino"),
        pytest.param((Backend.ONNX, Device.CUDA, "CUDAExecutionProvider"), id="onnx-cuda", marks=gpu),
        pytest.param((Backend.ONNX_TENSORRT, Device.CUDA, "TensorrtExecutionProvider"), id="onnx-tensorrt", marks=gpu),
    ],
    scope="module",
)
def backend(request: pytest.FixtureRequest) -> "On":
    """Each backend that reads ONNX, where the machine has what it runs on."""
    on = On(*request.param)
    if on.device is Device.CUDA and on.provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {on.provider}")
    return on


@dataclass(frozen=True)
class On:
    """Opens detectors on one backend, in one thread."""

    backend: Backend
    device: Device
    provider: str

    def settings(self, **more: Any) -> DetectorSettings:
        """Return the settings that mean this backend."""
        return DetectorSettings(**{"backend": self.backend, "device": self.device, "threads": 1} | more)

    def open(self, path: Path, **more: Any) -> Detector:
        """Return a detector."""
        return detector_on(path, self.settings(**more))


@pytest.mark.parametrize("answer", [end_to_end(ROW), candidates(ROW)])
def test_both_contracts(backend: On, tmp_path: Path, answer: np.ndarray) -> None:
    detector = backend.open(constant_model(tmp_path / "m.onnx", answer))
    assert (detector.name, detector.provider, detector.input_size) == ("m", backend.provider, SIZE)
    ((found,),) = detector.detect([GREY])
    assert found.label is Label.PERSON
    assert found.confidence == pytest.approx(0.9)
    assert found.box == Box(16, 16, 32, 64)


@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_every_picture_is_answered_for_any_batch(backend: On, tmp_path: Path, batch: int | str) -> None:
    """Five pictures through a batch of at most two (or of exactly one, or three) give five answers."""
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=(batch, 3, SIZE, SIZE))
    detector = backend.open(path, max_batch=2)
    frames = [Picture(GREY.pixels, SIZE * factor, SIZE * factor) for factor in range(1, 6)]
    widths = [found[0].box.width for found in detector.detect(frames)]
    assert widths == pytest.approx([16, 32, 48, 64, 80])
    assert detector.detect([]) == []


def test_a_model_that_takes_many_pictures_and_answers_for_one_is_refused_where_many_are_wanted(
    backend: On, tmp_path: Path
) -> None:
    path = _answers_for_one(tmp_path / "m.onnx")
    assert len(backend.open(path, max_batch=1).detect([GREY, GREY])) == 2
    with pytest.raises(DetectorUnusable, match=r"an output for each of 4 pictures was expected; found \[1, 300, 6\]"):
        backend.open(path, max_batch=4)


def _answers_for_one(path: Path) -> Path:
    """Write a model with an open batch whose graph was traced with one picture."""
    model = onnx.load(constant_model(path, end_to_end(ROW)))
    for constant in model.graph.initializer:
        if constant.name == "axes":
            constant.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2, 3], np.int64), "axes"))
    onnx.save(model, path)
    return path


def test_size_of_a_model_that_takes_any(backend: On, tmp_path: Path) -> None:
    metadata = {"imgsz": "[96, 96]"}
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=("N", 3, "h", "w"), metadata=metadata)
    assert backend.open(path).input_size == 96


def test_thresholds_come_from_the_settings(backend: On, tmp_path: Path) -> None:
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW, (40, 8, 60, 40, 0.9, CAR)))
    ((found,),) = backend.open(path, class_confidence={Label.CAR: 0.95}).detect([GREY])
    assert found.label is Label.PERSON


@pytest.mark.parametrize(
    ("shape", "kind", "found"),
    [
        (("N", 1, SIZE, SIZE), TensorProto.FLOAT, r"\[any, 1, 64, 64\]"),
        (("N", 3, SIZE, 32), TensorProto.FLOAT, r"\[any, 3, 64, 32\], which is not square"),
        (("N", 3, SIZE, SIZE), TensorProto.FLOAT16, r"(tensor\(float16\)|f16) "),
    ],
)
def test_wrong_input_is_refused(
    backend: On, tmp_path: Path, shape: tuple[int | str, ...], kind: int, found: str
) -> None:
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=shape, input_type=kind)
    with pytest.raises(DetectorUnusable, match=rf"float32 \[N, 3, S, S\] was expected; found images, .*{found}"):
        backend.open(path)


def test_wrong_output_is_refused(backend: On, tmp_path: Path) -> None:
    path = constant_model(tmp_path / "m.onnx", np.zeros((1000, 85), np.float32))
    with pytest.raises(DetectorUnusable, match=r"m\.onnx cannot be used as a detector: .*found \[1, 1000, 85\]"):
        backend.open(path)


def test_class_count_must_match(backend: On, tmp_path: Path) -> None:
    path = constant_model(tmp_path / "m.onnx", candidates(ROW), metadata={"names": "['person', 'car']"})
    with pytest.raises(DetectorUnusable, match=r"\[N, 6, M\] for its 2 classes was expected; found \[1, 84, 84\]"):
        backend.open(path)


@pytest.mark.parametrize("task", ["pose", "segment", "classify", "obb"])
def test_a_model_for_another_task_is_refused(backend: On, tmp_path: Path, task: str) -> None:
    metadata = COCO_METADATA | {"task": task}
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), metadata=metadata)
    with pytest.raises(DetectorUnusable, match=f"a model for the task detect was expected; found one for .*{task}"):
        backend.open(path)


def test_an_output_that_no_machine_should_hold_is_refused_before_it_is_made(backend: On, tmp_path: Path) -> None:
    """Its file is a few hundred bytes, its output 40 GB."""
    shape = numpy_helper.from_array(np.array([1, 100_000, 100_000], np.int64), "shape")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "shape"], ["output0"]),
    ]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    answer = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 100_000, 100_000])
    graph = helper.make_graph(nodes, "huge", [given], [answer], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(DetectorUnusable, match=r"at most 64 MiB for a picture was expected; found .*100000, 100000"):
        backend.open(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("shape", "metadata", "found"),
    [
        (("N", 3, 65, 65), {"stride": "32"}, "a multiple of the model's stride 32 was expected; found 65"),
        (("N", 3, "h", "w"), {"imgsz": "1000000"}, "at most 4096 pixels a side was expected; found 1000000"),
        (("N", 3, "h", "w"), {"imgsz": "-64"}, "found -64"),
        ((1000, 3, SIZE, SIZE), {}, "at most 64 pictures at a time were expected"),
    ],
)
def test_an_input_that_cannot_be_is_refused(
    backend: On, tmp_path: Path, shape: tuple[int | str, ...], metadata: dict[str, str], found: str
) -> None:
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=shape, metadata=COCO_METADATA | metadata)
    with pytest.raises(DetectorUnusable, match=found):
        backend.open(path)


@pytest.mark.parametrize("stated", ["x", "[]", "[" * 500, "9" * 5000, "1e308", "None", "{}", "['a']", "[640, nan]"])
def test_a_stated_size_that_is_none_is_the_usual_one(backend: On, tmp_path: Path, stated: str) -> None:
    metadata = COCO_METADATA | {"imgsz": stated}
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=("N", 3, "h", "w"), metadata=metadata)
    if stated == "1e308":
        with pytest.raises(DetectorUnusable, match="at most 4096 pixels"):
            backend.open(path)
    else:
        assert backend.open(path).input_size == 640


@pytest.mark.parametrize("size", [320, 1280])
def test_a_model_that_takes_any_size_takes_the_wanted_one(backend: On, tmp_path: Path, size: int) -> None:
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=("N", 3, "h", "w"))
    detector = backend.open(path, input_size=size)
    assert detector.input_size == size
    ((found,),) = detector.detect([GREY])
    box = found.box
    scale = 2 * SIZE / size
    assert (box.x, box.y, box.width, box.height) == pytest.approx([value * scale for value in (8, 8, 16, 32)])


def test_a_model_that_cannot_run_is_refused(backend: On, tmp_path: Path) -> None:
    """It says that it takes any size, and fails at every one."""
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["output0"])]
    shape = numpy_helper.from_array(np.array([1, 300, 6], np.int64), "shape")
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, "h", "w"])
    answer = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 300, 6])
    graph = helper.make_graph(nodes, "broken", [given], [answer], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(DetectorUnusable, match=r"m\.onnx cannot be used as a detector: the trial run failed"):
        backend.open(tmp_path / "m.onnx")


def test_truncated_file_is_refused(backend: On, tmp_path: Path) -> None:
    whole = detector_model_path().read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DetectorUnusable, match=rf"ONNX.* model was expected; found {len(whole) // 2} bytes"):
        backend.open(cut)


def test_what_is_not_onnx_is_refused(backend: On, tmp_path: Path) -> None:
    page = tmp_path / "page.onnx"
    page.write_text("<html>404</html>")
    with pytest.raises(DetectorUnusable, match="model was expected; found 16 bytes"):
        backend.open(page)
    with pytest.raises(DetectorUnusable, match="found no such file"):
        backend.open(tmp_path / "absent.onnx")


PEOPLE = (Box(50, 400, 195, 505), Box(223, 405, 121, 455), Box(670, 380, 140, 500))
"""Where they stand in the street scene."""


def test_real_street_scene(real_detector: Detector, bus_jpeg: bytes) -> None:
    """Three people and the bus, each where it is. The fourth person, cut in half by the edge, is beyond this model."""
    (found,) = real_detector.detect([decode_picture(bus_jpeg, real_detector.input_size)])
    assert Counter(detection.label for detection in found) == {Label.PERSON: 3, Label.BUS: 1}
    for label, box in (*((Label.PERSON, box) for box in PEOPLE), (Label.BUS, Box(10, 230, 795, 530))):
        assert any(detection.label is label and detection.box.overlap(box) > 0.6 for detection in found), (label, box)


def test_small_people_have_the_right_size(real_detector: Detector, bus_jpeg: bytes) -> None:
    """With the anchors that are published with the weights, boxes of distant people come out half as high."""
    share = 0.3
    street = Image.open(io.BytesIO(bus_jpeg))
    scene = Image.new("RGB", (1080, 1080), (114, 114, 114))
    scene.paste(street.resize((round(street.width * share), round(street.height * share))), (300, 300))
    (found,) = real_detector.detect([Picture(np.asarray(scene), 1080, 1080)])
    for box in PEOPLE:
        small = Box(300 + box.x * share, 300 + box.y * share, box.width * share, box.height * share)
        assert any(detection.box.overlap(small) > 0.5 for detection in found), (small, found)


def test_scaled_decode_finds_what_full_decode_finds(real_detector: Detector, bus_jpeg: bytes) -> None:
    scaled = decode_picture(bus_jpeg, real_detector.input_size)
    full = decode_picture(bus_jpeg, 4096)
    assert scaled.pixels.size < full.pixels.size
    first, second = real_detector.detect([scaled, full])
    assert len(first) == len(second)
    for found in first:
        assert any(other.label is found.label and other.box.overlap(found.box) > 0.8 for other in second), found


def test_a_batch_gives_what_single_pictures_give(real_detector: Detector, bus_jpeg: bytes) -> None:
    size = real_detector.input_size
    pictures = [decode_picture(data, size) for data in (bus_jpeg, sample_path(TWO_PEOPLE).read_bytes())]
    together = real_detector.detect(pictures)
    apart = [real_detector.detect([picture])[0] for picture in pictures]
    for batched, single in zip(together, apart, strict=True):
        assert [d.label for d in batched] == [d.label for d in single]
        assert [d.confidence for d in batched] == pytest.approx([d.confidence for d in single], abs=1e-4)
    assert Label.PERSON in {detection.label for detection in together[1]}
