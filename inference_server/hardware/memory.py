# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory of the machine, and how much of it this process may use."""

from dataclasses import dataclass

import psutil

from inference_server.hardware.cgroup import Cgroup


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `usable` is the whole memory or the limit of the container; `available` is what of that is free now."""

    total: int
    usable: int
    available: int

    @property
    def limited(self) -> bool:
        """Whether a container's limit is below what the machine has."""
        return self.usable < self.total


def look(cgroup: Cgroup | None = None) -> Memory:
    """Return the memory of this machine."""
    group = cgroup or Cgroup.of_this_process()
    machine = psutil.virtual_memory()
    limit, left = group.memory_limit(), group.memory_available()
    return Memory(
        total=machine.total,
        usable=machine.total if limit is None else min(machine.total, limit),
        available=machine.available if left is None else min(machine.available, left),
    )
