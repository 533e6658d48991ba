# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime: its version, what it can run on, and the CUDA that it was built for."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass

CPU_PACKAGE, GPU_PACKAGE = "onnxruntime", "onnxruntime-gpu"
CUDA_PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})
MINIMUM_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The oldest Linux driver for each major version of CUDA: NVIDIA, CUDA Compatibility, "Minor Version Compatibility"."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The installed ONNX Runtime. `cuda` is the major version of CUDA it needs, None where it was built without."""

    version: str
    providers: tuple[str, ...]
    packages: tuple[str, ...]
    cuda: int | None = None

    @property
    def has_cuda(self) -> bool:
        """Whether it was built for NVIDIA GPUs; whether it can use the one that is there shows only a session."""
        return bool(CUDA_PROVIDERS & set(self.providers))


def look() -> Runtime:
    """Return the installed runtime. Raises ImportError where it cannot be loaded."""
    import onnxruntime  # noqa: PLC0415 - what cannot be loaded is a finding of its own

    return Runtime(
        version=str(onnxruntime.__version__),
        providers=tuple(onnxruntime.get_available_providers()),
        packages=tuple(name for name in (CPU_PACKAGE, GPU_PACKAGE) if _installed(name)),
        cuda=_cuda_of_the_build(),
    )


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _cuda_of_the_build() -> int | None:
    """Return what onnxruntime/capi/build_and_package_info.py names, which builds for CUDA alone do."""
    try:
        from onnxruntime.capi import build_and_package_info  # noqa: PLC0415
    except ImportError:
        return None
    major = str(getattr(build_and_package_info, "cuda_version", "")).partition(".")[0]
    return int(major) if major.isdecimal() else None
