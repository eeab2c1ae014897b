import platform
import subprocess
import sys

import pytest

from hmdb import memory

# Twenty threads at once hold and free 8 MB in small blocks; each that has an arena leaves what it freed there.
THREADS = """
import sys, threading, psutil
from hmdb.memory import share_freed_memory
if sys.argv[1] == "shared":
    assert share_freed_memory()
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_threads_share_few_arenas() -> None:
    areas = {
        how: int(
            subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, check=True, text=True).stdout
        )
        for how in ("apart", "shared")
    }
    assert areas["shared"] < areas["apart"]


def test_nothing_is_asked_of_another_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert not memory.share_freed_memory()
    assert not memory.keep_freed_memory()
