"""The index of shared images: an old picture never takes the place of a newer one."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from service.cluster import publishing
from service.cluster.images import ClusterImages
from service.cluster.objects import Objects
from service.database import Database
from service.images import blob_index
from service.images.blobs import Blob, BlobLost
from service.images.leases import NoLeases
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from tests.support.client import TIMEOUT


def blob(number: int) -> Blob:
    """Another one for each number."""
    return Blob(f"{number:064}", 5, number, "jpg")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Some bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    return path


@pytest.fixture
def two() -> tuple[ClusterImages, ClusterImages]:
    """Instances with one storage."""
    store = MemoryStore()
    first, second = (ClusterImages(Objects(store, Metrics())) for _ in range(2))
    return first, second


async def test_a_late_image_of_an_older_generation_does_not_replace_a_newer_one(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Whether its instance had looked before the newer one came, or not at all."""
    first, second = two
    await first.find("v.1")
    await second.publish(blob(2), file, "v.2")

    await first.publish(blob(1), file, "v.1")

    assert await second.find("v.2") == (blob(2), True)
    assert await first.find("v.1") == (None, True)


async def test_a_newer_generation_replaces_an_older_one_that_it_has_not_seen(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Its first write is refused, its second one is made over what is there."""
    first, second = two
    await first.find("v.2")
    await second.publish(blob(1), file, "v.1")

    await first.publish(blob(2), file, "v.2")

    assert await second.find("v.2") == (blob(2), True)


async def test_of_two_of_one_generation_at_once_one_is_named(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Both have been shared, whichever it is."""
    first, second = two

    await asyncio.gather(first.publish(blob(1), file, "v.1"), second.publish(blob(2), file, "v.1"))

    found, is_certain = await first.find("v.1")
    assert is_certain
    assert found in (blob(1), blob(2))


async def test_an_image_that_is_not_there_yet_is_waited_for(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """A list may name it a moment before it is shared."""
    first, second = two

    async def read() -> bytes:
        return b"".join([piece async for piece in second.read(blob(1), 0, 5)])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await first.publish(blob(1), file, None)

    assert await reading == b"bytes"


async def test_one_that_is_lost_makes_all_be_looked_for(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list names is taken to be there, until a read has missed it."""
    monkeypatch.setattr("service.cluster.images._NOT_YET_SECONDS", ())
    first, second = two
    await first.publish(blob(1), file, None)
    digests = {blob(number).digest for number in (1, 2, 3)}
    assert await second.present(digests) == digests

    with pytest.raises(BlobLost):
        [piece async for piece in second.read(blob(2), 0, 5)]

    assert await second.present(digests) == {blob(1).digest}


async def test_an_entry_of_an_earlier_version_is_read() -> None:
    """It calls an image without its end by another name."""
    store = MemoryStore()
    entry: dict[str, Any] = {"generation": 0, "blob": {**asdict(blob(1)), "is_cut": True}}
    del entry["blob"]["is_incomplete"]
    await store.put_async("variants/v/v", json.dumps(entry).encode())
    images = ClusterImages(Objects(store, Metrics()))

    assert await images.find("v.0") == (replace(blob(1), is_incomplete=True), True)


async def test_one_that_cannot_be_shared_keeps_no_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten whose index entries nobody can read, more than there are workers; once they can be read, they follow."""
    monkeypatch.setattr(publishing, "_RETRY_SECONDS", 0.01)
    storage = MemoryStore()
    images = ClusterImages(Objects(storage, Metrics()))
    database = await Database.open(tmp_path, [blob_index.SCHEMA])
    store = SimpleNamespace(in_memory=lambda _: b"bytes", path=lambda _: None)
    shared = asyncio.Event()

    async def share_rest() -> bool:
        if not shared.is_set():
            raise ZeroDivisionError
        return True

    broken = [f"b{number}.0" for number in range(10)]
    for key in broken:
        await storage.put_async(f"variants/{key[:2]}/{key.partition('.')[0]}", b"no document")
    publisher = publishing.Publisher(images, NoLeases(), database, cast(ImageStore, store), share_rest)
    for number, key in enumerate([*broken, "v.1"]):
        images.stored(blob(number), key)
    async with asyncio.timeout(TIMEOUT):
        while await images.find("v.1") != (blob(10), True):  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.01)
        for key in broken:
            await storage.delete_async(f"variants/{key[:2]}/{key.partition('.')[0]}")
        shared.set()
        for number, key in enumerate(broken):
            while await images.find(key) != (blob(number), True):  # noqa: ASYNC110  # seen from outside
                await asyncio.sleep(0.01)
        await publisher.close()
    await database.close()

    assert "image could not be shared" in caplog.text
    assert "not shared yet" in caplog.text
