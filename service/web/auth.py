"""Credentials: who sends a request, by the token of a user or by the key of a system.

A token is a JWT, signed by HS256 and nothing else. Whether it is still taken — its expiry, its
user, its generation — the database says at each request, so that a disabled user is out at once.

A key is looked up at most once a second and process; between, it is known. A key that is known for
longer is looked up beside the request, not before it, until it is too old to be believed.
"""

import asyncio
import base64
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, NamedTuple, TypeVar

import argon2
import jwt
import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.database.pool import Database
from service.results import Refusal
from service.settings import Network, Settings
from service.web.bodies import OutsideId, parse_custom
from service.web.context import STORE_ID
from service.web.routing import ANONYMOUS, Caller

CHECK_SESSION = text("SELECT * FROM check_session(:store_id, :user_id, :generation, :expires_at)")
USE_API_KEY = text("SELECT * FROM use_api_key(:store_id, :key_hash)")

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "holdfast"
SESSION_SECONDS = 30 * 86400
"""However often it is refreshed: then the password is asked for again."""

BEARER = "bearer."
KEY_PREFIX = "hf_"
KEY = re.compile(r"hf_([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{43}")
FRESH_SECONDS = 1.0
BELIEVED_SECONDS = 2.0
"""How long after a key is revoked some process may still take it."""

HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
NOBODYS_HASH = f"$argon2id$v=19$m={19 * 1024},t=2,p=1${'A' * 22}${'A' * 43}"
"""Compared with where there is no user, so that it takes as long as where there is one."""
MOST_WAITING = 64

T = TypeVar("T")
UnixTime = Annotated[int, msgspec.Meta(ge=0, le=253402300799)]


class Claims(msgspec.Struct, frozen=True):
    """What a token says, beside who made it for whom (`iss`, `aud`)."""

    sub: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}\Z")]
    """The user's id."""
    store: OutsideId
    role: str
    """For the client to know; what the user may do now is asked of the database."""
    gen: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    """The user's token_generation when it was made."""
    iat: UnixTime
    exp: UnixTime
    auth_time: UnixTime
    """When the password was given."""


class Tokens:
    """Signs and reads users' tokens; any of several secrets is taken, the first one signs."""

    def __init__(self, secrets_: Sequence[str], seconds: int) -> None:
        self._secrets = {_key_id(secret): secret for secret in secrets_}
        self._seconds = seconds

    def grant(
        self, store_id: str, user_id: int, role: str, generation: int, now: int, auth_time: int
    ) -> dict[str, Any]:
        """The answer with a token from `now` (Unix seconds) to its session's end at most."""
        claims = Claims(
            sub=str(user_id),
            store=OutsideId(store_id),
            role=role,
            gen=generation,
            iat=now,
            exp=min(now + self._seconds, auth_time + SESSION_SECONDS),
            auth_time=auth_time,
        )
        payload = {"iss": ISSUER, "aud": AUDIENCE, **msgspec.structs.asdict(claims)}
        key_id, secret = next(iter(self._secrets.items()))
        return {
            "access_token": jwt.encode(payload, secret, ALGORITHM, headers={"kid": key_id}),
            "token_type": "bearer",
            "expires_in": claims.exp - now,
        }

    def read(self, token: str) -> Claims:
        """What a token says that we have signed; Refusal 401, the same for whatever is wrong.

        Its expiry is not looked at: the database's clock decides.
        """
        try:
            secret = self._secrets[jwt.get_unverified_header(token)["kid"]]
            payload = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return msgspec.convert(payload, Claims, dec_hook=parse_custom)
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, RecursionError):
            raise Refusal("unauthorized") from None


class Passwords:
    """Hashes passwords in a few threads, so that the event loop never waits for it."""

    def __init__(self) -> None:
        threads = max(1, (os.cpu_count() or 1) // 2)
        self._pool = ThreadPoolExecutor(threads, "argon2")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The argon2id hash of a password, in its encoded form."""
        return await self._run(HASHER.hash, password)

    async def matches(self, known_hash: str | None, password: str) -> bool:
        """Whether it is the password of that hash; without one it is not, as slowly."""
        is_right = await self._run(_verify, known_hash or NOBODYS_HASH, password)
        return is_right and known_hash is not None

    async def _run(self, function: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= MOST_WAITING:
            raise Refusal("overloaded")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, function, *arguments
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


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
        self._proxies = settings.proxies
        self._keys: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[Caller]] = {}

    async def identify(self, bearer: str | None) -> Caller:
        """Who shows this token or key; ANONYMOUS without one, Refusal 401 for a bad one."""
        if bearer is None:
            return ANONYMOUS
        if not bearer.isascii():
            raise Refusal("unauthorized")
        if bearer.startswith(KEY_PREFIX):
            return await self._identify_key(bearer)
        caller, _, _ = await self.check_token(bearer)
        return caller

    async def check_token(self, token: str) -> tuple[Caller, Claims, datetime]:
        """Whose token it is, what it says, and when it was found to be good; else Refusal 401."""
        claims = self.tokens.read(token)
        user_id = int(claims.sub)
        row = await self._database.read(
            CHECK_SESSION,
            store_id=claims.store,
            user_id=user_id,
            generation=claims.gen,
            expires_at=datetime.fromtimestamp(claims.exp, UTC),
        )
        results.check(row)
        caller = Caller(row.user_role, f"user:{user_id}", user_id, claims.store)
        return caller, claims, row.checked_at

    def client_address(self, request: web.Request) -> str:
        """Where a request comes from: what the nearest address says that is no proxy of ours.

        An IPv6 address stands for its network of 64 bits, which is what one client has.
        """
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
        hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
        address = _address(request.remote or "")
        while address and hops and _is_in(address, self._proxies):
            nearer = _address(hops.pop())
            if nearer is None:
                break
            address = nearer
        if isinstance(address, IPv6Address):
            return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
        return str(address)

    async def close(self) -> None:
        """Wait for what is being looked up."""
        self.passwords.close()
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)

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
        row = await self._database.read(USE_API_KEY, store_id=store_id, key_hash=digest(key))
        if results.is_error(row.result_code):
            self._keys.pop(key, None)
            raise Refusal(row.result_code)
        caller = Caller("service", f"key:{row.known_key_id}", None, store_id)
        self._keys[key] = _Known(caller, started)
        return caller


AUTH = web.AppKey("AUTH", Auth)


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


def _verify(known_hash: str, password: str) -> bool:
    try:
        return HASHER.verify(known_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _address(written: str) -> Any:
    try:
        address = ip_address(written)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: Any, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
