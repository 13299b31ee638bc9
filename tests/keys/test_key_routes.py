"""What admins do about keys, and what a key may do: its scopes, its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.web import auth
from tests.support.aliases import Api, CreateUser, Header, Stocked
from tests.support.builders import SECRET, bearer, callback, create_key

KEYS = "/api/v1/keys"
ALL_BUT_ADMIN = ["reserve", "stock", "orders", "bookings"]


@pytest.fixture
async def api(serve: Any) -> Api:
    """The service in production."""
    started: Api = await serve(environment="production", jwt_secret=SECRET)
    return started


@pytest.fixture
async def admin(user: CreateUser, header_of: Header) -> dict[str, str]:
    """What an admin sends along."""
    return await header_of(await user("root", role="admin"))


async def test_a_key_is_made_told_once_listed_and_revoked(
    api: Api, admin: dict[str, str], sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(auth, "BELIEVED_SECONDS", 0.0)
    response = await api.post(KEYS, json={"name": "the till"}, headers=admin)
    assert response.status == 201
    assert response.headers["Cache-Control"] == "no-store"
    made = await response.json()
    assert (made["name"], made["scopes"], made["expires_at"]) == ("the till", ALL_BUT_ADMIN, None)
    assert (await api.get("/api/v1/reservations", headers=bearer(made["key"]))).status == 200

    listed = await (await api.get(KEYS, headers=admin)).json()
    assert listed == {
        "keys": [
            {
                "key_id": made["key_id"],
                "name": "the till",
                "scopes": ALL_BUT_ADMIN,
                "created_at": made["created_at"],
                "last_used_at": listed["keys"][0]["last_used_at"],
                "expires_at": None,
                "revoked_at": None,
            }
        ],
        "next": None,
    }
    for _ in range(2):
        revoked = await api.delete(f"{KEYS}/{made['key_id']}", headers=admin)
        assert revoked.status == 200
    assert (await api.get("/api/v1/reservations", headers=bearer(made["key"]))).status == 401
    actors = await sql.fetch("SELECT DISTINCT actor FROM audit_log WHERE subject LIKE 'api_keys/%'")
    assert [row["actor"] for row in actors] == ["user:1"]


async def test_keys_are_listed_page_by_page(api: Api, admin: dict[str, str], sql: Any) -> None:
    for name in "abc":
        await create_key(sql, name=name)
    first = await (await api.get(f"{KEYS}?limit=2", headers=admin)).json()
    last = await (await api.get(f"{KEYS}?limit=2&after={first['next']}", headers=admin)).json()
    names = [each["name"] for page in (first, last) for each in page["keys"]]
    assert (names, last["next"]) == (["a", "b", "c"], None)
    assert await sql.fetchval("SELECT result_code FROM list_api_keys('no', 0, 9)") == (
        "unknown_store"
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": "stock"},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x\0"},
        {"name": "x", "key": "hf_mine"},
    ],
)
async def test_wrong_fields_are_422(
    api: Api, admin: dict[str, str], sql: Any, body: dict[str, Any]
) -> None:
    assert (await api.post(KEYS, json=body, headers=admin)).status == 422
    assert await sql.fetchval("SELECT count(*) FROM api_keys") == 0


@pytest.mark.parametrize("key_id", ["4711", "0", "x", "9" * 30])
async def test_an_unknown_key_is_404(api: Api, admin: dict[str, str], key_id: str) -> None:
    response = await api.delete(f"{KEYS}/{key_id}", headers=admin)
    assert (response.status, (await response.json())["code"]) == (404, "unknown_key")


async def test_a_key_of_another_store_is_unknown(api: Api, admin: dict[str, str], sql: Any) -> None:
    await create_key(sql, "north")
    key_id = await sql.fetchval("SELECT key_id FROM api_keys")
    assert (await api.delete(f"{KEYS}/{key_id}", headers=admin)).status == 404
    assert (await (await api.get(KEYS, headers=admin)).json())["keys"] == []


WANT = {
    "reserve": ("GET", "/api/v1/reservations"),
    "stock": ("GET", "/api/v1/stores/main"),
    "admin": ("GET", "/api/v1/users"),
}


@pytest.mark.parametrize("scope", ["reserve", "stock", "orders", "bookings", "admin"])
async def test_a_key_opens_what_its_scope_says_and_nothing_else(
    api: Api, sql: Any, scope: str
) -> None:
    key = bearer(await create_key(sql, scopes=[scope]))
    for needed, (method, path) in WANT.items():
        response = await api.request(method, path, headers=key)
        if needed == scope:
            assert response.status == 200, path
        else:
            assert (response.status, (await response.json())["code"]) == (403, "forbidden"), path


async def test_a_key_without_choice_opens_all_but_what_admins_do(
    api: Api, sql: Any, stocked: Stocked
) -> None:
    await stocked({"7": 5})
    key = bearer(await create_key(sql))
    assert (await api.post("/api/v1/reserve", json=callback(), headers=key)).status == 200
    assert (await api.get("/api/v1/stores/main", headers=key)).status == 200
    assert (await api.get("/api/v1/users", headers=key)).status == 403
    assert (await api.post(KEYS, json={"name": "x"}, headers=key)).status == 403


async def test_a_key_of_scope_admin_is_no_user(api: Api, sql: Any) -> None:
    key = bearer(await create_key(sql, scopes=["admin"]))
    assert (await api.post(KEYS, json={"name": "x"}, headers=key)).status == 201
    assert (await api.get("/api/v1/users/me/sessions", headers=key)).status == 403


async def test_a_key_past_its_end_opens_nothing(
    api: Api, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(auth, "BELIEVED_SECONDS", 0.0)
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = bearer(await create_key(sql, expires_at=soon))
    assert (await api.get("/api/v1/reservations", headers=key)).status == 200
    await sql.execute("UPDATE api_keys SET expires_at = clock_timestamp()")
    assert (await api.get("/api/v1/reservations", headers=key)).status == 401


async def test_the_release_before_takes_keys_without_limits_alone(sql: Any) -> None:
    """It knows no scopes: a key that has less than all it would grant is none to it."""
    for scopes, code in (
        (None, "ok"),
        (["admin", *ALL_BUT_ADMIN], "ok"),
        (["reserve"], "unauthorized"),
    ):
        await sql.execute("DELETE FROM api_keys")
        await create_key(sql, scopes=scopes)
        row = await sql.fetchrow(
            "SELECT u.*, k.key_id FROM api_keys AS k, use_api_key('main', k.key_hash) AS u"
        )
        assert row["result_code"] == code
        assert row["known_key_id"] == (row["key_id"] if code == "ok" else None)
    unknown = "SELECT result_code FROM use_api_key('main', 'x')"
    assert await sql.fetchval(unknown) == "unauthorized"
