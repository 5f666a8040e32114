"""Settings: what is right is taken as it was meant, what is wrong is named."""

import base64
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.settings import GIB, MIB, InvalidSettings, Settings, is_path


def _load(name: str, value: str) -> Settings:
    return Settings.load(_env_file=None, **{name.lower(): value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOENHANCE_API_KEY", "one\ntwo"),
        ("AUTOENHANCE_API_VERSION", "2025-05-08\r\nx-evil: 1"),
        ("AUTOENHANCE_API_BASE", "http://127.0.0.1:99999/v3"),
        ("SERVICE_API_KEY", " , "),
        ("SERVICE_API_KEY", "one:key-of-both-01,two:key-of-both-01"),
        ("SERVICE_API_KEY", "one:key-of-both-01,key-of-both-01"),
        ("RATE_LIMIT", "0/hour"),
        ("RATE_LIMIT", "often"),
        ("RATE_LIMIT", "10/minute; 100/hour"),
        ("RENDITIONS", "[1]"),
        ("RENDITIONS", "[" * 100_000),
        ("ALLOWED_HOSTS", "batch.example.com:443"),
        ("ALLOWED_ORIGINS", "https://example.com?page=1"),
        ("AUTOENHANCE_API_BASE", "https://api.example/v3?key=x"),
        ("AUTOENHANCE_API_BASE", "https://api.example/v3#x"),
        ("AUTOENHANCE_API_BASE", "https://api example/v3"),
        ("BASE_PATH", "one"),
        ("SHARED_URL", "http://redis:6379"),
        ("SHARED_URL", "redis://redis:6379/0#x"),
        ("ALLOWED_ORIGINS", "www.example.com"),
        ("ALLOWED_ORIGINS", "https://*.example.com"),
        ("ALLOWED_ORIGINS", "https://me@example.com"),
        ("ALLOWED_ORIGINS", "https://example.com#page"),
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
    settings = _load(
        "ALLOWED_ORIGINS",
        "https://Example.com/, http://localhost:3000, https://b\u00fccher.example:443, http://[::1]:80, https://a.example:80",
    )

    assert settings.allowed_origins == (
        "https://example.com",
        "http://localhost:3000",
        "https://xn--bcher-kva.example",
        "http://[::1]",
        "https://a.example:80",
    )


@pytest.mark.parametrize("version", ["2026-10-01", "none", "None"])
def test_an_api_version_is_a_date_or_none(version: str) -> None:
    """Formats are offered by it."""
    given = _load("AUTOENHANCE_API_VERSION", version).autoenhance_api_version

    assert given == (None if version.lower() == "none" else version)


@pytest.mark.parametrize("version", ["yesterday", "2026-13-01", "20261001", "2026-10-1", "v3"])
def test_what_is_no_api_version_is_refused(version: str) -> None:
    """Compared as text, it could be newer than all."""
    with pytest.raises(InvalidSettings, match=r"^AUTOENHANCE_API_VERSION: must be a date"):
        _load("AUTOENHANCE_API_VERSION", version)


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


# The outermost values that are taken, and values beyond them that are not.
BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "upstream_attempts": ([1, 10], [0, 11]),
    "port": ([0, 65_535], [-1, 65_536]),
    "download_concurrency": ([1, 64], [0, 65]),
    "image_timeout": ([0.1], [0]),
    "max_images_per_order": ([1], [0]),
    "max_image_bytes": ([1], [0]),
    "max_credits_per_day": ([0], [-1]),
    "order_freshness": ([0], [-1]),
    "archive_ttl": ([0.1, 100 * 365 * 86_400], [0, 100 * 365 * 86_400 + 1]),
    "resume_grace": ([0], [-1]),
    "send_timeout": ([0.1], [0]),
    "read_ahead_bytes": ([1], [0]),
    "store_max_bytes": ([1], [0]),
    "breaker_failures": ([1], [0]),
    "breaker_reset": ([0.1], [0]),
    "sentry_traces_sample_rate": ([0, 1], [-0.1, 1.1]),
    "brand_name": (["x" * 100], ["x" * 101]),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_setting_has_bounds(name: str) -> None:
    """They are values that work."""
    taken, refused = BOUNDS[name]

    assert [getattr(_load(name, str(value)), name) for value in taken] == taken
    for value in refused:
        with pytest.raises(InvalidSettings, match=f"^{name.upper()}: "):
            _load(name, str(value))


def test_a_file_of_settings_is_text_in_utf_8(tmp_path: Path) -> None:
    """Else it is refused in a line, as any other wrong one."""
    (tmp_path / ".env").write_bytes(b"ORDER_FRESHNESS=1\n# \xff\n")

    with pytest.raises(InvalidSettings, match="UTF-8"):
        Settings.load(_env_file=tmp_path / ".env")


@pytest.mark.parametrize(("given", "taken"), [(1, 1), (10_000, 10_000), (20_000, 10_000)])
def test_no_order_has_more_images_than_are_known(given: int, taken: int) -> None:
    """Of a larger one the first 10,000 are listed: without this a ZIP of them would be complete."""
    assert Settings.load(_env_file=None, max_images_per_order=given).max_images_per_order == taken


def test_nothing_has_to_be_set() -> None:
    """What holds then is what the guide says."""
    settings = Settings(_env_file=None)
    limit = settings.rate_limit

    assert limit is not None
    assert (limit.amount, limit.get_expiry()) == (10, 60)
    assert (settings.upstream_attempts, settings.download_concurrency, settings.image_timeout) == (3, 5, 60)
    assert (settings.max_images_per_order, settings.max_image_bytes) == (100, 512 * MIB)
    assert (settings.order_freshness, settings.archive_ttl, settings.resume_grace) == (10, 3600, 60)
    assert (settings.send_timeout, settings.read_ahead_bytes) == (120, 256 * MIB)
    assert (settings.breaker_failures, settings.breaker_reset) == (5, 60)
    assert (settings.max_credits_per_day, settings.store_max_bytes, settings.shared_url) == (None, None, None)
    assert (settings.host, settings.port, settings.role, settings.base_path) == ("127.0.0.1", 8000, "all", "")
    assert (settings.autoenhance_api_base, settings.autoenhance_api_version) == (
        "https://api.autoenhance.ai/v3",
        "2025-05-08",
    )
    assert {settings.service_api_key, settings.trusted_proxies, settings.allowed_origins, settings.allowed_hosts} == {
        ()
    }
    assert settings.sentry_traces_sample_rate == 0.2
    assert not settings.callback_allow_private
    assert not settings.auto_batch


def _signing_secret(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


def test_a_callback_is_signed_with_the_decoded_secrets() -> None:
    """Padded or not; several, for rotation."""
    given = [_signing_secret(size) for size in (24, 25, 64)]

    settings = _load("CALLBACK_SECRET", ", ".join([given[0], given[1].rstrip("="), given[2]]))

    assert settings.callback_keys == (bytes(range(24)), bytes(range(25)), bytes(range(64)))


@pytest.mark.parametrize(
    "secret",
    [
        _signing_secret(23),
        _signing_secret(65),
        _signing_secret(24).removeprefix("whsec_"),
        f"x{_signing_secret(24)}",
        _signing_secret(24).replace("A", "!", 1),
        _signing_secret(24).replace("A", "*A", 1),
        f"{_signing_secret(24)},whsec_x",
    ],
    ids=["short", "long", "no prefix", "before it", "no base64", "more than base64", "the second"],
)
def test_what_cannot_sign_a_callback_is_refused(secret: str) -> None:
    """As Standard Webhooks has it; no part of it is repeated."""
    with pytest.raises(InvalidSettings, match="CALLBACK_SECRET: must be whsec_ and"):
        _load("CALLBACK_SECRET", secret)


def test_keys_have_the_names_of_their_callers() -> None:
    """What has no name before a colon is the key itself."""
    keys = _load("SERVICE_API_KEY", "studio:key:1,plain,:odd,studio:,a name:x").service_keys

    assert [(key.name, key.secret.get_secret_value()) for key in keys] == [
        ("studio", "key:1"),
        (None, "plain"),
        (None, ":odd"),
        (None, "studio:"),
        (None, "a name:x"),
    ]


def test_every_secret_is_known_as_one() -> None:
    """Alone, or among others: wherever it turns up it is masked."""
    values = {
        "autoenhance_api_key": "one",
        "autoenhance_webhook_secret": "two",
        "service_api_key": "three,four",
        "admin_token": "five",
        "shared_url": "redis://:six@redis/0",
        "store_url": "s3://bucket",
        "callback_secret": f"{_signing_secret(24)},{_signing_secret(25)}",
        "assistant_api_key": "seven",
        "sentry_dsn": "https://key@sentry.example/1",
        "sentry_auth_token": "eight",
    }

    found = Settings.load(_env_file=None, **values).secrets()

    others = [
        value for name, value in values.items() if name not in ("service_api_key", "callback_secret", "store_url")
    ]
    assert sorted(found) == sorted([*others, "three", "four", *values["callback_secret"].split(",")])


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("rate_limit", "OFF", None),
        ("autoenhance_api_version", "None", None),
        ("autoenhance_api_version", "2024-01-01", "2024-01-01"),
        ("log_level", "debug", "DEBUG"),
        ("log_format", "JSON", "json"),
        ("base_path", "/batch/", "/batch"),
        ("base_path", "/", ""),
        ("allowed_hosts", "Batch.Example.com., *", ("batch.example.com", "*")),
        ("allowed_origins", "*", ("*",)),
        ("renditions", '{"flyer": {}}', {"flyer": {}}),
        ("renditions", "{}", {}),
        ("service_api_key", " , ,", InvalidSettings),
        ("store_max_bytes", " ", None),
    ],
)
def test_a_value_is_taken_as_it_was_meant(name: str, given: str, taken: Any) -> None:
    """In whatever letters, and with whatever surrounds it."""
    if taken is InvalidSettings:
        with pytest.raises(InvalidSettings):
            _load(name, given)
    else:
        assert getattr(_load(name, given), name) == taken


def test_a_list_may_have_spaces_and_gaps() -> None:
    """They are no part of a key."""
    keys = _load("SERVICE_API_KEY", " one ,, two,").service_api_key

    assert [key.get_secret_value() for key in keys] == ["one", "two"]


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("/batch", True),
        ("/a/b.c~d_e-1", True),
        ("/...", True),
        ("/.hidden", True),
        ("batch", False),
        ("/batch/", False),
        ("/a/../b", False),
        ("/.", False),
        ("/a/.", False),
        ("/a b", False),
        ("/batch\n", False),
    ],
)
def test_a_service_can_be_offered_below_a_plain_path(path: str, is_one: bool) -> None:
    """Not below one that browsers would resolve to another."""
    assert is_path(path) is is_one


@pytest.mark.parametrize(
    ("given", "is_whole"),
    [
        ({"shared_url": "redis://redis/0", "store_url": "s3://bucket"}, True),
        ({"shared_url": "rediss://redis/0", "store_url": "s3://bucket", "role": "worker"}, True),
        ({"shared_url": "redis://redis/0"}, False),
        ({"store_url": "s3://bucket"}, False),
        ({"role": "web"}, False),
        ({"role": "worker"}, False),
        ({"role": "all"}, True),
    ],
)
def test_instances_share_all_or_nothing(given: dict[str, str], is_whole: bool) -> None:
    """A half would lose results, or fetch everything twice."""
    if is_whole:
        Settings.load(_env_file=None, **given)
    else:
        with pytest.raises(InvalidSettings, match="needs"):
            Settings.load(_env_file=None, **given)
