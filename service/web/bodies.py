"""Read a request's body: strictly JSON, into the typed struct that a route declares.

msgspec decodes in a microsecond, and its first error is enough to refuse. Only then is the body
looked at closely, to tell malformed (400) from invalid (422) and to name every wrong field.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from service.results import Refusal
from service.web.responses import ENCODER

MAX_BYTES = 1024 * 1024
READ_SECONDS = 10.0
FREE_BYTES = 64 * 1024
"""Of a body that arrives in pieces; what is longer takes from the room that all share."""
SHARED_BYTES = 64 * MAX_BYTES
"""What bodies that have not fully arrived may hold in a process, beside their FREE_BYTES."""
MAX_DEPTH = 64
"""Of arrays and objects in each other; no body of ours needs ten."""
MAX_ERRORS = 20
MAX_ECHO = 200
"""Characters of a caller's own text that an error repeats."""
MAX_BIGINT = 9223372036854775807
LONGEST_NUMBER = 100
"""Digits of an integer."""
TOO_DEEP = "The nesting is too deep"
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
_INTEGER = re.compile(r"-?[0-9]{1,19}")
SURROGATE = re.compile("[\ud800-\udfff]")

Quantity = Annotated[int, msgspec.Meta(ge=1, le=2147483647)]

Login = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}\Z")]
Password = Annotated[str, msgspec.Meta(min_length=8, max_length=128)]
GivenPassword = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""Of one who signs in: it may be from before there were rules."""
Part = Literal["body", "query", "path", "header"]
"""Of a request: what is wrong there is refused as invalid_body, invalid_query, and so on."""

T = TypeVar("T")
D = TypeVar("D", bound=datetime)


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer where there is nothing to tell but that it is so now."""

    status: Literal["success"]
    message: str


class NumericId(str):
    """A positive number as a string, at most 9223372036854775807, no sign, no leading zero."""

    SCHEMA: ClassVar = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$", "examples": ["1001"]}

    _pattern = re.compile(r"[1-9][0-9]{0,18}")

    @classmethod
    def parse(cls, value: object) -> "NumericId":
        """`value` as an id; ValueError when it is none."""
        if not isinstance(value, str):
            raise ValueError("Expected a positive number as a string")
        if not cls._pattern.fullmatch(value) or int(value) > MAX_BIGINT:
            raise ValueError(f"Expected a positive number as a string, at most {MAX_BIGINT}")
        return cls(value)


class OutsideId(str):
    """An id chosen outside: 1-64 visible characters, none of them a colon."""

    SCHEMA: ClassVar = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\s:]+$"}

    _unseen = r"\x01-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
    PATTERN = rf"^[^\x00\ud800-\udfff{_unseen}:]{{1,64}}\Z"
    _pattern = re.compile(PATTERN)

    @classmethod
    def parse(cls, value: object) -> "OutsideId":
        """`value` as an id; ValueError when it is none."""
        if not isinstance(value, str) or not cls._pattern.fullmatch(value):
            raise ValueError("Expected a string of 1-64 visible characters without a colon")
        return cls(value)

    @classmethod
    def check(cls, name: str, value: str) -> None:
        """Refuse (422) a parameter of the path that is no such id."""
        try:
            cls.parse(value)
        except ValueError as error:
            raise refuse_field(name, str(error), "path") from None


class Timestamp(datetime):
    """A moment as RFC 3339 in UTC: YYYY-MM-DDTHH:MM:SS[.fraction]Z."""

    SCHEMA: ClassVar = {"type": "string", "format": "date-time", "pattern": "Z$"}

    _pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)

    @classmethod
    def parse(cls, value: object) -> "Timestamp":
        """`value` as a moment, cut to microseconds; ValueError when it is none."""
        if not isinstance(value, str) or not cls._pattern.fullmatch(value):
            raise ValueError("Expected RFC 3339 in UTC: YYYY-MM-DDTHH:MM:SSZ")
        return _parse_time(cls, value)


