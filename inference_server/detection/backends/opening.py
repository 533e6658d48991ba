# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings and a model file to the best detector that is really there, and what it lacks."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inference_server.core.memory import is_out_of_memory
from inference_server.core.model import ModelUnavailable
from inference_server.detection.backends.network import Network, NetworkDetector
from inference_server.detection.backends.onnx import OnnxNetwork, Provider
from inference_server.detection.backends.openvino import OpenvinoNetwork
from inference_server.detection.backends.provider import CUDA, device_of
from inference_server.detection.backends.pytorch import PytorchNetwork
from inference_server.detection.backends.tensorrt import engine_key, load_built
from inference_server.detection.detector import Detector
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.models.engines import EngineCache, EngineKey
from inference_server.models.quantised import FOLDER, NotQuantised, QuantisedModels
from inference_server.models.store import ResolvedModel
from inference_server.settings import DEVICES, PRECISIONS, Backend, DetectorSettings, Device, Precision

_LOGGER = logging.getLogger(__name__)

_ONLY_BY: Mapping[str, Backend] = {
    ".xml": Backend.OPENVINO,
    ".pt": Backend.PYTORCH,
    ".engine": Backend.TENSORRT,
}
"""Model files that one backend alone reads."""
_SEE_LOG = "The log has all of it; set detector.device to cpu until it is cured."
_NAMES: Mapping[Backend, str] = {
    Backend.ONNX: "ONNX Runtime",
    Backend.ONNX_TENSORRT: "ONNX Runtime with TensorRT",
    Backend.OPENVINO: "OpenVINO",
    Backend.PYTORCH: "PyTorch",
    Backend.TENSORRT: "TensorRT",
}
_DEVICE_NAMES: Mapping[Device, str] = {
    Device.AUTO: "the best device",
    Device.CPU: "the processor",
    Device.CUDA: "an NVIDIA GPU",
    Device.GPU: "an Intel GPU",
    Device.NPU: "an Intel NPU",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something a detector could run on. `asked_for`: the settings name it, so that its absence is told."""

    backend: Backend
    device: Device
    precision: Precision
    asked_for: bool = False

    def __str__(self) -> str:
        """Name it for people."""
        return f"{_NAMES[self.backend]} on {_DEVICE_NAMES[self.device]} ({self.precision})"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a detector does not run on what is `wanted`: a reason (a clause) and a remedy (a sentence)."""

    wanted: str
    reason: str
    remedy: str

    def fact(self, got: str) -> str:
        """Say what is so, with what the detector runs on instead."""
        return f"The detector should run on {self.wanted}, but {self.reason}. It runs on {got} instead."

    def message(self, got: str) -> str:
        """Say all of it, with the remedy."""
        return f"{self.fact(got)} {self.remedy}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A detector that is ready, how many pictures it infers at a time, and what is missing to the wanted one."""

    detector: Detector
    shortfall: Shortfall | None = None
    batch: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether it really runs on an NVIDIA GPU."""
        return device_of(self.detector.provider) == CUDA

    @property
    def occupant(self) -> Detector:
        """What takes the memory, as long as it lives."""
        return self.detector


type Load = Callable[[Path, DetectorSettings, Device], Network]
type Loaders = Mapping[Backend, Load]


def open_detector(
    model: ResolvedModel,
    settings: DetectorSettings,
    loaders: Loaders,
    *,
    quantised: QuantisedModels | None = None,
    no_room: ModelUnavailable | None = None,
) -> Opened:
    """Return a detector on the first candidate that works. Blocks for seconds.

    For int8 the model's form among the `quantised` ones is taken; where there is none that may be used, the model
    itself judges. `no_room` says why it must not be on an NVIDIA GPU. Raises DetectorUnusable, when nothing can run the
    model, and MemoryError where memory ran out on each device of a kind: whoever holds the budget can make room.
    """
    settings = _for_model(model, settings)
    settings, shortfall = _with_form(model, settings, quantised)
    failures: list[Exception] = []
    full: MemoryError | None = None
    for candidate in candidates(settings, model.path):
        if full is not None and candidate.device is not Device.CUDA:
            raise full
        try:
            detector = _open(candidate, model, settings, loaders, quantised=quantised, no_room=no_room)
        except (BackendUnavailable, DetectorUnusable) as error:
            if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                full = full or MemoryError(f"{candidate}: {error}")
            _LOGGER.log(_severity(candidate, error), "The detector cannot run on %s: %s", candidate, error)
            failures.append(error)
            shortfall = shortfall or _shortfall(candidate, error)
        else:
            lacking = shortfall or _missing_precision(candidate, settings, failures)
            return Opened(detector, lacking, detector.batch)
    raise full or _unusable(model, failures)


def candidates(settings: DetectorSettings, path: Path) -> tuple[Candidate, ...]:
    """Return what the model could run on, best first. The processor is the last resort of each ONNX file."""
    suffix = path.suffix.lower()
    if settings.backend is Backend.AUTO:
        only = _ONLY_BY.get(suffix)
        found = _automatic(settings) if only is None else [(only, settings.device, True)]
    else:
        found = _asked_for(settings)
    if suffix not in _ONLY_BY and (Backend.ONNX, Device.CPU) not in [(backend, device) for backend, device, _ in found]:
        found.append((Backend.ONNX, Device.CPU, False))
    ranked = [
        Candidate(backend, device, _supported(backend, device, settings.precision), asked_for)
        for backend, device, asked_for in found
    ]
    if any(candidate.precision is Precision.INT8 for candidate in ranked):
        # Where its quantised form cannot be used the model itself still can.
        ranked.append(Candidate(Backend.ONNX, Device.CPU, Precision.F32))
    return tuple(ranked)


def wants_engine(settings: DetectorSettings) -> bool:
    """Say whether an engine is to be built where TensorRT is there: of ONNX files alone."""
    path = settings.model_file or Path("of-the-catalogue.onnx")
    wanted = {candidate.backend for candidate in candidates(settings, path)}
    return Backend.TENSORRT in wanted and path.suffix.lower() not in _ONLY_BY


def engine_source(
    model: ResolvedModel, settings: DetectorSettings, quantised: QuantisedModels | None = None
) -> tuple[Path, EngineKey]:
    """Return the file that an engine of a model is built from, and what the engine would depend on here.

    Raises BackendAbsent without TensorRT or a GPU, or without a quantised form that it takes where one is wanted, and
    DetectorUnusable for a file that is no detector.
    """
    settings, _ = _with_form(model, _for_model(model, settings), quantised)
    precision = _supported(Backend.TENSORRT, Device.CUDA, settings.precision)
    path = _path(Candidate(Backend.TENSORRT, Device.CUDA, precision), model, quantised)
    return path, engine_key(path, settings.model_copy(update={"precision": precision}))


def quantised_below(models: Path) -> QuantisedModels:
    """Return the quantised forms of a models folder."""
    return QuantisedModels(models / FOLDER)


def onnx_loader(provider: Provider | None = None, engines: Path | None = None) -> Load:
    """Return what loads a model into ONNX Runtime; without a provider, the one of the device."""

    def load(path: Path, settings: DetectorSettings, device: Device) -> Network:
        of_device = Provider.CUDA if device is Device.CUDA else Provider.CPU
        return OnnxNetwork(path, settings, provider or of_device, engines)

    return load


def default_loaders(engines: Path) -> dict[Backend, Load]:
    """Return what loads a model, for each backend; `engines` is the folder in which built engines are kept."""
    cache = EngineCache(engines)
    return {
        Backend.ONNX: onnx_loader(),
        Backend.ONNX_TENSORRT: onnx_loader(Provider.TENSORRT, engines / "onnx-runtime"),
        Backend.OPENVINO: OpenvinoNetwork,
        Backend.PYTORCH: PytorchNetwork,
        Backend.TENSORRT: lambda path, settings, _device: load_built(path, settings, cache),
    }


def _automatic(settings: DetectorSettings) -> list[tuple[Backend, Device, bool]]:
    """Return the candidates for any ONNX file, best first; a device that the settings name is asked for."""
    device = settings.device
    named = device is not Device.AUTO
    ranked = [
        (Backend.TENSORRT, Device.CUDA, False),
        (Backend.ONNX, Device.CUDA, named),
        (Backend.OPENVINO, Device.GPU, named),
    ]
    if device is Device.NPU:
        ranked.append((Backend.OPENVINO, Device.NPU, named))
    if settings.precision is not Precision.F32:
        # In f32 it gains nothing on a processor; smaller numbers are what it has more of than ONNX Runtime.
        ranked.append((Backend.OPENVINO, Device.CPU, False))
    return [entry for entry in ranked if not named or entry[1] is device]


def _asked_for(settings: DetectorSettings) -> list[tuple[Backend, Device, bool]]:
    backend, device = settings.backend, settings.device
    if device is not Device.AUTO or backend is Backend.OPENVINO:
        return [(backend, device, True)]
    if backend is Backend.ONNX:
        return [(backend, Device.CUDA, False), (backend, Device.CPU, True)]
    return [(backend, Device.AUTO if backend is Backend.PYTORCH else Device.CUDA, True)]


def _supported(backend: Backend, device: Device, wanted: Precision) -> Precision:
    if wanted is Precision.INT8 and (backend, device) == (Backend.ONNX, Device.CUDA):
        return Precision.F32  # it has no 8-bit convolutions there, and would compute everything twice
    return wanted if wanted in PRECISIONS[backend] else Precision.F32


def _with_form(
    model: ResolvedModel, settings: DetectorSettings, quantised: QuantisedModels | None
) -> tuple[DetectorSettings, Shortfall | None]:
    """Return the settings for what there is: where int8 is wanted and there is no form, f32 and the reason."""
    if settings.precision is not Precision.INT8:
        return settings, None
    try:
        (quantised or QuantisedModels(model.path.parent / FOLDER)).current(model.model_id, model.path)
    except (NotQuantised, OSError) as error:
        remedy = error.remedy if isinstance(error, NotQuantised) else "Check the models folder and its owner."
        shortfall = Shortfall(f"a quantised form of {model.name} (int8)", str(error), remedy)
        return settings.model_copy(update={"precision": Precision.F32}), shortfall
    return settings, None


def _path(candidate: Candidate, model: ResolvedModel, quantised: QuantisedModels | None) -> Path:
    """Return the file that a candidate runs. Raises BackendAbsent where it may not run the quantised form."""
    if candidate.precision is not Precision.INT8 or quantised is None:
        return model.path
    try:
        return quantised.find(model.model_id, model.path, candidate.backend)
    except NotQuantised as error:
        raise BackendAbsent(str(error), error.remedy) from error
    except OSError as error:
        raise BackendUnavailable(f"its quantised form cannot be read ({error})", _SEE_LOG) from error


def _open(
    candidate: Candidate,
    model: ResolvedModel,
    settings: DetectorSettings,
    loaders: Loaders,
    *,
    quantised: QuantisedModels | None,
    no_room: ModelUnavailable | None,
) -> NetworkDetector:
    if candidate.device not in DEVICES[candidate.backend]:
        allowed = ", ".join(sorted(DEVICES[candidate.backend]))
        raise BackendUnavailable("it does not run there", f"Set detector.device to one of {allowed}.")
    if no_room is not None and candidate.device is Device.CUDA:
        raise BackendUnavailable(str(no_room), no_room.remedy)
    chosen = settings.model_copy(update={"precision": candidate.precision})
    device = candidate.device
    if no_room is not None and candidate.backend is Backend.PYTORCH:
        device = Device.CPU  # where it would choose by itself
    try:
        path = _path(candidate, model, quantised)
        network = loaders[candidate.backend](path, chosen, device)
        return NetworkDetector(network, chosen, name=model.name)
    except (BackendUnavailable, DetectorUnusable):
        raise
    except Exception as error:  # the libraries' errors have no common base class, and the next one may work
        _LOGGER.exception("Loading the detector failed on %s", candidate)
        raise BackendUnavailable(f"it failed ({type(error).__name__}: {error})", _SEE_LOG) from error


def _for_model(model: ResolvedModel, settings: DetectorSettings) -> DetectorSettings:
    """Return the settings for a model: the wanted size is that of the wanted model, not of its substitute."""
    if not model.fallback or settings.input_size is None:
        return settings
    _LOGGER.warning("detector.input_size is that of the wanted model; %s has its own", model.name)
    return settings.model_copy(update={"input_size": None})


def _severity(candidate: Candidate, error: Exception) -> int:
    quiet = isinstance(error, BackendAbsent) and not candidate.asked_for
    return logging.INFO if quiet else logging.WARNING


def _shortfall(candidate: Candidate, error: BackendUnavailable | DetectorUnusable) -> Shortfall | None:
    """Return what is told of a candidate that failed; nothing of one that nobody asked for and that is not there."""
    if isinstance(error, BackendAbsent) and not candidate.asked_for:
        return None
    remedy = error.remedy if isinstance(error, BackendUnavailable) else "Choose another backend or model file."
    return Shortfall(str(candidate), str(error), remedy)


def _missing_precision(candidate: Candidate, settings: DetectorSettings, failures: list[Exception]) -> Shortfall | None:
    if candidate.precision is settings.precision:
        return None
    wanted = replace(candidate, precision=settings.precision)
    refused = [failure for failure in failures if isinstance(failure.__cause__, NotQuantised)]
    if refused and isinstance(refused[-1], BackendUnavailable):
        return Shortfall(str(wanted), str(refused[-1]), refused[-1].remedy)
    reason = f"nothing here computes in {settings.precision}"
    return Shortfall(str(wanted), reason, "Set detector.precision to f32, or install the extra of another backend.")


def _unusable(model: ResolvedModel, failures: list[Exception]) -> DetectorUnusable:
    """Return what is wrong with the model, or else with everything that could have run it."""
    of_model = [str(error) for error in failures if isinstance(error, DetectorUnusable)]
    of_backends = [f"{error}. {error.remedy}" for error in failures if isinstance(error, BackendUnavailable)]
    reasons = of_model[-1:] or of_backends
    return DetectorUnusable(f"{model.path.name} cannot be used as a detector: {'; '.join(reasons)}")
