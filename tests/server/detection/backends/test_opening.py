# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which backend is taken, and what is said of the one that was wanted."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError

from inference_server.core.detection import Label
from inference_server.detection.backends import onnx, opening
from inference_server.detection.backends.opening import (
    Candidate,
    Load,
    Opened,
    candidates,
    default_loaders,
    engine_source,
    open_detector,
    quantised_below,
    wants_engine,
)
from inference_server.detection.detector import Picture
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.models.digest import sha256_of
from inference_server.models.engines import EngineKey
from inference_server.models.errors import ModelUnavailable
from inference_server.models.quantised import Check, Form, Method, QuantisedModels, Report
from inference_server.models.store import ResolvedModel
from inference_server.settings import Backend, DetectorSettings, Device, Precision
from tests.server.detection.graphs import SIZE, constant_model, end_to_end

ROW = (8.0, 8.0, 24.0, 40.0, 0.9, 0)
ABSENT = BackendAbsent("it is not installed", "Install it.")
BROKEN = BackendUnavailable("it does not work", "Update the driver.")


@pytest.fixture
def model(tmp_path: Path) -> ResolvedModel:
    """A model file that is fine."""
    return ResolvedModel(constant_model(tmp_path / "m.onnx", end_to_end(ROW)), "m", "M")


def opened(model: ResolvedModel, settings: DetectorSettings, failing: Mapping[Backend, Exception] = {}) -> Opened:
    """Open with the real backends, some of which fail."""

    loaders = default_loaders(model.path.parent) | {backend: failing_load(error) for backend, error in failing.items()}
    return open_detector(model, settings, loaders)


def failing_load(error: Exception) -> Load:
    """Return what fails to load anything."""

    def load(*_arguments: object) -> None:
        raise error

    return load  # type: ignore[return-value]


def names(settings: DetectorSettings, path: str = "m.onnx") -> list[str]:
    """Return backend, device and precision of each candidate, and ! where it is asked for."""
    return [
        f"{candidate.backend} {candidate.device} {candidate.precision}{'!' * candidate.asked_for}"
        for candidate in candidates(settings, Path(path))
    ]


def test_by_itself_the_fastest_is_tried_first_and_the_processor_last() -> None:
    assert names(DetectorSettings()) == ["tensorrt cuda f32", "onnx cuda f32", "openvino gpu f32", "onnx cpu f32"]
    assert names(DetectorSettings(precision=Precision.BF16)) == [
        "tensorrt cuda f32",
        "onnx cuda f32",
        "openvino gpu bf16",
        "openvino cpu bf16",
        "onnx cpu f32",
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"device": "cpu"}, ["onnx cpu f32"]),
        ({"device": "cuda"}, ["tensorrt cuda f32", "onnx cuda f32!", "onnx cpu f32"]),
        ({"device": "gpu"}, ["openvino gpu f32!", "onnx cpu f32"]),
        ({"device": "npu"}, ["openvino npu f32!", "onnx cpu f32"]),
        ({"backend": "onnx"}, ["onnx cuda f32", "onnx cpu f32!"]),
        ({"backend": "onnx-tensorrt", "precision": "f16"}, ["onnx-tensorrt cuda f16!", "onnx cpu f32"]),
        ({"backend": "openvino"}, ["openvino auto f32!", "onnx cpu f32"]),
        ({"backend": "tensorrt"}, ["tensorrt cuda f32!", "onnx cpu f32"]),
        ({"backend": "pytorch"}, ["pytorch auto f32!", "onnx cpu f32"]),
    ],
)
def test_what_is_named_is_asked_for(settings: dict[str, str], expected: list[str]) -> None:
    assert names(DetectorSettings(**settings)) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [("m.pt", "pytorch auto f32!"), ("m.xml", "openvino auto f32!"), ("M.ENGINE", "tensorrt auto f32!")],
)
def test_a_file_that_one_backend_alone_reads_goes_to_it(file: str, expected: str) -> None:
    assert names(DetectorSettings(), file) == [expected]


@pytest.mark.parametrize(
    ("backend", "key", "value"),
    [
        ("openvino", "device", "cuda"),
        ("onnx", "device", "npu"),
        ("onnx", "precision", "f16"),
        ("tensorrt", "device", "cpu"),
    ],
)
def test_what_a_backend_cannot_is_a_wrong_setting(backend: str, key: str, value: str) -> None:
    with pytest.raises(ValidationError, match=rf"with the backend {backend} the {key} is one of .*; it is {value}"):
        DetectorSettings(**{"backend": backend, key: value})


