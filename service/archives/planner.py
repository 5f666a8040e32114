"""Makes plans: which images of an order an archive will hold, under which names."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from service.archives.names import ANY_NAME, stems_by_template
from service.archives.options import Options
from service.archives.plan import Plan, PlannedImage, PlannedOrder, options_key
from service.archives.renditions import ORIGINAL, ORIGINALS_FOLDER
from service.images.identity import digest, image_key, image_variant
from service.images.legacy import KeyWithLegacy, legacy_key
from service.problems import InvalidParameter, OrderEmpty, TooManyImages, UnknownImage
from service.upstream.models import ImageRecord, ImageState, Order, Original

_NO_DATE = datetime(1980, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Planner:
    """Makes plans from an order's document and the generations of its images. Plans have at most `max_images`.

    `has_legacy`: the store holds images of version 0.
    """

    max_images: int
    has_legacy: bool = False

    def plan(
        self,
        order_id: str,
        order: Order,
        generations: Mapping[str, int],
        options: Options,
        planned_ids: Collection[str] | None = None,
    ) -> Plan:
        """Choose the images and fix the archive's identity. `planned_ids`: of a plan that is renewed.

        Raises `OrderEmpty`, `UnknownImage` for a subset that is not part of the order, `TooManyImages`.
        """
        records = choose(order, options, self.max_images, planned_ids)
        taken = {record.image_id for record in records}
        chosen = [(record.image_id or _stand_in(at, taken), record) for at, record in enumerate(records, 1)]
        stems = _stems(order_id, order, chosen, options)
        identity: list[tuple[Any, ...]] = []
        images = []
        for rendition_name, rendition in options.renditions.items():
            for image_id, record in chosen:
                generation = generations.get(image_id, 0)
                key = image_key(image_variant(record, rendition), generation)
                if self.has_legacy:
                    key = KeyWithLegacy(key, legacy_key(record, rendition, generation))
                name = record.image_name or image_id
                stem = stems.get(image_id)
                identity.append((image_id, name, key) if stem is None else (image_id, name, key, stem))
                images.append(
                    PlannedImage(
                        image_id=image_id,
                        name=name,
                        state=record.state if record.image_id else ImageState.FAILED,
                        key=key,
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
        is_to_the_end = not options.subset and options.part in (None, parts_of(len(order.images), self.max_images))
        planned = PlannedOrder(
            order_id=order_id,
            name=order.name,
            part=options.part,
            total=len(images),
            unlisted=order.left_out if is_to_the_end else 0,
        )
        return Plan(
            orders=(planned,),
            options=options.of_plan,
            images=tuple(images),
            # `strict` judges an archive by it.
            key=digest(same_options, identity, *([planned.unlisted] if planned.unlisted else [])),
            options_key=same_options,
        )

    def outline(self, order_id: str, order: Order, generations: Mapping[str, int], options: Options) -> Plan:
        """As `plan`, of an order however large: what its owner is shown. No archive can be built from it."""
        limit = self.max_images if options.part is not None else max(self.max_images, order.image_count)
        return replace(self, max_images=limit).plan(order_id, order, generations, options)


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
        source = _lineage(record, by_id)[-1]
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


def with_parents(order: Order, record: ImageRecord) -> Order:
    """The order with one of its images and those that it was made from: all that its original depends on."""
    return replace(order, images=tuple(_lineage(record, {image.image_id: image for image in order.images})))


def _lineage(record: ImageRecord, by_id: Mapping[str | None, ImageRecord]) -> list[ImageRecord]:
    """An image, the one it was made from, and so on; each once: they may name each other in a circle."""
    found = {record.image_id: record}
    while (parent := record.parent_image_id) is not None and parent in by_id and parent not in found:
        record = found[parent] = by_id[parent]
    return list(found.values())


def _stems(order_id: str, order: Order, chosen: Sequence[tuple[str, ImageRecord]], options: Options) -> dict[str, str]:
    """The names by the caller's template; none where names are what they are."""
    if options.names == ANY_NAME:
        return {}
    positions = {id(record): position for position, record in enumerate(order.images, 1)}
    return stems_by_template(
        options.names,
        [(image_id, record.image_name or image_id) for image_id, record in chosen],
        {image_id: positions[id(record)] for image_id, record in chosen},
        order=order.name or f"order-{order_id}",
        total=order.image_count,
    )


def _stand_in(position: int, taken: Collection[str | None]) -> str:
    """What an image without an id is called, in reports too; no other image of the order is called so."""
    name = f"unidentified-{position}"
    while name in taken:
        name += "x"
    return name


def choose(
    order: Order, options: Options, max_images: int, planned_ids: Collection[str] | None = None
) -> list[ImageRecord]:
    """The records that `options` select, in the order's sequence. Raises as `Planner.plan`.

    Where they were selected already, it is those of `planned_ids`, whatever the order has gained or lost since.
    """
    if not order.images:
        raise OrderEmpty("Autoenhance is still merging brackets into images." if order.may_grow else None)
    if planned_ids is not None:
        return [image for image in order.images if image.image_id in planned_ids]
    chosen = list(order.images)
    if subset := set(options.subset):
        unknown = subset - {image.image_id for image in order.images}
        if unknown:
            raise UnknownImage(sorted(unknown))
        chosen = [image for image in order.images if image.image_id in subset]
    if options.part is not None:
        chosen = _part_of(order, options.part, max_images)
    count = len(chosen) if options.subset or options.part is not None else order.image_count
    if count > max_images:
        raise TooManyImages(count, max_images)
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
