"""Settings: typed, and wrong ones named."""

from pathlib import Path

import pytest

from service.settings import ROOT, Settings, SettingsError, read_settings, unknown_settings


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
        ("HOLDFAST_TELEGRAM_BOT_TOKEN", "token"),
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


def test_a_database_url_must_be_one() -> None:
    with pytest.raises(SettingsError, match="postgresql://"):
        read_settings({"HOLDFAST_DATABASE_URL": "mysql://h/d"})


def test_production_needs_a_long_secret() -> None:
    production = {"HOLDFAST_ENVIRONMENT": "production"}
    for secret in ("", " ", "x" * 31, "x" * 32 + " " + "y" * 31):
        with pytest.raises(SettingsError, match="HOLDFAST_JWT_SECRET"):
            read_settings(production | {"HOLDFAST_JWT_SECRET": secret})
    assert read_settings(production | {"HOLDFAST_JWT_SECRET": "x" * 32}).environment == "production"


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


def test_origins_are_sites_separated_by_spaces() -> None:
    origins = "https://a.example http://localhost:3000"
    assert read_settings({"HOLDFAST_CORS_ORIGINS": origins}).cors_origins == origins
