"""Autoenhance's records, whatever words and forms they came in."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_IMAGES = 10_000
"""Of one order; what it lists beyond is counted, not kept."""

_DONE = frozenset({"processed", "done", "completed", "complete", "finished", "enhanced"})
_FAILED = frozenset({"error", "failed", "failure"})
_BUSY = frozenset({"processing", "enhancing", "queued", "pending", "in_progress", "merging", "uploading"})

ENHANCEMENT_SETTINGS = frozenset(
    {"ai_version", "enhance", "enhance_type", "preset_id", "finetune_settings", "restage", "upscale", "privacy"}
    | {"lens_correction", "vertical_correction", "perspective_correction", "perspective_correction_mode"}
    | {"sky_replacement", "cloud_type", "window_pull", "window_pull_type", "window_pull_style", "tripod_hide"}
    | {"threesixty", "is_threesixty", "brightness_boost", "contrast_boost", "saturation_level", "clarity_level"}
)
"""The fields of an image that say how it was enhanced, in every version of the API: they decide what it looks like."""


class ImageState(StrEnum):
    """Where an image stands, whatever words the record used for it."""

    READY = "ready"
    PROCESSING = "processing"
    WAITING = "waiting"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


HOPELESS = frozenset({ImageState.FAILED, ImageState.EXPIRED})
"""Autoenhance will not have it, however long it is waited for."""
FINAL = HOPELESS | {ImageState.READY}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of an order."""

    image_id: str | None = None
    image_name: str | None = None
    status: str | None = None
    status_reason: str | None = None
    """Why it is in this state, for its owner: one line of at most 200 characters."""
    enhanced: bool = False
    error: bool = False
    downloaded: bool = False
    """Bought already: fetching its full size is free."""
    parent_image_id: str | None = None
    """The image that this one was made from, by restaging."""
    date_added: datetime | None = None
    updated_at: str | None = None
    """ISO 8601 in UTC where it is a date, else as given. So is `last_updated_at`."""
    last_updated_at: str | None = None
    version: str | None = None
    settings_json: str = "{}"
    """The `ENHANCEMENT_SETTINGS` that have a value, in one canonical form: equal settings are equal texts."""
    legacy_fingerprint: str = ""
    """The part of an image's key, in a data directory of version 0, that its record decides."""
    is_readable: bool = True
    """False for an entry of the order's list that is no record at all; nothing is known of that image."""

    @property
    def state(self) -> ImageState:
        """Read from the status word; older records have flags instead, the newest words may be unknown."""
        word = (self.status or "").lower()
        if word == "expired":
            return ImageState.EXPIRED
        if word in _FAILED or self.error or not self.is_readable:
            return ImageState.FAILED
        if word in _DONE or self.enhanced:
            return ImageState.READY
        if word == "waiting":
            return ImageState.WAITING
        return ImageState.PROCESSING if word in _BUSY else ImageState.UNKNOWN

    def marks(self) -> dict[str, str]:
        """What changes when the image is made anew, as far as its record tells; buying it is no change."""
        marks = {
            "date_added": self.date_added.isoformat() if self.date_added else None,
            "last_updated_at": self.last_updated_at,
            "status_reason": self.status_reason,
            "updated_at": self.updated_at,
            "version": self.version,
        }
        return {name: value for name, value in marks.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order and its images, each once, in upstream's sequence."""

    order_id: str | None = None
    name: str | None = None
    status: str | None = None
    is_processing: bool = False
    is_merging: bool = False
    is_deleted: bool = False
    created_at: datetime | None = None
    total_images: int | None = None
    """How many images upstream says there are."""
    images: tuple[ImageRecord, ...] = ()
    """The first `MAX_IMAGES`."""
    images_beyond: int = 0
    """Listed, but not kept."""
    duplicates: int = 0
    """Entries that listed an image once more."""

    @property
    def image_count(self) -> int:
        """Images listed, kept or not."""
        return len(self.images) + self.images_beyond

    @property
    def unlisted(self) -> int:
        """Images that upstream counts but does not list. While brackets are merged it may count these."""
        return max(0, (self.total_images or 0) - self.image_count - self.duplicates)

    @property
    def is_final(self) -> bool:
        """Nothing will change by itself any more: no image is waited for, none is still to appear."""
        if self.may_grow:
            return False
        return bool(self.images) and all(image.state in FINAL for image in self.images)

    @property
    def may_grow(self) -> bool:
        """Images are still to appear: processing has not listed all of them yet, if any."""
        return self.counts_others or (self.is_processing and self.unlisted > 0)

    @property
    def counts_others(self) -> bool:
        """Its count may be of what no image is yet: brackets are being merged, or processing has listed nothing."""
        return self.is_merging or (self.is_processing and not self.images)

    @property
    def left_out(self) -> int:
        """Images that no download has: not listed, or listed beyond those that are kept."""
        return self.unlisted + self.images_beyond

    @property
    def memory_bytes(self) -> int:
        return 1_000 + sum(
            _RECORD_BYTES + len(image.image_name or "") + len(image.status_reason or "") for image in self.images
        )


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """A part of the account's list of orders; their images are not kept."""

    orders: tuple[Order, ...]
    next_offset: str | None
    """Where the next page begins; None after the last one."""


# Measured, with an id, a short name and dates of its own; settings are shared by the images that have the same.
_RECORD_BYTES = 800


class Rendition(BaseModel):
    """How upstream shall render an image; part of the image's identity here.

    `preview=False` buys the full size with a credit, unless `dev_mode`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["jpeg", "png", "webp", "avif", "jxl"] = Field(
        "jpeg", description="The format of the images; avif and jxl need a newer `AUTOENHANCE_API_VERSION`."
    )
    quality: int | None = Field(None, ge=1, le=90, description="Of the compression. Left out: Autoenhance's own.")
    preview: bool = Field(
        default=True,
        description="`true`: smaller images, free. `false`: full size, a credit for each image not bought before.",
    )
    dev_mode: bool = Field(default=False, description="Watermarked images for tests; never spends credits.")
    max_width: int | None = Field(None, ge=1, description="In pixels. Left out: unchanged.")
    scale: float | None = Field(None, ge=0, le=1, description="Of width and height. Left out: unchanged.")

    @property
    def is_original(self) -> bool:
        """Whether it is the photo as it was uploaded, instead of the enhanced one."""
        return False

    @property
    def buys(self) -> bool:
        return not self.preview and not self.dev_mode

    def query(self) -> dict[str, str]:
        query = {"format": self.format, "preview": "true" if self.preview else "false"}
        if self.quality is not None:
            query["quality"] = str(self.quality)
        if self.max_width is not None:
            query["max_width"] = str(self.max_width)
        if self.scale is not None:
            # Every digit, and never an exponent.
            query["scale"] = f"{Decimal(repr(self.scale)).normalize():f}"
        return query

    def chosen(self) -> dict[str, str]:
        """What a query of this service has to say for it: all that is not so by default."""
        usual = Rendition.model_construct().query()
        chosen = {name: value for name, value in self.query().items() if value != usual.get(name)}
        return chosen | ({"dev_mode": "true"} if self.dev_mode else {})


class Original(Rendition):
    """The photo as it was uploaded, in its own format; only `preview` and `dev_mode` count.

    Autoenhance does not say that it costs anything.
    """

    @property
    def is_original(self) -> bool:
        """It is."""
        return True

    @property
    def buys(self) -> bool:
        return False

    def query(self) -> dict[str, str]:
        return {"preview": "true" if self.preview else "false"}
