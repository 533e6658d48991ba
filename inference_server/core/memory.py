# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory of this process."""

import ctypes
import sys

LARGE_PIXELS = 8_000_000
"""A picture from this size on leaves memory behind that is worth giving back."""


def return_free_memory() -> None:
    """Give memory back to the system that was freed and that the C library kept for later.

    glibc keeps freed memory below its last live block (malloc_trim(3)); other C libraries have no such call.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
