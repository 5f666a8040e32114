"""What may go when the store is full: least recently used first, and never what is in use."""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.archives.archive import Archive
from service.archives.catalogue import Catalogue
from service.archives.eviction import Eviction
from service.archives.layout import Member
from service.archives.readers import Readers
from service.archives.registry import Registry
from service.database import Database
from service.disk import OutOfSpace
from service.images import blob_index
from service.images.blobs import Blob
from service.images.store import ImageStore
from tests.support.images import found, open_store, put
from tests.support.plans import archive_of, plan_of

SIZE = 100


@pytest.fixture
async def images(tmp_path: Path, database: Database, registry: Registry) -> AsyncIterator[ImageStore]:
    """A store with room for ten images of 100 bytes."""
    async with open_store(tmp_path, database, evict=Eviction(registry), limit=10 * SIZE) as opened:
        yield opened


class Shelf:
    """Images and archives on their way into the store, in the sequence of their use."""

    def __init__(self, images: ImageStore, database: Database, registry: Registry) -> None:
        self.images = images
        self.catalogue = Catalogue(database, ttl=3_600)
        self.registry = registry
        self._database = database

    async def add(self, *names: str) -> list[Blob]:
        """An image of 100 bytes under each name."""
        return [await put(self.images, f"{name}.0", name.encode().ljust(SIZE)) for name in names]

    async def archive(self, *blobs: Blob) -> Archive:
        """A complete archive of these, which nobody uses."""
        plan = plan_of(*(blob.digest for blob in blobs))
        archive = archive_of(plan)
        await self.catalogue.begin(archive, plan)
        members = [Member(blob.digest, blob, datetime.now(UTC), blob.digest) for blob in blobs]
        assert await self.catalogue.append(archive, [(member, 1) for member in members])
        for member in members:
            archive.append(member)
        return archive

    async def age(self, archive: Archive, used: float) -> None:
        """It was used then."""
        await self._database.run(lambda c: c.execute("UPDATE archives SET used = ? WHERE id = ?", (used, archive.id)))

    async def need(self, bytes_wanted: int) -> None:
        """Room for downloads of so many bytes, all at once. Raises `OutOfSpace`."""
        async with AsyncExitStack() as stack:
            for _ in range(bytes_wanted // SIZE):
                body = await stack.enter_async_context(self.images.receive())
                await body.expect(SIZE)

    async def left(self, *names: str) -> set[str]:
        """Those of these images that are still here."""
        return {key.removesuffix(".0") for key in await found(self.images, *(f"{name}.0" for name in names))}


@pytest.fixture
def shelf(images: ImageStore, database: Database, registry: Registry) -> Shelf:
    """Empty."""
    return Shelf(images, database, registry)


async def test_what_was_not_used_for_longest_goes_first(shelf: Shelf) -> None:
    """And no more than is needed."""
    await shelf.add(*"abcdefghij")
    await found(shelf.images, "a.0")  # used just now

    await shelf.need(2 * SIZE)

    assert await shelf.left(*"abcdefghij") == set("adefghij")


async def test_what_no_archive_names_goes_before_what_one_names(shelf: Shelf) -> None:
    """However old the archive is."""
    blobs = await shelf.add(*"abc")
    await shelf.age(await shelf.archive(*blobs), 1)
    await shelf.add(*"defghij")

    await shelf.need(2 * SIZE)

    assert await shelf.left(*"abcdefghij") == set("abcfghij")


async def test_idle_archives_go_whole_and_the_oldest_first(shelf: Shelf) -> None:
    """Their ids are remembered as gone; what another archive names as well stays."""
    blobs = await shelf.add(*"abcdefghij")
    older = await shelf.archive(*blobs[:4])
    newer = await shelf.archive(*blobs[3:])
    await shelf.age(older, 1)
    await shelf.age(newer, 2)

    await shelf.need(SIZE)

    states = [record.state for archive in (older, newer) if (record := await shelf.catalogue.load(archive.id))]
    assert states == ["gone", "building"]
    assert await shelf.left(*"abcdefghij") == set("defghij")


async def test_an_archive_that_is_read_stays(shelf: Shelf) -> None:
    """And one that is kept, and one whose time to be kept is over goes."""
    blobs = await shelf.add(*"abcdefghij")
    read, kept, expired = [await shelf.archive(*blobs[at : at + 3]) for at in (0, 3, 6)]
    await shelf.catalogue.keep(kept.id, time.time() + 60)
    await shelf.catalogue.keep(expired.id, time.time() - 1)
    shelf.registry.remember(read)

    with read.readers.reading():
        await shelf.need(4 * SIZE)
        with pytest.raises(OutOfSpace):
            await shelf.need(5 * SIZE)

        assert await shelf.left(*"abcdefghij") == set("abcdef")


async def test_results_of_jobs_hold_at_most_half_the_store(shelf: Shelf) -> None:
    """Given six images of results, and four of an archive used later: that goes first, then the oldest result.

    What has just half of the store stays.
    """
    blobs = await shelf.add(*"abcdefghij")
    oldest, older, newer, idle = [await shelf.archive(*blobs[at:to]) for at, to in ((0, 1), (1, 3), (3, 6), (6, 10))]
    for used, archive in enumerate((oldest, older, newer, idle)):
        await shelf.age(archive, used)
    for result in (oldest, older, newer):
        await shelf.catalogue.keep(result.id, time.time() + 60)

    await shelf.need(4 * SIZE)
    before = await shelf.left(*"abcdefghij")
    await shelf.need(5 * SIZE)

    assert before == set("abcdef")
    assert await shelf.left(*"abcdefghij") == set("bcdef")
    with pytest.raises(OutOfSpace):
        await shelf.need(6 * SIZE)


async def test_an_image_that_a_build_is_about_to_take_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an old one that no archive has yet, but a running build will: younger ones that nobody needs go."""
    await shelf.add(*"abcdefghij")
    monkeypatch.setattr(Registry, "needed", lambda _: {"a.0", "b.0", "not here yet.0"})

    await shelf.need(2 * SIZE)

    assert await shelf.left(*"abcdefghij") == set("abefghij")


async def test_nobody_loses_an_image_for_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more wanted than can come free, nothing goes, archives included."""
    blobs = await shelf.add(*"abcdefghij")
    archive = await shelf.archive(blobs[9])
    monkeypatch.setattr(Registry, "needed", lambda _: {f"{name}.0" for name in "abcdefg"})

    _, freed = await shelf.images.delete(Eviction(shelf.registry)(4 * SIZE, limit=10 * SIZE, is_cache=False))

    assert freed == 0
    assert await shelf.left(*"abcdefghij") == set("abcdefghij")
    record = await shelf.catalogue.load(archive.id)
    assert record is not None
    assert record.state == "building"


async def test_room_made_for_one_is_not_promised_to_another(shelf: Shelf) -> None:
    """Downloads that need room at once all get it, as long as enough can go."""
    await shelf.add(*"abcdefghij")

    await shelf.need(10 * SIZE)

    assert await shelf.left(*"abcdefghij") == set()


@pytest.mark.parametrize("pinned", [set(), {"a.0"}], ids=["free", "needed"])
async def test_a_cache_lets_archives_keep_their_names(
    shelf: Shelf, database: Database, registry: Registry, monkeypatch: pytest.MonkeyPatch, pinned: set[str]
) -> None:
    """Where images are shared too, the least recently used go, whoever names them, and no archive is gone for it."""
    blobs = await shelf.add(*"abcdefghij")
    archive = await shelf.archive(*blobs[:5])
    live = await shelf.archive(blobs[1])
    registry.remember(live)
    monkeypatch.setattr(Registry, "needed", lambda _: pinned)

    with live.readers.reading():
        await shelf.images.delete(Eviction(registry)(2 * SIZE, limit=10 * SIZE, is_cache=True))

    assert await shelf.left(*"abcdefghij") == (set("abefghij") if pinned else set("bdefghij"))
    record = await shelf.catalogue.load(archive.id)
    assert record is not None
    assert record.state == "building"


async def test_a_cache_keeps_what_others_do_not_have_yet(shelf: Shelf, database: Database, registry: Registry) -> None:
    """However long ago it was used: nobody else could give it."""
    first, second = await shelf.add(*"ab")
    await database.run(lambda c: c.execute("INSERT INTO unshared (digest, key) VALUES (?, 'a.0')", (first.digest,)))
    choose = Eviction(registry)(1, limit=10 * SIZE, is_cache=True)

    assert await database.run(choose) == [second.digest]


def test_readers_keep_an_archive_live() -> None:
    """As long as they read."""
    registry = Registry()
    archive = archive_of(plan_of("a"), Readers(1, 1))
    registry.remember(archive)

    with archive.readers.reading():
        live = registry.live()

    assert (live, registry.live()) == ({archive.id}, set())


async def test_content_that_an_archive_has_twice_comes_free_once(shelf: Shelf) -> None:
    """So it is not enough for two, and nothing is lost for nothing."""
    first, *others = await shelf.add(*"abcdefghij")
    await shelf.archive(first, first)
    read = await shelf.archive(*others)
    shelf.registry.remember(read)

    with read.readers.reading():
        async with shelf.images.receive() as body:
            with pytest.raises(OutOfSpace):
                await body.expect(2 * SIZE)

        assert await shelf.left(*"abcdefghij") == set("abcdefghij")


async def test_images_are_looked_through_once_not_for_each_archive_that_goes(
    tmp_path: Path, database: Database, registry: Registry
) -> None:
    """On the one thread that everything is written on: dropping twenty archives costs little more than dropping one."""
    async with open_store(tmp_path, database, evict=Eviction(registry), limit=2_000 * SIZE) as images:
        shelf = Shelf(images, database, registry)
        busy = await shelf.archive(*await shelf.add(*(f"busy-{number}" for number in range(500))))
        for number in range(42):
            await shelf.age(await shelf.archive(*await shelf.add(f"idle-{number}")), number)
        with busy.readers.reading():
            registry.remember(busy)
            costs = []
            for archives in (1, 1, 20):
                steps = 0

                def count() -> int:
                    nonlocal steps
                    steps += 1
                    return 0

                await database.run(lambda connection: connection.set_progress_handler(count, 10))
                _, freed = await images.delete(Eviction(registry)(archives * SIZE, limit=2_000 * SIZE, is_cache=False))
                await database.run(lambda connection: connection.set_progress_handler(None, 0))
                costs.append((freed // SIZE, steps))

    assert [freed for freed, _ in costs] == [1, 1, 20]
    assert costs[2][1] < 4 * costs[1][1], costs


class TestPortions:
    """Of a store with room for 2,000 images of 100 bytes, ten at a time."""

    LIMIT = 2_000 * SIZE

    async def test_not_each_image_that_arrives_in_a_full_store_makes_room_anew(
        self, tmp_path: Path, database: Database, registry: Registry
    ) -> None:
        """Given a store full of images that no archive names, fifty more have room made for them five times."""
        evict = Eviction(registry)
        asked: list[int] = []

        def counted(missing: int, *, limit: int, is_cache: bool) -> Callable[[sqlite3.Connection], list[str]]:
            asked.append(missing)
            return evict(missing, limit=limit, is_cache=is_cache)

        await database.run(lambda connection: add_rows(connection, 2_000))
        async with open_store(tmp_path, database, evict=counted, limit=self.LIMIT) as images:
            for number in range(50):
                await put(images, f"new-{number}.0", f"new-{number}".encode().ljust(SIZE))

        assert asked == 5 * [SIZE]

    @pytest.mark.parametrize(("unnamed", "wanted", "freed"), [(20, 1, 10), (3, 1, 3), (3, 3, 3), (20, 11, 11)])
    async def test_no_archive_goes_to_fill_a_portion(
        self, shelf: Shelf, database: Database, unnamed: int, wanted: int, freed: int
    ) -> None:
        """As long as what no archive names has what is wanted, and the archives are not even looked at."""
        archive = await shelf.archive(*await shelf.add("kept"))
        await shelf.catalogue.keep(archive.id, time.time() + 60)
        statements: list[str] = []

        def choose(connection: sqlite3.Connection) -> list[str]:
            add_rows(connection, unnamed)
            connection.set_trace_callback(statements.append)
            try:
                return Eviction(shelf.registry)(wanted * SIZE, limit=self.LIMIT, is_cache=False)(connection)
            finally:
                connection.set_trace_callback(None)

        assert await database.run(choose) == [f"old-{number}" for number in range(freed)]
        assert not [statement for statement in statements if "kept" in statement]

    async def test_what_was_just_used_does_not_go_to_fill_a_portion(self, shelf: Shelf, database: Database) -> None:
        """Given two that were not and one that was: it goes only if that much is missing."""
        (new,) = await shelf.add("new")
        await database.run(lambda connection: add_rows(connection, 2))
        evict = Eviction(shelf.registry)

        chosen = [
            await database.run(evict(missing, limit=self.LIMIT, is_cache=is_cache))
            for is_cache in (False, True)
            for missing in (1, 2 * SIZE + 1)
        ]

        assert chosen == 2 * [["old-0", "old-1"], ["old-0", "old-1", new.digest]]

    async def test_archives_go_for_what_is_missing_only(self, shelf: Shelf, database: Database) -> None:
        """Given three images that no archive names and five wanted, two archives of one image go with them."""
        blobs = await shelf.add(*"abcde")
        for used, blob in enumerate(blobs):
            await shelf.age(await shelf.archive(blob), used)
        await database.run(lambda connection: add_rows(connection, 3))

        chosen = await database.run(Eviction(shelf.registry)(5 * SIZE, limit=self.LIMIT, is_cache=False))

        assert chosen == ["old-0", "old-1", "old-2", blobs[0].digest, blobs[1].digest]

    async def test_a_cache_too_makes_room_for_several(self, shelf: Shelf, database: Database) -> None:
        """Whoever names its images: no archive is lost with them."""
        await database.run(lambda connection: add_rows(connection, 20))

        chosen = await database.run(Eviction(shelf.registry)(SIZE, limit=self.LIMIT, is_cache=True))

        assert chosen == [f"old-{number}" for number in range(10)]


def add_rows(connection: sqlite3.Connection, count: int) -> None:
    """So many images of 100 bytes that no archive names, used long ago."""
    for number in range(count):
        blob_index.insert(connection, Blob(f"old-{number}", SIZE, 0, "jpg"), None, (SIZE, 0), "")
        connection.execute("UPDATE blobs SET used = ? WHERE digest = ?", (number, f"old-{number}"))
