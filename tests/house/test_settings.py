"""Settings: typed, and wrong ones named."""

import base64
import os
import re
from pathlib import Path

import pytest

from service.settings import (
    ROOT,
    Settings,
    SettingsError,
    is_secret,
    read_settings,
    unknown_settings,
)
from tests.support.builders import SECRET


def test_nothing_set_is_the_default() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"HOLDFAST_PORT": ""}) == Settings()


def test_values_are_typed() -> None:
    settings = read_settings(
        {
            "HOLDFAST_PORT": "9000",
            "HOLDFAST_DATA_DIR": "~/stock",
            "HOLDFAST_DATABASE_URL": "postgresql://u:p@h/d",
            "HOLDFAST_SHUTDOWN_DELAY": "1.5",
        }
    )
    assert (settings.port, settings.shutdown_delay) == (9000, 1.5)
    assert settings.data_dir == Path.home() / "stock"
    assert settings.owner_url == "postgresql://u:p@h/d"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_PORT", "http"),
        ("HOLDFAST_PORT", "65536"),
        ("HOLDFAST_PORT", "-1"),
        ("HOLDFAST_PROCESSES", "0"),
        ("HOLDFAST_STORE", "a:b"),
        ("HOLDFAST_STORE", "a b"),
        ("HOLDFAST_STORE", "x" * 65),
        ("HOLDFAST_CORS_ORIGINS", "shop.example"),
        ("HOLDFAST_CORS_ORIGINS", "https://shop.example/"),
        ("HOLDFAST_ENVIRONMENT", "prod"),
        ("HOLDFAST_LOG_FORMAT", "xml"),
        ("HOLDFAST_LOG_LEVEL", "loud"),
        ("HOLDFAST_SHUTDOWN_DELAY", "soon"),
        ("HOLDFAST_WORKER", "outside"),
        ("HOLDFAST_REPORT_TIME", "24:00"),
        ("HOLDFAST_REPORT_TIME", "9:00"),
        ("HOLDFAST_TIME_ZONE", "Mars/Olympus"),
        ("HOLDFAST_TIME_ZONE", "../UTC"),
        ("HOLDFAST_TELEGRAM_CHAT_ID", "somebody"),
        ("HOLDFAST_TELEGRAM_API_URL", "api.telegram.org"),
        ("HOLDFAST_TOKEN_SECONDS", "0"),
        ("HOLDFAST_PUBLIC_URL", "shop.example"),
        ("HOLDFAST_PUBLIC_URL", "https://shop.example/"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}='{value}': "):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HOLDFAST_PORT", "http", "has to be a number from 0 to 65535"),
        ("HOLDFAST_SHUTDOWN_DELAY", "soon", "has to be a number from 0 to 12"),
        ("HOLDFAST_ENVIRONMENT", "prod", "has to be development or production"),
        ("HOLDFAST_LOG_LEVEL", "loud", "has to be debug or info or warning or error"),
        ("HOLDFAST_REPORT_TIME", "9:00", "has to be hours and minutes, such as 21:00"),
        ("HOLDFAST_STORES", "a b:c", "a store's id has 1 to 64 visible characters, no colon"),
    ],
)
def test_it_is_said_what_a_value_has_to_be(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}='{value}': {said}$"):
        read_settings({name: value})


def test_choices_may_be_written_in_any_letter_case() -> None:
    settings = read_settings(
        {
            "HOLDFAST_ENVIRONMENT": "Production",
            "HOLDFAST_JWT_SECRET": SECRET,
            "HOLDFAST_LOG_LEVEL": "WARNING",
            "HOLDFAST_LOG_FORMAT": "Json",
            "HOLDFAST_WORKER": " NONE ",
        }
    )
    assert (settings.environment, settings.jwt_secret) == ("production", SECRET)
    assert (settings.log_level, settings.log_format) == ("warning", "json")
    assert settings.worker == "none"


@pytest.mark.parametrize("secret", ["x" * 32, "0123456" * 6, "secret42" * 8, "s" * 40 + "ecret"])
def test_production_takes_no_secret_that_can_be_guessed(secret: str) -> None:
    """Also not beside a good one: each of them is taken."""
    for secrets in (secret, f"{SECRET} {secret}"):
        given = {"HOLDFAST_JWT_SECRET": secrets}
        assert read_settings(given).jwt_secret == secrets  # while one develops
        with pytest.raises(SettingsError, match=r"HOLDFAST_JWT_SECRET.*random") as wrong:
            read_settings(given | {"HOLDFAST_ENVIRONMENT": "production"})
        assert secret not in str(wrong.value)


