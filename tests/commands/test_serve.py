"""What `serve` says at its start."""

import json
from pathlib import Path
from typing import Any

import pytest

from service import __version__
from service.commands.serve import start_summary
from service.settings import Settings
from tests.process import ServiceProcess


def summary(**values: Any) -> dict[str, str]:
    """The lines of a summary by their labels."""
    first, *lines = start_summary(Settings.load(_env_file=None, **values))
    assert first == f"autoenhance-batch {__version__}"
    return {label.strip(): fact.strip() for label, _, fact in (line.strip().partition("  ") for line in lines)}


def test_the_defaults_fit_on_a_screen() -> None:
    """Each thing an operator asks first, and what is not set up yet."""
    said = summary(data_dir="/srv/batch")

    assert said == {
        "Autoenhance": "https://api.autoenhance.ai/v3, API version 2025-05-08; AUTOENHANCE_API_KEY is not set",
        "Data": "/srv/batch, at most half of the free space, or 20 GiB, of images",
        "Callers": "anyone on this machine; SERVICE_API_KEY is not set",
        "Administrators": "none; ADMIN_TOKEN is not set",
        "Limits": "10 per 1 minute per caller, 5 downloads from Autoenhance at once, 100 images per archive",
        "Also on": "nothing",
    }


@pytest.mark.parametrize(
    ("values", "callers"),
    [
        ({"host": "0.0.0.0"}, "WARNING: anyone who can reach 0.0.0.0:8000; SERVICE_API_KEY is not set"),
        ({"host": "::"}, "WARNING: anyone who can reach [::]:8000; SERVICE_API_KEY is not set"),
        ({"host": "batch.internal"}, "WARNING: anyone who can reach batch.internal:8000; SERVICE_API_KEY is not set"),
        ({"host": "::1"}, "anyone on this machine; SERVICE_API_KEY is not set"),
        ({"host": "localhost"}, "anyone on this machine; SERVICE_API_KEY is not set"),
        ({"host": "0.0.0.0", "service_api_key": "a" * 20}, "with an API key (SERVICE_API_KEY)"),
        ({"service_api_key": f"{'a' * 20},{'b' * 20}"}, "with one of 2 API keys (SERVICE_API_KEY)"),
    ],
)
def test_who_may_call_is_said(values: dict[str, str], callers: str) -> None:
    """With a warning where a service without keys is open to other machines."""
    assert summary(**values)["Callers"] == callers


def test_what_is_turned_on_is_named() -> None:
    """And the disk space that images may take."""
    said = summary(
        store_max_bytes=3 << 29,
        auto_batch=True,
        shared_url="redis://localhost",
        store_url="s3://bucket",
        role="web",
        otel_exporter_otlp_endpoint="http://localhost:4318",
        allowed_origins="https://a.example,https://b.example",
    )

    assert said["Data"].endswith(", at most 1.5 GiB of images")
    assert said["Also on"] == (
        "sharing by Redis and S3 (role web), automatic batches, "
        "cross-origin calls from https://a.example, https://b.example, tracing"
    )


def test_no_secret_is_shown() -> None:
    """Neither keys and tokens nor a password within a URL."""
    secrets = {name: f"hush-{name}-0123456789" for name in ("autoenhance_api_key", "admin_token", "service_api_key")}
    lines = start_summary(
        Settings.load(
            _env_file=None,
            **secrets,
            autoenhance_webhook_secret="hush-webhook-0123456789",
            autoenhance_api_base="https://user:hush@api.example/v3",
            shared_url="redis://:hush@localhost",
            store_url="s3://bucket",
            assistant_base_url="https://user:hush@chat.example",
            sentry_dsn="https://hush@sentry.example/1",
        )
    )

    assert "hush" not in "\n".join(lines)
    assert "https://api.example/v3" in lines[1]


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_the_summary_comes_with_the_start(tmp_path: Path, log_format: str) -> None:
    """As lines for people, or as one event for programs."""
    async with ServiceProcess(tmp_path / "data", LOG_FORMAT=log_format) as service:
        log = service.log

    if log_format == "json":
        events = [json.loads(line) for line in log]
        (lines,) = [event["summary"] for event in events if event["event"] == "configuration"]
    else:
        lines = [line.rstrip("\n") for line in log]
    assert f"autoenhance-batch {__version__}" in lines
    assert any(line.startswith("  Data ") and str(tmp_path / "data") in line for line in lines)
