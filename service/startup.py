"""What an operator should see when the service starts: what it is going to do, and what looks wrong."""

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from pydantic_settings import DotEnvSettingsSource

from service import __version__, hosts
from service.settings import GIB, MIB, Settings

# Names that are ours alone: HOST, PORT and the like are too short, and OTEL_* has many more than we read.
_OWN = tuple(
    name.upper() for name in Settings.model_fields if len(name) >= 8 and "_" in name and not name.startswith("otel_")
)
_LIBRARIES = re.compile(r"AWS_|OTEL_|(?:HTTPS?|ALL|NO)_PROXY$")
_NEEDS = (
    ("auto_batch", "autoenhance_webhook_secret"),
    ("assistant_base_url", "assistant_model"),
    ("assistant_model", "assistant_base_url"),
    ("sentry_auth_token", "sentry_org"),
    ("sentry_auth_token", "sentry_project"),
)
"""Settings that do nothing without another one."""
# One letter in ten.
_ALIKE = 0.9


def summary(settings: Settings) -> dict[str, str]:
    """What the service is going to do, by headings, on one screen and without secrets."""
    return {
        "version": __version__,
        "upstream": f"{_shown(settings.autoenhance_api_base)}, version {settings.autoenhance_api_version or 'unset'}",
        "data": f"{settings.data_dir.absolute()}, {_budget(settings)}",
        "callers": _callers(settings),
        "on": ", ".join(on for on, _ in _features(settings) if on) or "nothing optional",
        "off": ", ".join(off for on, off in _features(settings) if off and not on) or "nothing",
    }


def screen(facts: dict[str, str]) -> str:
    """A summary as a person reads it: a line for each heading."""
    return "\n".join(f"  {name:<9} {fact}" for name, fact in facts.items())


def warnings(settings: Settings) -> Iterator[str]:
    """What looks wrong, one sentence each."""
    if settings.autoenhance_api_key is None:
        yield "AUTOENHANCE_API_KEY is not set: downloads are answered with 503"
    if not settings.service_api_key and not hosts.is_loopback(settings.host):
        yield (
            f"HOST is {settings.host} and SERVICE_API_KEY is not set: whoever reaches this address can download every"
            " order and spend credits"
        )
    for name in settings.short_secrets():
        yield f"{name} is short enough to be guessed: take at least 16 characters"
    for name, needed in _NEEDS:
        if getattr(settings, name) and not getattr(settings, needed):
            yield f"{name.upper()} has no effect without {needed.upper()}"
    in_file = set(map(str.upper, DotEnvSettingsSource(Settings).env_vars))
    for name, meant in misspelt({*os.environ, *in_file}):
        yield f"{name} is no setting; perhaps {meant} is meant"
    for name in unread(in_file - os.environ.keys()):
        yield f"{name} is read from the environment only, not from .env"


def unread(names: Iterable[str]) -> list[str]:
    """Variables of libraries (S3 clients, OpenTelemetry, proxies), which `.env` cannot set."""
    known = {name.upper() for name in Settings.model_fields}
    return sorted(name for name in names if name not in known and _LIBRARIES.match(name))


def misspelt(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names of variables that look like a setting of ours, each with the one that is meant."""
    by_letters = {name.replace("_", ""): name for name in _OWN}
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(names):
        letters = name.upper().replace("_", "").replace("-", "")
        if name.upper() in known:
            continue
        if meant := by_letters.get(letters) or next(iter(get_close_matches(name.upper(), _OWN, 1, _ALIKE)), None):
            yield name, meant


def _shown(url: str) -> str:
    """A URL without what may be a password."""
    parts = hosts.split(url)
    return url if parts is None else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _budget(settings: Settings) -> str:
    folder = settings.data_dir.absolute()
    while not folder.exists():  # it is made at the start
        folder = folder.parent
    budget = settings.model_copy(update={"data_dir": folder}).store_budget(0)
    size = f"{budget / GIB:.1f} GiB" if budget >= GIB else f"{budget // MIB} MiB"
    return f"at most {size} of images"


def _callers(settings: Settings) -> str:
    if not settings.service_api_key:
        return "everybody (SERVICE_API_KEY is not set)"
    keys = settings.service_keys
    names = sorted({key.name for key in keys if key.name})
    others = sum(key.name is None for key in keys)
    return ", ".join([*names, *([f"{others} without a name"] if others else [])])


def _features(settings: Settings) -> Iterator[tuple[str | None, str | None]]:
    """What can be on or off: how it is said when it is on (None: it is off), and when it is off (None: not at all)."""
    limit = settings.rate_limit
    yield None if limit is None else f"rate limit ({limit.amount} in {limit.get_expiry()} s)", "rate limit"
    credit_limit = settings.max_credits_per_day
    yield (
        None if credit_limit is None else f"at most {credit_limit} credits a day",
        "credit limit (MAX_CREDITS_PER_DAY)",
    )
    yield _named("administrators", settings.admin_token), "administrators (ADMIN_TOKEN)"
    yield _named(f"several instances (role {settings.role})", settings.shared_url), "several instances (SHARED_URL)"
    yield _named("shared storage", settings.store_url), None
    yield _named("callbacks", settings.callback_secret), "callbacks (CALLBACK_SECRET)"
    webhook = "webhook" + (" with AUTO_BATCH" if settings.auto_batch else "")
    yield _named(webhook, settings.autoenhance_webhook_secret), "webhook (AUTOENHANCE_WEBHOOK_SECRET)"
    yield _named("assistant", settings.assistant_base_url), "assistant (ASSISTANT_BASE_URL)"
    yield _named("traces", settings.traces_endpoint), "traces (OTEL_EXPORTER_OTLP_ENDPOINT)"
    yield _named("Sentry", settings.sentry_dsn), "Sentry (SENTRY_DSN)"
    yield _named(f"below {settings.base_path}", settings.base_path), None


def _named(name: str, setting: object) -> str | None:
    return name if setting else None
