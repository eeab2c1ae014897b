"""Sandbox of the decoding process: it drops its rights before it reads a byte of a video. Linux; elsewhere only what
POSIX has.

A file can take over its decoder: decord's FFmpeg is of 2018. So the worker loads its libraries, and then drops, for
good and for all its threads:

    priority           it cannot become real-time and starve the machine
    no new privileges  no program that it starts could have more rights
    not dumpable       no process of the same user can read its memory or attach to it
    Landlock           no file or folder can be opened, created or deleted, no TCP port used, no process outside
                       signalled
    seccomp            only the system calls on the list below: memory, its own threads, the clock, and reading and
                       writing what is open already

Open are: requests in, replies out, its own stderr, and the one file that came with the request, for reading.
So even a worker that a file has taken over opens no file, reads no other process, connects to nothing, listens to
nothing, starts nothing, deletes nothing and stops nothing. Landlock and seccomp each bar most of this alone, for
kernels and containers that lack the other. `Limits` bound its memory and time as well.

Not covered: such a worker can answer wrongly, and read the videos that come to it later, until it is replaced
(`Limits.requests`). Side channels of the processor's caches, and kernel bugs in the calls that are left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping

from hmdb.machine import give_up_real_time
from hmdb.video.protocol import Confinement

# <linux/prctl.h>
PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 4, 15, 38

# <linux/landlock.h>: what each version of the interface can deny
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # the same number on every architecture
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 5: 16}  # bits, one for each way to use a file
LANDLOCK_NETWORK = {4: 2}  # bits: bind, connect
LANDLOCK_SCOPE = {6: 2}  # bits: abstract Unix sockets, signals

# <linux/seccomp.h>, <linux/filter.h>
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
CALL, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
CLONE_THREAD = 0x00010000
PROT_EXEC = 4


# The allowed system calls: their numbers on x86-64 and on 64-bit ARM, from the kernel's
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "poll": (7, None),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "select": (23, None),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "recvmsg": (47, 212),
    "clone": (56, 220),
    "exit": (60, 93),
    "fstat": (5, 80),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "prctl": (157, 167),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "tgkill": (234, 131),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "prlimit64": (302, 261),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "clone3": (435, 435),
}
SECCOMP = (317, 277)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_...


def confine(*, memory_mb: int) -> Confinement:
    """Drops every right that a decoder does not need, as far as this system can. This cannot be undone.

    The libraries must be loaded, and no other thread may run.

    Args:
        memory_mb: the memory limit in force, to report.
    """
    if sys.platform != "linux":
        return Confinement(memory_mb=memory_mb)
    libc = ctypes.CDLL(None, use_errno=True)
    os.environ.clear()
    give_up_real_time()
    no_new_privileges = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    not_dumpable = libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    landlock = _landlock(libc)
    return Confinement(
        no_new_privileges=no_new_privileges,
        not_dumpable=not_dumpable,
        landlock=landlock,
        seccomp=_seccomp(libc),
        memory_mb=memory_mb,
    )


def _landlock(libc: ctypes.CDLL) -> int:
    """Denies everything that the kernel's Landlock can deny; returns its version, or 0."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return 0
    files, network, scope = (_bits(table, version) for table in (LANDLOCK_FILES, LANDLOCK_NETWORK, LANDLOCK_SCOPE))
    ruleset = ctypes.create_string_buffer(struct.pack("=QQQ", files, network, scope), 24)
    size = 24 if scope else 16 if network else 8
    descriptor = libc.syscall(LANDLOCK_CREATE_RULESET, ruleset, ctypes.c_size_t(size), 0)
    if descriptor < 0:
        return 0
    denied = libc.syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0) == 0
    os.close(descriptor)
    return version if denied else 0


def _bits(table: Mapping[int, int], version: int) -> int:
    """Returns all bits that a version defines."""
    return (1 << max((bits for since, bits in table.items() if since <= version), default=0)) - 1


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Denies all system calls but those listed, for all threads."""
    if platform.machine() not in ARCHITECTURES:
        return False
    column, architecture = ARCHITECTURES[platform.machine()]
    program = _program(column, architecture)
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    head_at = ctypes.create_string_buffer(head, len(head))
    refused = libc.syscall(SECCOMP[column], SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, head_at)
    return bool(refused == 0)


def _program(column: int, architecture: int) -> bytes:
    """Assembles the filter as a BPF program: a call that is not allowed fails with EPERM."""
    conditions = {
        "clone": _argument(0, JUMP_IF_ANY_BIT, CLONE_THREAD),  # a thread, and no process
        "mmap": _argument(2, JUMP_IF_ANY_BIT, PROT_EXEC, when=False),
        "mprotect": _argument(2, JUMP_IF_ANY_BIT, PROT_EXEC, when=False),
        "prctl": _argument(0, JUMP_IF_EQUAL, PR_SET_NAME),  # of a thread
        "prlimit64": _argument(0, JUMP_IF_EQUAL, 0),  # its own
        "tgkill": _argument(0, JUMP_IF_EQUAL, os.getpid()),  # itself: abort()
        # Its flags lie in memory, where no filter can look; the C library takes clone instead.
        "clone3": _instruction(RETURN, SECCOMP_RET_ERRNO | errno.ENOSYS),
    }
    allowed = _instruction(RETURN, SECCOMP_RET_ALLOW)
    denied = _instruction(RETURN, SECCOMP_RET_ERRNO | errno.EPERM)
    program = (
        _instruction(LOAD_WORD, ARCHITECTURE)
        + _instruction(JUMP_IF_EQUAL, architecture, then=1)
        + _instruction(RETURN, SECCOMP_RET_KILL_PROCESS)
        + _instruction(LOAD_WORD, CALL)
    )
    for name, numbers in CALLS.items():
        if (number := numbers[column]) is None:
            continue
        branch = conditions.get(name, b"") + allowed
        program += _instruction(JUMP_IF_EQUAL, number, otherwise=len(branch) // 8) + branch
    return program + denied


def _argument(index: int, compare: int, value: int, *, when: bool = True) -> bytes:
    """Assembles a condition: denies the call unless the lower half of its argument (all are ints) matches."""
    denied = _instruction(RETURN, SECCOMP_RET_ERRNO | errno.EPERM)
    skip = {"then": 1} if when else {"otherwise": 1}
    return _instruction(LOAD_WORD, ARGUMENTS + 8 * index) + _instruction(compare, value, **skip) + denied


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Packs a struct sock_filter; jumps are counted in instructions from the next one."""
    return struct.pack("=HBBI", code, then, otherwise, value)
