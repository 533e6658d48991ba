# SPDX-License-Identifier: AGPL-3.0-or-later
"""Intel's GPU and NPU: by what the kernel shows, and whether OpenVINO is there to use them."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

VENDOR = "0x8086"
DRM = Path("/sys/class/drm")
ACCEL = Path("/sys/class/accel")
DEVICES = Path("/dev")


@dataclass(frozen=True, slots=True)
class IntelDevices:
    """What Intel made that can infer. A device node that this user may not open is named in `denied`."""

    gpu: Path | None = None
    npu: Path | None = None
    denied: tuple[Path, ...] = ()
    openvino: bool = False

    @property
    def usable(self) -> bool:
        """Whether inference can run on one of them now."""
        return self.openvino and bool({self.gpu, self.npu} - {None} - set(self.denied))


def look(drm: Path = DRM, accel: Path = ACCEL, devices: Path = DEVICES) -> IntelDevices:
    """Return Intel's devices: /dev/dri/renderD* and /dev/accel/accel* whose vendor is Intel."""
    gpu = _first(drm, "renderD*", devices / "dri")
    npu = _first(accel, "accel*", devices / "accel")
    denied = tuple(node for node in (gpu, npu) if node is not None and not os.access(node, os.R_OK | os.W_OK))
    return IntelDevices(gpu, npu, denied, openvino=importlib.util.find_spec("openvino") is not None)


def _first(classes: Path, pattern: str, nodes: Path) -> Path | None:
    """Return the node of the first device of a class that Intel made and that this system shows under /dev."""
    for entry in sorted(classes.glob(pattern)):
        node = nodes / entry.name
        if _vendor(entry) == VENDOR and node.exists():
            return node
    return None


def _vendor(entry: Path) -> str:
    try:
        return (entry / "device" / "vendor").read_text(encoding="utf-8").strip().lower()
    except (OSError, ValueError):
        return ""
