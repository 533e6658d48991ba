# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processor: its name, what it can do that inference is made for, and how much of it this process may use."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference_server.hardware.cgroup import Cgroup

CPUINFO = Path("/proc/cpuinfo")
FEATURES: Mapping[str, frozenset[str]] = {
    "AVX2": frozenset({"avx2"}),
    "AVX512": frozenset({"avx512f", "avx512bw", "avx512vl"}),
    "VNNI": frozenset({"avx512_vnni"}),
    "AVX-VNNI": frozenset({"avx_vnni"}),
    "BF16": frozenset({"avx512_bf16"}),
    "AMX": frozenset({"amx_tile", "amx_int8"}),
    "NEON": frozenset({"asimd"}),
    "DOTPROD": frozenset({"asimddp"}),
    "I8MM": frozenset({"i8mm"}),
    "ARM-BF16": frozenset({"bf16"}),
    "SVE": frozenset({"sve"}),
}
"""Features by the flags of /proc/cpuinfo, of x86 first, then of arm64."""


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor. `cores` is how many this process may use at a time, by its affinity and its cgroup's quota."""

    model: str
    architecture: str
    cores: float
    threads: int
    features: tuple[str, ...]


def look(cpuinfo: Path = CPUINFO, cgroup: Cgroup | None = None) -> Processor:
    """Return the processor of this machine. What the system does not tell is left out."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    told = _first_values(text)
    flags = frozenset((told.get("flags") or told.get("features") or "").split())
    architecture = platform.machine().lower()
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = (cgroup or Cgroup.of_this_process()).processors()
    return Processor(
        model=told.get("model name") or told.get("model") or platform.processor() or architecture or "unknown",
        architecture=architecture,
        cores=float(affinity) if quota is None else min(float(affinity), quota),
        threads=os.cpu_count() or 1,
        features=tuple(name for name, needed in FEATURES.items() if needed <= flags),
    )


def _first_values(text: str) -> dict[str, str]:
    """Return the first value of each key: every processor is listed, and they are alike."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), value.strip())
    return found