class Moment(datetime):
    """A moment as RFC 3339 with its offset: 2026-11-21T19:00+01:00; the seconds may be absent.

    Of the years 2 to 9998: in every time zone, and a day later, it is a date of four digits.
    """

    SCHEMA: ClassVar = {"type": "string", "format": "date-time"}

    _pattern = re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII
    )

    @classmethod
    def parse(cls, value: object) -> "Moment":
        """`value` as a moment, cut to microseconds; ValueError when it is none."""
        if not isinstance(value, str) or not cls._pattern.fullmatch(value):
            raise ValueError("Expected RFC 3339 with an offset: YYYY-MM-DDTHH:MM:SS+HH:MM")
        moment = _parse_time(cls, value)
        if not 1 < moment.year < 9999:
            raise ValueError("Expected a year from 2 to 9998")
        return moment


class Email(str):
    """An e-mail address of at most 254 characters, without quotes or comments."""

    SCHEMA: ClassVar = {"type": "string", "format": "email", "maxLength": 254}

    _pattern = re.compile(
        r"[^\s@<>()\[\]\\,;:\"\x00-\x20\x7f]{1,64}@[^\s@\x00-\x20\x7f<>,;]+\.[^\s@.<>,;]+"
    )

    @classmethod
    def parse(cls, value: object) -> "Email":
        """`value` as an address; ValueError when it is none."""
        is_text = isinstance(value, str) and len(value) <= 254 and value.isprintable()
        if not is_text or not cls._pattern.fullmatch(str(value)):
            raise ValueError("Expected an e-mail address, such as ann@example.org")
        return cls(value)


class Phone(str):
    """A phone number as people write it: 4 to 32 digits, spaces, hyphens, brackets."""

    SCHEMA: ClassVar = {"type": "string", "pattern": r"^\+?[0-9 ()./-]{3,31}$"}

    _pattern = re.compile(r"\+?[0-9 ()./-]{3,31}", re.ASCII)

    @classmethod
    def parse(cls, value: object) -> "Phone":
        """`value` as a number; ValueError when it is none."""
        if not isinstance(value, str) or not cls._pattern.fullmatch(value):
            raise ValueError("Expected a phone number, such as +44 20 7946 0000")
        if sum(character.isdigit() for character in value) < 3:
            raise ValueError("Expected a phone number, such as +44 20 7946 0000")
        return cls(value)


class PersonName(str):
    """What somebody is called: one line of at most 200 visible characters."""

    SCHEMA: ClassVar = {"type": "string", "maxLength": 200}

    @classmethod
    def parse(cls, value: object) -> "PersonName":
        """`value` as a name; ValueError when it is none."""
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise ValueError("Expected one line of at most 200 characters")
        return cls(value)


def parse_custom(kind: Any, value: object) -> Any:
    """msgspec's hook for the types above."""
    return kind.parse(value)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a route that takes none: an empty object."""


_NOTHING = msgspec.json.Decoder(Nothing)
_BODY = web.RequestKey("_BODY", bytes)


async def read_body(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type, or a Refusal: 400, 408, 413, 415, 422 or 503."""
    check_headers(request)
    return decode(await read_bytes(request), decoder)


async def refuse_body(request: web.Request) -> None:
    """Refuse a body that says anything to a route that takes none."""
    if (await read_bytes(request)).strip():
        await read_body(request, _NOTHING)


async def read_bytes(request: web.Request) -> bytes:
    """The body as it came, however often it is asked for; or a Refusal: 400, 408, 413 or 503."""
    content = request.content
    if content.at_eof():  # it is empty, or was read before
        known: bytes = request.get(_BODY, b"")
        return known
    try:
        if content.is_eof():  # it came along with its headers, as nearly always
            body = content.read_nowait()
        else:
            async with asyncio.timeout(READ_SECONDS):
                body = await _collect(request)
    except TimeoutError:
        raise Refusal("request_timeout") from None
    except (HttpProcessingError, web.RequestPayloadError, ConnectionError) as error:
        raise Refusal("bad_request", f"The body cannot be read: {error}") from None
    if len(body) > MAX_BYTES:
        raise Refusal("body_too_large")
    request[_BODY] = body
    return body


