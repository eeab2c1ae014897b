"""Error reporting: clients get one line without internals; the log gets a traceback once per code location."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from gradio.exceptions import ComponentProcessingError
from pydantic import ValidationError

from hmdb.errors import DataError, HmdbError
from hmdb.text import first_line, one_line

log = logging.getLogger(__name__)

UNEXPECTED = "This failed unexpectedly. Check what you sent, or try again."
WRONG_TYPE = "A value has the wrong type."
MAX_MESSAGE = 200  # characters of an error message in the log
LOGGERS = ("uvicorn.error", "asyncio", "mcp.server.lowlevel.server", "root")  # which log tracebacks of the page


class SafeErrorBlocks(gr.Blocks):
    """Blocks that report each error to the client in one plain line.

    Gradio's own messages quote the input with the paths of uploads, or are empty; and it prints a traceback each time.
    """

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*arguments, **options)
        except Exception as error:
            raise gr.Error(_message(error), print_exception=False) from error

    async def preprocess_data(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().preprocess_data(*arguments, **options)
        except (gr.Error, ValidationError, ComponentProcessingError) as error:
            raise DataError(WRONG_TYPE) from error


def _message(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, ComponentProcessingError) else error
    return str(cause) if isinstance(cause, HmdbError) else unexpected_error_message(error)


def unexpected_error_message(error: Exception) -> str:
    """The message for an unexpected error; the log has the details."""
    log.error("Unexpected error", exc_info=error)
    return UNEXPECTED


class TracebackOnceFilter(logging.Filter):
    """Drops the traceback of an error that was raised at the same line of code before."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[type[BaseException], str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            origin = type(error), *_origin(error)
            if origin in self._seen:
                message = one_line(first_line(error))[:MAX_MESSAGE]
                record.msg, record.args = f"{record.getMessage().rstrip()}: {type(error).__name__}: {message}", ()
                record.exc_info = record.exc_text = None
            self._seen.add(origin)
        elif record.name == "root":  # where MCP quotes invalid messages over many lines
            record.msg, record.args = one_line(record.getMessage())[:MAX_MESSAGE], ()
        return True


def _origin(error: BaseException) -> tuple[str, int]:
    """The file and line that raised an error."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return (frame.tb_frame.f_code.co_filename, frame.tb_lineno) if frame else ("", 0)


TRACEBACK_ONCE = TracebackOnceFilter()


def install_log_filter() -> None:
    """Installs the filter of tracebacks in the page's loggers; repeated calls change nothing."""
    for logger in (log, *map(logging.getLogger, LOGGERS)):
        logger.addFilter(TRACEBACK_ONCE)