def test_what_nobody_asked_for_and_is_not_there_is_only_logged(
    model: ResolvedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    got = opened(model, DetectorSettings(), {Backend.TENSORRT: ABSENT, Backend.OPENVINO: ABSENT})
    assert (got.detector.provider, got.shortfall) == ("CPUExecutionProvider", None)
    assert "cannot run on TensorRT on an NVIDIA GPU (f32): it is not installed" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_what_is_there_and_does_not_work_is_told_though_nobody_asked_for_it(model: ResolvedModel) -> None:
    got = opened(model, DetectorSettings(), {Backend.TENSORRT: BROKEN})
    assert got.shortfall is not None
    assert got.shortfall.message(got.detector.provider) == (
        "The detector should run on TensorRT on an NVIDIA GPU (f32), but it does not work. "
        "It runs on CPUExecutionProvider instead. Update the driver."
    )


@pytest.mark.parametrize("backend", [Backend.OPENVINO, Backend.TENSORRT, Backend.ONNX_TENSORRT])
def test_what_was_asked_for_and_is_not_there_is_told(model: ResolvedModel, backend: Backend) -> None:
    got = opened(model, DetectorSettings(backend=backend), {backend: ABSENT})
    assert got.detector.provider == "CPUExecutionProvider"
    assert got.shortfall is not None
    assert (got.shortfall.reason, got.shortfall.remedy) == ("it is not installed", "Install it.")


def test_a_provider_that_onnx_runtime_drops_is_noticed(
    model: ResolvedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """This runtime says that it has CUDA; a session then runs on the processor, as with a driver that does not work."""
    found = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession

    def dropping(path: Path, options: object, providers: list[object]) -> object:
        assert providers[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: found)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", dropping)
        loaders = default_loaders(model.path.parent)
        with pytest.raises(BackendUnavailable, match="dropped CUDAExecutionProvider and took CPUExecutionProvider"):
            loaders[Backend.ONNX](model.path, DetectorSettings(), Device.CUDA)


def test_without_the_cuda_build_the_remedy_names_the_extra(model: ResolvedModel) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    got = opened(model, DetectorSettings(device=Device.CUDA), {Backend.TENSORRT: ABSENT})
    assert got.shortfall is not None
    assert got.shortfall.wanted == "ONNX Runtime on an NVIDIA GPU (f32)"
    assert "has no CUDAExecutionProvider" in got.shortfall.reason
    assert "uv pip install '.[gpu]'" in got.shortfall.remedy


def test_an_extra_that_is_not_installed_is_named(model: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    got = opened(model, DetectorSettings(backend=Backend.OPENVINO))
    assert got.shortfall is not None
    assert "OpenVINO is not installed" in got.shortfall.reason
    assert got.shortfall.remedy == "Install the extra openvino: `uv pip install '.[openvino]'`."


def test_a_precision_that_nothing_has_is_told(model: ResolvedModel) -> None:
    settings = DetectorSettings(precision=Precision.F16)
    got = opened(model, settings, {Backend.TENSORRT: ABSENT, Backend.OPENVINO: ABSENT})
    assert got.shortfall is not None
    assert got.shortfall.reason == "nothing here computes in f16"


def test_a_wanted_size_that_the_model_does_not_take_is_refused(model: ResolvedModel, tmp_path: Path) -> None:
    settings = DetectorSettings(backend=Backend.ONNX, device=Device.CPU, input_size=640)
    with pytest.raises(DetectorUnusable, match=rf"640 pixels was wanted .*takes {SIZE} pixels and no other"):
        opened(model, settings)
    substitute = ResolvedModel(model.path, "m", "M", fallback=True, message="The wanted one is not there.")
    assert opened(substitute, settings).detector.input_size == SIZE
    anything = constant_model(tmp_path / "any.onnx", end_to_end(ROW), input_shape=("N", 3, "h", "w"))
    assert opened(ResolvedModel(anything, "any", "Any"), settings).detector.input_size == 640


@pytest.mark.parametrize("size", [319, 321, 1300, 336 + 8])
def test_a_size_that_no_network_divides_is_a_wrong_setting(size: int) -> None:
    with pytest.raises(ValidationError, match="input_size"):
        DetectorSettings(input_size=size)


def test_a_bad_model_is_refused_with_what_is_wrong_with_it_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.onnx"
    page.write_text("<html>404</html>")
    with pytest.raises(DetectorUnusable, match=r"^page.onnx cannot be used as a detector: an ONNX model was expected"):
        opened(ResolvedModel(page, "page", "Page"), DetectorSettings(), {Backend.TENSORRT: ABSENT})


def test_without_a_last_resort_the_remedies_are_in_the_error(tmp_path: Path) -> None:
    model = ResolvedModel(tmp_path / "m.engine", "m", "M")
    with pytest.raises(DetectorUnusable, match=r"m.engine cannot be used .*: it is not installed\. Install it\."):
        opened(model, DetectorSettings(), {Backend.TENSORRT: ABSENT})


def test_engines_are_for_onnx_files_on_nvidia() -> None:
    assert wants_engine(DetectorSettings())
    assert wants_engine(DetectorSettings(backend=Backend.TENSORRT))
    assert not wants_engine(DetectorSettings(device=Device.CPU))
    assert not wants_engine(DetectorSettings(backend=Backend.ONNX))


def test_candidates_are_named_for_people() -> None:
    candidate = Candidate(Backend.OPENVINO, Device.NPU, Precision.F16)
    assert str(candidate) == "OpenVINO on an Intel NPU (f16)"


def test_what_a_library_raises_by_surprise_does_not_keep_the_next_one_from_trying(
    model: ResolvedModel, caplog: pytest.LogCaptureFixture
) -> None:
    got = opened(model, DetectorSettings(backend=Backend.TENSORRT), {Backend.TENSORRT: KeyError("of the GPU")})
    assert got.detector.provider == "CPUExecutionProvider"
    assert got.shortfall is not None
    assert got.shortfall.reason == "it failed (KeyError: 'of the GPU')"
    assert "Traceback" in caplog.text


FULL = RuntimeError("CUDA out of memory")


def test_memory_that_runs_out_on_a_gpu_is_left_to_who_can_make_room(model: ResolvedModel) -> None:
    with pytest.raises(MemoryError, match=r"TensorRT on an NVIDIA GPU .*CUDA out of memory"):
        opened(model, DetectorSettings(), {Backend.TENSORRT: FULL})


def test_without_room_on_the_gpu_it_is_not_tried(model: ResolvedModel) -> None:
    no_room = ModelUnavailable("the GPU is full", "Choose a smaller model.")
    got = open_detector(
        model, DetectorSettings(device=Device.AUTO), default_loaders(model.path.parent), no_room=no_room
    )
    assert (got.on_gpu, got.batch) == (False, 1)
    assert got.shortfall is not None
    assert (got.shortfall.reason, got.shortfall.remedy) == ("the GPU is full", "Choose a smaller model.")


def test_a_file_for_a_backend_that_does_not_run_on_the_named_device_is_told(tmp_path: Path) -> None:
    checkpoint = ResolvedModel(tmp_path / "m.pt", "m", "M")
    with pytest.raises(
        DetectorUnusable, match=r"it does not run there\. Set detector\.device to one of auto, cpu, cuda"
    ):
        opened(checkpoint, DetectorSettings(device=Device.NPU))


INT8 = DetectorSettings(device=Device.CPU, precision=Precision.INT8)
GOOD = Check(Backend.ONNX, 20, 20, 0, 0.01, 0.95, 40.0, 20.0)


def quantised(model: ResolvedModel, *checks: Check, form: Form = Form.ASYMMETRIC) -> QuantisedModels:
    """Return a folder with a form of the model, which sees a dog where the model sees a person."""
    half = constant_model(model.path.with_name("half.onnx"), end_to_end((8.0, 8.0, 24.0, 40.0, 0.9, 16)))
    forms = quantised_below(model.path.parent)
    forms.keep(model.model_id, half, Report(sha256_of(model.path), SIZE, Method.MINMAX, form, 60, 20, 2, checks))
    return forms


def sees(opened: Opened) -> Label:
    """Return what a detector sees."""
    picture = Picture(np.zeros((SIZE, SIZE, 3), np.uint8), SIZE, SIZE)
    return opened.detector.detect([picture])[0][0].label


def test_8_bit_numbers_are_tried_before_the_model_itself() -> None:
    assert names(INT8) == ["openvino cpu int8", "onnx cpu int8", "onnx cpu f32"]
    assert names(DetectorSettings(backend=Backend.ONNX, precision=Precision.INT8)) == [
        "onnx cuda f32",
        "onnx cpu int8!",
        "onnx cpu f32",
    ]


def test_a_quantised_form_is_used_by_what_may_use_it(model: ResolvedModel) -> None:
    loaders = default_loaders(model.path.parent)
    by_both = quantised(model, GOOD, replace(GOOD, runtime=Backend.OPENVINO))
    got = open_detector(model, INT8, loaders, quantised=by_both)
    assert (sees(got), got.shortfall, got.detector.provider) == (Label.DOG, None, "OpenVINO CPU int8")
    got = open_detector(
        model, INT8, loaders, quantised=quantised(model, GOOD, replace(GOOD, runtime=Backend.OPENVINO, refused="no"))
    )
    assert (sees(got), got.shortfall, got.detector.provider) == (Label.DOG, None, "CPUExecutionProvider")


def test_without_a_quantised_form_the_model_judges_and_the_command_is_named(model: ResolvedModel) -> None:
    got = open_detector(model, INT8, default_loaders(model.path.parent), quantised=quantised_below(model.path.parent))
    assert sees(got) is Label.PERSON
    assert got.shortfall is not None
    assert got.shortfall.message(got.detector.provider) == (
        "The detector should run on a quantised form of M (int8), but it has not been quantised. It runs on "
        "CPUExecutionProvider instead. Run `hsi models quantise m`, or set detector.precision to f32."
    )


def test_a_form_that_nothing_here_may_use_is_told(model: ResolvedModel) -> None:
    """It was good on OpenVINO, which went meanwhile."""
    forms = quantised(model, replace(GOOD, runtime=Backend.OPENVINO))
    loaders = default_loaders(model.path.parent) | {Backend.OPENVINO: failing_load(ABSENT)}
    got = open_detector(model, INT8, loaders, quantised=forms)
    assert sees(got) is Label.PERSON
    assert got.shortfall is not None
    assert got.shortfall.reason == "its quantised form was not compared on onnx"
    assert "hsi models quantise m" in got.shortfall.remedy


def test_an_engine_in_8_bits_is_built_from_a_form_that_tensorrt_takes(
    model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = EngineKey("", "a GPU", "9.0", "11.4", "", SIZE, 1)
    monkeypatch.setattr(
        opening,
        "engine_key",
        lambda path, settings: replace(key, weights=sha256_of(path), precision=settings.precision.value),
    )
    wanted = DetectorSettings(backend=Backend.TENSORRT, precision=Precision.INT8)
    with pytest.raises(BackendAbsent, match="one for processors, which TensorRT does not take"):
        engine_source(model, wanted, quantised(model, GOOD))
    forms = quantised(model, GOOD, form=Form.SYMMETRIC)
    path, found = engine_source(model, wanted, forms)
    assert (path, found.precision, found.weights) == (forms.path("m"), "int8", sha256_of(forms.path("m")))
    forms.path("m").unlink()
    path, found = engine_source(model, wanted, forms)
    assert (path, found.precision) == (model.path, "f32"), "the model's own engine judges meanwhile"


def test_the_tensorrt_provider_is_told_its_batches_beforehand(tmp_path: Path) -> None:
    """Otherwise it builds an engine in the middle of judging, at the first batch that is larger than all before."""
    path = constant_model(tmp_path / "m.onnx", end_to_end())
    options = _tensorrt_options(path, tmp_path / "engines")
    assert options["trt_profile_min_shapes"] == f"images:1x3x{SIZE}x{SIZE}"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == f"images:8x3x{SIZE}x{SIZE}"
    assert (options["trt_fp16_enable"], options["trt_engine_cache_path"]) == ("True", str(tmp_path / "engines"))
    fixed = constant_model(tmp_path / "f.onnx", end_to_end(), input_shape=(2, 3, SIZE, SIZE))
    assert _tensorrt_options(fixed, None).keys() == {"trt_fp16_enable", "trt_int8_enable"}


def _tensorrt_options(path: Path, engines: Path | None) -> dict[str, str]:
    settings = DetectorSettings(max_batch=8, precision=Precision.F16)
    first, *_ = onnx._providers(onnx.Provider.TENSORRT, path, settings, engines)
    assert isinstance(first, tuple)
    assert first[0] == "TensorrtExecutionProvider"
    return first[1]


@pytest.mark.parametrize(("device", "looked"), [("cuda", [()]), ("cpu", [])])
def test_cuda_is_found_in_the_packages_that_the_extra_installs(
    model: ResolvedModel,
    device: str,
    looked: list[tuple[()]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """ONNX Runtime finds them only when it is told to, and prints about it."""
    calls: list[tuple[()]] = []

    def preload() -> None:
        calls.append(())
        sys.stdout.write("Failed to load libcudnn.so.9")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(onnx.Provider))
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    open_detector(model, DetectorSettings(backend=Backend.ONNX, device=Device(device)), default_loaders(model.path))
    assert calls == looked
    assert capsys.readouterr().out == ""
