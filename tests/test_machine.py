import gc
import platform
import subprocess
import sys

import pytest

from hmdb.machine import gc_paused, tune_malloc

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")

# Twenty threads at once hold and free 8 MB in small blocks; each that has an arena leaves what it freed there.
THREADS = """
import sys, threading, psutil
from hmdb.machine import tune_malloc
if sys.argv[1] == "kept":
    assert tune_malloc()
first, last = threading.Barrier(20), threading.Barrier(20)
def work():
    first.wait()
    kept = [bytes(1000 + i % 50) for i in range(8000)]
    last.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
areas = psutil.Process().memory_maps(grouped=False)
print(sum(area.path in ("", "[anon]") and area.size > 2**17 for area in areas))
"""

# The layers of a network free and ask for blocks of 49 MB. Those above 32 MB go back to the kernel at once, unless they
# are kept; the megabytes that went back are printed.
LAYERS = """
import psutil, sys, threading, torch
from hmdb.machine import tune_malloc
if sys.argv[1] == "kept":
    assert tune_malloc()
wide, values = torch.nn.Linear(384, 1536), torch.randn(8000, 384)
resident = []
def work():
    with torch.inference_mode():
        inner = wide(values)
        resident.append(psutil.Process().memory_info().rss)
        del inner
        resident.append(psutil.Process().memory_info().rss)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print((resident[0] - resident[1]) // 2**20)
"""

REAL_TIME = """
import subprocess, sys, threading
from hmdb.machine import give_up_real_time
ASK = '''
import os
for ask in (
    lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
):
    try:
        ask()
    except PermissionError:
        print("barred", flush=True)
    else:
        print("done", flush=True)
'''
subprocess.run([sys.executable, "-c", ASK])
give_up_real_time()
subprocess.run([sys.executable, "-c", ASK])
thread = threading.Thread(target=exec, args=[ASK, {}])
thread.start()
thread.join()
exec(ASK)
"""


def count(program: str, how: str) -> int:
    done = subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True, text=True)
    return int(done.stdout)


@glibc
@pytest.mark.parametrize("program", [THREADS, LAYERS], ids=["threads", "layers"])
def test_freed_memory_is_reused(program: str) -> None:
    plain = count(program, "plain")
    assert plain > 4, "nothing to mend"
    assert count(program, "kept") <= plain / 2


def test_tune_malloc_needs_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert not tune_malloc()


def test_gc_is_paused_until_the_last_thread_leaves() -> None:
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    try:
        with gc_paused():
            with gc_paused():
                assert not gc.isenabled()
            assert not gc.isenabled()
            stays = [[index] for index in range(100)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(stays)
    finally:
        gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_real_time_scheduling_is_dropped_for_threads_and_children() -> None:
    done = subprocess.run([sys.executable, "-c", REAL_TIME], capture_output=True, check=True, text=True)
    before, after = done.stdout.split()[:2], done.stdout.split()[2:]
    if "barred" in before:
        pytest.skip("only root may be real-time, and not in every container")
    assert after == ["barred"] * 6
