# SPDX-License-Identifier: AGPL-3.0-or-later
"""The GPU memory in use, as NVML tells it: with a stand-in for NVML, and with the real one where there is a GPU."""

import os
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from inference_server.detector_service.gpu import memory_used


class _NVMLError(Exception):
    """What NVML raises."""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    usedGpuMemory: int | None  # noqa: N815 - NVML's own name


def _nvml(*gpus: list[_Process] | None, driver: bool = True) -> Any:
    """Return an NVML with these processes on each GPU; None is a GPU that tells nothing."""

    def start() -> None:
        if not driver:
            raise _NVMLError("no driver")

    def processes(number: int) -> list[_Process]:
        if (found := gpus[number]) is None:
            raise _NVMLError("not supported")
        return found

    return SimpleNamespace(
        NVMLError=_NVMLError,
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetComputeRunningProcesses=processes,
    )


ME = os.getpid()


@pytest.mark.parametrize(
    ("nvml", "used"),
    [
        (None, None),
        (_nvml(driver=False), None),
        (_nvml(), None),
        (_nvml(None), None),
        (_nvml([_Process(ME + 1, 5)]), None),
        (_nvml([_Process(ME, None)]), None),
        (_nvml([_Process(ME, 3 << 30), _Process(ME + 1, 5)], [_Process(ME, 1 << 30)]), 4 << 30),
    ],
    ids=["not installed", "no driver", "no GPU", "silent GPU", "others alone", "unknown", "two GPUs"],
)
def test_what_this_process_uses_is_told_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, nvml: Any, used: int | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert memory_used() == used
