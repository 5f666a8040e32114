"""Everything a test can do to a sandbox, as an object."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from .config import FIXED_FIELDS, SandboxConfig
from .content import ImageFile, Source, Synthetic
from .context import Context
from .faults import Fault, FaultKind, operations
from .log import Counters, Served
from .rendering import synthetic_body
from .renditions import Rendition
from .state import Image, Order, State, new_id

SETTLED = frozenset({"processed", "error", "failed", "expired"})
STATUSES = SETTLED | {"waiting", "processing"}
SAMPLE_ORDER_ID = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"
SYNTHETIC_SAMPLES = 12
NEVER = 10.0**9
"""Delay of an image that is `processing` without a `delay`."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """An image to make without an upload: `size` pseudo-random bytes, or the sample photo named `photo`.

    With `delay` it is `processing` for that many seconds before it takes `status`. `latency` is the wait before
    the first byte of each download, `rate` its bytes per second.
    """

    name: str | None = None
    size: int = 100_000
    photo: str | None = None
    status: str = "processed"
    reason: str | None = None
    delay: float = 0.0
    image_id: str | None = None
    latency: float = 0.0
    rate: float | None = None
    downloaded: bool = False
    parent_image_id: str | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"unknown status: {self.status}")


class Control:
    """The powers over one sandbox."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = context.state

    @property
    def state(self) -> State:
        """What the sandbox holds."""
        return self._state

    # Orders and images

    def add_order(
        self, images: Sequence[ImageSpec] = (), *, name: str | None = None, order_id: str | None = None
    ) -> Order:
        """Make an order with images at once. Image ids follow from the order's id and their place in it."""
        order_id = str(uuid.UUID(order_id)) if order_id is not None else new_id()
        if order_id in self._state.orders:
            raise ValueError(f"order exists: {order_id}")
        if any(spec.photo is not None and spec.photo not in self._state.photos for spec in images):
            raise ValueError(f"unknown photo; there are: {', '.join(sorted(self._state.photos)) or 'none'}")
        order = self._state.add_order(name, order_id)
        for spec in images:
            self.add_image(order.order_id, spec)
        return order

    def add_image(self, order_id: str, spec: ImageSpec) -> Image:
        """Add an image to an order, last."""
        number = len(self._state.orders[order_id].images)
        now = self._state.clock.now()
        image = Image(
            image_id=spec.image_id or self._image_id(order_id, number),
            name=spec.name or spec.photo or f"image_{number + 1:03}.jpg",
            order_id=order_id,
            added_at=now,
            parent_image_id=spec.parent_image_id,
            downloaded=spec.downloaded,
            latency=spec.latency,
            rate=spec.rate,
        )
        self._state.add_image(image)
        if spec.status != "waiting":
            image.source = self._source(spec)
            image.outcome = spec.status if spec.status in SETTLED else "processed"
            image.reason = spec.reason
            delay = spec.delay or (NEVER if spec.status == "processing" else 0)
            image.done_at = now + delay
            image.announced = delay == 0
            self._context.webhooks.wake()
        return image

    def add_sample_order(self, *, name: str = "Sample: 12 Harbour Lane", delay: float = 0.0) -> Order:
        """An order of the bundled photos under a fixed id (synthetic images where there are none)."""
        specs = [ImageSpec(photo=photo, delay=delay) for photo in sorted(self._state.photos)]
        specs = specs or [ImageSpec(size=400_000, delay=delay)] * SYNTHETIC_SAMPLES
        return self.add_order(specs, name=name, order_id=SAMPLE_ORDER_ID)

    def set_status(self, image_id: str, status: str, reason: str | None = None) -> None:
        """Put an image into a status now; it stays there."""
        if status not in STATUSES:
            raise ValueError(f"unknown status: {status}")
        image = self.image(image_id)
        image.reason = reason
        if status == "waiting":
            image.done_at = None
        elif status == "processing":
            image.done_at = self._state.clock.now() + NEVER
            image.announced = False
        else:
            image.outcome, image.done_at = status, self._state.clock.now()
        image.source = image.source or Synthetic(ImageSpec.size)
        self._context.webhooks.wake()

    def image(self, image_id: str) -> Image:
        """The image as it is; raises KeyError for an unknown id."""
        return self._state.images[image_id]

    def order(self, order_id: str) -> Order:
        """The order as it is; raises KeyError for an unknown id."""
        return self._state.orders[order_id]

    def expected(self, image_id: str, rendition: Rendition | None = None) -> bytes:
        """The bytes that a download of a synthetic image gives; for small ones."""
        image = self.image(image_id)
        if not isinstance(image.source, Synthetic):
            raise TypeError(f"not synthetic: {image_id}")
        return synthetic_body(image, image.source.size, rendition or Rendition()).whole()

    # Faults

    def add_fault(
        self,
        kind: FaultKind | str,
        *,
        operation: str | Sequence[str] | None = None,
        times: int | None = 1,
        **details: Any,
    ) -> Fault:
        """Script a fault; `details` are the fields of Fault. `times=None` lasts for ever."""
        fault = Fault(kind=FaultKind(kind), operation=operations(operation), times=times, **details)
        return self.script(fault)

    def script(self, fault: Fault) -> Fault:
        """Add a fault after those in force; returns it with its id."""
        return self._context.faults.add(fault)

    def remove_fault(self, fault_id: int) -> bool:
        """Whether a fault of that id was in force; it is not any more."""
        return self._context.faults.remove(fault_id)

    @property
    def faults(self) -> list[Fault]:
        """The faults that are not used up."""
        return self._context.faults.faults

    def clear_faults(self) -> None:
        """From now on everything works."""
        self._context.faults.faults = []

    # Account, configuration, time

    @property
    def credits(self) -> int:
        """What the account has left."""
        return self._state.credits

    def set_credits(self, number: int) -> None:
        """Set the credits that the account has left."""
        self._state.credits = number

    @property
    def config(self) -> SandboxConfig:
        """The settings in force."""
        return self._state.config

    def configure(self, **changes: Any) -> SandboxConfig:
        """Change settings while running; raises ValueError for unknown or fixed ones."""
        known = {item.name for item in fields(SandboxConfig)} - FIXED_FIELDS
        if changes.keys() - known:
            raise ValueError(f"cannot be changed: {', '.join(sorted(changes.keys() - known))}")
        self._state.configure(**changes)
        if {"webhook_url", "webhook_secret"} & changes.keys() and self.config.webhook_url:
            self._context.webhooks.configured()
        return self.config

    def advance(self, seconds: float) -> None:
        """Push the sandbox's clock forward."""
        self._state.clock.advance(seconds)
        self._context.webhooks.wake()

    # What happened

    @property
    def log(self) -> list[Served]:
        """The requests since the last reset, oldest first."""
        return list(self._context.log.entries)

    @property
    def counters(self) -> Counters:
        """What was served since the last reset."""
        return self._context.log.counters

    def reset_log(self) -> None:
        """Forget the requests and their counts; downloads under way still count as such."""
        self._context.log.reset()

    def _image_id(self, order_id: str, number: int) -> str:
        """The id that follows from the order's, or the next one that is free."""
        names = (uuid.uuid5(uuid.UUID(order_id), str(place)) for place in itertools.count(number))
        return next(str(name) for name in names if str(name) not in self._state.images)

    def _source(self, spec: ImageSpec) -> Source:
        if spec.photo is None:
            return Synthetic(spec.size)
        path = self._state.photos[spec.photo]
        return ImageFile(path, self._state.photo_sizes[spec.photo])
