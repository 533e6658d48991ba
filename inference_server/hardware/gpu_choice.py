# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several NVIDIA GPUs is used: every library of this process and of its tools then sees that one alone.

CUDA numbers GPUs by their speed, NVML by where they are plugged in. So the choice is told by UUID, in CUDA's own
variable, which ONNX Runtime, TensorRT and PyTorch obey alike. It counts from the first use of CUDA in a process on.
Source: NVIDIA, "CUDA C++ Programming Guide", CUDA Environment Variables.
"""

from collections.abc import MutableMapping
from dataclasses import replace

from inference_server.hardware.probe import Hardware

VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = "-1"


def with_chosen_gpu(hardware: Hardware, wanted: str | None, environment: MutableMapping[str, str]) -> Hardware:
    """Return the hardware with the GPU that is used, and let CUDA see no other.

    Without a wish the variable of whoever started the process counts, else the GPU with the most memory is taken. A
    wanted one that is not there is replaced by none.
    """
    given = environment.get(VISIBLE, "").split(",")[0].strip()
    chosen = replace(hardware, wanted_gpu=wanted or given.removeprefix(NONE) or None)
    if wanted is None and (given or len(hardware.gpus) < 2):
        return chosen
    gpu = chosen.best_gpu
    environment[VISIBLE] = NONE if gpu is None else gpu.uuid or str(gpu.index)
    return chosen
