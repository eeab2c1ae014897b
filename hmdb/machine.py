"""The machine this runs on: its cores, its memory, and which of the processes of a training run this is."""

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
    """Lets torch have no more threads than there are cores for this process."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute in the calling thread alone within it, and leaves every other thread as it is.

    `torch.set_num_threads` would also set how many threads all those have that compute for the first time meanwhile,
    for good. OpenMP and MKL keep a number for each thread, and are asked for that. Where torch's library gives no
    access to theirs (Windows), nothing changes.
    """
    import torch

    threads = torch.get_num_threads()  # which sets this thread up; torch would do so at its first product otherwise
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
    """How many cores this process may keep busy: what its affinity and the quota of its container leave."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = " ".join((cgroups / file).read_text() for file in files).split()
            if float(quota) > 0:  # version 1 says -1 and version 2 "max" where there is none
                cores = min(cores, math.ceil(float(quota) / float(period)))
        except (OSError, ValueError):
            continue
    return max(cores, 1)


_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def tune_malloc() -> bool:
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


def trim_malloc() -> None:
    """Returns to the system what was freed and is not needed; for a program that has had its peak and is idle."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


_pausing = threading.Lock()
_num_paused = 0


@contextmanager
def gc_paused() -> Iterator[None]:
    """Starts without the garbage collector: it is off until the last thread in here leaves, and from then on passes
    over what was made.

    Imports and weights are half a million objects, all of which stay. Looking through them again and again took
    a fifth of the time to the first answer. For a program, like `keep_freed_memory`, and for no library.
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
    """Gives up for good, on Linux, the right to a higher priority and to real-time scheduling, which root has.

    SVT-AV1's encoder makes its process real-time where it may, and two such threads starve a machine. It holds for
    this thread and for all threads and processes that it starts from now on (not for the threads that numpy has
    already, which only multiply); for a program, and for no library.
    """
    if sys.platform != "linux":
        return
    import resource

    for what in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
        resource.setrlimit(what, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # from what a program that is started gets as root
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, the lower halves first
    libc.capget(header, sets)
    for index in range(3):
        sets[index] &= ~(1 << _CAP_SYS_NICE)
    libc.capset(header, sets)


def silence_stdout() -> None:
    """Sends what is still to be printed nowhere, as whoever read it has gone; Python would try once more as it ends,
    and complain.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_first_process() -> bool:
    """Whether this is the first of the processes that `accelerate launch` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """How many processes `accelerate launch` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
