"""Brings lost images of an archive back, if what upstream gives is still the same, byte for byte."""

import asyncio

from service.archives.builder import Workshop
from service.archives.record import Record
from service.archives.report import report_text
from service.images.downloads import Wanted
from service.upstream.client import ImageFailed


async def repair(record: Record, lost: set[str], workshop: Workshop) -> bool:
    """Fetch the images of `record` whose blobs are `lost` again. True when all are back with the same content."""
    planned = {image.image_id: image for image in record.plan.images}
    try:
        for member, _ in record.members:
            if member.blob.digest not in lost:
                continue
            image = planned.get(member.image_id or "")
            if image is None:
                await _write_report(record, workshop)
                continue
            wanted = Wanted(image.key, image.image_id, record.plan.rendering)
            task = workshop.downloads.running(image.key) or await workshop.downloads.start(wanted, lambda: True)
            if task is not None:
                await asyncio.shield(task)
        return not await workshop.store.missing(member.blob for member, _ in record.members)
    except ImageFailed:
        return False


async def _write_report(record: Record, workshop: Workshop) -> None:
    text = report_text(record.plan.order_id, record.results).encode()
    async with workshop.store.receive() as incoming:
        await incoming.expect(len(text))
        await incoming.write(text)
        await workshop.store.publish(incoming, "txt")
