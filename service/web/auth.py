"""Credentials: who sends a request, by the token of a user or by the key of a system.

A token is a JWT, signed by HS256 and nothing else. Whether it is still taken — its expiry, its
session, its user — the database says at each request, so that a disabled user is out at once.

Keys are stale-while-revalidate: one that was looked up within a second is used at once, within two
seconds it is used and looked up again in the background.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar

import jwt
import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.database.pool import Database
from service.results import Refusal
from service.settings import Settings
from service.web.bodies import MAX_BIGINT, OutsideId, parse_custom
from service.web.clients import CLIENTS
from service.web.context import STORE_ID
from service.web.passwords import Passwords
from service.web.routing import ANONYMOUS, Caller

CHECK_TOKEN = text(
    "SELECT * FROM check_token(:store_id, :user_id, :session_id, :token_number, :expires_at,"
    " CAST(:totp_roles AS text[]))"
)
TOUCH_SESSION = text("SELECT * FROM touch_session(:store_id, :session_id)")
CHECK_API_KEY = text("SELECT * FROM check_api_key(:store_id, :key_hash)")
CHECK_CALLERS = text(
    "SELECT * FROM check_callers(:store_id, CAST(:session_ids AS bigint[]),"
    " CAST(:expires_at AS timestamptz[]), CAST(:key_ids AS bigint[]))"
)

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "holdfast"
REFRESH_AUDIENCE = "holdfast-refresh"
"""Of refresh tokens, which are good for nothing else."""
SESSION_LIFETIME = timedelta(days=30)
"""However much it is used: then the password is asked for again."""
TOTP_ROLES = {"none": [], "admin": ["admin"], "staff": ["staff", "admin"]}
"""Who has to sign in with a one-time password, by HOLDFAST_REQUIRE_TOTP."""

BEARER = "bearer."
KEY_PREFIX = "hf_"
KEY = re.compile(r"hf_([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{43}")
FRESH_SECONDS = 1.0
BELIEVED_SECONDS = 2.0
"""How long after a key is revoked some process may still take it."""

C = TypeVar("C")

UnixTime = Annotated[int, msgspec.Meta(ge=0, le=253402300799)]


class Claims(msgspec.Struct, frozen=True):
    """What a token says, beside who made it for whom (`iss`, `aud`)."""

    sub: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}\Z")]
    """The user's id."""
    store: OutsideId
    role: str
    """For the client to know; what the user may do now is asked of the database."""
    sid: Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]
    """The session."""
    num: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 2)]
    """Which of the session's tokens, from 1."""
    iat: UnixTime
    exp: UnixTime
    auth_time: UnixTime
    """When the password was given."""


class RefreshClaims(msgspec.Struct, frozen=True):
    """What a refresh token of an earlier client says: which session it may renew."""

    store: OutsideId
    sid: Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


class Grant(msgspec.Struct, frozen=True):
    """The newest token of a session, as the database says; times in Unix seconds."""

    session_id: int
    token_number: int
    user_id: int
    role: str
    signed_in_at: int
    issued_at: int
    expires_at: int
    """When the session ends, whatever becomes of its tokens."""


class Access(msgspec.Struct, frozen=True):
    """What a token that is still taken lets its user do."""

    login: str
    role: str
    lacks_totp: bool
    is_stale: bool


class KeyAccess(msgspec.Struct, frozen=True):
    """What a key that is good may do."""

    key_id: int
    scopes: list[str]


class StillGood(msgspec.Struct, frozen=True):
    """Of the sessions and the keys that were asked about, in that order, which are good."""

    sessions: list[bool]
    keys: list[bool]


