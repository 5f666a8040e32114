"""An archive's bytes for whoever is no client: all of them, a piece at a time."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.archives import delivery
from service.archives.archive import Archive, State
from service.archives.delivery import pieces_of
from service.archives.layout import Member
from service.images.blobs import Blob
from service.images.files import OpenBlob
from tests.support.archives import ArchiveSystem
from tests.support.images import MIB, put
from tests.support.plans import MOMENT, archive_of, plan_of


async def archive_with(system: ArchiveSystem, size: int) -> Archive:
    """A complete archive of an image of this size, of which few bytes are equal to their neighbours."""
    archive = archive_of(plan_of("a"))
    blob = await put(system.images, "a.0", (bytes(range(251)) * (size // 251 + 1))[:size])
    archive.append(Member("a.jpg", blob, MOMENT, "a"))
    archive.settle(State.COMPLETE, "comment")
    return archive


@pytest.mark.parametrize("size", [1, 257, 600_000, 3 * MIB + 1], ids=str)
@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_all_bytes_come_in_small_pieces(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch, size: int, is_in_memory: bool
) -> None:
    """From memory or from the file; also the last one alone, and whatever reads the file meanwhile."""
    monkeypatch.setattr(delivery, "_READ", 256)
    archive = await archive_with(system, size)
    if not is_in_memory:
        system.images._files.forget(archive.members[0].blob.digest)

    pieces = [piece async for piece in pieces_of(archive, system.images)]

    assert b"".join(pieces) == await system.bytes_of(archive)
    assert max(map(len, pieces)) <= 256


async def test_a_file_is_open_for_no_longer_than_it_is_read(
    system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for as long as that, though the store lets go of it meanwhile."""
    archive = await archive_with(system, 3 * MIB)
    really_open, opened = system.images.open_blob, list[OpenBlob]()

    async def noted(blob: Blob) -> OpenBlob | None:
        found = await really_open(blob)
        assert found is not None
        opened.append(found)
        return found

    monkeypatch.setattr(system.images, "open_blob", noted)
    was_closed = []
    async for _ in pieces_of(archive, system.images):
        if opened:
            system.images._files.forget(archive.members[0].blob.digest)
            was_closed.append(opened[0].file.closed)

    assert was_closed[:-1] == [False] * (len(was_closed) - 1)
    assert opened[0].file.closed


async def test_what_another_instance_has_is_read_there(system: ArchiveSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, and no more."""
    archive = await archive_with(system, 3 * MIB)
    whole = await system.bytes_of(archive)
    header = len(whole) - archive.length + whole.index(b"a.jpg") + len("a.jpg")
    asked: list[tuple[int, int]] = []

    async def nothing_here(*_: object) -> None:
        return None

    async def shared(blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        asked.append((start, stop))
        yield whole[header : header + stop]

    monkeypatch.setattr(system.images, "open_blob", nothing_here)
    monkeypatch.setattr(system.images, "read_shared", shared)

    pieces: list[Any] = [piece async for piece in pieces_of(archive, system.images)]

    assert (b"".join(pieces) == whole, asked) == (True, [(0, 3 * MIB)])
