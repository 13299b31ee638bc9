"""Logs: one line per event, for machines or for people."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from service import logs
from service.logs import REQUEST_ID, JsonFormatter, RequestLine, TextFormatter, set_up_logs


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


@pytest.fixture
def logged() -> Iterator[Callable[..., io.StringIO]]:
    """logged("json"): what is logged from now on, until the test ends."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, vars(logs._Requests).copy()

    def begin(log_format: str, level: str = "info") -> io.StringIO:
        stream = io.StringIO()
        set_up_logs(log_format, level, stream)
        return stream

    yield begin
    root.handlers[:], root.level = before[:2]
    logs._Requests.lines, logs._Requests.is_json = before[2]["lines"], before[2]["is_json"]


LINE = RequestLine(
    time=datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC),
    level="info",
    logger="holdfast.http",
    message="request",
    request_id="r-1",
    method="POST",
    path="/api/v1/reserve",
    status=200,
    code="ok",
    ms=1.25,
    caller="key:3",
    remote="127.0.0.1",
)


def as_record(line: RequestLine) -> logging.LogRecord:
    """The record that Python's logging would make of the line of a request."""
    fields = msgspec.structs.asdict(line)
    made = record(fields.pop("message"), **{name: fields[name] for name in list(fields)[3:]})
    made.name, made.created = line.logger, line.time.timestamp()
    return made


def test_the_line_of_a_request_reads_like_every_other(
    logged: Callable[..., io.StringIO],
) -> None:
    written = logged("json")
    logs.log_request(LINE)
    assert written.getvalue() == JsonFormatter().format(as_record(LINE)) + "\n"
    written = logged("text")
    logs.log_request(LINE)
    assert written.getvalue() == TextFormatter().format(as_record(LINE)) + "\n"
    logs.log_request(msgspec.structs.replace(LINE, path="/a\n12:00:00 error"))
    assert len(written.getvalue().splitlines()) == 2


async def test_what_one_turn_logs_is_written_at_once_and_in_order(
    logged: Callable[..., io.StringIO],
) -> None:
    written = logged("json")
    logging.getLogger("holdfast").info("before")
    logs.log_request(LINE)
    logging.getLogger("holdfast").info("after")
    await asyncio.to_thread(logging.getLogger("holdfast").info, "aside")
    assert written.getvalue()
    messages = [json.loads(line)["message"] for line in written.getvalue().splitlines()]
    assert [each for each in messages if each != "aside"] == ["before", "request", "after"]
    assert "aside" in messages


async def test_nothing_is_written_before_the_turn_ends_and_all_at_the_end(
    logged: Callable[..., io.StringIO],
) -> None:
    written = logged("text")
    logs.log_request(LINE)
    assert written.getvalue() == ""
    logging.getLogger().handlers[0].flush()
    assert "POST" in written.getvalue()


async def test_a_closed_stream_is_no_error_of_ours(logged: Callable[..., io.StringIO]) -> None:
    logged("json").close()
    logs.log_request(LINE)
    await asyncio.sleep(0)


def test_setting_up_replaces_what_was_there(logged: Callable[..., io.StringIO]) -> None:
    logged("json")
    written = logged("json", "warning")
    logging.getLogger("holdfast").warning("once")
    logging.getLogger("holdfast").info("never")
    assert [json.loads(line)["message"] for line in written.getvalue().splitlines()] == ["once"]


def test_without_a_stream_lines_go_to_standard_output(
    logged: Callable[..., io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    logged("json")
    set_up_logs("text", "warning")
    logging.getLogger("holdfast").warning("once")
    assert capsys.readouterr().out.endswith(" once\n")