class Tokens:
    """Signs and reads users' tokens; any of several secrets is taken, the first one signs."""

    def __init__(self, secrets_: Sequence[str], seconds: int) -> None:
        self._secrets = {_key_id(secret): secret for secret in secrets_}
        self._seconds = seconds

    def answer(self, store_id: str, grant: Grant) -> dict[str, Any]:
        """The answer with the token that was granted, good until its session's end at most."""
        claims = Claims(
            sub=str(grant.user_id),
            store=OutsideId(store_id),
            role=grant.role,
            sid=grant.session_id,
            num=grant.token_number,
            iat=grant.issued_at,
            exp=min(grant.issued_at + self._seconds, grant.expires_at),
            auth_time=grant.signed_in_at,
        )
        return {
            "access_token": self._sign(AUDIENCE, msgspec.structs.asdict(claims)),
            "token_type": "bearer",
            "expires_in": claims.exp - claims.iat,
        }

    def refresh_token(self, store_id: str, grant: Grant) -> str:
        """What an earlier client shows to renew its session, as often as it likes until the end."""
        claims = {"sub": str(grant.user_id), "store": store_id, "sid": grant.session_id}
        times = {"iat": grant.issued_at, "exp": grant.expires_at}
        return self._sign(REFRESH_AUDIENCE, claims | times)

    def read(self, token: str) -> Claims:
        """What a token says that we have signed; Refusal 401, the same for whatever is wrong.

        Its expiry is not looked at: the database's clock decides.
        """
        return self._read(token, AUDIENCE, Claims)

    def read_refresh(self, token: str) -> RefreshClaims:
        """The same of a refresh token."""
        return self._read(token, REFRESH_AUDIENCE, RefreshClaims)

    def _sign(self, audience: str, claims: dict[str, Any]) -> str:
        key_id, secret = next(iter(self._secrets.items()))
        payload = {"iss": ISSUER, "aud": audience, **claims}
        return jwt.encode(payload, secret, ALGORITHM, headers={"kid": key_id})

    def _read(self, token: str, audience: str, kind: type[C]) -> C:
        try:
            secret = self._secrets[jwt.get_unverified_header(token)["kid"]]
            payload = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=audience,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return msgspec.convert(payload, kind, dec_hook=parse_custom)
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, RecursionError):
            raise Refusal("unauthorized") from None


class _Known(NamedTuple):
    """A key that was good when it was looked up."""

    caller: Caller
    at: float


class Auth:
    """Tells who is behind credentials, and makes them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.tokens = Tokens(
            settings.jwt_secrets or [secrets.token_urlsafe(32)], settings.token_seconds
        )
        self.passwords = Passwords()
        self._database = database
        self.totp_roles = TOTP_ROLES[settings.require_totp]
        """Of users who have to sign in with a one-time password."""
        self._keys: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[Caller]] = {}
        self._touches: dict[int, asyncio.Task[None]] = {}

    async def identify(self, bearer: str | None) -> Caller:
        """Who shows this token or key; ANONYMOUS without one, Refusal 401 for a bad one."""
        if bearer is None:
            return ANONYMOUS
        if not bearer.isascii():
            raise Refusal("unauthorized")
        if bearer.startswith(KEY_PREFIX):
            return await self._identify_key(bearer)
        return await self._identify_user(bearer)

    async def ended(self, callers: Iterable[Caller]) -> set[Caller]:
        """Those who would not be let in any more, for connections that outlive their request.

        A user is out when disabled or signed out, when the session has ended or the token has
        expired (a refresh is no reason); a key when it is revoked or past its end. Whoever shows
        no credentials stays. One cheap call for each store that they are of. Raises Refusal.
        """
        by_store: dict[str, list[Caller]] = {}
        for caller in set(callers):
            if caller.store_id is not None:
                by_store.setdefault(caller.store_id, []).append(caller)
        ended: set[Caller] = set()
        for store_id, asked in by_store.items():
            users = [caller for caller in asked if caller.session_id is not None]
            keys = [caller for caller in asked if caller.key_id is not None]
            row = await self._database.read(
                CHECK_CALLERS,
                store_id=store_id,
                session_ids=[caller.session_id for caller in users],
                expires_at=[_moment(caller.expires_at) for caller in users],
                key_ids=[caller.key_id for caller in keys],
            )
            good = msgspec.json.decode(row.document, type=StillGood)
            known = zip([*users, *keys], [*good.sessions, *good.keys], strict=True)
            ended |= {caller for caller, is_good in known if not is_good}
        return ended

    def client_address(self, request: web.Request) -> str:
        """What limits count a request's client by."""
        return request.app[CLIENTS].network(request)

    async def close(self) -> None:
        """Wait for what is being looked up and written."""
        self.passwords.close()
        waiting = [*self._lookups.values(), *self._touches.values()]
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _identify_user(self, token: str) -> Caller:
        """Whose token it is and what that user may do now; else Refusal 401."""
        claims = self.tokens.read(token)
        user_id = int(claims.sub)
        row = await self._database.read(
            CHECK_TOKEN,
            store_id=claims.store,
            user_id=user_id,
            session_id=claims.sid,
            token_number=claims.num,
            expires_at=_moment(claims.exp),
            totp_roles=self.totp_roles,
        )
        results.check(row)
        access = msgspec.json.decode(row.document, type=Access)
        if access.is_stale and claims.sid not in self._touches:
            touch = self._touches[claims.sid] = asyncio.create_task(
                self._touch(claims.store, claims.sid)
            )
            touch.add_done_callback(lambda _: self._touches.pop(claims.sid))
        return Caller(
            "customer" if access.lacks_totp else access.role,
            f"user:{user_id}",
            user_id,
            claims.store,
            login=access.login,
            session_id=claims.sid,
            token_number=claims.num,
            expires_at=claims.exp,
            lacks="totp_required" if access.lacks_totp else "",
        )

    async def _touch(self, store_id: str, session_id: int) -> None:
        """Write down that a session is used, beside the request: once in a sixtieth of its idle
        limit.
        """
        with suppress(Refusal):  # the next request says so again
            await self._database.call(TOUCH_SESSION, store_id=store_id, session_id=session_id)

    async def _identify_key(self, key: str) -> Caller:
        known = self._keys.get(key)
        age = time.monotonic() - known.at if known else BELIEVED_SECONDS
        if known and age < FRESH_SECONDS:
            return known.caller
        lookup = self._look_up(key)
        if known and age < BELIEVED_SECONDS:
            return known.caller
        return await asyncio.shield(lookup)

    def _look_up(self, key: str) -> asyncio.Task[Caller]:
        """The one look-up of a key that is under way, for all who wait for it."""
        if key not in self._lookups:
            lookup = self._lookups[key] = asyncio.create_task(self._ask(key))
            lookup.add_done_callback(lambda done: self._forget(key, done))
        return self._lookups[key]

    def _forget(self, key: str, lookup: asyncio.Task[Caller]) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # nobody may be waiting for it

    async def _ask(self, key: str) -> Caller:
        started = time.monotonic()
        store_id = _store_of(key)
        row = await self._database.read(CHECK_API_KEY, store_id=store_id, key_hash=digest(key))
        if results.is_error(row.result_code):
            self._keys.pop(key, None)
            raise Refusal(row.result_code)
        access = msgspec.json.decode(row.document, type=KeyAccess)
        caller = Caller(
            "service",
            f"key:{access.key_id}",
            None,
            store_id,
            scopes=frozenset(access.scopes),
            key_id=access.key_id,
        )
        self._keys[key] = _Known(caller, started)
        return caller