@pytest.mark.parametrize("name", sorted(filter(is_secret, Settings.__struct_fields__)))
def test_no_secret_is_repeated(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^HOLDFAST_{name.upper()}") as wrong:
        read_settings(
            {
                f"HOLDFAST_{name.upper()}": "whsec_hush",
                f"HOLDFAST_{name.upper()}_FILE": "/nowhere",
            }
        )
    assert "hush" not in str(wrong.value)
    with pytest.raises(SettingsError) as wrong:
        read_settings({f"HOLDFAST_{name.upper()}": "whsec_hush"})
    assert "hush" not in str(wrong.value)
    assert f"HOLDFAST_{name.upper()}" in str(wrong.value)


GOOD_KEY = "gfdmhghif38yrf9ew0jkf32"


@pytest.mark.parametrize("key", ["k", "k" * 15, GOOD_KEY[:15]])
def test_a_short_payment_key_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^HOLDFAST_PAYMENT_KEY: .* at least 16") as wrong:
        read_settings({"HOLDFAST_PAYMENT_KEY": key})
    assert f"'{key}'" not in str(wrong.value)
    assert read_settings({"HOLDFAST_PAYMENT_KEY": GOOD_KEY}).payment_key == GOOD_KEY


@pytest.mark.parametrize(
    ("name", "weak", "good"),
    [
        ("HOLDFAST_PAYMENT_KEY", "k" * 40, GOOD_KEY),
        ("HOLDFAST_PAYMENT_KEY", "secret42" * 2, GOOD_KEY),
        (
            "HOLDFAST_WEBHOOK_SECRETS",
            "whsec_" + base64.b64encode(b"k" * 32).decode(),
            "whsec_" + base64.b64encode(GOOD_KEY.encode() * 2).decode()[:-8],
        ),
    ],
)
def test_production_takes_no_key_of_money_that_can_be_guessed(
    name: str, weak: str, good: str
) -> None:
    production = {"HOLDFAST_ENVIRONMENT": "production", "HOLDFAST_JWT_SECRET": SECRET}
    read_settings({name: weak})  # while one develops
    read_settings(production | {name: good})
    with pytest.raises(SettingsError, match=rf"^{name}.*random") as wrong:
        read_settings(production | {name: weak})
    assert weak not in str(wrong.value)


def test_all_that_sounds_like_a_secret_is_one() -> None:
    sounds = re.compile("secret|password|token$|_key$|_url$")
    open_to_all = {"public_url", "telegram_api_url"}
    named = {name for name in Settings.__struct_fields__ if sounds.search(name)}
    assert set(filter(is_secret, Settings.__struct_fields__)) == named - open_to_all


def test_a_setting_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x" * 32 + "\n")
    settings = read_settings({"HOLDFAST_JWT_SECRET_FILE": str(file)})
    assert settings.jwt_secret == "x" * 32
    assert unknown_settings({"HOLDFAST_JWT_SECRET_FILE": "", "HOLDFAST_NO_FILE": ""}) == [
        "HOLDFAST_NO_FILE"
    ]
    with pytest.raises(SettingsError, match=r"HOLDFAST_JWT_SECRET and .*_FILE are both set"):
        read_settings({"HOLDFAST_JWT_SECRET_FILE": str(file), "HOLDFAST_JWT_SECRET": "y" * 32})
    with pytest.raises(SettingsError, match=r"^HOLDFAST_PORT_FILE='/nowhere': No such file"):
        read_settings({"HOLDFAST_PORT_FILE": "/nowhere"})
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="no text in UTF-8"):
        read_settings({"HOLDFAST_PORT_FILE": str(file)})


def test_what_the_environment_does_not_say_comes_from_the_file_env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / ".env").write_text(
        "# as docker-compose reads it\nHOLDFAST_STORES=north south\nHOLDFAST_PORT='9000' # no\n"
        f"HOLDFAST_STORE=\nHOLDFAST_PROT=1\nHOLDFAST_JWT_SECRET_FILE={tmp_path / 'secret'}\n"
    )
    settings = read_settings()
    assert (settings.stores, settings.port, settings.store) == ("north south", 9000, "main")
    assert settings.jwt_secret == "s" * 32
    assert unknown_settings() == ["HOLDFAST_PROT"]
    monkeypatch.setenv("HOLDFAST_PORT", "9001")
    monkeypatch.setenv("HOLDFAST_JWT_SECRET", "e" * 32)
    assert (read_settings().port, read_settings().jwt_secret) == (9001, "e" * 32)
    monkeypatch.setenv("HOLDFAST_ENV_FILE", os.devnull)
    assert (read_settings().stores, read_settings().port) == ("", 9001)


