"""One-time passwords of an authenticator: set up, asked for, taken once, taken back."""

import asyncio
import time
from typing import Any

import pyotp
import pytest

from service.domains import sessions
from tests.support.aliases import Api, Connect, CreateUser
from tests.support.builders import OTHER, PASSWORD, PASSWORD_HASH, bearer, sign_in, token_of
from tests.support.waits import becomes

TOTP = "/api/v1/users/me/totp"
ME = "/api/v1/users/me/sessions"
STEP = 30


class Authenticator:
    """What a user's phone shows, at any time one likes."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)

    def shows(self, steps: int = 0) -> str:
        """The code so many steps of 30 s from now."""
        return self._totp.at(int(time.time()), counter_offset=steps)


async def post(api: Api, path: str, token: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    response = await api.post(path, json=body, headers=bearer(token))
    return response.status, await response.json()


async def enrol(api: Api, token: str) -> Authenticator:
    status, answer = await post(api, TOTP, token)
    assert status == 201
    authenticator = Authenticator(answer["secret"])
    status, _ = await post(api, f"{TOTP}/confirm", token, {"code": authenticator.shows(-1)})
    assert status == 200
    return authenticator


@pytest.fixture
async def token(sql: Any, api: Api, user: CreateUser) -> str:
    """Of a session of maria's that has just begun."""
    return await token_of(sql, api, await user("maria", role="staff"))


async def test_the_secret_is_told_for_hand_and_camera(api: Api, sql: Any, token: str) -> None:
    status, answer = await post(api, TOTP, token)
    assert status == 201
    uri = pyotp.parse_uri(answer["otpauth_url"])
    assert (uri.name, uri.issuer) == ("maria", "Holdfast main")
    assert uri.secret == answer["secret"]
    assert len(answer["secret"]) == 32  # 160 bits, as RFC 4226 recommends
    again = (await post(api, TOTP, token))[1]
    assert again["secret"] != answer["secret"]
    for secret in (again["secret"], answer["secret"]):
        assert secret not in str(await sql.fetch("SELECT audit_log::text FROM audit_log"))


async def test_until_a_code_was_confirmed_none_is_asked_for(api: Api, token: str) -> None:
    assert (await post(api, f"{TOTP}/confirm", token, {"code": "123456"}))[0] == 404
    answer = (await post(api, TOTP, token))[1]
    wrong = Authenticator(pyotp.random_base32()).shows()
    status, refusal = await post(api, f"{TOTP}/confirm", token, {"code": wrong})
    assert (status, refusal["code"]) == (422, "wrong_code")
    assert (await sign_in(api, "maria")).status == 200
    code = {"code": Authenticator(answer["secret"]).shows()}
    assert (await post(api, f"{TOTP}/confirm", token, code))[0] == 200
    assert (await post(api, f"{TOTP}/confirm", token, code))[0] == 200  # a repeat
    assert (await sign_in(api, "maria")).status == 401
    status, refusal = await post(api, TOTP, token)
    assert (status, refusal["code"]) == (409, "totp_active")


async def test_signing_in_needs_the_code_and_takes_each_once(api: Api, token: str) -> None:
    authenticator = await enrol(api, token)
    without = await sign_in(api, "maria")
    assert (without.status, (await without.json())["code"]) == (401, "otp_required")
    wrong_password = await sign_in(api, "maria", OTHER)
    assert (await wrong_password.json())["code"] == "wrong_credentials"

    code = authenticator.shows()
    good = {"login": "maria", "password": PASSWORD, "otp": code}
    assert (await api.post("/api/v1/auth", json=good)).status == 200
    for otp in (code, authenticator.shows(-1), authenticator.shows(-5), "000000"):
        response = await api.post("/api/v1/auth", json=good | {"otp": otp})
        assert (response.status, (await response.json())["code"]) == (401, "wrong_credentials")
    ahead = good | {"otp": authenticator.shows(1)}  # a phone half a minute fast
    assert (await api.post("/api/v1/auth", json=ahead)).status == 200
    for otp in ("12345", "1234567", "12345a", "١٢٣٤٥٦"):
        assert (await api.post("/api/v1/auth", json=good | {"otp": otp})).status == 422


