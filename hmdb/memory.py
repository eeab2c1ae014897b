"""What glibc's allocator does with freed memory; elsewhere nothing is changed."""

from __future__ import annotations

import ctypes
import platform
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Keeps freed memory for the next who asks, in whichever thread; whether that could be asked for.

    A network frees and asks for the same large blocks again and again, and returning them to the kernel in
    between costs up to a fifth of an answer; where the kernel has no huge pages, most of a training step. Without
    being told, each thread keeps what it freed to itself: a server of many threads holds it many times. For a program
    to call that answers or trains, before there are threads, and for no library: it concerns the whole process, whose
    memory stays where it was at its largest.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    ask = ctypes.CDLL(None).mallopt
    return all([ask(_ARENA_MAX, 1), ask(_MMAP_MAX, 0), ask(_TRIM_THRESHOLD, 2**31 - 1)])