def test_a_database_url_must_be_one() -> None:
    for name in ("DATABASE_URL", "MIGRATION_URL", "LISTEN_URL"):
        with pytest.raises(SettingsError, match=f"^HOLDFAST_{name}: .*postgresql://") as wrong:
            read_settings({f"HOLDFAST_{name}": "mysql://me:hush@h/d"})
        assert "hush" not in str(wrong.value)


def test_a_pooler_needs_ways_past_it() -> None:
    pooled = {"HOLDFAST_DATABASE_URL": "postgresql://me@h/d?pooler=transaction"}
    owner = {"HOLDFAST_MIGRATION_URL": "postgresql://owner@h/d"}
    listen = {"HOLDFAST_LISTEN_URL": "postgresql://me@h/d"}
    with pytest.raises(SettingsError, match=r"HOLDFAST_MIGRATION_URL: .* past the pooler"):
        read_settings(pooled | listen)
    with pytest.raises(SettingsError, match="HOLDFAST_LISTEN_URL: past the pooler"):
        read_settings(pooled | owner)
    assert read_settings(pooled | owner | listen).listen_url == "postgresql://me@h/d"


def test_production_needs_a_long_secret() -> None:
    production = {"HOLDFAST_ENVIRONMENT": "production"}
    for secret in ("", " ", "x" * 31, "x" * 32 + " " + "y" * 31):
        with pytest.raises(SettingsError, match="HOLDFAST_JWT_SECRET"):
            read_settings(production | {"HOLDFAST_JWT_SECRET": secret})
    assert read_settings(production | {"HOLDFAST_JWT_SECRET": SECRET}).environment == "production"


@pytest.mark.parametrize(
    "secrets", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_bm90IGVub3VnaA==", "whsec_?"]
)
def test_a_wrong_webhook_secret_is_named_and_not_told(secrets: str) -> None:
    good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert len(read_settings({"HOLDFAST_WEBHOOK_SECRETS": f"{good}  {good}"}).webhook_keys) == 2
    with pytest.raises(SettingsError, match="HOLDFAST_WEBHOOK_SECRETS") as caught:
        read_settings({"HOLDFAST_WEBHOOK_SECRETS": f"{good} {secrets}"})
    assert "bm90" not in str(caught.value)
    assert "MfKQ" not in str(caught.value)


def test_a_bot_needs_somebody_to_write_to() -> None:
    token = {"HOLDFAST_TELEGRAM_BOT_TOKEN": "4711:secret"}
    with pytest.raises(SettingsError, match="HOLDFAST_TELEGRAM_CHAT_ID"):
        read_settings(token)
    assert read_settings(token | {"HOLDFAST_TELEGRAM_CHAT_ID": "-100"}).telegram_chat_id == "-100"


def test_proxies_are_addresses_and_networks() -> None:
    settings = read_settings({"HOLDFAST_TRUSTED_PROXIES": "10.0.0.0/8 ::1"})
    assert [str(network) for network in settings.proxies] == ["10.0.0.0/8", "::1/128"]
    for wrong in ("proxy.example", "10.0.0.1/8", "10.0.0.1,10.0.0.2"):
        with pytest.raises(SettingsError, match="HOLDFAST_TRUSTED_PROXIES"):
            read_settings({"HOLDFAST_TRUSTED_PROXIES": wrong})


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        (Settings(), "http://127.0.0.1:8080"),
        (Settings(host="0.0.0.0", port=9000), "http://127.0.0.1:9000"),
        (Settings(host="::"), "http://[::1]:8080"),
        (Settings(public_url="https://shop.example"), "https://shop.example"),
    ],
)
def test_links_lead_to_where_the_service_is(settings: Settings, base: str) -> None:
    assert settings.link_base == base


def test_a_slip_of_the_pen_is_found() -> None:
    assert unknown_settings({"HOLDFAST_PROT": "1", "HOLDFAST_PORT": "1", "PATH": ""}) == [
        "HOLDFAST_PROT"
    ]


def test_the_example_names_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert unknown_settings(example) == []
    assert set(example) == {f"HOLDFAST_{name.upper()}" for name in Settings.__struct_fields__}
    assert read_settings(example) == Settings()


def test_compose_hands_every_setting_on_or_settles_it() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    handed_on = set(re.findall(r"^    +(HOLDFAST_[A-Z_]+):", compose, re.M))
    settled = {"host", "port", "data_dir", "listen_url"}
    wanted = {f"HOLDFAST_{name.upper()}" for name in set(Settings.__struct_fields__) - settled}
    assert wanted - handed_on == set()
    assert unknown_settings(dict.fromkeys(handed_on, "")) == []


def test_origins_are_sites_separated_by_spaces() -> None:
    origins = "https://a.example http://localhost:3000"
    assert read_settings({"HOLDFAST_CORS_ORIGINS": origins}).cors_origins == origins