async def test_of_two_who_show_one_code_together_one_is_let_in(
    sql: Any, api: Api, token: str, connect_as: Connect
) -> None:
    await enrol(api, token)
    user_id = await sql.fetchval("SELECT user_id FROM users")
    one, other = await connect_as("owner"), await connect_as("owner")
    complete = (
        f"SELECT result_code FROM complete_sign_in('main', 'maria', {user_id},"
        f" '{PASSWORD_HASH}', true, true, {int(time.time()) // STEP + 1}, '::1', 'x', '1 d',"
        " '1 h')"
    )
    async with one.transaction():
        assert await one.fetchval(complete) == "ok"
        second = asyncio.create_task(other.fetchval(complete))
        waits = "SELECT cardinality(pg_blocking_pids($1)) > 0"
        await becomes(lambda: sql.fetchval(waits, other.get_server_pid()))
    assert await second == "wrong_credentials"


async def test_guessing_codes_is_stopped_wherever_it_comes_from(
    serve: Any, api: Api, sql: Any, token: str
) -> None:
    """Who tries a code knows the password: there is nobody to be kept in but its owner."""
    authenticator = await enrol(api, token)
    behind = await serve(trusted_proxies="127.0.0.1")

    async def attempt(number: int, **more: str) -> Any:
        body = {"login": "maria", "password": PASSWORD} | more
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        return await behind.post("/api/v1/auth", json=body, headers=headers)

    wrong = Authenticator(pyotp.random_base32()).shows()
    for number in range(10):
        assert (await attempt(number)).status == 401  # asks for a code, which is no try
        assert (await attempt(number, otp=wrong)).status == 401
    stopped = await attempt(99, otp=authenticator.shows())
    assert stopped.status == 429
    assert 800 < int(stopped.headers["Retry-After"]) <= 900
    await sql.execute("UPDATE sign_in_attempts SET ends_at = clock_timestamp()")
    assert (await attempt(99, otp=authenticator.shows())).status == 200


async def test_a_code_that_is_asked_for_forgives_no_wrong_one(
    api: Api, sql: Any, token: str
) -> None:
    await enrol(api, token)
    for _ in range(3):
        assert (await sign_in(api, "maria", OTHER)).status == 401
        assert (await sign_in(api, "maria")).status == 401
    pair = "SELECT attempts FROM sign_in_attempts WHERE subject LIKE 'login maria at %'"
    assert await sql.fetchval(pair) == 3


async def test_what_changes_how_one_signs_in_needs_a_recent_password(
    api: Api, sql: Any, token: str
) -> None:
    await sql.execute("UPDATE sessions SET signed_in_at = signed_in_at - interval '16 minutes'")
    for response in (
        await api.post(TOTP, headers=bearer(token)),
        await api.delete(TOTP, headers=bearer(token)),
    ):
        assert (response.status, (await response.json())["code"]) == (403, "sign_in_again")
    await sql.execute("UPDATE sessions SET signed_in_at = clock_timestamp()")
    await enrol(api, token)
    assert (await api.delete(TOTP, headers=bearer(token))).status == 200
    gone = await api.delete(TOTP, headers=bearer(token))
    assert (gone.status, (await gone.json())["code"]) == (404, "unknown_totp")
    assert (await sign_in(api, "maria")).status == 200


async def test_confirming_ends_sessions_that_were_begun_without_a_code(
    api: Api, sql: Any, token: str
) -> None:
    other = (await (await sign_in(api, "maria")).json())["access_token"]
    await enrol(api, token)
    assert (await api.get(ME, headers=bearer(other))).status == 401
    assert (await api.get(ME, headers=bearer(token))).status == 200
    assert await sql.fetchval("SELECT has_totp FROM open_sessions")


