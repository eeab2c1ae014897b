"""A pytest plugin that guards the process of the tests.

A test that leaves process state changed for those that follow (scheduling, signal handlers, limits, ...) fails. A test
that hangs is killed at its time limit, and the stacks of all threads and children are printed. pytest-timeout's own
signal raises an error once: C code never sees it, an event loop swallows it, and cleaning up is then unlimited.
"""

from __future__ import annotations

import contextlib
import faulthandler
import locale
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_timeout

GRACE = 30  # seconds after the limit, at most, for a process in which C code holds the GIL
stderr = -1  # a duplicate of the real one, which pytest captures
TIMER = pytest.StashKey[threading.Timer]()

os.environ["PYTHONFAULTHANDLER"] = "1"  # so that an aborted Python child prints its stacks


def pytest_configure() -> None:
    global stderr
    stderr = os.dup(2)


def process_state() -> dict[str, object]:
    """The process state that a test must leave unchanged."""
    state: dict[str, object] = {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "SIGINT": signal.getsignal(signal.SIGINT),
        "SIGTERM": signal.getsignal(signal.SIGTERM),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": os.getcwd(),
    }
    state |= {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    if sys.platform == "linux":
        state |= {"policy": os.sched_getscheduler(0), "affinity": os.sched_getaffinity(0)}
        state["umask"] = Path("/proc/self/status").read_text().split("Umask:")[1].split()[0]
    return state


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    before = process_state()
    yield
    after = process_state()
    if sys.platform == "linux" and after["policy"] != before["policy"]:  # real-time scheduling starves the machine
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    changed = {name: (value, after[name]) for name, value in before.items() if after[name] != value}
    if changed:
        pytest.fail(f"The test left its process changed; before and after: {changed}", pytrace=False)


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout's own
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    faulthandler.dump_traceback_later(settings.timeout + min(settings.timeout, GRACE), exit=True, file=stderr)
    timer = threading.Timer(settings.timeout, kill_all, (item, settings))
    timer.daemon = True
    timer.start()
    item.stash[TIMER] = timer
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    faulthandler.cancel_dump_traceback_later()
    if timer := item.stash.get(TIMER, None):
        timer.cancel()
    return True


def kill_all(item: pytest.Item, settings: Any) -> None:
    """Kills this process and its children after printing their stacks."""
    if not settings.disable_debugger_detection and pytest_timeout.is_debugging():
        faulthandler.cancel_dump_traceback_later()
        return
    with contextlib.ExitStack() as stack:
        stack.callback(os._exit, 1)
        with open(stderr, "w", errors="replace", closefd=False) as out:
            print(f"\n{item.nodeid} has not ended within {settings.timeout:g} s.", file=out, flush=True)
            faulthandler.dump_traceback(out)
            children = psutil.Process().children(recursive=True)
            print("Children:", *map(describe, children), sep="\n  ", file=out, flush=True)
            for child in children:
                with contextlib.suppress(psutil.Error):
                    child.send_signal(signal.SIGABRT if "PYTHONFAULTHANDLER" in child.environ() else signal.SIGKILL)
            for child in psutil.wait_procs(children, timeout=5)[1]:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            if capture := item.config.pluginmanager.getplugin("capturemanager"):
                capture.suspend()
                print("Captured output:", *capture.read_global_capture(), sep="\n", file=out)


def describe(process: psutil.Process) -> str:
    """One line about a process: its state, the kernel function it waits in, its CPU time and command.

    >>> describe(psutil.Process()).split()[0] == str(os.getpid())
    True
    """
    try:
        waits = Path(f"/proc/{process.pid}/wchan")
        where = waits.read_text() if waits.exists() else "?"
        command, spent = " ".join(" ".join(process.cmdline()).split()), sum(process.cpu_times()[:2])
        return f"{process.pid} of {process.ppid()}: {process.status()} in {where}, {spent:.1f} s spent: {command[:200]}"
    except (psutil.Error, OSError) as error:
        return f"{process.pid}: {error}"
