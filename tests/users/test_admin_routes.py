"""What admins do about users: list, disable, give a link for another password."""

import asyncio
import base64
import hashlib
import re
from collections import Counter
from typing import Any

import pytest

from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import OTHER, PASSWORD, REFRESH, sign_in

USERS = "/api/v1/users"
RESET = "/api/v1/stores/main/users/reset"


@pytest.fixture
async def admin(user: CreateUser, header_of: Header) -> dict[str, str]:
    """What an admin sends along."""
    return await header_of(await user("root", role="admin"))


async def reset_token(api: Api, admin: dict[str, str], user_id: int) -> str:
    """The token of a new reset link: in the fragment, which no server ever sees."""
    response = await api.post(f"{USERS}/{user_id}/reset-link", headers=admin)
    assert response.status == 201
    answer = await response.json()
    assert answer["user_id"] == user_id
    assert answer["expires_at"]
    page, _, token = answer["reset_link"].partition("#token=")
    assert page == f"http://127.0.0.1:8080{RESET}"
    return str(token)


async def reset(api: Api, token: str, password: str = OTHER) -> Any:
    return await api.post(RESET, json={"token": token, "password": password})


async def test_users_are_listed_by_id_page_by_page(
    api: Api, user: CreateUser, admin: dict[str, str]
) -> None:
    ids = [await user(f"user{n}") for n in range(4)]
    await user("stranger", store_id="north")
    pages, after = [], 0
    while after is not None:
        response = await api.get(f"{USERS}?limit=2&after={after}", headers=admin)
        assert response.status == 200
        page = await response.json()
        pages.append([each["login"] for each in page["users"]])
        after = page["next"]
    assert pages == [["root", "user0"], ["user1", "user2"], ["user3"]]
    everybody = (await (await api.get(USERS, headers=admin)).json())["users"]
    assert everybody[1] == {
        "user_id": ids[0],
        "login": "user0",
        "email": None,
        "role": "customer",
        "is_active": True,
        "has_totp": False,
        "created_at": everybody[1]["created_at"],
        "accounts": [],
    }
    assert (await api.get(f"{USERS}?limit=0", headers=admin)).status == 422


async def test_a_disabled_user_is_out_at_once_and_may_come_back(
    api: Api, user: CreateUser, admin: dict[str, str], header_of: Header
) -> None:
    user_id = await user("maria")
    header = await header_of(user_id)
    for _ in range(2):
        response = await api.put(f"{USERS}/{user_id}", json={"is_active": False}, headers=admin)
        assert response.status == 200
        assert (await response.json())["is_active"] is False
        assert (await api.post(REFRESH, headers=header)).status == 401
        assert (await sign_in(api, "maria")).status == 401
    await api.put(f"{USERS}/{user_id}", json={"is_active": True}, headers=admin)
    assert (await api.post(REFRESH, headers=header)).status == 401  # an old token stays dead
    assert (await sign_in(api, "maria")).status == 200


@pytest.mark.parametrize("user_id", ["4711", "0", "-1", "9" * 19, "٣", "1.0"])
async def test_an_unknown_user_is_404(
    api: Api, user: CreateUser, admin: dict[str, str], user_id: str
) -> None:
    put = await api.put(f"{USERS}/{user_id}", json={"is_active": True}, headers=admin)
    link = await api.post(f"{USERS}/{user_id}/reset-link", headers=admin)
    for response in (put, link):
        assert response.status == 404
        assert (await response.json())["code"] == "unknown_user"


async def test_a_user_of_another_store_is_unknown(
    api: Api, user: CreateUser, admin: dict[str, str], sql: Any
) -> None:
    stranger = await user("stranger", store_id="north")
    put = await api.put(f"{USERS}/{stranger}", json={"is_active": False}, headers=admin)
    link = await api.post(f"{USERS}/{stranger}/reset-link", headers=admin)
    there = await api.get("/api/v1/stores/north/users", headers=admin)
    assert [put.status, link.status, there.status] == [404, 404, 404]
    assert await sql.fetchval("SELECT bool_and(is_active) FROM users")


@pytest.mark.parametrize("body", [{}, {"is_active": 1}, {"is_active": True, "role": "admin"}])
async def test_wrong_fields_are_422(
    api: Api, user: CreateUser, admin: dict[str, str], body: dict[str, Any]
) -> None:
    user_id = await user("maria")
    response = await api.put(f"{USERS}/{user_id}", json=body, headers=admin)
    assert response.status == 422


