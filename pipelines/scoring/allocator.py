"""Memory that a worker has freed is kept for its next batch.

Columns of a batch are some hundred kilobytes each. By default glibc gives such blocks back to the system one by one,
and the next batch pays for every page again: on a virtual machine that is half of the time of simple arithmetic.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 256 << 20  # bytes at most that are free and not given back
_LARGEST = 32 << 20  # blocks from here on are the system's again: the most that all versions of glibc take


@functools.cache
def keep_freed_memory() -> bool:
    """Once a process; whether this system's allocator can be told.

    Arrow's arrays come from the same allocator then, instead of from a pool that gives back by a timer.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None or not (mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT)):
        return False
    pa.set_memory_pool(pa.system_memory_pool())
    return True
