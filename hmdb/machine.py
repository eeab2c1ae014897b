"""Process-wide settings: threads, malloc, garbage collection, privileges and ranks."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def use_available_cores() -> None:
    """Limits torch to as many threads as this process has cores."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits torch's computations in the calling thread to one core; other threads are unaffected.

    `torch.set_num_threads` would permanently limit every thread that computes for the first time meanwhile. OpenMP and
    MKL have a limit per thread, which this sets. Does nothing if torch's library does not export theirs (Windows).
    """
    import torch

    threads = torch.get_num_threads()  # initializes this thread; its first product would do that and undo the limit
    library = ctypes.CDLL(torch._C.__file__)
    names = ("omp_set_num_threads", "MKL_Set_Num_Threads_Local")
    limits = [getattr(library, name) for name in names if hasattr(library, name)]
    for limit in limits:
        limit(1)
    try:
        yield
    finally:
        for limit in limits:
            limit(threads)


def available_cores(cgroups: Path = CGROUPS) -> int:
    """The number of cores this process may use, by its CPU affinity and the quota of its container; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = " ".join((cgroups / file).read_text() for file in files).split()
            if float(quota) > 0:  # without a quota, version 1 has -1 and version 2 "max"
                cores = min(cores, math.ceil(float(quota) / float(period)))
        except (OSError, ValueError):
            continue
    return max(cores, 1)


_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def tune_malloc() -> bool:
    """Makes glibc's malloc keep freed memory, in one arena for all threads; returns False on other C libraries.

    A network frees and allocates the same large blocks again and again. Returning them to the kernel in between costs
    up to a fifth of an answer, or most of a training step if the kernel has no huge pages. By default each thread
    keeps what it freed to itself, so a server with many threads holds it many times. For programs, not libraries, and
    before threads start: it affects the whole process, whose memory stays at its peak.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1)])


def trim_malloc() -> None:
    """Returns freed memory to the system; for a process that is idle after its peak."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


_pausing = threading.Lock()
_num_paused = 0


@contextmanager
def gc_paused() -> Iterator[None]:
    """Turns the garbage collector off while any thread is inside; it ignores the objects created meanwhile.

    Imports and weights are half a million objects, all of which stay; traversing them repeatedly took a fifth of the
    time to the first answer. For programs, not libraries, like `tune_malloc`.
    """
    global _num_paused
    with _pausing:
        _num_paused += 1
        gc.disable()
    try:
        yield
    finally:
        with _pausing:
            _num_paused -= 1
            if not _num_paused:
                gc.freeze()
                gc.enable()


_PR_CAPBSET_DROP, _CAPABILITY_VERSION_3, _CAP_SYS_NICE = 24, 0x20080522, 23  # <linux/prctl.h>, <linux/capability.h>


def give_up_real_time() -> None:
    """Permanently drops root's right to higher priority and real-time scheduling, on Linux.

    The SVT-AV1 encoder makes its process real-time if it may, and two such threads starve a machine. Applies to this
    thread and to threads and processes started from now on (not to numpy's existing threads, which only multiply). For
    programs, not libraries.
    """
    if sys.platform != "linux":
        return
    import resource

    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
        resource.setrlimit(limit, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # so that child processes do not regain it as root
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, lower halves first
    libc.capget(header, sets)
    for index in range(3):
        sets[index] &= ~(1 << _CAP_SYS_NICE)
    libc.capset(header, sets)


def silence_stdout() -> None:
    """Discards further output after the reader of a pipe has gone; otherwise Python's flush at exit fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_first_process() -> bool:
    """True in the process of rank 0 of `accelerate launch`, and without it."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """The number of processes that `accelerate launch` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
