"""Archives by their immutable id: `GET /v1/archives/{archive_id}` and its report."""

import re

from aiohttp import web

from service.api.downloads import head_of
from service.api.keys import ARCHIVES, DELIVERY
from service.archives.archive import Archive
from service.archives.delivery import DeliveryOptions
from service.problems import ArchiveNotFound
from service.text import printable

_ID = re.compile(r"[0-9a-f]{32}")


async def download(request: web.Request) -> web.StreamResponse:
    """Send the archive, or a range of it."""
    return await request.app[DELIVERY].deliver(request, await _archive(request), DeliveryOptions())


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD. Begins nothing."""
    return head_of(request, await _archive(request, begin=False))


async def report(request: web.Request) -> web.Response:
    """What is in the archive, and what is missing, image by image."""
    archive = await _archive(request, begin=False)
    images = [result.line() for result in archive.results]
    document = {**archive.summary(), "archive_id": archive.id, "unlisted": archive.unlisted, "images": images}
    return web.json_response(document, headers={"Cache-Control": "private, no-cache"})


async def _archive(request: web.Request, *, begin: bool = True) -> Archive:
    archive_id = request.match_info["archive_id"]
    if not _ID.fullmatch(archive_id):
        raise ArchiveNotFound(f"{printable(archive_id)} is not an archive id.")
    return await request.app[ARCHIVES].by_id(archive_id, begin=begin)
