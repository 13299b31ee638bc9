"""Logs: one line per event, for machines or for people."""

import json
import logging
import sys
from datetime import datetime

import pytest

from service.logs import REQUEST_ID, JsonFormatter, TextFormatter, set_up_logs


def record(message: str, *, failed: bool = False, **fields: object) -> logging.LogRecord:
    error = None
    if failed:
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            error = sys.exc_info()
    line = logging.LogRecord("holdfast.x", logging.INFO, __file__, 1, message, (), error)
    line.fields = fields
    return line


def test_a_json_line_is_one_object_with_the_fields() -> None:
    line = json.loads(JsonFormatter().format(record("request", status=200, code="ok")))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "holdfast.x",
        "message": "request",
        "status": 200,
        "code": "ok",
    }


def test_a_line_carries_the_request_it_belongs_to() -> None:
    token = REQUEST_ID.set("r-1")
    try:
        assert json.loads(JsonFormatter().format(record("x")))["request_id"] == "r-1"
        assert "request_id=r-1" in TextFormatter().format(record("x"))
    finally:
        REQUEST_ID.reset(token)


def test_an_error_comes_with_its_traceback() -> None:
    assert "broken" in json.loads(JsonFormatter().format(record("x", failed=True)))["error"]
    assert TextFormatter().format(record("x", failed=True)).endswith("RuntimeError: broken")


def test_what_a_caller_sent_cannot_forge_a_line() -> None:
    for formatter in (JsonFormatter(), TextFormatter()):
        assert len(formatter.format(record("x", path="/a\n12:00:00 error")).splitlines()) == 1


def test_setting_up_replaces_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up_logs("json", "warning")
        set_up_logs("json", "warning")
        logging.getLogger("holdfast").warning("once")
        logging.getLogger("holdfast").info("never")
        assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == [
            "once"
        ]
    finally:
        root.handlers[:], root.level = before
