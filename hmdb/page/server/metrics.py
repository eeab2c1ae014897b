"""What is known of the page from outside: a line for each answer, and figures for Prometheus.

Neither holds names, labels or addresses.
"""

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

ANSWERS = Counter("hmdb_answers", "Answers that ended, by what was asked and how they ended.", ["what", "outcome"])
SECONDS = Histogram(
    "hmdb_answer_seconds",
    "Seconds that were worked on an answer.",
    ["what"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120),
)
PENDING = Gauge("hmdb_answers_under_way", "Answers that wait or are worked on.")
REFUSED = Counter("hmdb_requests_refused", "Requests that went no further, by HTTP status.", ["status"])
DISK = Gauge("hmdb_disk_bytes", "Bytes of uploads and results.")

_ended: deque[tuple[str, str, float, float]] = deque()  # what, outcome, seconds worked, seconds taken


def report() -> None:
    """Counts and logs the answers that have ended since the last call; threads may call it at any time.

    Where an answer ends is no place to do so: the garbage collector ends an abandoned one in the midst of whatever
    runs, which may hold the very lock of these metrics, or of the log. There it is put down, and reported here.
    """
    while _ended:
        try:
            what, outcome, worked, taken = _ended.popleft()
        except IndexError:  # another thread was first
            return
        ANSWERS.labels(what, outcome).inc()
        SECONDS.labels(what).observe(worked)
        line = {"answer": what, "outcome": outcome, "worked": round(worked, 3), "taken": round(taken, 3)}
        # of a live camera there are several a second
        log.log(logging.DEBUG if what == "classify_clip" else logging.INFO, json.dumps(line))


class AnswerMetrics:
    """One answer, from when it was asked for to its end, which takes no lock: `report` tells of it later.

    Attributes:
        outcome: "ok", "cancelled", "left" by its visitor, the kind of an error that was told, or "failed".
        worked: seconds that were worked on it.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.outcome = "ok"
        self.worked = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, HmdbError):
            self.outcome = type(error).__name__
        elif isinstance(error, GeneratorExit):
            self.outcome = "left"
        elif error is not None:
            self.outcome = "failed"
        _ended.append((self.what, self.outcome, self.worked, time.monotonic() - self._began))