AUTH = web.AppKey("AUTH", Auth)


def client_of(request: web.Request) -> dict[str, str]:
    """Where a request comes from, and what its sender calls itself, as a session keeps it."""
    agent = request.headers.get("User-Agent", "")[:200]
    return {
        "address": request.app[AUTH].client_address(request),
        "user_agent": agent.encode("utf-8", "replace").decode(),
    }


async def caller_of(request: web.Request) -> Caller:
    """Who calls a route that is open to everyone: ANONYMOUS where credentials are no good here."""
    try:
        caller = await request.app[AUTH].identify(bearer_of(request))
    except Refusal as refusal:
        if refusal.code != "unauthorized":
            raise
        return ANONYMOUS
    return caller if caller.store_id in (None, request[STORE_ID]) else ANONYMOUS


def bearer_of(request: web.Request) -> str | None:
    """The token or key of a request; None without, Refusal 401 for another kind.

    It stands in the Authorization header or, where a browser cannot set one, that of a WebSocket,
    among the subprotocols: `holdfast, bearer.TOKEN`.
    """
    header = request.headers.get("Authorization")
    if header is None:
        return bearer_token(request.headers.getall("Sec-WebSocket-Protocol", ()))
    scheme, _, bearer = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Refusal("unauthorized")
    return bearer.strip()


def bearer_token(offered: Iterable[str]) -> str | None:
    """The token among `Sec-WebSocket-Protocol` headers, where browsers can put one: `bearer.…`."""
    protocols = (each.strip() for header in offered for each in header.split(","))
    return next((each[len(BEARER) :] for each in protocols if each.startswith(BEARER)), None)


def new_key(store_id: str) -> str:
    """A key of a store, which it names, so that one store alone is asked about it."""
    store = base64.urlsafe_b64encode(store_id.encode()).decode().rstrip("=")
    return f"{KEY_PREFIX}{store}.{secrets.token_urlsafe(32)}"


def digest(secret: str) -> bytes:
    """What is kept of a key or token: SHA-256 does, for nobody guesses 32 random bytes."""
    return hashlib.sha256(secret.encode()).digest()


def _store_of(key: str) -> str:
    match = KEY.fullmatch(key)
    try:
        if not match:
            raise ValueError(key)
        return OutsideId.parse(base64.urlsafe_b64decode(match[1] + "==").decode())
    except ValueError:
        raise Refusal("unauthorized") from None


def _key_id(secret: str) -> str:
    """Names a secret in tokens without telling it."""
    return hashlib.sha256(b"kid:" + secret.encode()).hexdigest()[:8]


def _moment(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)