class _Room:
    """What bodies that have not fully arrived hold in this process, beside their FREE_BYTES."""

    taken = 0

    def __init__(self) -> None:
        self._mine = 0

    def take(self, length: int) -> None:
        """This body is of so many bytes by now; Refusal where it, or all of them, are too long."""
        more = max(length - FREE_BYTES, 0) - self._mine
        if length > MAX_BYTES:
            raise Refusal("body_too_large")
        if _Room.taken + more > SHARED_BYTES:
            raise Refusal("overloaded", "Too many large bodies are under way; try again shortly.")
        self._mine += more
        _Room.taken += more

    def leave(self) -> None:
        """It has arrived, or never will."""
        _Room.taken -= self._mine


async def _collect(request: web.Request) -> bytes:
    """The pieces of a body, as they arrive."""
    room, body = _Room(), bytearray()
    try:
        if (request.content_length or 0) > MAX_BYTES:  # nobody waits for what will be refused
            raise Refusal("body_too_large")
        while piece := await request.content.readany():
            body += piece
            room.take(len(body))
        return bytes(body)
    finally:
        room.leave()


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """`body` as the decoder's type; Refusal malformed_json (400) or invalid_body (422)."""
    try:
        value = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(body, decoder, error)
    # A repeated key decodes silently. It also brings quotes that the value lacks; looking at each
    # key would take ten times as long.
    if b"\\" in body or body.count(b'"') != _quotes_of(value):
        _parse(body)
    return value


def _quotes_of(value: Any) -> int:
    """How many quotes the JSON of a decoded value has."""
    if isinstance(value, list):
        return sum(map(_quotes_of, value))
    kind: Any = type(value)
    if (quotes := _quotes_in(kind)) is not None:
        return quotes
    # A struct with defaults omits them, so that its encoding has no quote that the body lacks.
    return ENCODER.encode(value).count(b'"')


@cache
def _quotes_in(kind: Any) -> int | None:
    """How many quotes the JSON of a `kind` has, where it is as many for each value."""
    kind = getattr(kind, "__origin__", kind)
    if not isinstance(kind, type):
        return None
    if issubclass(kind, int):
        return 0
    if issubclass(kind, (str, datetime)):
        return 2
    if not issubclass(kind, msgspec.Struct):
        return None
    fields = msgspec.structs.fields(kind)
    values = [_quotes_in(field.type) if field.required else None for field in fields]
    return None if None in values else 2 * len(fields) + sum(filter(None, values))


def read_query(request: web.Request, kind: type[T]) -> T:
    """The query string as the struct `kind`; Refusal 422 naming what is wrong."""
    values = dict(request.query)
    for name in values:
        if len(request.query.getall(name)) > 1:
            raise refuse_field(name, "Given more than once", "query")
        check_text(name, values[name], "query")
    struct: Any = kind
    for name in _integers_of(struct) & values.keys():
        if not _INTEGER.fullmatch(values[name]):  # msgspec takes 1e2, too
            raise refuse_field(name, "Expected an integer", "query")
    query = convert_fields(values, kind, "query")
    for field in msgspec.structs.fields(struct):  # msgspec takes the word null for nothing
        if field.encode_name in values and getattr(query, field.name) is None:
            raise refuse_field(field.encode_name, "Expected a value, got null", "query")
    return query


def convert_fields(values: dict[str, Any], kind: type[T], part: Part = "body") -> T:
    """Fields, written as text or not, as the struct `kind`; Refusal 422 naming what is wrong."""
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=parse_custom)
    except msgspec.ValidationError as error:
        message, path = _explain(error)
        raise refuse_field(path.removeprefix("."), message, part) from None


@cache
def _integers_of(kind: Any) -> frozenset[str]:
    """The fields of a struct that hold an integer or nothing."""
    found = set()
    for field in msgspec.structs.fields(kind):
        info = msgspec.inspect.type_info(field.type)
        types = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
        if any(isinstance(each, msgspec.inspect.IntType) for each in types):
            found.add(field.encode_name)
    return frozenset(found)


