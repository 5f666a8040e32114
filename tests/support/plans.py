"""Plans and archives that were not made from an order."""

from datetime import UTC, datetime
from uuid import uuid4

from service.archives.archive import Archive
from service.archives.options import Options
from service.archives.plan import Plan, PlannedImage, PlannedOrder
from service.archives.readers import Readers
from service.upstream.models import ImageState

MOMENT = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)


def plan_of(*image_ids: str, key: str = "key", options_key: str = "options", wait: bool = False) -> Plan:
    """A plan for these images, all of which are ready."""
    images = tuple(
        PlannedImage(
            image_id=image_id, name=f"{image_id}.jpg", state=ImageState.READY, key=f"{image_id}.0", modified=MOMENT
        )
        for image_id in image_ids
    )
    return Plan(
        orders=(PlannedOrder(order_id="o", total=len(images)),),
        options=Options(wait=True) if wait else Options(),
        images=images,
        key=key,
        options_key=options_key,
    )


def archive_of(plan: Plan, readers: Readers | None = None) -> Archive:
    """A new archive for a plan."""
    return Archive(
        uuid4().hex,
        key=plan.key,
        orders=plan.orders,
        readers=readers or Readers(1 << 30, 60),
    )
