# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the control group of this process allows, version 2 or 1: a container's limits.

See the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max, memory.max) and cgroup-v1 (cpu.cfs_quota_us,
memory.limit_in_bytes). A limit counts for everything below its group, so the smallest one up to the root is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
TABLE = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""Version 1 writes about the largest number of pages where there is no limit."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group's folders of each controller, the innermost first."""

    processor_folders: tuple[Path, ...] = ()
    memory_folders: tuple[Path, ...] = ()

    @classmethod
    def of_this_process(cls, table: Path = TABLE, root: Path = ROOT) -> "Cgroup":
        """Return the group that this process is in; one without limits where the system has none."""
        try:
            lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return cls()
        groups = {controller: path for line in lines for controller, path in _group(line)}
        unified = tuple(_upwards(root, groups[""])) if "" in groups else ()
        processor = tuple(_upwards(root / "cpu", groups["cpu"])) if "cpu" in groups else ()
        memory = tuple(_upwards(root / "memory", groups["memory"])) if "memory" in groups else ()
        return cls(processor + unified, memory + unified)

    def processors(self) -> float | None:
        """Return how many processors' time may be used; None without a limit."""
        quotas = [quota for folder in self.processor_folders if (quota := _quota(folder)) is not None]
        return min(quotas, default=None)

    def memory_limit(self) -> int | None:
        """Return how many bytes of memory may be used; None without a limit."""
        return min((limit for _, limit in self._limits()), default=None)

    def memory_available(self) -> int | None:
        """Return how many bytes are left below the limits; None without one.

        Pages of files that nobody used lately are given back first, and do not count as used (as Kubernetes reckons).
        """
        return min((max(0, limit - _used(folder)) for folder, limit in self._limits()), default=None)

    def _limits(self) -> Iterator[tuple[Path, int]]:
        for folder in self.memory_folders:
            limit = _number(folder / "memory.max")
            limit = _number(folder / "memory.limit_in_bytes") if limit is None else limit
            if limit is not None and 0 < limit < _NO_LIMIT:
                yield folder, limit


def _group(line: str) -> Iterator[tuple[str, str]]:
    """Yield each controller of a line of /proc/self/cgroup (cgroups(7)) with its path; version 2 is the empty name."""
    parts = line.split(":", 2)
    if len(parts) == 3:
        yield from ((controller, parts[2]) for controller in parts[1].split(","))


def _upwards(root: Path, group: str) -> Iterator[Path]:
    """Yield a group's folder and those above it. A container sees only its own, as the root."""
    steps = [step for step in group.split("/") if step not in {"", ".", ".."}]
    for length in range(len(steps), -1, -1):
        yield root.joinpath(*steps[:length])


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()[:2]
    except (OSError, ValueError):
        given, every = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        return given / every if given and given > 0 and every and every > 0 else None
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _used(folder: Path) -> int:
    used = _number(folder / "memory.current")
    used = _number(folder / "memory.usage_in_bytes") if used is None else used
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
    idle = told.get("total_inactive_file", told.get("inactive_file", "0"))
    return max(0, (used or 0) - (int(idle) if idle.isdecimal() else 0))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None
