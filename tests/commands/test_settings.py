"""Settings: what is right is taken as it was meant, what is wrong is named."""

import shutil
from types import SimpleNamespace

import pytest

from service.settings import GIB, InvalidSettings, Settings


def _load(name: str, value: str) -> Settings:
    return Settings.load(_env_file=None, **{name.lower(): value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOENHANCE_API_KEY", "one\ntwo"),
        ("AUTOENHANCE_API_VERSION", "2025-05-08\r\nx-evil: 1"),
        ("AUTOENHANCE_API_BASE", "http://127.0.0.1:99999/v3"),
        ("SERVICE_API_KEY", " , "),
        ("RATE_LIMIT", "0/hour"),
        ("ALLOWED_ORIGINS", "www.example.com"),
        ("ALLOWED_ORIGINS", "https://example.com/page"),
        ("IMAGE_TIMEOUT", "inf"),
        ("ORDER_FRESHNESS", "nan"),
        ("ARCHIVE_TTL", "1e12"),
        ("SENTRY_DSN", "x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("ASSISTANT_BASE_URL", "localhost:11434/v1"),
    ],
)
def test_a_value_that_could_not_work_later_is_refused_at_the_start(name: str, value: str) -> None:
    """It is named, and not repeated."""
    with pytest.raises(InvalidSettings, match=f"^{name}: ") as refused:
        _load(name, value)

    assert value not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["AUTOENHANCE_API_BASE", "ALLOWED_ORIGINS", "ASSISTANT_BASE_URL", "SHARED_URL"])
@pytest.mark.parametrize(
    "address",
    ["https://user:hush@host:hush", "https://user:hush\u2100@host", "https://[hush]/", "redis://:hush#hush@host:1/0"],
)
def test_no_part_of_a_refused_address_is_repeated(name: str, address: str) -> None:
    """It may hold a password, and the library that reads it quotes what it does not understand."""
    with pytest.raises(InvalidSettings, match=f"^{name}: must be ") as refused:
        _load(name, address)

    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["AUTOENHANCE_API_KEY", "ADMIN_TOKEN", "AUTOENHANCE_WEBHOOK_SECRET"])
def test_spaces_alone_are_no_secret(name: str) -> None:
    """Set to nothing is not set: nobody could send it."""
    assert getattr(_load(name, "  "), name.lower()) is None


def test_spaces_around_a_secret_are_not_part_of_it() -> None:
    """No header could carry them."""
    token = _load("ADMIN_TOKEN", " secret ").admin_token

    assert token is not None
    assert token.get_secret_value() == "secret"


def test_of_a_key_with_a_name_both_are_secret_together_and_the_key_alone() -> None:
    """A caller sends the key without its name: wherever that turns up it is to be masked."""
    secrets = _load("SERVICE_API_KEY", "studio:key-of-the-studio-1, key-without-a-name-2").secrets()

    assert {"studio:key-of-the-studio-1", "key-of-the-studio-1", "key-without-a-name-2"} <= set(secrets)


@pytest.mark.parametrize("name", ["SERVICE_API_KEY", "ADMIN_TOKEN", "AUTOENHANCE_WEBHOOK_SECRET"])
def test_a_secret_that_others_could_send_has_sixteen_characters(name: str) -> None:
    """One less stops the start, where others than this machine can call; on the loopback it may be short."""
    Settings.load(_env_file=None, host="0.0.0.0", **{name.lower(): "x" * 16})
    Settings.load(_env_file=None, **{name.lower(): "x"})

    with pytest.raises(InvalidSettings, match=name):
        Settings.load(_env_file=None, host="0.0.0.0", **{name.lower(): "x" * 15})


def test_a_slash_at_the_end_of_the_api_s_address_changes_nothing() -> None:
    """Paths begin with one of their own."""
    assert _load("AUTOENHANCE_API_BASE", "https://api.example/v3/").autoenhance_api_base == "https://api.example/v3"


def test_origins_are_compared_as_browsers_write_them() -> None:
    """Lower case, without a slash at the end."""
    settings = _load("ALLOWED_ORIGINS", "https://Example.com/, http://localhost:3000")

    assert settings.allowed_origins == ("https://example.com", "http://localhost:3000")


@pytest.mark.parametrize(
    ("free", "held", "budget"),
    [(10 * GIB, 0, 5 * GIB), (10 * GIB, 4 * GIB, 7 * GIB), (0, 8 * GIB, 4 * GIB), (500 * GIB, 0, 20 * GIB)],
)
def test_the_store_takes_half_of_what_is_free_or_its_own(
    monkeypatch: pytest.MonkeyPatch, free: int, held: int, budget: int
) -> None:
    """Else each start would leave it half of what the last one did. At most 20 GiB; what is set is what counts."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    assert Settings(_env_file=None).store_budget(held) == budget
    assert _load("STORE_MAX_BYTES", "123456789").store_budget(held) == 123456789


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, None),
        ({"endpoint": "http://one:4318/"}, "http://one:4318/v1/traces"),
        ({"traces_endpoint": "http://two:4318/x"}, "http://two:4318/x"),
        ({"endpoint": "http://one:4318", "traces_endpoint": "http://two:4318/x"}, "http://two:4318/x"),
    ],
    ids=["none", "for all", "for traces", "both"],
)
def test_traces_go_where_they_are_sent(given: dict[str, str], endpoint: str | None) -> None:
    """The address for traces is complete, and wins over the one for all telemetry."""
    settings = Settings.load(_env_file=None, **{f"otel_exporter_otlp_{name}": value for name, value in given.items()})

    assert settings.traces_endpoint == endpoint
