"""Bytes on their way to the caller: all of them, in sequence, and the reader's position moves with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import ClientSession, web

from service.archives import delivery
from service.archives.archive import Archive, State
from service.archives.cutting import cut
from service.archives.delivery import transmit
from service.archives.layout import Member
from service.archives.readers import Reader, Readers
from service.images.blobs import Blob, BlobLost
from service.images.store import ImageStore
from tests.support.archives import ArchiveSystem
from tests.support.images import MIB, put
from tests.support.loopback import serving
from tests.support.plans import MOMENT, archive_of, plan_of
from tests.support.transport import TIMEOUT


@asynccontextmanager
async def served(
    archive: Archive, images: ImageStore, *, chunked: bool, start: int = 0, stop: int | None = None
) -> AsyncIterator[tuple[str, list[Reader]]]:
    """The archive, or these bytes of it, at an URL; its readers are kept in the list."""
    readers: list[Reader] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = (archive.length if stop is None else stop) - start
        with archive.readers.reading() as reader:
            readers.append(reader)
            await response.prepare(request)
            try:
                await transmit(request, response, archive, images, start=start, stop=stop, reader=reader)
            except BlobLost:
                cut(request)
        return response

    async with serving(web.get("/", answer)) as url:
        yield url, readers


async def archive_with(images: ImageStore, *sizes: int) -> Archive:
    """A complete archive of images of these sizes."""
    archive = archive_of(plan_of("a"), Readers(1 << 40, 60))
    for number, size in enumerate(sizes):
        blob = await put(images, f"{number}.0", bytes([number + 1]) * size)
        archive.append(Member(f"{number}.jpg", blob, MOMENT, f"{number}"))
    archive.settle(State.COMPLETE, "comment")
    return archive


@pytest.mark.parametrize("chunked", [False, True])
async def test_every_byte_arrives_in_sequence(system: ArchiveSystem, chunked: bool) -> None:
    """Small images from memory, large ones from their files, between headers and before the directory."""
    archive = await archive_with(system.images, 10, 5 * MIB, 100_000, 1, 3 * MIB)
    whole = await system.bytes_of(archive)

    async with (
        served(archive, system.images, chunked=chunked) as (url, readers),
        ClientSession() as session,
        session.get(url) as response,
    ):
        body = await response.read()

    assert body == whole
    assert readers[0].position == len(whole)


async def test_a_reader_has_taken_no_more_than_was_written(system: ArchiveSystem) -> None:
    """A client that takes nothing buys nothing."""
    archive = await archive_with(system.images, 10, 100_000, 1)
    taken, ahead = 0, set[int]()

    async def write(data: bytes) -> None:
        nonlocal taken
        ahead.add(reader.position - taken)
        taken += len(data)

    with archive.readers.reading() as reader:
        response = Mock(write=write, write_eof=write)
        await transmit(Mock(), response, archive, system.images, start=0, stop=None, reader=reader)

    assert (ahead, taken) == ({0}, archive.length)


@pytest.mark.parametrize(("skipped", "left_out"), [(0, 0), (2, 0), (0, 3)])
async def test_an_image_that_is_only_elsewhere_is_read_from_there(skipped: int, left_out: int) -> None:
    """Block by block; it is brought here first only where all of it is wanted."""
    archive = archive_of(plan_of("a"))
    archive.append(Member("a.jpg", Blob("0" * 64, 10, 1, "jpg"), MOMENT, "a"))
    header = archive.length - 10
    positions, written = list[int](), list[bytes]()

    async def read_shared(_: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        for number in range(start, stop):
            yield bytes([number])

    async def write(data: bytes) -> None:
        written.append(data)
        positions.append(reader.position)

    store = Mock(in_memory=Mock(return_value=None), open_blob=AsyncMock(return_value=None), read_shared=read_shared)
    start, stop = header + skipped, archive.length - left_out
    with archive.readers.reading(start) as reader:
        response = Mock(write=write, write_eof=AsyncMock())
        await transmit(Mock(), response, archive, store, start=start, stop=stop, reader=reader)

    assert (b"".join(written), positions) == (bytes(range(skipped, 10 - left_out)), list(range(start, stop)))
    assert store.open_blob.call_args.kwargs == {"whole": skipped == left_out == 0}


@pytest.mark.parametrize("size", [5_000, 3 * MIB])
async def test_a_part_begins_and_ends_within_an_image(system: ArchiveSystem, size: int) -> None:
    """A small one from memory, a large one from its file."""
    archive = archive_of(plan_of("a"), Readers(1 << 40, 60))
    blob = await put(system.images, "a.0", bytes(number % 251 for number in range(size)))
    archive.append(Member("a.jpg", blob, MOMENT, "a"))
    archive.settle(State.COMPLETE, "")
    whole = await system.bytes_of(archive)

    async with (
        served(archive, system.images, chunked=False, start=1_000, stop=4_001) as (url, _),
        ClientSession() as session,
        session.get(url) as response,
    ):
        assert await response.read() == whole[1_000:4_001]


async def test_within_one_large_image_the_position_moves(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build may go on while its reader is in the middle of an image that is larger than the window."""
    monkeypatch.setattr(delivery, "_PIECE", MIB)
    archive = await archive_with(system.images, 8 * MIB)
    positions: list[int] = []
    really_advance = Reader.advance

    def advance(self: Reader, position: int) -> None:
        positions.append(position)
        really_advance(self, position)

    monkeypatch.setattr(Reader, "advance", advance)
    async with (
        served(archive, system.images, chunked=False) as (url, _),
        ClientSession() as session,
        session.get(url) as response,
    ):
        await response.read()

    header = positions[0]
    assert 0 < header < 100
    assert positions[1:9] == [header + number * MIB for number in range(1, 9)]


async def test_what_is_there_does_not_wait_for_more(system: ArchiveSystem) -> None:
    """Small images go out with one write, but not later than they are all that there is."""
    archive = archive_of(plan_of("a"), Readers(1 << 40, 60))
    blob = await put(system.images, "a.0", b"photo" * 20)
    archive.append(Member("a.jpg", blob, MOMENT, "a"))

    async with (
        served(archive, system.images, chunked=True) as (url, _),
        ClientSession() as session,
        session.get(url) as response,
    ):
        async with asyncio.timeout(TIMEOUT):
            there = await response.content.readexactly(archive.length)
        archive.settle(State.COMPLETE, "")
        rest = await response.read()

    assert there + rest == await system.bytes_of(archive)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_image_that_is_lost_on_the_way_is_never_a_clean_end(system: ArchiveSystem, chunked: bool) -> None:
    """Given a file that becomes shorter while it is open, every client sees an error."""
    archive = await archive_with(system.images, 5 * MIB, 2 * MIB)
    path = system.images._files.path(archive.members[1].blob.digest)
    await asyncio.to_thread(path.write_bytes, bytes(MIB))

    body = b""
    ended_well = False
    async with served(archive, system.images, chunked=chunked) as (url, _), ClientSession() as session:
        with suppress(Exception):
            async with session.get(url) as response:
                async for piece in response.content.iter_any():
                    body += piece
            ended_well = True

    assert not ended_well
    assert len(body) < archive.length