def check_text(name: str, value: str, part: Part = "body") -> None:
    """Refuse text that no text column can hold: with a NUL or half of a surrogate pair."""
    if not value.isprintable() and ("\0" in value or SURROGATE.search(value)):
        raise refuse_field(name, "Text holds a NUL or half of a surrogate pair", part)


def refuse_field(name: str, message: str, part: Part = "body") -> Refusal:
    """The refusal (422) of one field, parameter or header."""
    return _refuse_fields([_error(name, message)], part)


def check_headers(request: web.Request) -> None:
    """Refuse (415) what does not say that it is JSON, as it is: what is compressed can be huge."""
    headers = request.headers
    if "Content-Encoding" in headers:
        raise Refusal("unsupported_media_type", "No Content-Encoding is taken.")
    if headers.get("Content-Type") == "application/json":
        return  # as nearly always
    if request.content_type != "application/json":
        raise Refusal("unsupported_media_type", "Content-Type must be application/json.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refusal("unsupported_media_type", "The charset must be UTF-8.")


def _parse(body: bytes) -> Any:
    """The body as plain objects, or Refusal: malformed JSON, or text that cannot be stored."""
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_number,
            parse_float=_finite,
            # Called for each number; a million short ones would take 70 ms more.
            parse_int=_short_int if _LONG_NUMBER.search(body) else None,
        )
    except RecursionError:
        raise Refusal("malformed_json", TOO_DEEP) from None
    except ValueError as error:
        raise Refusal("malformed_json", str(error)) from None
    _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    """Refuse what is nested too deep, and text that cannot be stored.

    Level by level, not by recursion: the parser's own limit is another one in each Python.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        within: list[Any] = []
        for each in level:
            kind = type(each)
            if kind is str:
                check_text("", each)
            elif kind is dict:
                within += each
                within += each.values()
            elif kind is list:
                within += each
        level = within
    if level:
        raise Refusal("malformed_json", TOO_DEEP)


def _refuse(body: bytes, decoder: msgspec.json.Decoder[Any], error: Exception) -> NoReturn:
    value = _parse(body)
    errors = [*islice(_field_errors(value, decoder.type), MAX_ERRORS)]
    message, path = _explain(error)
    raise _refuse_fields(errors or [_error(path.removeprefix("."), message)], "body")


def _refuse_fields(errors: list[dict[str, str]], part: Part) -> Refusal:
    first = errors[0]
    detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return Refusal(f"invalid_{part}", detail, errors=errors)


def _field_errors(value: Any, kind: Any) -> Iterator[dict[str, str]]:
    """Every wrong field of an object that should be the struct `kind`, one error each."""
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if not (is_struct and isinstance(value, dict)):
        return
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, field in known.items():
        if name not in value:
            if field.required:
                yield _error(name, "Field is required")
            continue
        try:
            msgspec.convert(value[name], field.type, dec_hook=parse_custom)
        except msgspec.ValidationError as error:
            message, path = _explain(error)
            yield _error(name + path, message)
    yield from (_error(name, "Unknown field") for name in value if name not in known)


def _explain(error: Exception) -> tuple[str, str]:
    """What msgspec says is wrong, and where: `.quantity`, `.lines[0].quantity`, or nothing."""
    message, _, path = str(error).partition(" - at `$")
    return message, path.rstrip("`")


def _error(field: str, message: str) -> dict[str, str]:
    return {"field": _shorten(field), "message": _shorten(message)}


def _shorten(text: str) -> str:
    """What an error repeats of a caller's own words."""
    return text if len(text) <= MAX_ECHO else text[:MAX_ECHO] + "…"


def _parse_time(kind: type[D], value: str) -> D:
    """A time that RFC 3339 writes; ValueError for one that is none."""
    try:
        return kind.fromisoformat(value)
    except ValueError:
        raise ValueError("There is no such date or time") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("A key is repeated in an object")
    return members


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("A number is out of range")
    return number


def _short_int(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("A number has too many digits")
    return int(digits)
