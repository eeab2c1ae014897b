"""Startup errors, privileges and graceful shutdown of app.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.visitor import Visitor, file, http
from tests.support.waiting import wait_until


@contextmanager
def start_app(tmp_path: Path, checkpoint: Path, port: int, **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(tmp_path),
        "GRADIO_SERVER_PORT": str(port),
        "HMDB_MODEL": str(checkpoint),
        **more,
    }
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as app:
        try:
            yield app
        finally:
            app.kill()


def is_up(port: int) -> bool:
    try:
        return bool(http.get(f"http://127.0.0.1:{port}/health").json().get("state") == "ready")
    except httpx.HTTPError:
        return False


def test_sigterm_finishes_answers_and_deletes_files(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, long_clip: Path
) -> None:
    slow = write_checkpoint(tmp_path_factory.mktemp("slow"), "scratch:timesformer-small")  # slow enough to interrupt
    port = free_port()
    with start_app(tmp_path, slow, port) as app:
        wait_until(lambda: is_up(port), 240)
        visitor = Visitor(f"http://127.0.0.1:{port}/")
        upload = visitor.upload(long_clip.read_bytes())
        joined = visitor.http.post("call/timeline", json={"data": [file(upload)]}).json()
        with visitor.http.stream("GET", f"call/timeline/{joined['event_id']}") as events:
            app.send_signal(signal.SIGTERM)
            late = f"http://127.0.0.1:{port}/gradio_api/call/labels"
            wait_until(lambda: "about to restart" in http.post(late, json={"data": []}).text)
            assert "event: complete" in events.read().decode()
        assert app.wait(120) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_no_process_may_become_real_time(tmp_path: Path, checkpoint: Path) -> None:
    port = free_port()
    with start_app(tmp_path, checkpoint, port) as app:
        wait_until(lambda: is_up(port), 90)
        processes = [psutil.Process(app.pid), *psutil.Process(app.pid).children(recursive=True)]
        assert len(processes) >= 2
        for process in processes:
            status = Path(f"/proc/{process.pid}/status").read_text()
            effective, bounding = (int(status.split(f"{name}:")[1].split()[0], 16) for name in ("CapEff", "CapBnd"))
            assert not (effective | bounding) >> 23 & 1  # CAP_SYS_NICE
            assert process.rlimit(psutil.RLIMIT_RTPRIO) == process.rlimit(psutil.RLIMIT_NICE) == (0, 0)


def test_a_taken_port_is_named(tmp_path: Path, checkpoint: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start_app(tmp_path, checkpoint, port) as app:
            output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines()[-1] == (
        f"Port {port} is taken by another program. Set GRADIO_SERVER_PORT to a free one."
    )


def test_an_unavailable_address_is_named(tmp_path: Path, checkpoint: Path) -> None:
    port = free_port()
    with start_app(tmp_path, checkpoint, port, GRADIO_SERVER_NAME="203.0.113.9") as app:
        output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines()[-1] == (
        f"The page cannot listen at 203.0.113.9, port {port}: Cannot assign requested address. "
        "Set GRADIO_SERVER_NAME and GRADIO_SERVER_PORT to others."
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HMDB_DTYPE", "float8", "HMDB_DTYPE must be one of auto, float32, bfloat16, int8, not 'float8'."),
        ("HMDB_CONCURRENCY", "1.5", "HMDB_CONCURRENCY must be a positive whole number, not '1.5'."),
        ("HMDB_ANSWER_TIMEOUT_SECONDS", "nan", "HMDB_ANSWER_TIMEOUT_SECONDS must be a positive number, not 'nan'."),
        ("HMDB_METRICS", "maybe", "HMDB_METRICS must be one of 1, true, on, 0, false, off, not 'maybe'."),
        ("HMDB_TRUSTED_PROXIES", "-1", "HMDB_TRUSTED_PROXIES must be a whole number of at least 0, not '-1'."),
        ("GRADIO_SERVER_PORT", "abc", "GRADIO_SERVER_PORT must be a positive whole number, not 'abc'."),
        ("GRADIO_SERVER_PORT", "99999", "GRADIO_SERVER_PORT must be at most 65535, not 99999."),
        ("HMDB_DECODE_WORKERS", "0", "HMDB_DECODE_WORKERS must be a positive whole number, not '0'."),
    ],
)
def test_invalid_settings_get_a_one_line_error(
    tmp_path: Path, checkpoint: Path, name: str, value: str, message: str
) -> None:
    with start_app(tmp_path, checkpoint, free_port(), **{name: value}) as app:
        output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines() == [message]
