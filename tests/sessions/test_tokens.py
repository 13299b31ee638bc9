"""Tokens that are no good are all answered by the same 401."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from service.results import Refusal
from service.web.auth import AUTH, Grant
from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import SECRET, bearer, token_of

ME = "/api/v1/users/me/sessions"
KID = hashlib.sha256(b"kid:" + SECRET.encode()).hexdigest()[:8]


class Maker:
    """Makes tokens of one session: good ones, and such as have a defect."""

    def __init__(self, user_id: int, session_id: int) -> None:
        self.now = int(time.time())
        self.good: dict[str, Any] = {
            "iss": "holdfast",
            "aud": "holdfast",
            "sub": str(user_id),
            "store": "main",
            "role": "customer",
            "sid": session_id,
            "num": 1,
            "iat": self.now,
            "exp": self.now + 600,
            "auth_time": self.now,
        }

    def made(
        self, algorithm: str | None = "HS256", secret: Any = SECRET, kid: Any = KID, **changes: Any
    ) -> str:
        """A token that is good but for what is changed; a claim that is None is left out."""
        claims = {n: value for n, value in (self.good | changes).items() if value is not None}
        return jwt.encode(claims, secret, algorithm, headers={"kid": kid} if kid else None)

    def with_header(self, header: bytes) -> str:
        return ".".join([part(header), *self.made().split(".")[1:]])


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


DEFECTS: dict[str, Callable[[Maker], str]] = {
    "algorithm none": lambda m: m.made(None, ""),
    "algorithm none, signature kept": lambda m: m.with_header(
        json.dumps({"alg": "none", "kid": KID}).encode()
    ),
    "algorithm NONE in capitals": lambda m: m.with_header(
        json.dumps({"alg": "nOnE", "kid": KID}).encode()
    ),
    "another hash": lambda m: m.made("HS512", SECRET * 2),
    "another hash, our secret": lambda m: m.made("HS384", SECRET + SECRET[:16]),
    "confused with a public key": lambda m: m.with_header(
        json.dumps({"alg": "RS256", "kid": KID}).encode()
    ),
    "another secret": lambda m: m.made(secret="t" * 32),
    "a key of its own": lambda m: m.with_header(
        json.dumps({"alg": "HS256", "jwk": {"kty": "oct", "k": ""}}).encode()
    ),
    "no kid": lambda m: m.made(kid=None),
    "unknown kid": lambda m: m.made(kid="00000000"),
    "kid of another type": lambda m: m.with_header(b'{"alg": "HS256", "kid": {"a": 1}}'),
    "critical extension": lambda m: m.with_header(
        json.dumps({"alg": "HS256", "kid": KID, "crit": ["x"]}).encode()
    ),
    "header nested deeply": lambda m: m.with_header(b"[" * 3000),
    "header with a long number": lambda m: m.with_header(b'{"kid": ' + b"9" * 4500 + b"}"),
    "header no object": lambda m: m.with_header(b"[]"),
    "header no JSON": lambda m: m.with_header(b"{"),
    "header not UTF-8": lambda m: m.with_header(b'{"kid": "\xff"}'),
    "payload changed": lambda m: m.made()[:40] + m.made(sub="2")[40:-43] + m.made()[-43:],
    "signature cut": lambda m: m.made()[:-2],
    "two parts": lambda m: m.made().rpartition(".")[0],
    "empty": lambda m: "",
    "no token": lambda m: "token",
    "not ASCII": lambda m: "жетон",
    "wrong audience": lambda m: m.made(aud="else"),
    "audience among others": lambda m: m.made(aud=["holdfast", "else"]),
    "no audience": lambda m: m.made(aud=None),
    "wrong issuer": lambda m: m.made(iss="else"),
    "no issuer": lambda m: m.made(iss=None),
    "expired": lambda m: m.made(iat=m.now - 7000, exp=m.now - 3600),
    "no expiry": lambda m: m.made(exp=None),
    "expiry no number": lambda m: m.made(exp="tomorrow"),
    "expiry beyond all time": lambda m: m.made(exp=10**18),
    "no subject": lambda m: m.made(sub=None),
    "unknown subject": lambda m: m.made(sub="4711"),
    "subject no number": lambda m: m.made(sub="maria"),
    "subject of another script": lambda m: m.made(sub="١"),
    "no store": lambda m: m.made(store=None),
    "unknown store": lambda m: m.made(store="nowhere"),
    "store with a NUL": lambda m: m.made(store="ma\0in"),
    "no session": lambda m: m.made(sid=None),
    "another session": lambda m: m.made(sid=m.good["sid"] + 1),
    "session no number": lambda m: m.made(sid="1"),
    "session beyond all numbers": lambda m: m.made(sid=2**63),
    "no number": lambda m: m.made(num=None),
    "an earlier number": lambda m: m.made(num=0),
    "a later number": lambda m: m.made(num=2),
    "a number beyond all": lambda m: m.made(num=2**31 - 1),
    "a key's shape": lambda m: "hf_" + m.made(),
    "an unknown key": lambda m: "hf_bWFpbg." + "x" * 43,
    "a key of no store": lambda m: "hf_bWE6aW4." + "x" * 43,
    "a key of a store that is no text": lambda m: "hf__w." + "x" * 43,
    "a key of a store of odd length": lambda m: "hf_bWFpb." + "x" * 43,
}


@pytest.fixture
async def api(serve: Any) -> Api:
    """The service in production, with a secret that the tests know."""
    started: Api = await serve(environment="production", jwt_secret=SECRET)
    return started


@pytest.fixture
async def maker(sql: Any, api: Api, user: CreateUser) -> Maker:
    """Of a session that has just begun."""
    user_id = await user("maria")
    await token_of(sql, api, user_id)
    return Maker(user_id, await sql.fetchval("SELECT session_id FROM sessions"))


async def test_every_defect_is_one_identical_401(api: Api, maker: Maker) -> None:
    assert (await api.get(ME, headers=bearer(maker.made()))).status == 200
    without = await api.get(ME)
    assert without.status == 401
    body = await without.read()
    assert json.loads(body)["code"] == "unauthorized"
    for defect, token in DEFECTS.items():
        response = await api.get(ME, headers=bearer(token(maker)))
        assert (response.status, await response.read()) == (401, body), defect
        assert response.headers["WWW-Authenticate"] == "Bearer"
    for header in ("Basic bWFyaWE6cGFzcw==", "Bearer", maker.made(), f"Token {maker.made()}"):
        response = await api.get(ME, headers={"Authorization": header})
        assert (response.status, await response.read()) == (401, body), header
    assert (await api.get(ME, headers=bearer(maker.made()))).status == 200


async def test_the_scheme_is_read_in_any_case(api: Api, maker: Maker) -> None:
    response = await api.get(ME, headers={"Authorization": f"bearer  {maker.made()}"})
    assert response.status == 200


async def test_a_token_stops_at_once_when_its_user_is_disabled(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(user_id := await user("maria"))
    assert (await api.get(ME, headers=header)).status == 200
    await sql.execute("SELECT set_user_active('main', $1, false, NULL)", user_id)
    assert (await api.get(ME, headers=header)).status == 401
    await sql.execute("SELECT set_user_active('main', $1, true, NULL)", user_id)
    assert (await api.get(ME, headers=header)).status == 401
    assert (await api.get(ME, headers=await header_of(user_id))).status == 200


async def test_what_a_user_may_do_is_what_the_database_says_now(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(user_id := await user("maria", role="admin"))
    assert (await api.get("/api/v1/users", headers=header)).status == 200
    await sql.execute("UPDATE users SET role = 'staff' WHERE user_id = $1", user_id)
    response = await api.get("/api/v1/users", headers=header)
    assert (response.status, (await response.json())["code"]) == (403, "forbidden")


async def test_secrets_are_rotated_without_anyone_signed_out(
    serve: Any, sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria")
    old, new = "o" * 32, "n" * 32
    before, during, after = [
        await serve(jwt_secret=secrets) for secrets in (old, f"{new} {old}", new)
    ]
    first = bearer(await token_of(sql, before, user_id))
    second = bearer(await token_of(sql, during, user_id))
    taken = [
        [(await api.get(ME, headers=header)).status for api in (before, during, after)]
        for header in (first, second)
    ]
    assert taken == [[200, 200, 401], [401, 200, 200]]


async def test_without_a_secret_each_start_makes_one(serve: Any) -> None:
    one, other = [(await serve()).app[AUTH].tokens for _ in "12"]
    now = int(time.time())
    token = one.answer("main", Grant(1, 1, 1, "customer", now, now, now + 60))["access_token"]
    assert one.read(token).sub == "1"
    with pytest.raises(Refusal):
        other.read(token)


async def test_a_database_that_is_away_is_503_and_signs_nobody_out(serve: Any) -> None:
    api = await serve(
        "postgresql://postgres@127.0.0.1:1/x", environment="production", jwt_secret=SECRET
    )
    token = Maker(1, 1).made()
    for credentials in (token, "hf_bWFpbg." + "x" * 43):
        assert (await api.post("/api/v1/reserve", headers=bearer(credentials))).status == 503
    assert (await api.get("/health/live", headers=bearer(token))).status == 200


async def test_signing_out_takes_an_idempotency_key(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    user_id = await user("maria")
    answers = []
    for _ in range(2):
        header = await header_of(user_id) | {"Idempotency-Key": "1"}
        response = await api.post("/api/v1/auth/logout", headers=header)
        assert response.status == 200
        answers.append(await response.read())
    assert answers[0] == answers[1]
    assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE action = 'sign_out'") == 1
