"""One stored image as an answer: what is said of it, and which of its bytes are sent."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession, web

from service.archives import delivery
from service.archives.delivery import LOG_FIELDS
from service.archives.image_delivery import deliver_image, image_headers
from service.images.blobs import Blob, BlobUnreadable
from service.images.files import OpenBlob
from service.images.store import ImageStore
from service.problems import Problem
from service.telemetry.metrics import Metrics
from tests.support.archives import ArchiveSystem
from tests.support.images import MIB, put
from tests.support.loopback import serving

SIZES = pytest.mark.parametrize("size", [3_000, 3 * MIB], ids=["from memory", "from its file"])


@dataclass
class ImageServer:
    """Where an image is served, and what the log is told of it."""

    url: str
    session: ClientSession
    fields: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, method: str = "GET", **headers: str) -> tuple[ClientResponse, bytes]:
        """One request, its answer read to the end."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url, headers=given) as response:
            return response, await response.read()


@asynccontextmanager
async def served(images: ImageStore, blob: Blob, *, is_attachment: bool = False) -> AsyncIterator[ImageServer]:
    """The blob as `kitchen.jpg`."""
    fields: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = image_headers("kitchen.jpg", blob.extension, is_attachment=is_attachment)
        try:
            return await deliver_image(request, blob, headers, images, Metrics())
        except Problem as problem:
            return web.Response(status=problem.status, headers=problem.headers, text=problem.code)
        finally:
            if LOG_FIELDS in request:
                fields.append(request[LOG_FIELDS])

    async with serving(web.get("/", answer)) as url, ClientSession() as session:
        yield ImageServer(url, session, fields)


def bytes_of(size: int) -> bytes:
    """So many, of which few are equal to their neighbours."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@SIZES
async def test_the_whole_image_is_sent(system: ArchiveSystem, size: int) -> None:
    """With its length and its tag, to be kept by its caller alone; the log has how much it was."""
    blob = await put(system.images, "a.0", bytes_of(size))

    async with served(system.images, blob) as server:
        response, body = await server.ask()

    assert (response.status, body) == (200, bytes_of(size))
    assert response.headers["Content-Length"] == str(size)
    assert response.headers["ETag"] == f'"{blob.digest}"'
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Cache-Control"] == "private, no-transform"
    assert server.fields == [{"image_bytes": size, "outcome": "sent"}]


@SIZES
@pytest.mark.parametrize(
    ("asked", "start", "stop"), [("bytes=10-19", 10, 20), ("bytes=100-", 100, None), ("bytes=-7", -7, None)]
)
async def test_a_range_is_a_part_of_it(system: ArchiveSystem, size: int, asked: str, start: int, stop: int) -> None:
    """And says which."""
    blob = await put(system.images, "a.0", bytes_of(size))

    async with served(system.images, blob) as server:
        response, body = await server.ask(Range=asked)

    first = start % size
    assert (response.status, body) == (206, bytes_of(size)[start:stop])
    assert response.headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{size}"
    assert server.fields == [{"image_bytes": len(body), "outcome": "sent"}]


@pytest.mark.parametrize(("is_attachment", "how"), [(False, "inline"), (True, "attachment")])
async def test_it_is_shown_unless_it_is_to_be_saved(system: ArchiveSystem, is_attachment: bool, how: str) -> None:
    """Under its name either way."""
    blob = await put(system.images, "a.0", bytes_of(100))

    async with served(system.images, blob, is_attachment=is_attachment) as server:
        response, _ = await server.ask()

    assert response.headers["Content-Disposition"].startswith(f'{how}; filename="kitchen.jpg"')


async def test_who_has_it_is_sent_nothing(system: ArchiveSystem) -> None:
    """But what is said of it."""
    blob = await put(system.images, "a.0", bytes_of(100))
    tag = f'"{blob.digest}"'

    async with served(system.images, blob) as server:
        response, body = await server.ask(If_None_Match=tag)

    assert (response.status, body, response.headers["ETag"]) == (304, b"", tag)
    assert response.headers["Cache-Control"] == "private, no-transform"


async def test_what_no_image_has_is_refused(system: ArchiveSystem) -> None:
    """A part behind its end, and a part of another one."""
    blob = await put(system.images, "a.0", bytes_of(100))

    async with served(system.images, blob) as server:
        behind, _ = await server.ask(Range="bytes=100-")
        _, other = await server.ask(Range="bytes=10-", If_Range='"other"')
        refused, _ = await server.ask(If_Match='"other"')

    assert (behind.status, behind.headers["Content-Range"]) == (416, "bytes */100")
    assert other == bytes_of(100)
    assert refused.status == 412


async def test_head_opens_no_file(system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what a GET would, whether or not the file can be read."""
    blob = await put(system.images, "a.0", bytes_of(3 * MIB))

    async def unreadable(*_: object, **__: object) -> OpenBlob:
        raise BlobUnreadable("no descriptors")

    monkeypatch.setattr(system.images, "open_blob", unreadable)
    async with served(system.images, blob) as server:
        response, body = await server.ask("HEAD")

    assert (response.status, response.headers["Content-Length"], body) == (200, str(3 * MIB), b"")


@pytest.mark.parametrize(("asked", "whole"), [({}, True), ({"Range": "bytes=0-9"}, False)])
async def test_only_for_the_whole_image_it_is_brought_here(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], whole: bool
) -> None:
    """Given one that another instance has, a few bytes of it are read there."""
    blob = await put(system.images, "a.0", bytes_of(3 * MIB))
    really_open: Callable[..., Any] = system.images.open_blob
    wanted: list[bool] = []

    async def opened(blob: Blob, *, whole: bool) -> Any:
        wanted.append(whole)
        return await really_open(blob, whole=whole)

    monkeypatch.setattr(system.images, "open_blob", opened)
    async with served(system.images, blob) as server:
        await server.ask(**asked)

    assert wanted == [whole]


async def test_an_image_that_cannot_be_read_to_its_end_is_never_a_clean_one(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut, and the log says so."""
    blob = await put(system.images, "a.0", bytes_of(3 * MIB))
    pieces = iter([MIB])

    async def failing(*_: object) -> int:
        if (count := next(pieces, None)) is None:
            raise BlobUnreadable("an error of the disk")
        return count

    monkeypatch.setattr(delivery, "_send_piece", failing)
    async with served(system.images, blob) as server:
        with pytest.raises(ClientPayloadError):
            await server.ask()

    assert [one["outcome"] for one in server.fields] == ["cut"]
