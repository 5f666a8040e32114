"""What an operator is told when the service starts."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from service.settings import InvalidSettings, Settings
from service.startup import misspelt, summary, warnings
from tests.support.command_line import run
from tests.support.process import ServiceProcess, clean_environment

SECRETS = ("SERVICE_API_KEY", "ADMIN_TOKEN", "AUTOENHANCE_WEBHOOK_SECRET")
EVERYWHERE = ("0.0.0.0", "::", "192.0.2.7", "batch.example", "")
LOOPBACK = ("127.0.0.1", "127.1.2.3", "::1", "localhost")


def settings(**values: object) -> Settings:
    """Settings of nothing but these values."""
    return Settings.load(_env_file=None, **values)


@pytest.mark.parametrize("host", [host for host in EVERYWHERE if host])
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("secret", ["x", "fifteen-letters"])
def test_a_short_secret_stops_the_start_where_others_can_reach_it(host: str, name: str, secret: str) -> None:
    """By its name, not by its value."""
    with pytest.raises(InvalidSettings, match=f"^{name}: must have at least 16 characters") as refused:
        settings(**{"host": host, name.lower(): secret})

    assert secret not in str(refused.value).partition(":")[2].split()


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("name", SECRETS)
def test_on_the_loopback_it_is_a_warning(host: str, name: str) -> None:
    """Only who is on this machine could guess."""
    found = list(warnings(settings(**{"host": host, name.lower(): "short", "autoenhance_api_key": "x"})))

    assert [warning.startswith(f"{name} is short") for warning in found] == [True]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_long_secrets_and_those_of_others_are_no_matter(host: str) -> None:
    """Sixteen characters will do, a name before a key is no part of it, and Autoenhance chooses its keys itself."""
    values = {name.lower(): "sixteen-letters." for name in SECRETS} | {"service_api_key": "portal:sixteen-letters."}

    assert list(warnings(settings(host=host, autoenhance_api_key="x", **values))) == []


def test_a_name_does_not_make_a_key_longer() -> None:
    """What could be guessed is the key."""
    with pytest.raises(InvalidSettings, match="SERVICE_API_KEY: must have"):
        settings(host="0.0.0.0", service_api_key="a-very-long-name:short")


async def test_short_secrets_are_named_a_line_each(tmp_path: Path) -> None:
    """Exit code 2, as for every wrong setting."""
    ended = await run("serve", folder=tmp_path, HOST="0.0.0.0", ADMIN_TOKEN="a", SERVICE_API_KEY="b")

    assert ended.code == 2
    assert [line.split(": ")[1] for line in ended.errors.splitlines()] == ["SERVICE_API_KEY", "ADMIN_TOKEN"]


async def test_a_proxy_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """In a line that names the variable, and not the password in it."""
    ended = await run("serve", folder=tmp_path, PORT="0", HTTPS_PROXY="socks5://user:secret@proxy.example:1080")

    assert (ended.code, "Traceback" in ended.errors, "secret" in ended.errors) == (2, False, False)
    assert "HTTPS_PROXY must be the URL of an HTTP proxy" in ended.errors


@pytest.mark.parametrize(
    ("host", "warned"), [(host, True) for host in EVERYWHERE] + [(host, False) for host in LOOPBACK]
)
def test_an_open_service_that_others_can_reach_is_a_warning(host: str, warned: bool) -> None:
    """On the loopback it is meant."""
    given = settings(autoenhance_api_key="x").model_copy(update={"host": host})

    found = list(warnings(given))

    assert ["SERVICE_API_KEY is not set" in warning for warning in found] == [True] * warned


@pytest.mark.parametrize(
    ("values", "pair"),
    [
        ({"auto_batch": True}, ["AUTO_BATCH", "AUTOENHANCE_WEBHOOK_SECRET"]),
        ({"assistant_model": "m"}, ["ASSISTANT_MODEL", "ASSISTANT_BASE_URL"]),
        ({"assistant_base_url": "http://127.0.0.1:9"}, ["ASSISTANT_BASE_URL", "ASSISTANT_MODEL"]),
        ({"sentry_auth_token": "x", "sentry_org": "o"}, ["SENTRY_AUTH_TOKEN", "SENTRY_PROJECT"]),
        ({"sentry_auth_token": "x", "sentry_org": "o", "sentry_project": "p"}, None),
        ({"assistant_base_url": "http://127.0.0.1:9", "assistant_model": "m"}, None),
        ({"auto_batch": True, "autoenhance_webhook_secret": "long-enough-to-be-one"}, None),
    ],
)
def test_what_does_nothing_by_itself_is_a_warning(values: dict[str, Any], pair: list[str] | None) -> None:
    """With what it needs."""
    found = list(warnings(settings(autoenhance_api_key="x", **values)))

    assert found == ([f"{pair[0]} has no effect without {pair[1]}"] if pair else [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTOENHANCE_APIKEY", "AUTOENHANCE_API_KEY"),
        ("AUTOENHANCE_API_KEYS", "AUTOENHANCE_API_KEY"),
        ("SERVICE_APIKEY", "SERVICE_API_KEY"),
        ("SERVICE_API_KEYS", "SERVICE_API_KEY"),
        ("ADMINTOKEN", "ADMIN_TOKEN"),
        ("DATADIR", "DATA_DIR"),
        ("RATE-LIMIT", "RATE_LIMIT"),
        ("TRUSTED_PROXY", None),
        ("DOWNLOAD_CONCURENCY", "DOWNLOAD_CONCURRENCY"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("allowed_origin", "ALLOWED_ORIGINS"),
        ("SENTRY_ENVIRONMENT", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINTS", None),
        ("HOSTNAME", None),
        ("HOSTS", None),
        ("PATH", None),
        ("POST", None),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_that_is_meant(name: str, meant: str | None) -> None:
    """What is no setting of ours may be anything."""
    assert list(misspelt([name])) == ([(name, meant)] if meant else [])


def test_no_setting_is_taken_for_another() -> None:
    """In either case of its letters."""
    names = [name.upper() for name in Settings.model_fields]

    assert names
    assert list(misspelt([*names, *map(str.lower, names)])) == []


def test_a_variable_in_the_file_that_only_the_environment_can_set_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of libraries: they do not read our file. Our own are read, and so is what the environment has as well."""
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    lines = [
        "AWS_REGION=eu-west-1",
        "AWS_ACCESS_KEY_ID=key",
        "https_proxy=http://proxy:3128",
        "TRUSTED_PROXIES=10.0.0.1",
    ]
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://traces:4318"
    (tmp_path / ".env").write_text("\n".join([*lines, endpoint, "OTEL_TRACES_SAMPLER=always_off"]))

    told = [warning.split()[0] for warning in warnings(settings()) if "read from the environment only" in warning]

    assert told == ["AWS_REGION", "HTTPS_PROXY", "OTEL_TRACES_SAMPLER"]


