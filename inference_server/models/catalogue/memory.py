# SPDX-License-Identifier: AGPL-3.0-or-later
"""What models take of memory: as the catalogue says, or else by the size of their file. Nobody else states numbers."""

from inference_server.core.model import MemoryBasis, MemoryNeed, ModelMemory

_BESIDE_THE_WEIGHTS_MIB = 256
_TIMES_THE_FILE = 3


def estimated(mib: int) -> MemoryNeed:
    """Return a need that follows from the weights and the activations."""
    return MemoryNeed(mib, MemoryBasis.ESTIMATED)


def documented(mib: int) -> MemoryNeed:
    """Return a need that who made or ran the model stated."""
    return MemoryNeed(mib, MemoryBasis.DOCUMENTED)


def measured(mib: int) -> MemoryNeed:
    """Return a need that this project measured."""
    return MemoryNeed(mib, MemoryBasis.MEASURED)


def memory_of_file(size: int) -> ModelMemory:
    """Return a generous estimate for a model of which only the size of its file is known, in bytes."""
    need = estimated((_TIMES_THE_FILE * size >> 20) + _BESIDE_THE_WEIGHTS_MIB)
    return ModelMemory(processor=need, gpu=need)
