"""POST /users and the link in its answer."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from service.database.pool import Database
from service.domains import sessions, users
from service.jobs import Found
from service.settings import Settings
from tests.support.aliases import Api, CreateUser
from tests.support.builders import token_of

REGISTER, SIGN_IN = "/api/v1/users", "/api/v1/auth"
MARIA = {"login": "maria", "password": "correct horse"}

pytestmark = pytest.mark.usefixtures("main")


def path_of(link: str) -> str:
    assert link.startswith("http://127.0.0.1:8080/")
    return link.removeprefix("http://127.0.0.1:8080")


async def test_a_user_signs_in_once_the_link_was_followed(api: Api) -> None:
    response = await api.post(REGISTER, json=MARIA)
    assert response.status == 201
    assert response.headers["Cache-Control"] == "no-store"
    answer = await response.json()
    assert answer.keys() == {"user_id", "login", "activation_link"}
    assert answer["login"] == "maria"
    assert answer["activation_link"].startswith(
        "http://127.0.0.1:8080/api/v1/stores/main/users/activation?token="
    )
    assert (await api.post(SIGN_IN, json=MARIA)).status == 401

    for _ in range(2):  # the second time nothing happens, which is answered the same
        followed = await api.get(path_of(answer["activation_link"]))
        assert followed.status == 200
        assert await followed.json() == {"status": "success", "message": "You can sign in."}
    assert (await api.post(SIGN_IN, json=MARIA)).status == 200


async def test_what_is_kept_helps_nobody_to_sign_in(api: Api, sql: Any) -> None:
    answer = await (await api.post(REGISTER, json=MARIA)).json()
    token = answer["activation_link"].partition("token=")[2]
    kept = [
        *await sql.fetch("SELECT users::text FROM users"),
        *await sql.fetch("SELECT user_links::text FROM user_links"),
        *await sql.fetch("SELECT audit_log::text FROM audit_log"),
    ]
    assert len(kept) == 3
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in kept[0][0]
    for secret in (token, MARIA["password"]):
        assert secret not in str(kept)
    assert "argon2" not in kept[2][0]


async def test_a_link_lapses(api: Api, sql: Any) -> None:
    answer = await (await api.post(REGISTER, json=MARIA)).json()
    await sql.execute("UPDATE user_links SET expires_at = clock_timestamp()")
    response = await api.get(path_of(answer["activation_link"]))
    assert response.status == 404
    assert (await response.json())["code"] == "unknown_link"
    assert not await sql.fetchval("SELECT is_active FROM users")


async def test_an_old_link_does_not_bring_back_who_was_disabled(api: Api, sql: Any) -> None:
    answer = await (await api.post(REGISTER, json=MARIA)).json()
    path = path_of(answer["activation_link"])
    await api.get(path)
    await sql.execute("SELECT set_user_active('main', $1, false, 'admin')", answer["user_id"])
    assert (await api.get(path)).status == 200  # it was followed before
    assert not await sql.fetchval("SELECT is_active FROM users")

    other = await (await api.post(REGISTER, json=MARIA | {"login": "peter"})).json()
    await sql.execute("SELECT set_user_active('main', $1, false, 'admin')", other["user_id"])
    assert (await api.get(path_of(other["activation_link"]))).status == 404


@pytest.mark.parametrize("query", ["", "?token=x", "?token=x&token=y", "?token=%00", "?tok=x"])
async def test_a_link_that_never_was_leads_nowhere(api: Api, query: str) -> None:
    response = await api.get(f"/api/v1/users/activation{query}")
    assert response.status == (404 if query == "?token=x" else 422)


async def test_a_link_is_of_its_store(api: Api, sql: Any) -> None:
    await sql.execute("SELECT create_store('north')")
    answer = await (await api.post(REGISTER, json=MARIA)).json()
    elsewhere = path_of(answer["activation_link"]).replace("/main/", "/north/")
    assert (await api.get(elsewhere)).status == 404


async def test_a_login_is_taken_whatever_its_case(api: Api, sql: Any) -> None:
    assert (await api.post(REGISTER, json=MARIA)).status == 201
    for login in ("maria", "MARIA"):
        response = await api.post(REGISTER, json=MARIA | {"login": login})
        assert response.status == 409
        assert (await response.json())["code"] == "login_taken"
    await sql.execute("SELECT create_store('north')")
    assert (await api.post("/api/v1/stores/north/users", json=MARIA)).status == 201


async def test_of_many_who_want_a_login_one_gets_it(api: Api, sql: Any) -> None:
    responses = await asyncio.gather(*(api.post(REGISTER, json=MARIA) for _ in range(20)))
    assert Counter(response.status for response in responses) == {201: 1, 409: 19}
    assert await sql.fetchval("SELECT count(*) FROM user_links") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"login": ""},
        {"login": "two words"},
        {"login": "maria\n"},
        {"login": "мария"},
        {"login": "x" * 65},
        {"login": 7},
        {"password": "seven77"},
        {"password": "x" * 129},
        {"password": "with a NUL \0"},
        {"password": None},
        {"role": "admin"},
        {"is_active": True},
    ],
)
async def test_wrong_fields_are_422(api: Api, sql: Any, wrong: dict[str, Any]) -> None:
    response = await api.post(REGISTER, json=MARIA | wrong)
    assert response.status == 422
    assert await sql.fetchval("SELECT count(*) FROM users") == 0


async def test_an_unknown_store_is_404(api: Api) -> None:
    for path in ("users", "auth"):
        response = await api.post(f"/api/v1/stores/nowhere/{path}", json=MARIA)
        assert (response.status, (await response.json())["code"]) == (404, "unknown_store")


async def test_the_function_refuses_nonsense(sql: Any) -> None:
    good = ["main", "maria", "$argon2id$", "customer", True, None]
    for position, bad in ((1, "two words"), (1, None), (2, "plain"), (2, None), (3, "root")):
        given = [*good[:position], bad, *good[position + 1 :]]
        code = "SELECT result_code FROM create_user($1, $2, $3, $4, $5, NULL, $6)"
        assert await sql.fetchval(code, *given) == "invalid_request"


async def test_links_start_with_the_public_url(serve: Any) -> None:
    api = await serve(public_url="https://shop.example/holdfast")
    answer = await (await api.post(REGISTER, json=MARIA)).json()
    assert answer["activation_link"].startswith(
        "https://shop.example/holdfast/api/v1/stores/main/users/activation?token="
    )


async def test_a_registration_that_nobody_activates_lapses_and_its_login_is_free(
    api: Api, sql: Any
) -> None:
    for login in ("maria", "peter", "paul", "payer"):
        await api.post(REGISTER, json=MARIA | {"login": login})
    await sql.execute(
        "SELECT set_user_active('main', user_id, false, 'x') FROM users WHERE login = 'paul'"
    )
    await sql.execute(
        "SELECT receive_payment('main', 't1', user_id, 'bill', 5) FROM users WHERE login = 'payer'"
    )
    assert (await api.post(REGISTER, json=MARIA)).status == 409
    await sql.execute("UPDATE user_links SET expires_at = clock_timestamp()")
    assert (await api.post(REGISTER, json=MARIA | {"login": "MARIA"})).status == 201

    find, sweep = "find_lapsed_registrations()", "sweep_registrations('main', 10)"
    assert json.loads(await sql.fetchval(f"SELECT document FROM {find}")) == [{"store_id": "main"}]
    assert json.loads(await sql.fetchval(f"SELECT document FROM {sweep}")) == {"done": 1}
    assert json.loads(await sql.fetchval(f"SELECT document FROM {find}")) == []
    left = await sql.fetch("SELECT login FROM users ORDER BY login")
    assert [row["login"] for row in left] == ["MARIA", "paul", "payer"]
    actors = "SELECT array_agg(actor) FROM audit_log WHERE action = 'delete' AND subject LIKE 'u%'"
    assert (await sql.fetchval(actors))[1] == "the worker"


async def test_the_worker_sweeps_registrations_and_sessions(
    api: Api, sql: Any, dsn: str, user: CreateUser
) -> None:
    """With its own rights, through the jobs that it is given."""
    await api.post(REGISTER, json=MARIA)
    await sql.execute("UPDATE user_links SET expires_at = clock_timestamp()")
    await token_of(sql, api, user_id := await user("peter"))
    await sql.execute("SELECT sign_out_user('main', $1, '::1', 'x')", user_id)
    database = Database(dsn, role="holdfast_worker", connections=1)
    for job in (*users.jobs(Settings()), *sessions.jobs(Settings())):
        (found,) = await job.find(database)
        assert await job.do(database, found) is False
        assert await job.find(database) == []
    await database.close()
    assert await sql.fetchval("SELECT array_agg(login) FROM users") == ["peter"]
    assert await sql.fetchval("SELECT count(*) FROM sessions") == 0


async def test_who_is_named_elsewhere_is_not_swept(
    api: Api, sql: Any, dsn: str, main: None
) -> None:
    """As a user whom an admin has disabled by hand, with bookings."""
    user_id = (await (await api.post(REGISTER, json=MARIA)).json())["user_id"]
    await sql.execute("UPDATE user_links SET expires_at = clock_timestamp()")
    table_id = json.loads(
        await sql.fetchval("SELECT document FROM add_table('main', 'room', 2, 0, true, 'x')")
    )["table_id"]
    await sql.execute(
        "WITH guest AS (INSERT INTO guests (store_id) VALUES ('main') RETURNING guest_id)"
        " INSERT INTO bookings (store_id, table_id, guest_id, user_id, starts_at, guests,"
        " price_at_booking, made_by) SELECT 'main', $1, guest_id, $2, now(), 1, 0, 'x' FROM guest",
        *(table_id, user_id),
    )
    (job,) = users.jobs(Settings())
    database = Database(dsn, role="holdfast_worker", connections=1)
    assert await job.find(database) == []
    await job.do(database, Found("main"))
    await database.close()
    assert await sql.fetchval("SELECT login FROM users") == "maria"


async def test_whatever_names_a_user_keeps_the_registration(sql: Any) -> None:
    naming = await sql.fetch(
        "SELECT conrelid::regclass::text AS name FROM pg_constraint"
        " WHERE confrelid = 'users'::regclass AND confdeltype = 'a'"
    )
    view = await sql.fetchval("SELECT pg_get_viewdef('lapsed_registrations'::regclass)")
    assert {row["name"] for row in naming} >= {"accounts", "bookings", "purchases"}
    assert [row["name"] for row in naming if f" {row['name']} " not in view] == []
