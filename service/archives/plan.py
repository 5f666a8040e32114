"""What an archive will hold, decided before anything is fetched."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from service.archives.names import ANY_NAME, Names, own_extension
from service.archives.options import Options, kept_options
from service.archives.renditions import ORIGINAL, ORIGINALS_FOLDER
from service.computing import MANY_IMAGES, compute
from service.images.identity import digest, image_key, image_variant, key_digest
from service.images.legacy import legacy_key
from service.images.requests import ImageRequest
from service.problems import InvalidParameter, OrderEmpty, TooManyImages, UnknownImage
from service.upstream.models import ImageRecord, ImageState, Order, Original, Rendition

_NO_DATE = datetime(1980, 1, 1, tzinfo=UTC)


class PlannedImage(BaseModel):
    """One image of the archive in one rendition."""

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
    rendition: str = ""
    """Which of the plan's; an only one has no name."""
    folder: str = ""
    """In the archive."""
    source_id: str | None = None
    """Of an unaltered photo: the image that was uploaded, where this one was made from that."""
    stem: str | None = None
    """Its name in the archive, without folder and extension, where the names of all images do not tell it."""

    @property
    def is_original(self) -> bool:
        """Whether it is the unaltered photo."""
        return self.rendition == ORIGINAL

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from the others of its archive, as `Member.place`."""
        return self.image_id, self.folder


class Plan(BaseModel):
    """The images of one archive, rendition by rendition in the order's sequence. Kept with the archive."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    order_name: str | None
    options: Options
    """What it was made of, as `Options.of_plan`."""
    images: tuple[PlannedImage, ...]
    key: str
    """Equal for requests that ask for the same bytes of the same images."""
    options_key: str = Field(validation_alias=AliasChoices("options_key", "family"))
    """Equal for requests that ask for the same, whatever the images are now."""
    unlisted: int = 0
    """Images that Autoenhance counts but does not list."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, values: object) -> object:
        """Those had one rendition each, and the parts of their options by themselves."""
        if not isinstance(values, dict) or "options" in values:
            return values
        rendition: dict[str, Any] = values.get("rendition") or values.get("rendering") or {}
        options = {**rendition, "image": tuple(values.get("subset") or ()), "part": values.get("part")}
        if values.get("wait"):
            options |= {"wait": True, "wait_timeout": values.get("wait_timeout", 0)}
        return values | {"options": options}

    @field_validator("options", mode="before")
    @classmethod
    def _as_kept(cls, options: object) -> object:
        return kept_options(options) if isinstance(options, dict) else options

    @field_serializer("options")
    def _as_asked(self, options: Options) -> dict[str, Any]:
        """Defaults are not what somebody asked for: some options exclude others."""
        return options.model_dump(mode="json", exclude_unset=True)

    @property
    def wait(self) -> bool:
        """Whether images that are not ready are waited for."""
        return self.options.wait

    @property
    def wait_timeout(self) -> float:
        """For how many seconds."""
        return self.options.wait_timeout if self.options.wait else 0

    @property
    def build_key(self) -> str:
        """Equal for requests that may share a build: those that wait for images, and those that do not."""
        return f"{self.key}/wait" if self.wait else self.key

    @property
    def names(self) -> Names:
        """What its images are called in the archive."""
        stems = {image.image_id: image.stem for image in self.images if image.stem is not None}
        return Names.settled(stems) if stems else Names((image.image_id, image.name) for image in self.images)

    def rendition(self, image: PlannedImage) -> Rendition:
        """The rendition of one of its images."""
        original = self.options.original
        return original if image.is_original and original else self.options.renditions[image.rendition]

    def request(self, image: PlannedImage) -> ImageRequest:
        """What is to be fetched for one of its images."""
        image_id = image.source_id or image.image_id
        return ImageRequest(image.key, image_id, self.rendition(image), image.is_bought, image.legacy_key)

    def without(self, held: Collection[bytes]) -> "Plan":
        """The plan without images whose keys (as `key_digest`) are held already; names are those of the whole."""
        stems = self.names.stems
        images = tuple(
            image.model_copy(update={"stem": stems[image.image_id]})
            for image in self.images
            if key_digest(image.key) not in held
        )
        return self.model_copy(update={"images": images})

    def file_name(self, image: PlannedImage, names: Names, extension: str) -> str:
        """What one of its images is called in the archive; `extension` is that of its bytes."""
        if image.is_original:
            extension = own_extension(image.name, extension)
        return names.of(image.image_id, extension, image.folder)

    def to_buy(self, stored: Collection[str]) -> int:
        """Images that a build would buy, a credit each, if those under the keys in `stored` are stored."""
        hopeless = (ImageState.FAILED, ImageState.EXPIRED)
        return len(
            {
                image.image_id
                for image in self.images
                if image.state not in hopeless and image.key not in stored and self.request(image).buys
            }
        )

    def keys(self) -> dict[str, str | None]:
        """The store's key of each image, and the one that the first edition gave it."""
        return {image.key: image.legacy_key for image in self.images}


