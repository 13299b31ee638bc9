"""Logs: one line per event on standard output, as text for people or JSON for machines."""

import asyncio
import logging
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being handled; every line logged meanwhile carries it."""


class Event(logging.LogRecord):
    """A line that is all fields. A quarter of a LogRecord's cost, which each request would pay.

    Which line of code or thread a request was logged by is nothing anybody looks for.
    """

    args = exc_info = exc_text = stack_info = None
    pathname = filename = module = ""
    lineno = 0

    def __init__(self, name: str, level: int, msg: str, fields: dict[str, Any]) -> None:
        self.name, self.levelno, self.msg, self.fields = name, level, msg, fields
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.msecs = self.created % 1 * 1000


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a line says: `extra={"fields": {…}}` of the call, and the request's id."""
        fields = dict(getattr(record, "fields", ()))
        if "request_id" not in fields and (request_id := REQUEST_ID.get()):
            fields["request_id"] = request_id
        return fields


class JsonFormatter(_Formatter):
    """{"time", "level", "logger", "message", …fields, "error"?} on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON object."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextFormatter(_Formatter):
    """Time, level, message, then key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line for people."""
        time = self.formatTime(record, "%H:%M:%S")
        pairs = " ".join(f"{key}={value}" for key, value in self.fields(record).items())
        # A line break in what a caller sent must not look like a line of ours.
        text = f"{record.getMessage()} {pairs}".rstrip().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{time}.{record.msecs:03.0f} {record.levelname.lower():7} {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Handler(logging.StreamHandler[TextIO]):
    """Writes what one turn of the event loop has logged at once: each write is a system call."""

    _is_due = False

    def flush(self) -> None:
        """Write at the end of this turn; at once where no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            super().flush()
            return
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._write)

    def close(self) -> None:
        """Write what is left."""
        self._write()
        super().close()

    def _write(self) -> None:
        self._is_due = False
        with suppress(OSError, ValueError):  # whoever read us has gone, or the stream is closed
            super().flush()


def set_up_logs(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logging to `stream`, by default standard output, in the format chosen."""
    # Not in our lines, and a third of what a record costs (Python's logging HOWTO, Optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = _Handler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(noisy).setLevel("WARNING")
