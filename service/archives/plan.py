"""What an archive shall hold, decided before anything is fetched."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.archives.options import Options
from service.images.identity import digest, image_key, record_fingerprint
from service.problems import OrderEmpty, TooManyImages, UnknownImage
from service.upstream.models import ImageRecord, ImageState, Order, Rendering

_NO_DATE = datetime(1980, 1, 1, tzinfo=UTC)


class PlannedImage(BaseModel):
    """One image of the archive."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    name: str
    state: ImageState
    key: str
    """Of the image in the store; final once the image is ready."""
    modified: datetime
    is_bought: bool = False
    """Fetching it costs nothing, whatever the rendering."""


class Plan(BaseModel):
    """The images of one archive in the order's sequence, and how they are rendered. Kept with the archive."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    order_name: str | None
    rendering: Rendering
    images: tuple[PlannedImage, ...]
    key: str
    """Equal for requests that ask for the same bytes of the same images."""
    family: str
    """Equal for requests that ask for the same, whatever the images are now."""
    subset: tuple[str, ...] = ()
    wait: bool = False
    wait_timeout: float = 0

    @property
    def running_key(self) -> str:
        """Equal for requests that may share a build: those that wait for images, and those that do not."""
        return f"{self.key}/wait" if self.wait else self.key

    def options(self) -> Options:
        """The wish behind this plan, to make it again from a newer order."""
        return Options(**self.rendering.model_dump(), image=self.subset, wait=self.wait, wait_timeout=self.wait_timeout)


def family_key(order_id: str, options: Options) -> str:
    """The archive's identity without its images."""
    return digest(order_id, options.rendering.model_dump(exclude_none=True), options.subset)


def make_plan(order_id: str, order: Order, generations: Mapping[str, int], options: Options, most: int) -> Plan:
    """Choose the images and fix the archive's identity.

    Raises `OrderEmpty`, `UnknownImage` for a subset that is not part of the order, `TooManyImages`.
    """
    chosen = choose(order, options, most)
    rendering = options.rendering
    identity: list[tuple[Any, ...]] = []
    images = []
    for index, record in enumerate(chosen):
        image_id = record.image_id or f"unidentified-{index + 1}"
        generation = generations.get(image_id, 0)
        identity.append((image_id, record.image_name, record_fingerprint(record), generation))
        images.append(
            PlannedImage(
                image_id=image_id,
                name=record.image_name or image_id,
                state=record.state if record.image_id else ImageState.FAILED,
                key=image_key(record, rendering, generation),
                modified=record.date_added or order.created_at or _NO_DATE,
                is_bought=record.downloaded,
            )
        )
    family = family_key(order_id, options)
    return Plan(
        order_id=order_id,
        order_name=order.name,
        rendering=rendering,
        images=tuple(images),
        key=digest(family, identity),
        family=family,
        subset=options.subset,
        wait=options.wait,
        wait_timeout=options.wait_timeout if options.wait else 0,
    )


def choose(order: Order, options: Options, most: int) -> list[ImageRecord]:
    """The records that `options` select, in the order's sequence. Raises as `make_plan` does."""
    if not order.images:
        raise OrderEmpty("Autoenhance is still merging its brackets into images." if order.may_grow else None)
    chosen = list(order.images)
    if options.subset:
        unknown = set(options.subset) - {image.image_id for image in order.images}
        if unknown:
            raise UnknownImage(sorted(unknown))
        chosen = [image for image in order.images if image.image_id in options.subset]
    if len(chosen) > most:
        raise TooManyImages(len(chosen), most)
    return chosen
