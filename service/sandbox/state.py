"""What the sandbox knows: orders, images, brackets and an account. Statuses follow from the clock alone."""

import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .config import SandboxConfig
from .content import Source

FAILED = frozenset({"error", "failed", "expired"})


class Clock:
    """The time in seconds since 1970, which tests may push forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since 1970, plus what the clock was pushed."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Push the clock forward by so many seconds."""
        self._ahead += seconds


@dataclass(eq=False, kw_only=True)
class Image:
    """An image; `done_at` is None until its bytes have arrived, `outcome` is its status from then on."""

    image_id: str
    name: str
    order_id: str | None
    added_at: float
    source: Source | None = None
    done_at: float | None = None
    outcome: str = "processed"
    reason: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    parent_image_id: str | None = None
    downloaded: bool = False
    announced: bool = False
    version: int = 1
    views: int = 0
    """How often its document was sent, where those are counted."""
    is_bracket: bool = False
    """Registered with `hdr`: waits for a merge instead of processing."""
    latency: float = 0.0
    rate: float | None = None
    visible_from: float = 0.0
    """A merged image is unknown until its order has been merged."""

    def status(self, now: float) -> str:
        """As upstream names it: waiting, processing, or its outcome."""
        if self.done_at is None:
            return "waiting"
        return "processing" if now < self.done_at else self.outcome


@dataclass(eq=False, kw_only=True)
class Bracket:
    """One exposure of an HDR group."""

    bracket_id: str
    name: str
    order_id: str
    metadata: dict[str, Any] | None = None
    source: Source | None = None
    uploaded_at: float | None = None
    image_id: str | None = None


@dataclass(eq=False, kw_only=True)
class Order:
    """An order; `merged_at` lies in the future while its brackets are grouped."""

    order_id: str
    name: str | None
    created_at: float
    updated_at: float
    number: int
    merged_at: float = 0.0
    images: list[Image] = field(default_factory=list)
    brackets: list[Bracket] = field(default_factory=list)

    def is_merging(self, now: float) -> bool:
        """Whether its brackets are still being grouped."""
        return now < self.merged_at

    def is_processing(self, now: float) -> bool:
        """Whether an image of it is still being enhanced."""
        return not self.is_merging(now) and any(image.status(now) == "processing" for image in self.images)

    def status(self, now: float) -> str:
        """As upstream names it: waiting, processing, processed or error."""
        states = {image.status(now) for image in self.images}
        if self.is_merging(now) or "processing" in states:
            return "processing"
        if not states or "waiting" in states:
            return "waiting"
        return "processed" if "processed" in states else "error"

    def shown_images(self, now: float) -> list[Image]:
        """The images that callers may know of."""
        return [] if self.is_merging(now) else self.images


class State:
    """Everything one sandbox holds, and the lookups on it."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.credits = config.credits
        self.orders: dict[str, Order] = {}
        self.images: dict[str, Image] = {}
        self.brackets: dict[str, Bracket] = {}
        self.photos: dict[str, Path] = {}
        self.photo_sizes: dict[str, int] = {}
        self.uploads = Path()
        self._numbers = 0

    def find_photos(self) -> None:
        """Look which sample photos there are. Blocking."""
        self.photos = {path.name: path for path in sorted(self.config.photos.glob("*.jpg"))}
        self.photo_sizes = {name: path.stat().st_size for name, path in self.photos.items()}

    def configure(self, **changes: Any) -> None:
        """Settings by name; the others stay as they are."""
        self.config = replace(self.config, **changes)

    def add_order(self, name: str | None = None, order_id: str | None = None) -> Order:
        """A new order without images; its id is random unless given."""
        now = self.clock.now()
        self._numbers += 1
        order = Order(order_id=order_id or new_id(), name=name, created_at=now, updated_at=now, number=self._numbers)
        self.orders[order.order_id] = order
        return order

    def add_image(self, image: Image) -> Image:
        """Keep an image, in its order if it has one."""
        self.images[image.image_id] = image
        if image.order_id is not None and image.order_id in self.orders:
            order = self.orders[image.order_id]
            order.images.append(image)
            order.updated_at = self.clock.now()
        return image

    def remove_image(self, image: Image) -> None:
        """Forget an image; its order forgets it too."""
        self.images.pop(image.image_id, None)
        order = self.orders.get(image.order_id or "")
        if order is not None and image in order.images:
            order.images.remove(image)

    def remove_order(self, order: Order) -> None:
        """Forget an order with all that is in it."""
        for image in list(order.images):
            self.remove_image(image)
        for bracket in order.brackets:
            self.brackets.pop(bracket.bracket_id, None)
        self.orders.pop(order.order_id, None)

    def find_image(self, image_id: str) -> Image | None:
        """The image, if callers may know of it by now."""
        image = self.images.get(image_id)
        return image if image is not None and image.visible_from <= self.clock.now() else None

    def bracket_image_id(self, bracket: Bracket) -> str | None:
        """The image a bracket went into, once that is known to callers."""
        return bracket.image_id if bracket.image_id and self.find_image(bracket.image_id) else None

    def is_uploaded(self, bracket: Bracket) -> bool:
        """Whether its upload shows by now."""
        seen = bracket.uploaded_at
        return seen is not None and seen + self.config.bracket_delay <= self.clock.now()


def new_id() -> str:
    """A random UUID."""
    return str(uuid.uuid4())
