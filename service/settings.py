"""Every setting, read once from the environment (and `.env`, when present)."""

import base64
import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from limits import RateLimitItem, parse, parse_many
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from yarl import URL

from service import hosts
from service.wrong_values import wrong_values

MIB = 1 << 20
GIB = 1 << 30

# A calendar has an end.
_CENTURY_SECONDS = 100 * 365 * 86_400

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")

# A caller's name before its key.
_NAMED_KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):(.+)")

# Of a secret that we ask callers for: fewer characters can be guessed.
_MIN_SECRET_LENGTH = 16

# Of a secret that signs callbacks, in bytes (Standard Webhooks).
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 24, 64


class InvalidSettings(ValueError):
    """Settings have values that cannot be used; the message has one line for each: its name, never its value."""


class CannotShare(InvalidSettings):
    """What instances share does not take this one in now. Unlike a wrong setting, that may pass by itself."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key that callers send."""

    name: str | None
    """Whose it is: several keys of one name are one caller, so that a key can be replaced."""
    secret: SecretStr


def _service_key(text: str) -> ServiceKey:
    named = _NAMED_KEY.fullmatch(text)
    return ServiceKey(named[1], SecretStr(named[2])) if named else ServiceKey(None, SecretStr(text))


def _signing_key(secret: SecretStr) -> bytes:
    """Decode a secret in the form of Standard Webhooks."""
    prefix, found, encoded = secret.get_secret_value().partition("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if prefix or not found or not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
        raise ValueError(f"must be whsec_ and the base64 of {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes")
    return key


def is_path(text: str) -> bool:
    """Whether it is a path below which a service can be offered, such as `/batch`."""
    return _PATH.fullmatch(text) is not None


def _signing_secret(secret: SecretStr) -> SecretStr:
    _signing_key(secret)
    return secret


def _http_address(address: str) -> str:
    parts = hosts.split(address)
    if parts is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment or " " in address:
        raise ValueError("must be an http(s) address without query")
    return address


def _redis_address(secret: SecretStr) -> SecretStr:
    parts = hosts.split(secret.get_secret_value())
    if parts is None or parts.scheme not in ("redis", "rediss") or parts.fragment:
        raise ValueError("must be a redis(s):// address, special characters in a password percent-encoded")
    return secret


def _project_address(secret: SecretStr) -> SecretStr:
    from sentry_sdk.utils import Dsn  # takes longer than all settings

    try:
        Dsn(secret.get_secret_value())
    except ValueError:
        raise ValueError("must be the address that Sentry gives a project") from None
    return secret


def _origin(text: str) -> str:
    """An origin as browsers write it."""
    if text == "*":
        return text
    parts = hosts.split(text)
    is_more = parts is None or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    with suppress(ValueError):
        if not is_more and "*" not in text:
            return str(URL(text).origin()).lower()
    raise ValueError("must be origins such as https://example.com, or *")


def _host(text: str) -> str:
    if text != "*" and not _HOST.fullmatch(text):
        raise ValueError("must be host names such as batch.example.com, without a port, or *")
    return text.lower().rstrip(".")


def _base_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not is_path(path):
        raise ValueError("must be a path such as /batch")
    return path


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if parts := [part.strip() for part in value.split(",") if part.strip()]:
        return parts
    raise ValueError("holds nothing but commas")


def _api_version(value: str | None) -> str | None:
    if value is None or value.lower() == "none":
        return None
    with suppress(ValueError):
        if date.fromisoformat(value).isoformat() == value:
            return value
    raise ValueError("must be a date like 2025-05-08, or none")


T = TypeVar("T")

Several = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
"""Values with commas between them."""
HttpAddress = Annotated[str, AfterValidator(_http_address)]


def _at_most_what_is_known(images: int) -> int:
    """What is beyond would be missing in a ZIP that is said to be complete."""
    return min(images, 10_000)


class Settings(BaseSettings):
    """The service's configuration; a field's name in upper case is its environment variable."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,  # the docs show them
    )

    autoenhance_api_key: SecretStr | None = None
    """Key of the Autoenhance account. Without it the service starts, and downloads are a 503."""
    autoenhance_api_base: Annotated[HttpAddress, AfterValidator(lambda address: address.rstrip("/"))] = (
        "https://api.autoenhance.ai/v3"
    )
    """URL of the API."""
    autoenhance_api_version: Annotated[str | None, AfterValidator(_api_version)] = "2025-05-08"
    """Sent as `x-api-version`; `none` leaves the account's own version in force."""
    autoenhance_webhook_secret: SecretStr | None = None
    """Secret that Autoenhance sends with its webhooks; unset = webhooks are not accepted."""
    upstream_attempts: int = Field(3, ge=1, le=10)
    """Attempts per image or order call, including the first."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond the loopback, secrets (keys, tokens, the webhook's) need at least 16 characters."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    base_path: Annotated[str, AfterValidator(_base_path)] = ""
    """Path below which a proxy offers the service, such as `/batch`; the proxy may remove it or keep it. A trusted
    proxy may send `X-Forwarded-Prefix` instead."""
    data_dir: Path = Path("data")
    """Directory for images and the catalogue, used by one process at a time."""
    brand_name: str = Field("", max_length=100)
    """The name that the page behind a share link shows, such as a studio's; unset = none."""
    role: Literal["all", "web", "worker"] = "all"
    """With `SHARED_URL`: whether this instance answers requests, runs jobs, or both."""

    service_api_key: Several[SecretStr] = ()
    """Keys that callers must send as `X-API-Key` or `Authorization: Bearer`, comma-separated, each as `name:key` or the
    key alone; unset = open to everybody. Keys of one name are one caller, so that a key can be replaced. The page, the
    docs, probes and `/metrics` are open anyway: keep `/metrics` from the public at the proxy."""
    admin_token: SecretStr | None = None
    """Administrators send it as `X-Admin-Token`; unset = there are none."""
    rate_limit: Annotated[RateLimitItem | None, NoDecode] = parse("10/minute")
    """Downloads, jobs and new orders that a caller may begin, such as `10/minute`, and ten times as many overviews and
    `HEAD` requests; `off` = no limit. Different wrong keys, tokens and webhook secrets are limited to 10 a minute per
    address anyway."""
    trusted_proxies: Several[IPv4Network | IPv6Network] = ()
    """Networks of proxies whose `X-Forwarded-For` is believed, comma-separated."""
    allowed_origins: Several[Annotated[str, AfterValidator(_origin)]] = ()
    """Origins of browser pages that may call the API, comma-separated; `*` = any."""
    allowed_hosts: Several[Annotated[str, AfterValidator(_host)]] = ()
    """Host names, besides the loopback's, under which a service without keys on a loopback address accepts requests
    that spend credits or change something, comma-separated; `*` = any. Needed behind a proxy on the same machine."""

    download_concurrency: int = Field(5, ge=1, le=64)
    """Images downloaded at once, over all orders. Slow but steady ones, at most five, go on beside them after
    `IMAGE_TIMEOUT`."""
    image_timeout: float = Field(60, gt=0)
    """Seconds for one image, including all attempts and the pauses between them. An attempt is given up when nothing
    comes for 30 seconds; before its first byte, for half of this if that is longer. The upload of one file to
    Autoenhance has as long, and up to ten times as long while it is being taken; a call about an order has as long too,
    but 20 seconds at most."""
    max_images_per_order: Annotated[int, AfterValidator(_at_most_what_is_known)] = Field(100, ge=1)
    """An order with more images is a 413, and is downloaded in parts. More than 10,000 count as 10,000: no more images
    of an order are known."""
    max_image_bytes: int = Field(512 * MIB, gt=0)
    """A larger image is reported as failed; so is one that takes more than a quarter of the disk space for images."""
    max_credits_per_day: int | None = Field(None, ge=0)
    """Images that may be bought in a day (UTC), a credit each, by all callers and instances together; unset = no limit.
    Beyond it images are missing with `credit_limit`; what is stored is served."""
    renditions: Annotated[dict[str, Any] | None, NoDecode] = None
    """Presets for `rendition=` besides `print`, `mls` and `web`, or in their place, as JSON:
    `{"flyer": {"preview": false, "max_width": 1200, "quality": 85}}`. The page offers them too."""
    order_freshness: float = Field(10, ge=0)
    """Seconds for which the document of a finished order is cached."""
    archive_ttl: float = Field(3600, gt=0, le=_CENTURY_SECONDS)
    """Seconds for which a finished archive is reused for equal requests, and can be resumed by its id."""
    resume_grace: float = Field(60, ge=0)
    """Seconds for which a build is kept after its last reader has left."""
    send_timeout: float = Field(120, gt=0)
    """Seconds after which a connection is reset if the client accepts no data. Clients that read slowly (10 kB/s) are
    served to the end."""
    read_ahead_bytes: int = Field(256 * MIB, gt=0)
    """Bytes that a build may be ahead of its furthest reader."""
    store_max_bytes: int | None = Field(None, gt=0)
    """Disk space for images; unset = half of what is free at the start, at most 20 GiB."""

    breaker_failures: int = Field(5, ge=1)
    """Failures in a row, of different orders or images, that open a circuit breaker."""
    breaker_reset: float = Field(60, gt=0)
    """Seconds until an open circuit breaker allows one trial call."""

    shared_url: Annotated[SecretStr, AfterValidator(_redis_address)] | None = None
    """Redis or Valkey that several instances share (`redis://...`); unset = this instance works alone."""
    store_url: str | None = None
    """S3-compatible storage that several instances share (`s3://bucket/prefix`); unset = files in `DATA_DIR`."""

    callback_secret: Several[Annotated[SecretStr, AfterValidator(_signing_secret)]] = ()
    """Secrets (`whsec_...`) that sign callbacks, comma-separated; the signature of each is sent, for rotation."""
    callback_allow_private: bool = False
    """Allows callbacks and deliveries to `http` and to addresses that are not public."""
    auto_batch: bool = False
    """Builds an order's archive when Autoenhance says that the order is done."""

    assistant_base_url: HttpAddress | None = None
    """An OpenAI-compatible chat server for the help box; unset = it answers from the docs alone."""
    assistant_model: str | None = None
    """Its model, such as `gpt-4o-mini`."""
    assistant_api_key: SecretStr | None = None
    """Its key, if it wants one."""

    sentry_dsn: Annotated[SecretStr, AfterValidator(_project_address)] | None = None
    """Where unhandled errors are reported; unset = nowhere."""
    sentry_env: str = "production"
    """The environment that errors are reported under."""
    sentry_traces_sample_rate: float = Field(0.2, ge=0, le=1)
    """The share of requests that are traced there, 0 to 1."""
    sentry_auth_token: SecretStr | None = None
    """Reads recent issues for `/v1/errors`, together with `SENTRY_ORG` and `SENTRY_PROJECT`."""
    sentry_org: str | None = None
    """The organisation at Sentry."""
    sentry_project: str | None = None
    """The project at Sentry."""

    otel_exporter_otlp_endpoint: HttpAddress | None = None
    """Collector for traces over OTLP/HTTP; unset = no tracing. The other `OTEL_*` variables work as usual."""
    otel_exporter_otlp_traces_endpoint: HttpAddress | None = None
    """The same as a complete URL, for traces that go elsewhere."""
    log_format: Annotated[Literal["console", "json"], BeforeValidator(str.lower)] = "console"
    """`console` for people, `json` for programs."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, object]) -> dict[str, object]:
        """No space around a value is meant, and no header could carry it; what holds nothing else is unset."""
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in trimmed.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _one_line(cls, value: object) -> object:
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("must be one line of printable characters")
        return value

    @property
    def callback_keys(self) -> tuple[bytes, ...]:
        """What callbacks are signed with: the secrets, decoded."""
        return tuple(_signing_key(secret) for secret in self.callback_secret)

    @field_validator("rate_limit", mode="before")
    @classmethod
    def _parse_limit(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lower() == "off":
            return None
        with suppress(ValueError):
            limits = parse_many(value)
            if len(limits) == 1 and limits[0].amount > 0:
                return limits[0]
        raise ValueError("must be like 10/minute, or off")

    @field_validator("renditions", mode="before")
    @classmethod
    def _parse_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        with suppress(ValueError, RecursionError):
            if isinstance(found := json.loads(value), dict):
                return found
        raise ValueError("must be a JSON object of presets by name")

    @model_validator(mode="after")
    def _secrets_are_long(self) -> Self:
        if not hosts.is_loopback(self.host) and (names := self.short_secrets()):
            reason = f"must have at least {_MIN_SECRET_LENGTH} characters where HOST is not the loopback"
            raise ValueError("\n".join(f"{name}: {reason}" for name in names))
        return self

    @model_validator(mode="after")
    def _keys_are_of_one_caller_each(self) -> Self:
        names = {(key.secret.get_secret_value(), key.name) for key in self.service_keys}
        if len(names) > len({secret for secret, _ in names}):
            raise ValueError("SERVICE_API_KEY: one key has two names: whose it is could not be told")
        return self

    @model_validator(mode="after")
    def _sharing_is_whole(self) -> Self:
        if self.shared_url is not None and self.store_url is None:
            raise ValueError("SHARED_URL needs STORE_URL too: a job's result must be readable by every instance")
        if self.store_url is not None and self.shared_url is None:
            raise ValueError("STORE_URL needs SHARED_URL too: instances must know what the others fetch and build")
        if self.role != "all" and self.shared_url is None:
            raise ValueError("ROLE needs SHARED_URL: an instance that stands alone does both")
        return self

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the environment; `overrides` (from the command line) win.

        Raises `InvalidSettings` with one line for each wrong value.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # checked by the model itself
        except UnicodeDecodeError:
            raise InvalidSettings(".env: it must be text in UTF-8") from None
        except ValidationError as error:
            found = wrong_values(cls, error, what="setting")
            raise InvalidSettings("\n".join(f"{name.upper()}: {why}" if name else why for name, why in found)) from None

    def short_secrets(self) -> list[str]:
        """The settings that hold a secret which callers could guess."""
        secrets: dict[str, list[SecretStr | None]] = {
            "SERVICE_API_KEY": [key.secret for key in self.service_keys],
            "ADMIN_TOKEN": [self.admin_token],
            "AUTOENHANCE_WEBHOOK_SECRET": [self.autoenhance_webhook_secret],
        }
        return [
            name
            for name, values in secrets.items()
            if any(value is not None and len(value.get_secret_value()) < _MIN_SECRET_LENGTH for value in values)
        ]

    @property
    def service_keys(self) -> tuple[ServiceKey, ...]:
        """The keys of callers, with their names."""
        return tuple(_service_key(key.get_secret_value()) for key in self.service_api_key)

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans are posted; None = tracing is off."""
        if self.otel_exporter_otlp_traces_endpoint is None and self.otel_exporter_otlp_endpoint is not None:
            return f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        return self.otel_exporter_otlp_traces_endpoint

    @property
    def has_traces(self) -> bool:
        """Whether spans go anywhere: to a collector, or a share of them to Sentry."""
        return self.traces_endpoint is not None or self.sentry_dsn is not None

    def secrets(self) -> list[str]:
        """Every value that must not be seen anywhere."""
        values = (getattr(self, name) for name in type(self).model_fields)
        each = (one for value in values for one in (value if isinstance(value, tuple) else (value,)))
        known = [one.get_secret_value() for one in each if isinstance(one, SecretStr)]
        return known + [key.secret.get_secret_value() for key in self.service_keys if key.name]

    def store_budget(self, used: int) -> int:
        """Bytes the image store may take: `store_max_bytes`, or half of what is free or `used`, at most 20 GiB."""
        if self.store_max_bytes is not None:
            return self.store_max_bytes
        return min((shutil.disk_usage(self.data_dir).free + used) // 2, 20 * GIB)
