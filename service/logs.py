"""Logs: one line per event on standard output, as text for people or JSON for machines.

What one turn of the event loop logs is written at once, since each write is a system call. The line
of a request goes past Python's logging, whose record, handler and formatter cost 40 µs.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import msgspec

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being handled; every line logged meanwhile carries it."""

ENCODER = msgspec.json.Encoder()


class RequestLine(msgspec.Struct, gc=False):
    """What is logged of a request; the fields of every line come first."""

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    path: str
    status: int
    code: str
    ms: float
    """From its headers to its answer."""
    caller: str
    """Who sent it: `user:17`, `key:3`, `anonymous`; empty where nobody was admitted."""
    remote: str
    """The client's address, as proxies of ours tell it."""


class JsonFormatter(logging.Formatter):
    """{"time", "level", "logger", "message", …fields, "error"?} on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON object."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return ENCODER.encode(line).decode()


class TextFormatter(logging.Formatter):
    """Time, level, message, then key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line for people."""
        line = _as_text(
            record.created, record.levelname.lower(), record.getMessage(), _fields(record).items()
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _as_text(created: float, level: str, message: str, fields: Iterable[tuple[str, Any]]) -> str:
    """A line for people, of an event at `created`, in seconds of Unix time."""
    pairs = " ".join([f"{name}={value}" for name, value in fields])
    # A line break in what a caller sent must not look like a line of ours.
    text = f"{message} {pairs}".rstrip().replace("\r", "\\r").replace("\n", "\\n")
    return f"{_clock(int(created))}.{created % 1 * 1000:03.0f} {level:7} {text}"


@lru_cache(maxsize=1)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


class _Lines:
    """Lines on their way to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._is_due = False

    def add(self, line: RequestLine | str) -> None:
        """Write a line at the end of this turn; at once where no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # perhaps another thread, so past the buffer
            self._write(f"{line if isinstance(line, str) else ENCODER.encode(line).decode()}\n")
            return
        if isinstance(line, str):
            self._buffer += line.encode(errors="backslashreplace")
        else:
            ENCODER.encode_into(line, self._buffer, -1)
        self._buffer += b"\n"
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is left."""
        self._is_due = False
        if self._buffer:
            self._write(self._buffer.decode())
            self._buffer.clear()

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # whoever read us has gone, or the stream is closed
            self._stream.write(text)
            self._stream.flush()


class _Handler(logging.Handler):
    """Where Python's logging ends."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record's line."""
        try:
            self.lines.add(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what is left."""
        self.lines.flush()


class _Requests:
    """Where the lines of requests go: nowhere before logs are set up."""

    lines: _Lines | None = None
    is_json = False


def log_request(line: RequestLine) -> None:
    """Log the line of a request."""
    if _Requests.lines is None:
        return
    if _Requests.is_json:
        _Requests.lines.add(line)
    else:
        values = msgspec.structs.astuple(line)
        fields = zip(line.__struct_fields__[4:], values[4:], strict=True)
        text = _as_text(line.time.timestamp(), line.level, line.message, fields)
        _Requests.lines.add(text)


def set_up_logs(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logging to `stream`, by default standard output, in the format chosen."""
    # Not in our lines, and a third of what a record costs (Python's logging HOWTO, Optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    lines = _Lines(stream or sys.stdout)
    _Requests.lines, _Requests.is_json = lines, log_format == "json"
    handler = _Handler(lines)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(noisy).setLevel("WARNING")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says: `extra={"fields": {…}}` of the call, and the request's id."""
    fields = dict(getattr(record, "fields", ()))
    if "request_id" not in fields and (request_id := REQUEST_ID.get()):
        fields["request_id"] = request_id
    return fields