async def test_a_reset_link_sets_a_password_once(
    api: Api, user: CreateUser, admin: dict[str, str], header_of: Header
) -> None:
    user_id = await user("maria")
    header = await header_of(user_id)
    token = await reset_token(api, admin, user_id)
    page = await api.get(RESET)
    assert (page.status, page.content_type) == (200, "text/html")
    assert page.headers["Cache-Control"] == "no-store"
    assert (await reset(api, token, "short")).status == 422
    assert (await sign_in(api, "maria")).status == 200  # looking and slipping do nothing

    assert (await reset(api, token)).status == 200
    again = await reset(api, token, PASSWORD)
    assert (again.status, (await again.json())["code"]) == (404, "unknown_link")
    assert (await api.post(REFRESH, headers=header)).status == 401
    assert (await sign_in(api, "maria")).status == 401
    assert (await sign_in(api, "maria", OTHER)).status == 200


async def test_of_many_who_follow_a_reset_link_together_one_sets_the_password(
    api: Api, user: CreateUser, admin: dict[str, str], sql: Any
) -> None:
    token = await reset_token(api, admin, await user("maria"))
    responses = await asyncio.gather(*(reset(api, token, f"{OTHER} {n}") for n in range(10)))
    assert Counter(response.status for response in responses) == {200: 1, 404: 9}
    assert await sql.fetchval("SELECT max(token_generation) FROM users") == 1


async def test_only_the_newest_reset_link_is_good_and_none_of_the_wrong_kind(
    api: Api, user: CreateUser, admin: dict[str, str], sql: Any
) -> None:
    user_id = await user("maria")
    first = await reset_token(api, admin, user_id)
    second = await reset_token(api, admin, user_id)
    assert (await reset(api, first)).status == 404
    assert (await api.get(f"{USERS}/activation?token={second}")).status == 404
    await sql.execute("UPDATE user_links SET expires_at = clock_timestamp()")
    assert (await reset(api, second)).status == 404


async def test_a_change_of_password_voids_the_reset_link(
    api: Api, user: CreateUser, admin: dict[str, str], header_of: Header
) -> None:
    user_id = await user("maria")
    token = await reset_token(api, admin, user_id)
    change = {"current_password": PASSWORD, "password": OTHER}
    header = await header_of(user_id)
    assert (await api.post(f"{USERS}/me/password", json=change, headers=header)).status == 200
    assert (await reset(api, token, PASSWORD)).status == 404


async def test_a_reset_activates_nobody(api: Api, user: CreateUser, admin: dict[str, str]) -> None:
    user_id = await user("maria", is_active=False)
    token = await reset_token(api, admin, user_id)
    assert (await reset(api, token)).status == 200
    assert (await sign_in(api, "maria", OTHER)).status == 401


async def test_users_of_an_unknown_store(sql: Any) -> None:
    code = "SELECT result_code FROM list_users('nowhere', NULL, 10)"
    assert await sql.fetchval(code) == "unknown_store"


async def test_the_last_active_admin_cannot_be_disabled(
    api: Api, user: CreateUser, admin: dict[str, str], header_of: Header, sql: Any
) -> None:
    root = await sql.fetchval("SELECT user_id FROM users")
    await user("elsewhere", role="admin", store_id="north")
    await user("asleep", role="admin", is_active=False)
    refused = await api.put(f"{USERS}/{root}", json={"is_active": False}, headers=admin)
    assert (refused.status, (await refused.json())["code"]) == (409, "last_admin")
    assert (await api.put(f"{USERS}/{root}", json={"is_active": True}, headers=admin)).status == 200

    second = await user("second", role="admin")
    assert (
        await api.put(f"{USERS}/{root}", json={"is_active": False}, headers=admin)
    ).status == 200
    refused = await api.put(
        f"{USERS}/{second}", json={"is_active": False}, headers=await header_of(second)
    )
    assert refused.status == 409


async def test_the_page_of_a_reset_link_runs_its_own_script_alone(api: Api) -> None:
    page = await api.get(f"{RESET}")
    policy = page.headers["Content-Security-Policy"]
    text = await page.text()
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_a_link_of_the_release_before_still_sets_a_password(
    api: Api, user: CreateUser, admin: dict[str, str]
) -> None:
    token = await reset_token(api, admin, await user("maria"))
    assert (await api.post(f"{RESET}?token={token}", json={"password": OTHER})).status == 200
    without = await api.post(RESET, json={"password": OTHER})
    assert without.status == 422
    assert (await without.json())["errors"][0]["field"] == "token"