async def test_an_admin_helps_who_lost_the_phone(
    api: Api, sql: Any, user: CreateUser, token: str
) -> None:
    await enrol(api, token)
    admin = bearer(await token_of(sql, api, await user("root", role="admin")))
    user_id = await sql.fetchval("SELECT user_id FROM users WHERE login = 'maria'")
    listed = (await (await api.get("/api/v1/users", headers=admin)).json())["users"]
    assert [each["has_totp"] for each in listed] == [True, False]
    assert (await api.delete(f"/api/v1/users/{user_id}/totp", headers=admin)).status == 200
    assert (await sign_in(api, "maria")).status == 200
    again = await api.delete(f"/api/v1/users/{user_id}/totp", headers=admin)
    assert (again.status, (await again.json())["code"]) == (404, "unknown_totp")
    unknown = await api.delete("/api/v1/users/4711/totp", headers=admin)
    assert (unknown.status, (await unknown.json())["code"]) == (404, "unknown_user")
    actions = "SELECT array_agg(action) FROM audit_log WHERE subject LIKE 'user_totp/%'"
    assert await sql.fetchval(actions) == ["insert", "update", "delete"]


async def test_a_reset_password_does_not_pass_the_code_by(
    api: Api, sql: Any, user: CreateUser, token: str
) -> None:
    await enrol(api, token)
    admin = bearer(await token_of(sql, api, await user("root", role="admin")))
    user_id = await sql.fetchval("SELECT user_id FROM users WHERE login = 'maria'")
    link = await (await api.post(f"/api/v1/users/{user_id}/reset-link", headers=admin)).json()
    secret = link["reset_link"].partition("#token=")[2]
    body = {"token": secret, "password": OTHER}
    assert (await api.post("/api/v1/users/reset", json=body)).status == 200
    assert (await (await sign_in(api, "maria", OTHER)).json())["code"] == "otp_required"


@pytest.mark.parametrize(
    ("setting", "kept_out"),
    [("none", set()), ("admin", {"admin"}), ("staff", {"admin", "staff"})],
)
async def test_the_setting_keeps_those_without_a_code_out(
    serve: Any, sql: Any, user: CreateUser, setting: str, kept_out: set[str]
) -> None:
    api = await serve(require_totp=setting)
    for role in ("customer", "staff", "admin"):
        user_id = await user(role, role=role)
        token = await token_of(sql, api, user_id)
        response = await api.get("/api/v1/stores/main", headers=bearer(token))
        is_refused = (await response.json()).get("code") == "totp_required"
        assert is_refused == (role in kept_out)
        assert (await api.get(ME, headers=bearer(token))).status == 200  # its own is open
        if is_refused:
            assert response.status == 403
            await enrol(api, token)
            response = await api.get("/api/v1/stores/main", headers=bearer(token))
            assert response.status == 200


def test_a_code_is_of_one_step_or_of_its_neighbours() -> None:
    secret = pyotp.random_base32()
    totp = pyotp.TOTP(secret)
    now = 1_700_000_000
    step = now // STEP
    for off, found in ((-2, None), (-1, step - 1), (0, step), (1, step + 1), (2, None)):
        code = totp.generate_otp(step + off)
        neighbours = {totp.generate_otp(step + n) for n in (-1, 0, 1)}
        if found is not None or code not in neighbours:
            assert sessions._find_step(secret, code, now) == found
    assert sessions._find_step(None, "123456", now) is None
    assert sessions._find_step(secret, None, now) is None


async def test_confirming_takes_an_idempotency_key(api: Api, sql: Any, token: str) -> None:
    answer = (await post(api, TOTP, token))[1]
    code = {"code": Authenticator(answer["secret"]).shows()}
    headers = bearer(token) | {"Idempotency-Key": "1"}
    for _ in range(2):
        response = await api.post(f"{TOTP}/confirm", json=code, headers=headers)
        assert response.status == 200
    assert await sql.fetchval("SELECT idempotency_key FROM idempotency_keys") == "1"
    other = {"code": "000000" if code["code"] != "000000" else "111111"}
    response = await api.post(f"{TOTP}/confirm", json=other, headers=headers)
    assert (await response.json())["code"] == "idempotency_key_reused"
