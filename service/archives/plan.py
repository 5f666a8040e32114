"""What an archive will hold, decided before anything is fetched."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from service.archives.options import Options
from service.computing import MANY_IMAGES, compute
from service.images.fetch import ImageRequest
from service.images.identity import digest, image_key, image_variant
from service.images.legacy import legacy_key
from service.problems import InvalidParameter, OrderEmpty, TooManyImages, UnknownImage
from service.upstream.models import ImageRecord, ImageState, Order, Rendition

_NO_DATE = datetime(1980, 1, 1, tzinfo=UTC)


class PlannedImage(BaseModel):
    """One image of the archive."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    name: str
    state: ImageState
    key: str
    """Of the image in the store; final once the image is ready."""
    legacy_key: str | None = None
    """The key that the first edition gave it, where its images are still stored."""
    modified: datetime
    is_bought: bool = False
    """Fetching it costs nothing, whatever the rendition."""
    status_reason: str | None = None
    """What Autoenhance says of its state, for its owner."""


class Plan(BaseModel):
    """The images of one archive in the order's sequence, and their rendition. Kept with the archive."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    order_name: str | None
    rendition: Rendition = Field(validation_alias=AliasChoices("rendition", "rendering"))
    images: tuple[PlannedImage, ...]
    key: str
    """Equal for requests that ask for the same bytes of the same images."""
    options_key: str = Field(validation_alias=AliasChoices("options_key", "family"))
    """Equal for requests that ask for the same, whatever the images are now."""
    subset: tuple[str, ...] = ()
    part: int | None = None
    unlisted: int = 0
    """Images that Autoenhance counts but does not list."""
    wait: bool = False
    wait_timeout: float = 0

    @property
    def build_key(self) -> str:
        """Equal for requests that may share a build: those that wait for images, and those that do not."""
        return f"{self.key}/wait" if self.wait else self.key

    def options(self) -> Options:
        """The options behind this plan, to make it again from a newer order."""
        return Options(
            **self.rendition.model_dump(),
            image=self.subset,
            part=self.part,
            wait=self.wait,
            wait_timeout=self.wait_timeout,
        )

    def request(self, image: PlannedImage) -> ImageRequest:
        """What is to be fetched for one of its images."""
        return ImageRequest(image.key, image.image_id, self.rendition, image.is_bought, image.legacy_key)

    def to_buy(self, stored: Collection[str]) -> int:
        """Images that a build would buy, a credit each, if those under the keys in `stored` are stored."""
        hopeless = (ImageState.FAILED, ImageState.EXPIRED)
        return sum(
            image.state not in hopeless and image.key not in stored and self.request(image).buys
            for image in self.images
        )

    def keys(self) -> dict[str, str | None]:
        """The store's key of each image, and the one that the first edition gave it."""
        return {image.key: image.legacy_key for image in self.images}


def options_key(order_id: str, options: Options) -> str:
    """The archive's identity without its images."""
    return digest(order_id, options.rendition.model_dump(exclude_none=True), options.subset, options.part)


def make_plan(
    order_id: str,
    order: Order,
    generations: Mapping[str, int],
    options: Options,
    max_images: int,
    *,
    has_legacy: bool = False,
) -> Plan:
    """Choose the images and fix the archive's identity. `has_legacy`: the store holds images of the first edition.

    Raises `OrderEmpty`, `UnknownImage` for a subset that is not part of the order, `TooManyImages`.
    """
    chosen = choose(order, options, max_images)
    rendition = options.rendition
    identity: list[tuple[Any, ...]] = []
    images = []
    for index, record in enumerate(chosen):
        image_id = record.image_id or f"unidentified-{index + 1}"
        generation = generations.get(image_id, 0)
        key = image_key(image_variant(record, rendition), generation)
        name = record.image_name or image_id
        identity.append((image_id, name, key))
        images.append(
            PlannedImage(
                image_id=image_id,
                name=name,
                state=record.state if record.image_id else ImageState.FAILED,
                key=key,
                legacy_key=legacy_key(record, rendition, generation) if has_legacy else None,
                modified=record.date_added or order.created_at or _NO_DATE,
                is_bought=record.downloaded,
                status_reason=record.status_reason,
            )
        )
    same_options = options_key(order_id, options)
    return Plan(
        order_id=order_id,
        order_name=order.name,
        rendition=rendition,
        images=tuple(images),
        key=digest(same_options, identity),
        options_key=same_options,
        subset=options.subset,
        part=options.part,
        unlisted=order.unlisted,
        wait=options.wait,
        wait_timeout=options.wait_timeout if options.wait else 0,
    )


def choose(order: Order, options: Options, max_images: int) -> list[ImageRecord]:
    """The records that `options` select, in the order's sequence. Raises as `make_plan` does."""
    if not order.images:
        raise OrderEmpty("Autoenhance is still merging brackets into images." if order.may_grow else None)
    chosen = list(order.images)
    if subset := set(options.subset):
        unknown = subset - {image.image_id for image in order.images}
        if unknown:
            raise UnknownImage(sorted(unknown))
        chosen = [image for image in order.images if image.image_id in subset]
    if options.part is not None:
        chosen = _part_of(order, options.part, max_images)
    if len(chosen) > max_images:
        raise TooManyImages(len(chosen), max_images)
    return chosen


def parts_of(images: int, max_images: int) -> int:
    """How many archives an order of so many images needs."""
    return -(-images // max_images)


def _part_of(order: Order, part: int, max_images: int) -> list[ImageRecord]:
    """Part `part` (1, 2, ...) of an order: by date and id, in the order's own sequence."""
    sequence = range(len(order.images))
    records = order.images
    by_date = sorted(sequence, key=lambda at: (records[at].date_added or _NO_DATE, records[at].image_id or ""))
    chosen = set(by_date[(part - 1) * max_images : part * max_images])
    if not chosen:
        count = parts_of(len(order.images), max_images)
        raise InvalidParameter("part", f"must be a whole number from 1 to {count}: this order has no more parts")
    return [records[at] for at in sequence if at in chosen]


@dataclass(frozen=True)
class Planner:
    """Makes plans from an order's document and the generations of its images. Plans have at most `max_images`.

    `has_legacy`: the store holds images of the first edition.
    """

    max_images: int
    has_legacy: bool = False

    def plan(self, order_id: str, order: Order, generations: Mapping[str, int], options: Options) -> Plan:
        """The plan for these options. Raises as `make_plan`."""
        return make_plan(order_id, order, generations, options, self.max_images, has_legacy=self.has_legacy)

    def chosen(self, order: Order, options: Options) -> list[str]:
        """The ids of the images that a plan would have. Raises as `make_plan`."""
        return [image.image_id for image in choose(order, options, self.max_images) if image.image_id]

    async def outline(self, order_id: str, order: Order, generations: Mapping[str, int], options: Options) -> Plan:
        """As `plan`, of an order however large: what its owner is shown. No archive can be built from it."""
        limit = self.max_images if options.part is not None else max(self.max_images, len(order.images))
        return await compute(
            lambda: make_plan(order_id, order, generations, options, limit, has_legacy=self.has_legacy),
            is_short=len(order.images) <= MANY_IMAGES,
        )
