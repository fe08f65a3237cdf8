"""Lets the C library keep the memory of a training step for the next one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
_LARGEST_BLOCK = 2**25
"""Bytes of the largest block that glibc can keep."""


@contextmanager
def memory_kept() -> Generator[bool]:
    """Let glibc keep freed blocks inside the block, and return them after it. Yields whether the library is glibc.

    Afterwards the thresholds are the largest that glibc chooses by itself.

    By default glibc returns memory while a step frees its values. The system then clears each page again when the next
    step touches it, which takes up to a tenth of the step.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        yield False
        return
    kept = [library.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK), library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)]
    try:
        yield all(kept)
    finally:
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)
        library.malloc_trim(0)
