"""How the sandbox behaves: one setting for everything that is not known of the real service, or differs by account."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, Self

from pydantic import TypeAdapter, ValidationError

from service.samples import PHOTOS


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Configuration of a sandbox; the defaults are the most likely behaviour of the real API.

    Durations are in seconds, sizes in bytes. Everything but the addresses can be changed while it runs.
    """

    # Addresses
    host: str = "127.0.0.1"
    """Address both servers listen on."""
    port: int = 0
    """Port of the API; 0 = any free one."""
    asset_port: int = 0
    """Port of the asset server and the storage; 0 = any free one."""
    public_host: str | None = None
    """Host name in `api_base`; unset = `host`."""
    asset_host: str = "localhost"
    """Host name in the API's redirects; differs from the API's, so that a leaked key shows."""
    storage_host: str = "localhost"
    """Host name in upload links and in the asset server's redirects."""
    relative_redirect: bool = False
    """Whether the asset server redirects with a relative `Location`."""
    link_lifetime: float | None = None
    """Seconds for which a download link works; unset = for ever."""

    # Account
    api_keys: tuple[str, ...] = field(default=("sandbox-key",), repr=False)
    credits: int = 1000
    account_version: str = "2025-05-08"
    """API version of a request without `x-api-version`."""
    more_formats_since: str = "2026-10-01"
    """First API version that takes `avif` and `jxl`; before it they are answered with 422."""
    preview_default: Literal["preview", "full"] = "preview"
    """What `/enhanced` means without `preview`; `full` costs a credit."""
    reprocessing_resells: bool = False
    """Whether a reprocessed image must be bought again."""

    # Limits, as published; a switch that is unset is off
    requests_per_second: int | None = None
    """More API calls within a second are answered with 429 (published: 300 per address)."""
    same_name_per_hour: int | None = None
    """Images or brackets registered under one file name within an hour; more are answered with 429 (published: 30)."""
    enhancements_per_day: int | None = None
    """Images enhanced on one day (UTC); later ones go to `error` and say why (published: 500)."""
    limit_retry_after: float | None = None
    """`Retry-After` of those 429s, in seconds; unset = none is sent."""

    # Processing
    image_delay: float = 2.0
    """From upload (or reprocessing) to `processed`."""
    merge_delay: float = 3.0
    """How long brackets are grouped; the order shows no images meanwhile."""
    bracket_delay: float = 0.0
    """From the upload of a bracket to `is_uploaded`."""
    brackets_per_image: int = 3
    """Group size of the automatic grouping."""
    merged_name: Literal["first", "last"] = "first"
    """Which bracket a merged image is named after."""
    check_uploads: bool = True
    """Whether a file that is no image ends in `error`."""
    not_ready: Literal[202, 404, 422, 500] = 404
    """Status of a download before the image is processed, and after it failed."""

    # Shape of documents
    field_names: Literal["canonical", "short"] = "canonical"
    """`short` says `id` and `name` for `image_id` and `image_name`."""
    state_fields: Literal["status", "booleans"] = "status"
    """`booleans` says `enhanced` and `error` in place of `status`."""
    numeric_ai_version: bool = False
    dates: Literal["naive", "utc"] = "naive"
    """`naive` has no zone, as observed; `utc` ends in Z."""
    date_added: Literal["s", "ms"] = "s"
    float_totals: bool = False
    """Whether `total_images` is 2.0 in place of 2."""
    unlisted_images: int = 0
    """How many images `total_images` counts beyond those that are listed."""
    volatile_fields: bool = False
    """Whether images have undocumented fields that change at every request: a signed URL, a counter, a time."""
    page_shortfall: int = 0
    """How many orders a page holds fewer than asked for (never none)."""

    # Delivery
    photos: Path = PHOTOS
    preview_width: int = 1024
    api_latency: float = 0.0
    download_latency: float = 0.0
    """Before the first byte of every download."""
    download_rate: float | None = None
    """Bytes per second of each download; unset = as fast as it goes."""
    first_render_delay: float = 0.0
    """Extra wait when a rendering is asked for the first time."""
    ranges: bool = True
    content_length: bool = True
    """`False` sends downloads chunked."""
    etags: Literal["strong", "weak", "none"] = "strong"
    content_type: Literal["image", "octet-stream", "none"] = "image"

    # Webhooks
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_registered: bool = False
    """Whether `image_registered` is announced too."""
    webhook_duplicates: int = 0
    """Extra deliveries of every event."""
    webhook_reversed: bool = False
    """Holds an order's events back until it has finished, then sends the last first."""
    webhook_lose_every: int | None = None
    """Every n-th event is never sent."""

    access_log: bool = False
    log_size: int = 50_000
    """Requests remembered; older ones are forgotten."""

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Self:
        """Read settings from text, as a command line has them. Raises ValueError that names the first wrong one."""
        known = {item.name for item in fields(cls)}
        if unknown := values.keys() - known:
            raise ValueError(f"unknown setting: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        try:
            return TypeAdapter(cls).validate_python({name: _value(text) for name, text in values.items()})
        except ValidationError as error:
            found = error.errors()[0]
            raise ValueError(f"{found['loc'][0]}: {found['msg']}") from None


def _value(text: str) -> object:
    """A JSON number, boolean or null; anything else is text."""
    with suppress(ValueError):
        return json.loads(text)
    return text


FIXED_FIELDS = frozenset({"host", "port", "asset_port", "public_host", "photos", "access_log", "log_size", "credits"})
"""Fields that a running sandbox cannot change (`credits` is the opening balance)."""
