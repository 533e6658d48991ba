# SPDX-License-Identifier: AGPL-3.0-or-later
"""Intel's GPU and NPU: by what the kernel shows, and whether OpenVINO is there to use them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

VENDOR = "0x8086"
DRM = Path("/sys/class/drm")
ACCEL = Path("/sys/class/accel")
DEVICES = Path("/dev")
_ASK = """
import sys
sys.modules["openvino_telemetry"] = None
import openvino
print(*openvino.Core().available_devices)
"""
"""What a process of its own is asked: the library takes a hundred megabytes, and tells its maker of its import."""
_ANSWER_SECONDS = 20.0

type AskOpenvino = Callable[[], Collection[str]]
"""Returns what OpenVINO can infer on: "CPU", "GPU", "GPU.1", "NPU"..."""


@dataclass(frozen=True, slots=True)
class IntelDevices:
    """What Intel made that can infer.

    A device node that this process may not open is named in `denied`, one for which OpenVINO finds no driver in
    `driverless`.
    """

    gpu: Path | None = None
    npu: Path | None = None
    denied: tuple[Path, ...] = ()
    driverless: tuple[Path, ...] = ()
    openvino: bool = False

    @property
    def usable(self) -> bool:
        """Whether inference can run on one of them now."""
        return self.openvino and bool({self.gpu, self.npu} - {None} - {*self.denied, *self.driverless})

    @property
    def obstacle(self) -> str:
        """Why none of them can be used, where `usable` says so: a clause."""
        if not self.openvino:
            return "the extra openvino is not installed"
        return "OpenVINO finds no driver for it" if self.driverless else "this process may not open it"


def openvino_devices() -> Collection[str]:
    """Return what OpenVINO can infer on; nothing where it is not installed or does not work. It takes a second."""
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter
            (sys.executable, "-P", "-c", _ASK), capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return asked.stdout.split() if asked.returncode == 0 else ()


def look(
    drm: Path = DRM, accel: Path = ACCEL, devices: Path = DEVICES, ask: AskOpenvino = openvino_devices
) -> IntelDevices:
    """Return Intel's devices: /dev/dri/renderD* and /dev/accel/accel* whose vendor is Intel.

    OpenVINO is asked only where there is one that may be opened.
    """
    gpu = _first(drm, "renderD*", devices / "dri")
    npu = _first(accel, "accel*", devices / "accel")
    shown = [(kind, node) for kind, node in (("GPU", gpu), ("NPU", npu)) if node is not None]
    opened = [(kind, node) for kind, node in shown if _opens(node)]
    denied = tuple(node for kind, node in shown if (kind, node) not in opened)
    openvino = importlib.util.find_spec("openvino") is not None
    found = {name.partition(".")[0] for name in ask()} if openvino and opened else set()
    driverless = tuple(node for kind, node in opened if openvino and kind not in found)
    return IntelDevices(gpu, npu, denied, driverless, openvino=openvino)


def _opens(node: Path) -> bool:
    """Open a device: a container without leave for it shows it with its usual mode, and refuses nevertheless."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


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
