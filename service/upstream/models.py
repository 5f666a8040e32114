"""Autoenhance's records, read tolerantly: every field may be absent, null, or named as an older version did."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

# Seconds since 1970 beyond this are milliseconds (it lies in the year 5138).
_MILLISECONDS_FROM = 100_000_000_000

# Fields that versions of the API call differently.
_NAMES = frozenset({"image_id", "image_name", "order_id", "order_name", "id", "name"})

_DONE = frozenset({"processed", "done", "completed", "complete", "finished", "enhanced"})
_FAILED = frozenset({"error", "failed", "failure"})
_BUSY = frozenset({"processing", "enhancing", "queued", "pending", "in_progress", "merging", "uploading"})


class InvalidOrder(ValueError):
    """What upstream sent cannot be read as an order."""


class ImageState(StrEnum):
    """Where an image stands, whatever words the record used for it."""

    READY = "ready"
    PROCESSING = "processing"
    WAITING = "waiting"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _clean_text(value: object) -> str | None:
    """A text that can be written everywhere: JSON can hold half a surrogate pair, UTF-8 cannot."""
    text = _text(value)
    return None if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _identifier(value: object) -> str | None:
    """An id as it was given: one that no address can hold is none, since a cleaned one would be another's."""
    text = _text(value)
    return text if text == _clean_text(text) else None


def _flag(value: object) -> bool:
    """A flag may come as a boolean, a number, or the words of an error."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "0", "no", "none", "null")
    return bool(value)


def _moment(value: object) -> datetime | None:
    """An epoch in seconds or milliseconds, or an ISO date; without a zone it is UTC. Anything else is nothing."""
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        seconds = float(value)
        return datetime.fromtimestamp(seconds / 1000 if abs(seconds) > _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


Text = Annotated[str | None, BeforeValidator(_clean_text)]
Identifier = Annotated[str | None, BeforeValidator(_identifier)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _prefer_the_name_in_use(cls, document: object) -> object:
        """Nothing under one name of a field leaves its other name in force."""
        if not isinstance(document, dict):
            return document
        return {name: value for name, value in document.items() if name not in _NAMES or _text(value) is not None}


class ImageRecord(_Record):
    """One image of an order. Fields of no interest here are kept in `model_extra`."""

    image_id: Identifier = Field(None, validation_alias=AliasChoices("image_id", "id"))
    image_name: Text = Field(None, validation_alias=AliasChoices("image_name", "name"))
    status: Text = None
    enhanced: Flag = False
    error: Flag = False
    downloaded: Flag = False
    """Bought already: fetching its full size is free."""
    date_added: Moment = None

    @property
    def state(self) -> ImageState:
        """Read from the status word; older records have flags instead, the newest words may be unknown."""
        word = (self.status or "").lower()
        if word == "expired":
            return ImageState.EXPIRED
        if word in _FAILED or self.error:
            return ImageState.FAILED
        if word in _DONE or self.enhanced:
            return ImageState.READY
        if word == "waiting":
            return ImageState.WAITING
        return ImageState.PROCESSING if word in _BUSY else ImageState.UNKNOWN


class Order(_Record):
    """An order and all of its images, each once, in upstream's sequence."""

    order_id: Identifier = Field(None, validation_alias=AliasChoices("order_id", "id"))
    name: Text = Field(None, validation_alias=AliasChoices("name", "order_name"))
    status: Text = None
    is_processing: Flag = False
    is_merging: Flag = False
    is_deleted: Flag = False
    created_at: Moment = None
    images: tuple[ImageRecord, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Nothing will change by itself any more: no image is waited for, none is still to appear."""
        if self.is_merging or (self.is_processing and not self.images):
            return False
        return bool(self.images) and all(
            image.state in (ImageState.READY, ImageState.FAILED, ImageState.EXPIRED) for image in self.images
        )

    @property
    def may_grow(self) -> bool:
        """Images are still to appear: brackets are being merged, or processing has not listed them yet."""
        return self.is_merging or (self.is_processing and not self.images)


def parse_order(document: object) -> Order:
    """Read an order document. Raises `InvalidOrder` when it is none.

    An image listed twice counts once; one without an id is kept, since it has to be reported as missing.
    """
    if not isinstance(document, dict):
        raise InvalidOrder("not a JSON object")
    images = document.get("images")
    if images is None:
        images = []
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise InvalidOrder("its images are not a list of objects")
    try:
        records = [ImageRecord.model_validate(image) for image in images]
        return Order.model_validate({**document, "images": _distinct(records)})
    except (ValidationError, RecursionError) as error:
        raise InvalidOrder("its fields cannot be read") from error


def _distinct(images: list[ImageRecord]) -> list[ImageRecord]:
    seen: set[str] = set()
    kept = []
    for image in images:
        if image.image_id is None or image.image_id not in seen:
            kept.append(image)
        if image.image_id is not None:
            seen.add(image.image_id)
    return kept


class Rendering(BaseModel):
    """How upstream shall render an image; part of the image's identity here.

    `preview=False` buys the full size with a credit, unless `dev_mode`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["jpeg", "png", "webp", "avif", "jxl"] = Field("jpeg", description="The format of the images.")
    quality: int | None = Field(None, ge=1, le=90, description="Of the compression. Left out: Autoenhance's own.")
    preview: bool = Field(
        default=True,
        description="`true`: smaller images, free. `false`: full size, a credit for each image not bought before.",
    )
    dev_mode: bool = Field(default=False, description="Watermarked images for tests; never spends credits.")
    max_width: int | None = Field(None, ge=1, description="In pixels. Left out: unchanged.")
    scale: float | None = Field(None, ge=0, le=1, description="Of width and height. Left out: unchanged.")

    @property
    def buys(self) -> bool:
        """Whether fetching spends a credit."""
        return not self.preview and not self.dev_mode

    def query(self) -> dict[str, str]:
        """The query of the download call. `preview` is always explicit: left out, it means either, by account."""
        query = {"format": self.format, "preview": "true" if self.preview else "false"}
        if self.quality is not None:
            query["quality"] = str(self.quality)
        if self.max_width is not None:
            query["max_width"] = str(self.max_width)
        if self.scale is not None:
            # Every digit, and never an exponent.
            query["scale"] = f"{Decimal(repr(self.scale)).normalize():f}"
        return query
