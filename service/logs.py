"""Logs: one line per event on standard output, as text for people or JSON for machines."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being handled; every line logged meanwhile carries it."""


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


def set_up_logs(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logging to `stream`, by default standard output, in the format chosen."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(noisy).setLevel("WARNING")
