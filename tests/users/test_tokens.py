"""Tokens that are no good are all answered by the same 401."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from service.results import Refusal
from service.web.auth import AUTH, Tokens
from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import SECRET, bearer, token_of

REFRESH = "/api/v1/auth/refresh"
NOW = int(time.time())
GOOD: dict[str, Any] = {
    "iss": "holdfast",
    "aud": "holdfast",
    "sub": "1",
    "store": "main",
    "role": "customer",
    "gen": 0,
    "iat": NOW,
    "exp": NOW + 600,
    "auth_time": NOW,
}
KID = jwt.get_unverified_header(
    Tokens([SECRET], 60).grant("main", 1, "customer", 0, NOW, NOW)["access_token"]
)["kid"]


def made(
    algorithm: str | None = "HS256", secret: Any = SECRET, kid: Any = KID, **changes: Any
) -> str:
    """A token that is good but for what is changed; a claim that is None is left out."""
    claims = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return jwt.encode(claims, secret, algorithm, headers={"kid": kid} if kid else None)


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def with_header(header: bytes) -> str:
    return ".".join([part(header), *made().split(".")[1:]])


DEFECTS: dict[str, Callable[[], str]] = {
    "algorithm none": lambda: made(None, ""),
    "algorithm none, signature kept": lambda: with_header(
        json.dumps({"alg": "none", "kid": KID}).encode()
    ),
    "algorithm NONE in capitals": lambda: with_header(
        json.dumps({"alg": "nOnE", "kid": KID}).encode()
    ),
    "another hash": lambda: made("HS512", SECRET * 2),
    "another hash, our secret": lambda: made("HS384", SECRET + SECRET[:16]),
    "confused with a public key": lambda: with_header(
        json.dumps({"alg": "RS256", "kid": KID}).encode()
    ),
    "another secret": lambda: made(secret="t" * 32),
    "a key of its own": lambda: with_header(
        json.dumps({"alg": "HS256", "jwk": {"kty": "oct", "k": ""}}).encode()
    ),
    "no kid": lambda: made(kid=None),
    "unknown kid": lambda: made(kid="00000000"),
    "kid of another type": lambda: with_header(b'{"alg": "HS256", "kid": {"a": 1}}'),
    "critical extension": lambda: with_header(
        json.dumps({"alg": "HS256", "kid": KID, "crit": ["x"]}).encode()
    ),
    "header nested deeply": lambda: with_header(b"[" * 3000),
    "header with a long number": lambda: with_header(b'{"kid": ' + b"9" * 4500 + b"}"),
    "header no object": lambda: with_header(b"[]"),
    "header no JSON": lambda: with_header(b"{"),
    "header not UTF-8": lambda: with_header(b'{"kid": "\xff"}'),
    "payload changed": lambda: made()[:40] + made(sub="2")[40:-43] + made()[-43:],
    "signature cut": lambda: made()[:-2],
    "two parts": lambda: made().rpartition(".")[0],
    "empty": lambda: "",
    "no token": lambda: "token",
    "not ASCII": lambda: "жетон",
    "wrong audience": lambda: made(aud="else"),
    "audience among others": lambda: made(aud=["holdfast", "else"]),
    "no audience": lambda: made(aud=None),
    "wrong issuer": lambda: made(iss="else"),
    "no issuer": lambda: made(iss=None),
    "expired": lambda: made(iat=NOW - 700, exp=NOW - 60),
    "no expiry": lambda: made(exp=None),
    "expiry no number": lambda: made(exp="tomorrow"),
    "expiry beyond all time": lambda: made(exp=10**18),
    "no subject": lambda: made(sub=None),
    "unknown subject": lambda: made(sub="4711"),
    "subject no number": lambda: made(sub="maria"),
    "subject of another script": lambda: made(sub="١"),
    "no store": lambda: made(store=None),
    "unknown store": lambda: made(store="nowhere"),
    "store with a NUL": lambda: made(store="ma\0in"),
    "no generation": lambda: made(gen=None),
    "earlier generation": lambda: made(gen=-1),
    "later generation": lambda: made(gen=1),
    "a key's shape": lambda: "hf_" + made(),
    "an unknown key": lambda: "hf_bWFpbg." + "x" * 43,
    "a key of no store": lambda: "hf_bWE6aW4." + "x" * 43,
    "a key of a store that is no text": lambda: "hf__w." + "x" * 43,
    "a key of a store of odd length": lambda: "hf_bWFpb." + "x" * 43,
}


@pytest.fixture
async def api(serve: Any) -> Api:
    """The service in production, with a secret that the tests know."""
    started: Api = await serve(environment="production", jwt_secret=SECRET)
    return started


async def test_every_defect_is_one_identical_401(api: Api, user: CreateUser) -> None:
    user_id = await user("maria")
    assert user_id == int(GOOD["sub"])
    good = await api.post(REFRESH, headers=bearer(made()))
    assert good.status == 200
    without = await api.post(REFRESH)
    assert without.status == 401
    body = await without.read()
    assert json.loads(body)["code"] == "unauthorized"
    for defect, token in DEFECTS.items():
        response = await api.post(REFRESH, headers=bearer(token()))
        assert (response.status, await response.read()) == (401, body), defect
        assert response.headers["WWW-Authenticate"] == "Bearer"
    for header in ("Basic bWFyaWE6cGFzcw==", "Bearer", made(), f"Token {made()}"):
        response = await api.post(REFRESH, headers={"Authorization": header})
        assert (response.status, await response.read()) == (401, body), header


async def test_the_scheme_is_read_in_any_case(api: Api, user: CreateUser) -> None:
    await user("maria")
    response = await api.post(REFRESH, headers={"Authorization": f"bearer  {made()}"})
    assert response.status == 200


async def test_a_token_stops_at_once_when_its_user_is_disabled(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(user_id := await user("maria"))
    assert (await api.post(REFRESH, headers=header)).status == 200
    await sql.execute("SELECT set_user_active('main', $1, false, NULL)", user_id)
    assert (await api.post(REFRESH, headers=header)).status == 401
    await sql.execute("SELECT set_user_active('main', $1, true, NULL)", user_id)
    assert (await api.post(REFRESH, headers=header)).status == 401
    assert (await api.post(REFRESH, headers=await header_of(user_id))).status == 200


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
        [(await api.post(REFRESH, headers=header)).status for api in (before, during, after)]
        for header in (first, second)
    ]
    assert taken == [[200, 200, 401], [401, 200, 200]]


async def test_without_a_secret_each_start_makes_one(serve: Any) -> None:
    one, other = [(await serve()).app[AUTH].tokens for _ in "12"]
    token = one.grant("main", 1, "customer", 0, NOW, NOW)["access_token"]
    assert one.read(token).sub == "1"
    with pytest.raises(Refusal):
        other.read(token)


async def test_a_database_that_is_away_is_503_and_signs_nobody_out(serve: Any) -> None:
    api = await serve(
        "postgresql://postgres@127.0.0.1:1/x", environment="production", jwt_secret=SECRET
    )
    for token in (made(), "hf_bWFpbg." + "x" * 43):
        assert (await api.post("/api/v1/reserve", headers=bearer(token))).status == 503
    assert (await api.get("/health/live", headers=bearer(made()))).status == 200