async def test_the_start_says_what_starts(tmp_path: Path) -> None:
    """Version, upstream, data and budget, who may call, what is on: on one screen, without secrets, and what is odd."""
    (tmp_path / ".env").write_text("AUTOENHANCE_APIKEY=key-of-the-account\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve"),
        cwd=tmp_path,
        env=clean_environment(
            PORT="0",
            AUTOENHANCE_API_BASE="https://someone:hush@api.example/v3",
            SERVICE_API_KEY="portal:key-of-the-portal,portal:its-second-key-16,nameless-key-0001",
            ADMIN_TOKEN="token-of-the-administrator",
            STORE_MAX_BYTES=str(3 << 30),
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = (await process.stderr.readuntil(b"listening")).decode()
    process.terminate()
    await process.wait()

    lines = dict(re.findall(r"^  (\w+) +(.+)$", said, re.MULTILINE))
    assert lines["version"]
    assert lines["upstream"].startswith("https://api.example/v3, version ")
    assert lines["data"] == f"{tmp_path / 'data'}, at most 3.0 GiB of images"
    assert lines["callers"] == "portal, 1 without a name"
    assert lines["on"] == "rate limit (10 in 60 s), administrators"
    assert "AUTOENHANCE_APIKEY is no setting; perhaps AUTOENHANCE_API_KEY is meant" in said
    assert said.count("\n") <= 24
    for secret in ("key-of-the", "hush", "its-second", "nameless", "token-of"):
        assert secret not in said


async def test_programs_are_told_in_one_event(tmp_path: Path) -> None:
    """`LOG_FORMAT=json`: every line stays JSON."""
    async with ServiceProcess(tmp_path) as service:
        pass

    assert all(line.startswith("{") for line in service.log)
    assert sum('"event": "starting"' in line for line in service.log) == 1


def test_everything_that_is_on_is_said(tmp_path: Path) -> None:
    """Each by a word."""
    everything = settings(
        data_dir=tmp_path,
        rate_limit="5/hour",
        max_credits_per_day=500,
        admin_token="x" * 16,
        shared_url="redis://user:hush@redis",
        store_url="s3://bucket",
        callback_secret="whsec_" + "A" * 32,
        autoenhance_webhook_secret="x" * 16,
        auto_batch=True,
        assistant_base_url="http://127.0.0.1/v1",
        assistant_model="m",
        otel_exporter_otlp_endpoint="http://127.0.0.1:4318",
        sentry_dsn="https://key@sentry.example/1",
        base_path="/batch/",
    )

    assert summary(everything)["on"] == (
        "rate limit (5 in 3600 s), at most 500 credits a day, administrators, several instances (role all),"
        " shared storage, callbacks, webhook with AUTO_BATCH, assistant, traces, Sentry, below /batch"
    )
    assert summary(everything)["off"] == "nothing"


def test_what_is_off_is_said_with_the_setting_that_turns_it_on(tmp_path: Path) -> None:
    """An operator need not read the whole list of settings to see what is missing."""
    nothing = summary(settings(data_dir=tmp_path, rate_limit="off"))

    assert nothing["on"] == "nothing optional"
    names = re.findall(r"\(([A-Z_]+)\)", nothing["off"])
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    assert nothing["off"].startswith(
        "rate limit, credit limit (MAX_CREDITS_PER_DAY), administrators (ADMIN_TOKEN), several instances (SHARED_URL)"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://someone:hush@127.0.0.1:8001/v3/", "http://127.0.0.1:8001/v3"),
        ("https://api.example/v3", "https://api.example/v3"),
    ],
)
def test_upstream_is_said_without_a_password(tmp_path: Path, address: str, shown: str) -> None:
    """With its port: that of a sandbox, say."""
    given = settings(data_dir=tmp_path, autoenhance_api_base=address, autoenhance_api_version="none")

    assert summary(given)["upstream"] == f"{shown}, version unset"


@pytest.mark.parametrize(
    ("budget", "shown"), [(1 << 30, "1.0 GiB"), ((1 << 30) - 1, "1023 MiB"), (5 << 30, "5.0 GiB"), (9 << 20, "9 MiB")]
)
def test_the_budget_is_said_before_there_is_a_folder(tmp_path: Path, budget: int, shown: str) -> None:
    """It is made at the start, with those above it."""
    folder = tmp_path / "not" / "yet"

    assert summary(settings(data_dir=folder, store_max_bytes=budget))["data"] == f"{folder}, at most {shown} of images"
    assert summary(settings(data_dir=folder))["data"].startswith(f"{folder}, at most ")


async def test_the_last_line_says_that_it_stopped(tmp_path: Path) -> None:
    """After everything is closed."""
    service = ServiceProcess(tmp_path)
    async with service:
        pass

    assert '"event": "stopped"' in service.log[-1]
