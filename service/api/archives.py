"""Archives by their immutable id: `GET /v1/archives/{archive_id}` and its report."""

import json
import re
from collections.abc import Mapping
from copy import copy
from typing import Literal

from aiohttp import web
from pydantic import Field

from service.api.base_path import external
from service.api.documents import Count, Document, OrdersSummary, Reference, Unlisted, Uuid
from service.api.downloads import BYTES, CONDITIONS, HEAD_ANSWERS, NOTHING_USABLE, ZIP_ANSWERS, head_of
from service.api.images import image_path
from service.api.keys import ARCHIVES, DELIVERY
from service.api.origins import is_prefetch
from service.api.route import Answer, Route, Who
from service.archives.archive import Archive, ImageResult, State
from service.archives.delivery import DeliveryOptions
from service.computing import MANY_IMAGES, compute
from service.problems import ArchiveGone, ArchiveNotFound, PreconditionFailed, PrefetchRefused, StillBuilding
from service.reasons import Reason
from service.text import printable
from service.upstream.models import Rendition

_ID = re.compile(r"[0-9a-f]{32}")


class ReportLine(Document):
    """How an image turned out."""

    order_id: Uuid
    image_id: str
    original_name: str
    name: str | None = Field(description="In the ZIP; null when missing there.")
    bytes: Count
    crc: int | None = Field(description="CRC-32.")
    outcome: Literal["downloaded", "incomplete", "failed"]
    code: Reason | None
    attempts: Count = Field(description="0: the image was here already.")
    rendition: str | None = Field(description="Which of several, or `original`; null for an only one.")
    blake3: str | None = Field(description="Of its content (256 bits, hexadecimal), where that is known.")
    link: Reference | None = Field(description="The image by itself; null for an unaltered photo.")


class Report(OrdersSummary):
    """What is in an archive, and what is missing."""

    archive_id: str
    status: State
    unlisted: Unlisted
    images: list[ReportLine]


async def download(request: web.Request) -> web.StreamResponse:
    if is_prefetch(request):
        await refuse_purchase(request, await _archive(request, begin=False))
    return await request.app[DELIVERY].deliver(request, await _archive(request), DeliveryOptions())


async def describe(request: web.Request) -> web.StreamResponse:
    """Answer HEAD. Begins nothing."""
    return head_of(request, await _archive(request, begin=False))


async def report(request: web.Request) -> web.Response:
    archive = await _archive(request, begin=False)
    renditions = await request.app[ARCHIVES].renditions_of(archive)
    now = copy(archive)
    now.results = list(archive.results)  # its build adds to them meanwhile

    def describe_all() -> str:
        images = [
            {"order_id": now.order_of(result), **result.line(), "link": _link(request, now, result, renditions)}
            for result in now.results
        ]
        return json.dumps({**now.summary(), "archive_id": now.id, "unlisted": now.unlisted, "images": images})

    text = await compute(describe_all, is_short=len(now.results) <= MANY_IMAGES)
    return web.json_response(text=text, headers={"Cache-Control": "private, no-cache"})


def _link(
    request: web.Request, archive: Archive, result: ImageResult, renditions: Mapping[str, Rendition]
) -> str | None:
    rendition = renditions.get(result.rendition or "")
    if rendition is None:  # an unaltered photo
        return None
    return external(request, image_path(archive.order_of(result), result.image_id, rendition))


async def refuse_purchase(request: web.Request, archive: Archive) -> None:
    """Raises `PrefetchRefused` for an archive whose images cost credits: what is no longer here would be fetched."""
    renditions = await request.app[ARCHIVES].renditions_of(archive)
    if any(rendition.buys for rendition in renditions.values()):
        raise PrefetchRefused


async def _archive(request: web.Request, *, begin: bool = True) -> Archive:
    archive_id = request.match_info["archive_id"]
    if not _ID.fullmatch(archive_id):
        raise ArchiveNotFound(f"{printable(archive_id)} is not an archive id.")
    return await request.app[ARCHIVES].by_id(archive_id, begin=begin)


_PROBLEMS = (ArchiveNotFound, ArchiveGone, StillBuilding)

ROUTES = (
    Route(
        "GET",
        "/v1/archives/{archive_id}",
        download,
        name="archive",
        summary="The same ZIP by its immutable id",
        who=Who.DOWNLOADER,
        headers=CONDITIONS,
        answers=ZIP_ANSWERS,
        problems=(*_PROBLEMS, PrefetchRefused, *NOTHING_USABLE, *BYTES),
    ),
    Route(
        "HEAD",
        "/v1/archives/{archive_id}",
        describe,
        name="describeArchive",
        summary="The archive's headers",
        who=Who.DOWNLOADER,
        answers=HEAD_ANSWERS,
        problems=(*_PROBLEMS, PreconditionFailed),
    ),
    Route(
        "GET",
        "/v1/archives/{archive_id}/report",
        report,
        name="report",
        summary="What is in the archive and what is missing",
        answers=(Answer(200, "Image by image.", Report),),
        problems=_PROBLEMS,
    ),
)
