"""/health and /metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hmdb.errors import VideoError
from hmdb.page import launch
from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from hmdb.video import Confinement, confinement
from tests.page.server.conftest import LIMITS
from tests.support.ports import free_port
from tests.support.visitor import Visitor, file, http
from tests.support.waiting import wait_until


def test_health_shows_state_and_confinement(page: PageServer) -> None:
    wait_until(lambda: http.get(f"{page.url}health").json()["state"] in ("loading", "ready"))
    Visitor(page.url).ask("labels")
    wait_until(lambda: http.get(f"{page.url}health").json()["confinement"] is not None)
    health = http.get(f"{page.url}health").json()
    assert (health["state"], health["problem"], health["answers_under_way"]) == ("ready", "", 0)
    assert "seccomp" in health["confinement"]


def test_health_fails_when_answers_are_stuck(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now, gate = [0.0], threading.Event()
    scheduler = Scheduler(1, 60, clock=lambda: now[0])
    monkeypatch.setattr(page.handlers, "scheduler", scheduler)

    def work() -> Iterator[int]:
        assert gate.wait(120)
        yield 1

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: list(scheduler.run("test", work)))
        wait_until(lambda: scheduler._running == 1)
        assert http.get(f"{page.url}health").status_code == 200
        now[0] = 1000
        stuck = http.get(f"{page.url}health")
        gate.set()
        assert answer.result() == [1]
    assert (stuck.status_code, stuck.json()["state"]) == (503, "not answering")
    assert stuck.json()["problem"] == "Answers are pending, and none makes progress. Restart the page."
    assert http.get(f"{page.url}health").status_code == 200


def test_health_neither_waits_for_a_decoding_process_nor_hides_its_failure(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, fails = threading.Event(), threading.Event()
    fails.set()

    def slow() -> Confinement:
        assert gate.wait(120)
        if fails.is_set():
            raise VideoError("No decoding process can be started.")
        return confinement()

    monkeypatch.setattr(launch, "confinement", slow)
    monkeypatch.setattr(launch, "RETRY_SECONDS", 0.01)
    page = PageServer(build_demo(recognizer, settings=LIMITS), LIMITS, quiet=True, server_port=free_port())
    try:
        early = http.get(f"{page.url}health")
        assert (early.status_code, early.json()["confinement"]) == (200, None)
        gate.set()
        wait_until(lambda: http.get(f"{page.url}health").status_code != 200)
        failed = http.get(f"{page.url}health")
        assert (failed.status_code, failed.json()["state"]) == (503, "failed")
        assert failed.json()["problem"] == "No decoding process can be started."
        fails.clear()
        wait_until(lambda: http.get(f"{page.url}health").json()["confinement"] is not None)
        assert http.get(f"{page.url}health").status_code == 200
    finally:
        fails.clear()
        gate.set()
        page.close(0)


def test_metrics_count_answers(page: PageServer, video: Path) -> None:
    visitor = Visitor(page.url)
    assert visitor.ask("predict", file(visitor.upload(video.read_bytes())))[0]
    text = http.get(f"{page.url}metrics").text
    assert 'hmdb_answers_total{outcome="ok",what="predict"}' in text
    assert "hmdb_disk_bytes" in text
    assert "127.0.0.1" not in text


def test_metrics_are_off_by_default(recognizer: Recognizer) -> None:
    page = PageServer(build_demo(recognizer, settings=Settings()), Settings(), quiet=True, server_port=free_port())
    assert http.get(f"{page.url}metrics").status_code == 404
    page.close(0)
