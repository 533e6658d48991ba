# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory of this process, and what libraries say when there is none left."""

import ctypes
import sys

LARGE_PIXELS = 8_000_000
"""A picture from this size on leaves memory behind that is worth giving back."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of parameters, of glibc's malloc.h."""
_KEPT_BYTES, _OWN_BLOCK_BYTES = 128 << 20, 32 << 20
"""Free memory that may lie above the last live block; and from where on a block is the system's, at most 32 MiB."""


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for what comes next, until `return_free_memory`. Return whether it will.

    Otherwise glibc gives back what a picture's inference freed and takes it from the system anew for the next one,
    page by page: with YOLO26n up to a fifth of the processor's time (mallopt(3), M_TRIM_THRESHOLD). Memory that is
    kept has to be given back by whoever has been idle for a while.
    """
    if sys.platform != "linux" or not (tune := getattr(ctypes.CDLL(None), "mallopt", None)):
        return False
    return all([tune(_MMAP_THRESHOLD, _OWN_BLOCK_BYTES), tune(_TRIM_THRESHOLD, _KEPT_BYTES)])


def return_free_memory() -> None:
    """Give memory back to the system that was freed and that the C library kept for later.

    glibc keeps freed memory below its last live block (malloc_trim(3)); other C libraries have no such call.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


_OUT_OF_MEMORY = (
    "out of memory",
    "out_of_memory",
    "outofmemory",
    "failed to allocate memory",
    "unable to allocate",
    "bad_alloc",
    "alloc_failed",
    "cudaerrormemoryallocation",
    "out_of_host_memory",
    "mem_object_allocation_failure",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or what caused it, says that memory ran out.

    The libraries have no common class for it: their words are known. ONNX Runtime: BFCArena::AllocateRawInternal
    "Failed to allocate memory for requested buffer", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc". CUDA: "out of
    memory", cudaErrorMemoryAllocation. PyTorch: OutOfMemoryError. OpenCL, which OpenVINO uses: CL_OUT_OF_HOST_MEMORY,
    CL_MEM_OBJECT_ALLOCATION_FAILURE. NumPy: "Unable to allocate".
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, MemoryError) or any(words in str(cause).lower() for words in _OUT_OF_MEMORY):
            return True
        cause = cause.__cause__
    return False
