"""A pytest plugin that watches over the process of the tests.

A test that leaves the process changed for those that follow (scheduling, signal handlers, limits, ...) fails itself.
A test that hangs is ended at its time limit, with the stacks of all threads and of its children. pytest-timeout's own
signal raises an error once: code in C never sees it, an event loop swallows it, and cleaning up has no limit any more.
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

GRACE = 30  # seconds at most after the limit for a process in which no Python can run, as C code holds the GIL
stderr = -1  # the true one, which is captured while tests run
TIMER = pytest.StashKey[threading.Timer]()

os.environ["PYTHONFAULTHANDLER"] = "1"  # a Python child writes its stacks to stderr when it is aborted


def pytest_configure() -> None:
    global stderr
    stderr = os.dup(2)


def state() -> dict[str, object]:
    """What a test can change in its process and has to leave as it was."""
    found: dict[str, object] = {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "SIGINT": signal.getsignal(signal.SIGINT),
        "SIGTERM": signal.getsignal(signal.SIGTERM),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": os.getcwd(),
    }
    found |= {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    if sys.platform == "linux":
        found |= {"policy": os.sched_getscheduler(0), "affinity": os.sched_getaffinity(0)}
        found["umask"] = Path("/proc/self/status").read_text().split("Umask:")[1].split()[0]
    return found


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    before = state()
    yield
    after = state()
    if sys.platform == "linux" and after["policy"] != before["policy"]:  # a real-time one starves the machine
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    changed = {name: (value, after[name]) for name, value in before.items() if after[name] != value}
    if changed:
        pytest.fail(f"The test left its process changed; before and after: {changed}", pytrace=False)


@pytest.hookimpl(tryfirst=True)  # in place of pytest-timeout's own
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    faulthandler.dump_traceback_later(settings.timeout + min(settings.timeout, GRACE), exit=True, file=stderr)
    timer = threading.Timer(settings.timeout, end, (item, settings))
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


def end(item: pytest.Item, settings: Any) -> None:
    """Ends this process and its children; says before where they are."""
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
    """A line about a process: what it is, and what it waits for in the kernel.

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
