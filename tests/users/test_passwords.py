"""Which passwords are refused, and that none is hashed before the rest of a request was judged."""

from typing import Any

import pytest

from service.web import passwords
from service.web.passwords import is_common
from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import OTHER, PASSWORD, sign_in

REGISTER, RESET = "/api/v1/users", "/api/v1/users/reset"
CHANGE = "/api/v1/users/me/password"
COMMON = ["password", "12345678", "qwertyuiop", "iloveyou1", "Password1", "P@ssw0rd", "trustno1"]

pytestmark = pytest.mark.usefixtures("main")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was hashed or judged, in order."""
    seen: list[str] = []

    def watch(name: str) -> None:
        original = getattr(passwords, name)

        def run(*arguments: str) -> Any:
            seen.append(name)
            return original(*arguments)

        monkeypatch.setattr(passwords, name, run)

    watch("is_common")
    watch("_verify")
    return seen


@pytest.mark.parametrize("password", [*COMMON, "x" * 100, "abcdefgh", "aaaaaaaaa", "holdfast1"])
async def test_a_common_password_is_refused(api: Api, sql: Any, password: str) -> None:
    response = await api.post(REGISTER, json={"login": "maria", "password": password})
    assert response.status == 422
    answer = await response.json()
    assert answer["code"] == "common_password"
    assert [error["field"] for error in answer["errors"]] == ["password"]
    assert await sql.fetchval("SELECT count(*) FROM users") == 0


def test_every_common_password_of_the_list_is_refused() -> None:
    """Of zxcvbn's 30,000 those that are long enough: more than 10,000."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    candidates = [each for each in FREQUENCY_LISTS["passwords"] if len(each) >= 8]
    assert len(candidates) > 10_000
    assert all(is_common(each) for each in candidates[:: len(candidates) // 200])


@pytest.mark.parametrize(
    "password", ["correct horse", "battery staple", "дом у реки", "N8!qf-3kd", "a" * 7 + "9kfp2lw"]
)
def test_a_password_that_takes_long_to_guess_is_taken(password: str) -> None:
    assert not is_common(password, "maria")


async def test_the_login_is_no_password(api: Api) -> None:
    body = {"login": "zyxomma-till", "password": "zyxomma-till"}
    assert (await (await api.post(REGISTER, json=body)).json())["code"] == "common_password"
    assert (await api.post(REGISTER, json=body | {"login": "maria"})).status == 201


async def test_nothing_is_hashed_for_a_link_a_store_or_a_login_that_is_no_good(
    api: Api, user: CreateUser, hashed: list[str]
) -> None:
    await user("maria")
    for path, body, status in (
        (REGISTER, {"login": "maria", "password": OTHER}, 409),
        ("/api/v1/stores/nowhere/users", {"login": "peter", "password": OTHER}, 404),
        (RESET, {"token": "none", "password": OTHER}, 404),
        ("/api/v1/stores/nowhere/users/reset", {"token": "none", "password": OTHER}, 404),
    ):
        response = await api.post(path, json=body)
        assert (response.status, hashed) == (status, []), path


async def test_the_present_password_is_not_taken_anew(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    user_id = await user("maria")
    header = await header_of(user_id)
    same = {"current_password": PASSWORD, "password": PASSWORD}
    refused = await api.post(CHANGE, json=same, headers=header)
    assert (refused.status, (await refused.json())["code"]) == (422, "password_reused")

    admin = await header_of(await user("root", role="admin"))
    link = await (await api.post(f"/api/v1/users/{user_id}/reset-link", headers=admin)).json()
    token = link["reset_link"].partition("#token=")[2]
    refused = await api.post(RESET, json={"token": token, "password": PASSWORD})
    assert (refused.status, (await refused.json())["code"]) == (422, "password_reused")
    assert (await api.post(RESET, json={"token": token, "password": "password"})).status == 422
    assert (await api.post(RESET, json={"token": token, "password": OTHER})).status == 200


async def test_a_new_password_that_is_refused_is_no_wrong_try(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(await user("maria"))
    change = {"current_password": PASSWORD, "password": "qwertyuiop"}
    for _ in range(12):
        response = await api.post(CHANGE, json=change, headers=header)
        assert (response.status, (await response.json())["code"]) == (422, "common_password")
    assert (await sign_in(api, "maria")).status == 200
    assert await sql.fetchval("SELECT max(attempts) FROM sign_in_attempts") == 0


async def test_a_wrong_password_costs_no_hash_of_the_new_one(
    api: Api, user: CreateUser, header_of: Header, hashed: list[str]
) -> None:
    header = await header_of(await user("maria"))
    change = {"current_password": "wrong horse", "password": OTHER}
    statuses = [(await api.post(CHANGE, json=change, headers=header)).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert hashed == ["_verify"] * 10


async def test_registrations_of_an_address_are_limited_a_day(serve: Any, sql: Any) -> None:
    """Ten minutes of the public limit, counted for all processes together."""
    one, other = await serve(public_limit=2), await serve(public_limit=2)
    await sql.execute(
        "INSERT INTO sign_in_attempts VALUES"
        " ('main', 'registration 127.0.0.1', 19, clock_timestamp() + interval '1 hour')"
    )
    body = {"login": "maria", "password": OTHER}
    assert (await one.post(REGISTER, json=body)).status == 201
    refused = await other.post(REGISTER, json=body | {"login": "peter"})
    assert (refused.status, (await refused.json())["code"]) == (429, "too_many_requests")
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert await sql.fetchval("SELECT count(*) FROM users") == 1


async def test_an_email_may_be_given_and_is_told_to_admins_alone(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    body = {"login": "maria", "password": OTHER, "email": "maria@example.org"}
    assert (await api.post(REGISTER, json=body)).status == 201
    for wrong in ("maria", "@", "a b@example.org", "maria@example.org\n", 7, "x" * 250 + "@e.org"):
        response = await api.post(REGISTER, json=body | {"login": "peter", "email": wrong})
        assert response.status == 422, wrong
    admin = await header_of(await user("root", role="admin"))
    listed = await (await api.get("/api/v1/users", headers=admin)).json()
    assert [each["email"] for each in listed["users"]] == ["maria@example.org", None]
    assert "maria@example.org" not in str(await sql.fetch("SELECT audit_log::text FROM audit_log"))
