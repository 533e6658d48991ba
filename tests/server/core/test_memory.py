# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the C library does with freed memory: in a process of its own, as that is set for good."""

import subprocess
import sys

import pytest

WORK = """
import resource
import sys

import numpy as np
import psutil

from inference_server.core.memory import keep_freed_memory, return_free_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    print("no such library")
    raise SystemExit

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    both = [np.ones(30 << 20, np.uint8), np.ones(30 << 20, np.uint8)]
    both.clear()

for _ in range(3):
    work()
before = faults()
for _ in range(10):
    work()
per_run = (faults() - before) / 10
held = psutil.Process().memory_info().rss
return_free_memory()
print(per_run, (held - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
def test_freed_memory_is_used_again_and_goes_back_when_asked() -> None:
    faults, given_back = _measured("kept")
    usual, _ = _measured("as usual")
    assert usual > 1000
    assert faults < usual / 10
    assert given_back >= 30


def _measured(how: str) -> tuple[float, float]:
    """Return the page faults of a run that takes and frees 60 MiB, and the MiB that can be given back after it."""
    command = [sys.executable, "-c", WORK, how]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    if told.startswith("no such"):
        pytest.skip("this C library cannot be told")
    faults, given_back = map(float, told.split())
    return faults, given_back
