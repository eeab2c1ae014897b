"""Monitoring: one log line per answer, and Prometheus metrics; neither contains file names, labels or addresses."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from types import TracebackType
from typing import Self

from prometheus_client import Counter, Gauge, Histogram

from hmdb.errors import HmdbError

log = logging.getLogger("hmdb.page.answers")

ANSWERS = Counter("hmdb_answers", "Answers by endpoint and outcome.", ["what", "outcome"])
SECONDS = Histogram(
    "hmdb_answer_seconds",
    "Work on an answer in seconds, without queueing.",
    ["what"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120),
)
PENDING = Gauge("hmdb_answers_under_way", "Queued and running answers.")
REFUSED = Counter("hmdb_requests_refused", "Requests rejected before Gradio, by HTTP status.", ["status"])
DISK = Gauge("hmdb_disk_bytes", "Disk space reserved for uploads and results, in bytes.")

_ended: deque[tuple[str, str, float, float]] = deque()  # endpoint, outcome, seconds of work, seconds in all


def report() -> None:
    """Counts and logs the answers that have ended since the last call. Any thread may call it.

    The end of an answer only queues it for this: the garbage collector may end an abandoned answer in the middle of
    code that holds a lock of these metrics or of the log.
    """
    while _ended:
        try:
            what, outcome, worked, taken = _ended.popleft()
        except IndexError:  # another thread took the last
            return
        ANSWERS.labels(what, outcome).inc()
        SECONDS.labels(what).observe(worked)
        line = {"answer": what, "outcome": outcome, "worked": round(worked, 3), "taken": round(taken, 3)}
        # a live camera makes several a second
        log.log(logging.DEBUG if what == "classify_clip" else logging.INFO, json.dumps(line))


class AnswerMetrics:
    """Context manager that measures one answer, without taking a lock when it ends; `report` publishes it.

    Attributes:
        outcome: "ok", "cancelled", "abandoned" by the client, the class of an HmdbError, or "failed".
        work_seconds: seconds of work, without queueing.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.outcome = "ok"
        self.work_seconds = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, HmdbError):
            self.outcome = type(error).__name__
        elif isinstance(error, GeneratorExit):
            self.outcome = "abandoned"
        elif error is not None:
            self.outcome = "failed"
        _ended.append((self.what, self.outcome, self.work_seconds, time.monotonic() - self._began))
