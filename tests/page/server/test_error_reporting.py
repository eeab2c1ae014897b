"""Error messages for clients, and tracebacks in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmdb.page.server import error_reporting
from hmdb.page.server.error_reporting import MAX_MESSAGE, UNEXPECTED, WRONG_TYPE, TracebackOnceFilter
from tests.support.visitor import Visitor, call_tool, file, http


class Lines(logging.Handler):
    """A log handler that keeps formatted records."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log_lines() -> Iterator[Lines]:
    """The page's log, with no traceback logged before."""
    lines = Lines()
    error_reporting.TRACEBACK_ONCE._seen.clear()
    error_reporting.log.addHandler(lines)
    yield lines
    error_reporting.log.removeHandler(lines)


def fail(message: str) -> None:
    raise RuntimeError(message)


def test_tracebacks_are_logged_once_per_line_of_code() -> None:
    log, lines = logging.Logger("test"), Lines()
    log.addHandler(lines)
    log.addFilter(TracebackOnceFilter())
    for words in ("one", "two\nlines", "x" * 9999):
        try:
            fail(words)
        except RuntimeError:
            log.exception("It failed\n")
    first, second, third = lines.lines
    assert first.count("\n") > 2
    assert first.endswith("RuntimeError: one")
    assert second == "It failed: RuntimeError: two"
    assert len(third) < MAX_MESSAGE + 50
    try:
        _ = [][1]
    except IndexError:
        log.exception("Another")
    assert "Traceback" in lines.lines[-1]


def test_unexpected_errors_are_one_line_for_the_client(url: str, log_lines: Lines) -> None:
    visitor = Visitor(url)
    for number in (9999, -1):
        answer = visitor.join(number, [])
        assert (answer.status_code, answer.json()) == (500, {"detail": UNEXPECTED})
    first, second = log_lines.lines
    assert "Traceback" in first
    assert second == "Unexpected error: KeyError: -1"


def test_invalid_requests_are_not_echoed(url: str) -> None:
    answer = http.post(f"{url}gradio_api/queue/join", json={"data": "x" * 4000})
    assert (answer.status_code, len(answer.text) < 100) == (422, True)


LABELS = "is not one of the labels: brush_hair, cartwheel, catch, ..."
OPACITY = "The opacity must be a number from 0 to 1."
AS_TEXT = "Send the file as a data URL: data:video/mp4;base64,..."


@pytest.mark.parametrize(
    ("label", "opacity", "message"),
    [
        ("", "NaN", OPACITY),
        ("", None, OPACITY),
        ("", -0.1, OPACITY),
        ("", 1e99, OPACITY),
        ("", [], OPACITY),
        ("x" * 4000, 0.5, f"The given text {LABELS}"),
        ("two\nlines", 0.5, f"two?lines {LABELS}"),
        (["x"], 0.5, f"['x'] {LABELS}"),
    ],
)
def test_invalid_values_get_a_one_line_error(url: str, video: Path, label: Any, opacity: Any, message: str) -> None:
    visitor = Visitor(url)
    upload = file(visitor.upload(video.read_bytes()))
    ok, answer = visitor.ask("explain", upload, label, opacity)
    assert (ok, answer["error"]) == (False, message)


@pytest.mark.parametrize("value", ["https://example.com/x.mp4", "../../etc/passwd", "", 7, ["a"], {"url": "x"}])
def test_invalid_files_get_a_one_line_error(url: str, value: Any) -> None:
    ok, answer = Visitor(url).ask("predict", value)
    assert (ok, answer["error"]) == (False, WRONG_TYPE)


@pytest.mark.parametrize("name", ["..", "a" * 5000])
def test_invalid_file_names_get_a_one_line_error(url: str, name: str) -> None:
    answer = Visitor(url).http.post("upload", files={"files": (name, b"abc")})
    assert (answer.status_code, answer.json()) == (400, {"detail": "This upload cannot be read."})


@pytest.mark.parametrize("name", ["", ".", "/", " ", "%00", "proxy=%00", "\0.mp4"])
def test_odd_file_names_are_accepted(url: str, name: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    visitor = Visitor(url)
    form = {"content-type": "multipart/form-data; boundary=b"}
    answer = visitor.http.post("upload", content=f"{head}abc\r\n--b--\r\n".encode(), headers=form)
    (known,) = answer.json()
    assert visitor.get(known.replace("%", "%25")).content == b"abc"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"video": "https://example.com/x.mp4"}, AS_TEXT),
        ({"video": "../x.mp4"}, AS_TEXT),
        ({"video": ""}, AS_TEXT),
        ({"video": {"path": "/etc/passwd"}}, AS_TEXT),
        ({"video": "data:,", "label": "x" * 2**20}, "A text of 1048576 characters is too long; the limit is 4096."),
    ],
)
def test_mcp_tools_report_errors_in_one_line(url: str, arguments: dict[str, Any], message: str) -> None:
    result = asyncio.run(call_tool(url, "explain", arguments))
    assert (result.isError, result.content[0].text) == (True, message)


def test_log_records_of_libraries_are_shortened() -> None:
    record = logging.LogRecord("root", logging.WARNING, "x.py", 1, "no such method:\n%s", ("quoted\n" * 90,), None)
    assert TracebackOnceFilter().filter(record)
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) <= 200
