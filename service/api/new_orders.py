"""Making an order from uploaded files, or from the sample photos: `POST /v1/orders`, `POST /v1/orders/sample`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from service import samples
from service.api.base_path import with_external_links
from service.api.documents import Count, Document, Input, Reference, answer
from service.api.downloads import UPSTREAM_CALL, require_key
from service.api.keys import ORDER_REQUESTS, SETTINGS, UPLOADS
from service.api.limits import Counts
from service.api.order_form import LARGEST_FILE, MAX_NAME_LENGTH, take_part
from service.api.order_requests import working_on
from service.api.parts import Parts
from service.api.query import REPLAYED, read_key
from service.api.route import Answer, Body, Parameter, Problems, Route, Who, count
from service.disk import OutOfSpace
from service.problems import (
    BadRequest,
    FileTooLarge,
    InvalidParameter,
    NotAnImage,
    NothingUploaded,
    PayloadTooLarge,
    Problem,
    RequestsUnavailable,
    RequestUnfinished,
    StoreFull,
    UnsupportedMediaType,
    UploadTimeout,
)
from service.reasons import UploadReason
from service.telemetry.logs import get_logger
from service.upstream.new_order import NewFile, NewOrder

log = get_logger(__name__)

SAMPLE_NAME = "Sample: 12 Harbour Lane"
# Of one part besides its content: its headers and boundary.
_AROUND = 16 * 1024
# Fields, file fields that were left empty, and files beyond the limit, which are named in the answer.
_SPARE_PARTS = 1_000
_CAUSES: Mapping[UploadReason | None, type[NothingUploaded]] = {
    UploadReason.NOT_AN_IMAGE: NotAnImage,
    UploadReason.FILE_TOO_LARGE: FileTooLarge,
}


class Upload(Input):
    """The form of a new order."""

    name: str | None = Field(None, max_length=MAX_NAME_LENGTH, description="The order's name; before the files.")
    files: list[Annotated[str, Field(json_schema_extra={"format": "binary"})]] = Field(
        min_length=1, description="JPEG, PNG or WebP, at most 20 MB each."
    )


class UploadedFile(Document):
    """How one file of a new order fared."""

    name: str = Field(description="As it is called in the order.")
    bytes: Count
    image_id: str | None = Field(description="Null when Autoenhance does not know it.")
    status: Literal["uploaded", "failed"]
    code: UploadReason | None
    reason: str | None = Field(description="One sentence for a person, with the next step.")


class CreatedOrderLinks(Document):
    """Where to go on from a new order."""

    overview: Reference
    images: Reference


class CreatedOrder(Document):
    """A new order, and what came of its files."""

    order_id: str
    name: str | None
    total: Count
    uploaded: Count
    failed: Count
    files: list[UploadedFile]
    links: CreatedOrderLinks


async def create(request: web.Request) -> web.Response:
    return await _once(request, "order", _from_files)


async def create_sample(request: web.Request) -> web.Response:
    return await _once(request, "sample order", _from_samples)


async def _once(request: web.Request, scope: str, make: Callable[[web.Request], Awaitable[NewOrder]]) -> web.Response:
    """Make an order, unless the request's key has made one in this scope: then the answer is that one's."""
    key = read_key(request, scope)
    require_key(request)
    await count(request)
    async with working_on(request.app[ORDER_REQUESTS], key) as earlier:
        if earlier is None:
            return await _answer(request, await make(request), key)
        log.info("order was created before", order_id=earlier["order_id"])
        return _created(request, earlier, REPLAYED)


async def _from_files(request: web.Request) -> NewOrder:
    """An order of the files of a multipart/form-data request."""
    max_files = request.app[SETTINGS].max_images_per_order
    parts = Parts(request, max_bytes=max_files * (LARGEST_FILE + _AROUND), max_parts=max_files + _SPARE_PARTS)
    async with NewOrder(request.app[UPLOADS]) as order:
        try:
            async for part in parts:
                await take_part(request, parts, part, order)
        except (Problem, OutOfSpace) as error:
            problem = error if isinstance(error, Problem) else StoreFull()
            await order.finish()
            if order.order_id is not None:
                problem.extra |= {"order_id": order.order_id, "files": [_outcome(file) for file in order.files]}
            raise problem from None
        await order.finish()
    return order


async def _from_samples(request: web.Request) -> NewOrder:
    async with NewOrder(request.app[UPLOADS]) as order:
        order.name = SAMPLE_NAME
        for name, path, size in await asyncio.to_thread(_samples):
            await order.add(name, path, size, AsyncExitStack())
        await order.finish()
    return order


def _samples() -> list[tuple[str, Path, int]]:
    return [(name, path, path.stat().st_size) for name, path in samples.uniquely_named().items()]


def _outcome(file: NewFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "bytes": file.size,
        "image_id": file.image_id,
        "status": "uploaded" if file.reason is None else "failed",
        "code": file.reason,
        "reason": file.reason and file.reason.advice,
    }


async def _answer(request: web.Request, order: NewOrder, key: str | None) -> web.Response:
    """201 when at least one file has arrived; kept for who sends the request again with its key.

    Raises `NothingUploaded`, by its cause where all have the same.
    """
    files = [_outcome(file) for file in order.files]
    if not files:
        raise BadRequest("The form has no files.")
    if order.order_id is None or not order.uploaded:
        reasons = {file.reason for file in order.files}
        problem = _CAUSES.get(reasons.pop(), NothingUploaded) if len(reasons) == 1 else NothingUploaded
        raise problem(files, order.order_id)
    log.info("order created", order_id=order.order_id, uploaded=order.uploaded, files=len(files))
    overview = f"/v1/orders/{order.order_id}"
    document = {
        "order_id": order.order_id,
        "name": order.name,
        "total": len(files),
        "uploaded": order.uploaded,
        "failed": len(files) - order.uploaded,
        "files": files,
        "links": {"overview": overview, "images": f"{overview}/images"},
    }
    if key is not None:
        await request.app[ORDER_REQUESTS].finish(key, document)
    return _created(request, document, {})


def _created(request: web.Request, document: dict[str, Any], more: Mapping[str, str]) -> web.Response:
    headers = {"Location": document["links"]["overview"], **more}
    return answer(with_external_links(request, document), status=HTTPStatus.CREATED, headers=headers)


_KEY = Parameter("Idempotency-Key", "5c0ffe02", "The same key gives the same order, once, for a day.")
_CREATED = (
    Answer(
        201,
        "At least one file has arrived; `files` tells of each.",
        CreatedOrder,
        headers=("Location", "Idempotent-Replayed"),
    ),
)
_PROBLEMS: Problems = (InvalidParameter, RequestUnfinished, RequestsUnavailable, *UPSTREAM_CALL, NothingUploaded)
_FORM: Problems = (PayloadTooLarge, UploadTimeout, FileTooLarge, UnsupportedMediaType, NotAnImage, StoreFull)

ROUTES = (
    Route(
        "POST",
        "/v1/orders",
        create,
        name="createOrder",
        summary="Make an order from files",
        alias="/api/create-order",
        who=Who.ADMINISTRATOR,
        counts=Counts.DOWNLOADS,
        headers=(_KEY,),
        body=Body(Upload, media_type="multipart/form-data"),
        answers=_CREATED,
        problems=(*_FORM, *_PROBLEMS),
    ),
    Route(
        "POST",
        "/v1/orders/sample",
        create_sample,
        name="createSampleOrder",
        summary="Make an order from the sample photos",
        alias="/api/create-sample-order",
        who=Who.ADMINISTRATOR,
        counts=Counts.DOWNLOADS,
        headers=(_KEY,),
        answers=_CREATED,
        problems=_PROBLEMS,
    ),
)
