"""What glibc's allocator does with freed memory; elsewhere nothing is changed."""

from __future__ import annotations

import ctypes
import platform
import sys

ARENAS = 2  # of memory, for all threads together

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Keeps freed memory instead of returning it to the kernel at once; whether that could be asked for.

    Training on a CPU frees and asks for the same large blocks at each step; where the kernel has no
    transparent huge pages, faulting them in again took most of the time.
    """
    return _ask(_MMAP_MAX, 0) and _ask(_TRIM_THRESHOLD, 2**31 - 1)


def share_freed_memory() -> bool:
    """Lets threads use what other threads have freed; whether that could be asked for.

    Each thread has an arena of its own otherwise, and a server of many threads holds in each what one answer
    took at some time. To be called before there are threads.
    """
    return _ask(_ARENA_MAX, ARENAS)


def _ask(parameter: int, value: int) -> bool:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(parameter, value))