def options_key(order_id: str, options: Options) -> str:
    """The archive's identity without its images."""
    renditions = {name: one.model_dump(exclude_none=True) for name, one in options.renditions.items()}
    more: dict[str, Any] = {"names": options.names} if options.names != ANY_NAME else {}
    if options.include:
        more["include"] = options.include
    if options.since is not None:
        more["since"] = options.since
    return digest(order_id, renditions.get("", renditions), options.subset, options.part, *([more] if more else []))


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
    records = choose(order, options, max_images)
    taken = {record.image_id for record in records}
    chosen = [(record.image_id or _stand_in(at, taken), record) for at, record in enumerate(records, 1)]
    stems = _stems(order_id, order, chosen, options)
    identity: list[tuple[Any, ...]] = []
    images = []
    for rendition_name, rendition in options.renditions.items():
        for image_id, record in chosen:
            generation = generations.get(image_id, 0)
            key = image_key(image_variant(record, rendition), generation)
            name = record.image_name or image_id
            stem = stems.get(image_id)
            identity.append((image_id, name, key) if stem is None else (image_id, name, key, stem))
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
                    rendition=rendition_name,
                    folder=rendition_name,
                    stem=stem,
                )
            )
    if options.original is not None:
        originals = _originals(order, chosen, generations, options.original, stems)
        identity += [(image.image_id, image.name, image.key, image.folder) for image in originals]
        images += originals
    same_options = options_key(order_id, options)
    return Plan(
        order_id=order_id,
        order_name=order.name,
        options=options.of_plan,
        images=tuple(images),
        key=digest(same_options, identity),
        options_key=same_options,
        unlisted=order.unlisted,
    )


def _originals(
    order: Order,
    chosen: Sequence[tuple[str, ImageRecord]],
    generations: Mapping[str, int],
    rendition: Original,
    stems: Mapping[str, str],
) -> list[PlannedImage]:
    """The unaltered photo of each image: of one that was made from another image, that one's."""
    by_id = {record.image_id: record for record in order.images}
    found = []
    for image_id, record in chosen:
        source = record
        for _ in order.images:  # at most: they may name each other in a circle
            if source.parent_image_id is None or source.parent_image_id not in by_id:
                break
            source = by_id[source.parent_image_id]
        source_id = source.parent_image_id or source.image_id or image_id
        variant = image_variant(replace(source, image_id=source_id), rendition)
        # It is there as soon as it is uploaded, whatever becomes of the enhanced one.
        state = source.state if source.state in (ImageState.WAITING, ImageState.EXPIRED) else ImageState.READY
        found.append(
            PlannedImage(
                image_id=image_id,
                name=record.image_name or image_id,
                state=state if record.image_id else ImageState.FAILED,
                key=image_key(variant, generations.get(source_id, 0)),
                modified=source.date_added or order.created_at or _NO_DATE,
                status_reason=source.status_reason,
                rendition=ORIGINAL,
                folder=ORIGINALS_FOLDER,
                source_id=None if source_id == image_id else source_id,
                stem=stems.get(image_id),
            )
        )
    return found


def _stems(order_id: str, order: Order, chosen: Sequence[tuple[str, ImageRecord]], options: Options) -> dict[str, str]:
    """The names by the caller's template; none where names are what they are."""
    if options.names == ANY_NAME:
        return {}
    places = {id(record): place for place, record in enumerate(order.images, 1)}
    return Names.by_template(
        options.names,
        [(image_id, record.image_name or image_id) for image_id, record in chosen],
        {image_id: places[id(record)] for image_id, record in chosen},
        order=order.name or f"order-{order_id}",
        total=order.image_count,
    ).stems


def _stand_in(place: int, taken: Collection[str | None]) -> str:
    """What an image without an id is called, in reports too; no other image of the order is called so."""
    name = f"unidentified-{place}"
    while name in taken:
        name += "x"
    return name


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
