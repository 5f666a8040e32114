"""Fetches images of an archive again that were lost from the store."""

import asyncio

from service.archives.build import BuildContext
from service.archives.outcomes import FOR_GOOD
from service.archives.record import Record
from service.archives.report import texts_of
from service.computing import MANY_IMAGES, compute
from service.images.requests import FetchContext, ImageFailed
from service.problems import StillBuilding
from service.telemetry.metrics import Refetch

_RETRY_SECONDS = 10.0


async def repair(context: BuildContext, record: Record, lost: set[str]) -> bool:
    """Fetch the images whose blobs are `lost` again, all at once; True when all are back, byte for byte.

    Raises `StillBuilding` when Autoenhance does not say whether they can come back.
    """
    planned = record.plan.entries
    fetches = FetchContext(record.id)
    images = [
        planned[member.entry] for member, _ in record.members if member.entry in planned and member.blob.digest in lost
    ]
    if context.catalogue.shared is None:  # else who misses them in the shared storage counts them
        context.metrics.images_refetched.labels(Refetch.LOST).inc(len(images))
    fetching = [asyncio.create_task(context.fetcher.fetch(record.plan.request(image), fetches)) for image in images]
    try:
        await asyncio.gather(*fetching)
    except ImageFailed as failed:
        if failed.reason in FOR_GOOD:
            return False
        raise StillBuilding(retry_after=_RETRY_SECONDS) from None
    finally:  # without one of them the others are of no use
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
    texts = await compute(lambda: texts_of(record.plan, record.results), is_short=len(record.results) <= MANY_IMAGES)
    for member, _ in record.members:
        if member.image_id is None and member.blob.digest in lost and member.name in texts:
            await context.store.add(texts[member.name], member.blob.extension)
    return not await context.store.missing(member.blob for member, _ in record.members)
