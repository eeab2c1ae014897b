"""The plugin of guard.py, in a separate pytest process."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.paths import ROOT

CHANGES = {
    "nice": "os.nice(1)",
    "SIGTERM": "signal.signal(signal.SIGTERM, print)",
    "SIGINT": "signal.signal(signal.SIGINT, print)",  # a job in the background ignores it already
    "umask": "os.umask(0o027)",
    "folder": "os.chdir('/')",
    "RLIMIT_NOFILE": "resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
    "locale": "locale.setlocale(locale.LC_ALL, 'C' if locale.setlocale(locale.LC_ALL) != 'C' else 'C.UTF-8')",
}
LINUX = {
    "policy": "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
    "affinity": "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])",
}
# An exception in the main thread does not end it. All threads and children hang before the time limit starts.
HANGS = """
import atexit, subprocess, sys, threading, time
def waiting_thread(started):
    started.set()
    time.sleep(1e6)
def test_before(): pass
started = threading.Event()
threading.Thread(target=waiting_thread, args=[started], daemon=True).start()
started.wait()
code = "import time\\ndef waiting_child(): print(flush=True); time.sleep(1e6)\\nwaiting_child()"
python = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
python.stdout.readline()
children = [python, subprocess.Popen(["sleep", "54321"])]
print(*(child.pid for child in children), file=open("pids", "a"), flush=True)
for child in children:
    atexit.register(child.kill)  # where xdist replaces the killed process
def test_that_hangs():
    while True:
        try:
            time.sleep(1e6)
        except BaseException:
            pass
def test_after(): pass
"""
HOLDS_THE_GIL = "import ctypes\ndef test_that_hangs(): ctypes.PyDLL(None).pause()"


def run_pytest(folder: Path, code: str, *options: str) -> tuple[int, str]:
    """Runs `code` in pytest; returns the exit status and the output."""
    folder.joinpath("test_it.py").write_text(code)
    folder.joinpath("pytest.ini").write_text("[pytest]")
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pytest; sys.exit(pytest.main())"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            start,
            "-p",
            "tests.support.guard",
            "-p",
            "no:cacheprovider",
            "-rE",
            *options,
            "test_it.py",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_a_test_that_changes_process_state_fails(tmp_path: Path) -> None:
    changes = CHANGES | LINUX if sys.platform == "linux" else CHANGES
    tests = "".join(f"def test_{name}(): {change}\ndef test_after_{name}(): pass\n" for name, change in changes.items())
    status, printed = run_pytest(tmp_path, f"import locale, os, resource, signal\n{tests}")
    assert status == 1
    assert f"{2 * len(changes)} passed, {len(changes)} errors" in printed
    for name in changes:
        assert f"ERROR at teardown of test_{name} _" in printed
        assert f"The test left its process changed; before and after: {{'{name}': " in printed


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["one process", "xdist"])
def test_a_hanging_test_is_killed_and_stacks_are_printed(tmp_path: Path, options: list[str]) -> None:
    status, printed = run_pytest(tmp_path, HANGS, "--timeout=1", *options)
    assert status == 1
    assert "test_it.py::test_that_hangs has not ended within 1 s." in printed
    for function in ("test_that_hangs", "waiting_thread", "waiting_child"):
        assert f" in {function}\n" in printed
    assert any("sleeping" in line and line.endswith("sleep 54321") for line in printed.splitlines())
    assert not any(psutil.pid_exists(int(pid)) for pid in tmp_path.joinpath("pids").read_text().split())
    if options:
        assert "crashed while running 'test_it.py::test_that_hangs'" in printed
        assert "1 failed, 2 passed" in printed


def test_a_test_that_holds_the_gil_is_killed(tmp_path: Path) -> None:
    status, printed = run_pytest(tmp_path, HOLDS_THE_GIL, "--timeout=1")
    assert status == 1
    assert " in test_that_hangs\n" in printed
