"""What may go when the store is full."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.archives import catalogue
from service.archives.eviction import Eviction
from service.database import Database
from service.images import store
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """With the tables of images and archives."""
    database = await Database.open(tmp_path, [store.SCHEMA, catalogue.SCHEMA])
    yield database
    await database.close()


async def fill(images: ImageStore, *keys: str) -> None:
    """Store an image of 50 bytes under each key, in this sequence."""
    for key in keys:
        async with images.receive() as incoming:
            await incoming.expect(50)
            await incoming.write(key.encode().ljust(50))
            await images.publish(incoming, "jpg", key)


@pytest.mark.parametrize("is_cache", [False, True])
async def test_an_image_that_a_build_is_about_to_take_stays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cache: bool
) -> None:
    """Given an old one that no archive has yet, but a running build will: younger ones that nobody needs go."""
    images = await ImageStore.open(tmp_path / "images", database, lambda _: 1 << 40, Metrics())
    monkeypatch.setattr(ImageStore, "is_cache", is_cache)
    await fill(images, "needed", "idle", "idle too")
    eviction = Eviction(images, set, lambda: {"needed", "not here yet"}, Metrics())

    await eviction.make_room(75)

    assert set(await images.find(["needed", "idle", "idle too"])) == {"needed"}


async def test_nobody_loses_an_image_for_nothing(database: Database, tmp_path: Path) -> None:
    """Given more wanted than can come free, nothing goes."""
    images = await ImageStore.open(tmp_path / "images", database, lambda _: 1 << 40, Metrics())
    await fill(images, "needed", "idle")

    await Eviction(images, set, lambda: {"needed"}, Metrics()).make_room(75)

    assert set(await images.find(["needed", "idle"])) == {"needed", "idle"}


async def test_room_made_for_one_is_not_promised_to_another(database: Database, tmp_path: Path) -> None:
    """Two downloads that need room at once both get it, as long as enough can go."""
    images = await ImageStore.open(tmp_path / "images", database, lambda _: 400, Metrics())
    await fill(images, *"abcdef")
    images.space.make_room = Eviction(images, set, set, Metrics()).make_room

    async with images.receive() as first, images.receive() as second:
        await asyncio.gather(first.expect(150), second.expect(150))
