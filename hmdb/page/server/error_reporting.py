"""What goes wrong, in a line: to a visitor without what is inside, to the log with a traceback the first time."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from gradio.exceptions import ComponentProcessingError
from pydantic import ValidationError

from hmdb.errors import DataError, HmdbError
from hmdb.text import first_line, one_line

log = logging.getLogger(__name__)

UNEXPECTED = "This could not be answered. Look at what was sent, or try again."
WRONG_TYPE = "A value that was sent here has the wrong type."
MAX_MESSAGE = 200  # of the message of an error in the log, in characters
LOGGERS = ("uvicorn.error", "asyncio", "mcp.server.lowlevel.server", "root")  # whose tracebacks are of this page


class SafeErrorBlocks(gr.Blocks):
    """Blocks whose visitors are told each error in a plain line.

    Gradio's own lines quote what was sent, with the paths of uploads, or say nothing; and it prints a traceback each
    time.
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
    """What is said of an error that nobody meant. The log has the rest."""
    log.error("An error that nobody meant", exc_info=error)
    return UNEXPECTED


class TracebackOnceFilter(logging.Filter):
    """Leaves the traceback out of a record whose error was logged before from the same place."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[type[BaseException], str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            place = type(error), *_place(error)
            if place in self._seen:
                words = one_line(first_line(error))[:MAX_MESSAGE]
                record.msg, record.args = f"{record.getMessage().rstrip()}: {type(error).__name__}: {words}", ()
                record.exc_info = record.exc_text = None
            self._seen.add(place)
        elif record.name == "root":  # MCP quotes there what it does not understand, over many lines
            record.msg, record.args = one_line(record.getMessage())[:MAX_MESSAGE], ()
        return True


def _place(error: BaseException) -> tuple[str, int]:
    """The line of code that raised an error."""
    step = error.__traceback__
    while step and step.tb_next:
        step = step.tb_next
    return (step.tb_frame.f_code.co_filename, step.tb_lineno) if step else ("", 0)


TRACEBACK_ONCE = TracebackOnceFilter()


def install_log_filter() -> None:
    """From now on, for the whole process."""
    for each in (log, *map(logging.getLogger, LOGGERS)):
        each.addFilter(TRACEBACK_ONCE)  # once, however often it is asked for
