"""What is stored is found as it is, or not at all; and is never fetched again for nothing."""

import asyncio
import errno
import os
import sqlite3
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.database import Database
from service.disk import OutOfSpace
from service.images import blob_index, blobs, integrity
from service.images import store as store_module
from service.images.blobs import Blob, BlobUnreadable, content_of
from service.images.files import BlobFiles
from service.images.integrity import Integrity
from service.images.requests import ImageRequest
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.upstream.models import Rendition
from tests.support.images import MIB, Evictions, boot_again, files, fill, found, left_over, open_store, put, read
from tests.support.samples import jpeg
from tests.support.transport import sample, yield_to_loop


def stored_bytes(metrics: Metrics) -> float:
    return sample(metrics.registry, "batch_store_bytes")


class TestFound:
    @pytest.mark.parametrize("size", [1, 2_000, MIB - 1, MIB, 3 * MIB + 17])
    async def test_an_image_is_found_under_its_key(self, images: ImageStore, tmp_path: Path, size: int) -> None:
        """With its checksums, byte for byte, whether it was held in memory or not."""
        data = os.urandom(size)

        blob = await put(images, "k.0", data)

        content = content_of(data)
        assert blob == Blob(content.digest, size, content.crc, "jpg")
        assert await found(images, "k.0", "other.0") == {"k.0": blob}
        assert await read(images, blob) == data
        assert left_over(tmp_path) == []

    async def test_equal_content_under_two_keys_counts_once(
        self, images: ImageStore, tmp_path: Path, metrics: Metrics
    ) -> None:
        """One file, and its bytes once; both keys find it, and it goes for both."""
        first = await put(images, "k.0", jpeg(), image_id="a")
        second = await put(images, "l.0", jpeg(), image_id="b")
        both = (files(tmp_path), stored_bytes(metrics), await found(images, "k.0", "l.0"))

        await images.delete(lambda _: [first.digest])

        assert first == second
        assert both == ([first.digest], len(jpeg()), {"k.0": first, "l.0": first})
        assert (files(tmp_path), stored_bytes(metrics), await found(images, "k.0", "l.0")) == ([], 0, {})

    async def test_a_key_finds_its_own_generation_only(self, images: ImageStore) -> None:
        """Neither an older one nor a newer one."""
        blob = await put(images, "k.1", jpeg())

        found_now = [await found(images, key) for key in ("k.0", "k.1", "k.2")]

        assert found_now == [{}, {"k.1": blob}, {}]

    async def test_a_newer_generation_takes_the_place_of_an_older_one(self, images: ImageStore) -> None:
        """There is one entry per variant."""
        await put(images, "k.0", jpeg(1))
        newer = await put(images, "k.1", jpeg(2))

        assert await found(images, "k.0") == {}
        assert await found(images, "k.1") == {"k.1": newer}

    async def test_an_older_generation_never_replaces_a_newer_one(self, images: ImageStore) -> None:
        """A download that took long is stored, and named by nobody."""
        newer = await put(images, "k.1", jpeg(2))
        await put(images, "k.0", jpeg(1))

        assert await found(images, "k.1") == {"k.1": newer}
        assert await found(images, "k.0") == {}

    async def test_the_same_generation_is_replaced(self, images: ImageStore) -> None:
        """What was fetched last is what upstream has."""
        await put(images, "k.0", jpeg(1))
        later = await put(images, "k.0", jpeg(2))

        assert await found(images, "k.0") == {"k.0": later}

    async def test_that_upstreams_file_is_cut_is_remembered(self, images: ImageStore, tmp_path: Path) -> None:
        """So that it is not fetched again."""
        await put(images, "k.0", jpeg()[:-2], is_incomplete=True)

        assert (await found(images, "k.0"))["k.0"].is_incomplete

    async def test_a_hit_counts_as_use(self, images: ImageStore, database: Database) -> None:
        """What is used is not the first to go."""
        await put(images, "k.0", jpeg(1))
        await put(images, "l.0", jpeg(2))
        await database.run(lambda connection: connection.execute("UPDATE blobs SET used = 1"))
        before = time.time()

        hit = await found(images, "k.0")

        used = await database.run(lambda c: dict(c.execute("SELECT digest, used FROM blobs").fetchall()))
        assert used.pop(hit["k.0"].digest) >= before
        assert list(used.values()) == [1]


class TestPublished:
    async def test_what_was_published_meanwhile_is_found_without_the_database(
        self, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A build that has looked need not look again for every image."""
        looked = time.monotonic()
        blob = await put(images, "k.0", jpeg())
        monkeypatch.setattr(ImageStore, "find", None)

        assert await images.find_published("k.0", looked) == blob
        assert await images.find_published("l.0", looked) is None

    async def test_who_never_looked_is_told_what_was_there_before(self, images: ImageStore) -> None:
        """Also from before a restart."""
        blob = await put(images, "k.0", jpeg())
        images._published.clear()

        assert await images.find_published("k.0", 0.0) == blob

    async def test_what_is_remembered_is_bounded_and_nothing_is_missed(
        self, images: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who looked before something was forgotten looks in the database again."""
        monkeypatch.setattr(store_module, "_PUBLISHED", 1)
        looked = time.monotonic()
        first = await put(images, "k.0", jpeg(1))
        await put(images, "l.0", jpeg(2))

        assert len(images._published) == 1
        assert await images.find_published("k.0", looked) == first
        assert await images.find_published("k.0", images._forgotten_at) == first

    async def test_what_was_deleted_is_not_told(self, images: ImageStore) -> None:
        """It is not there any more."""
        looked = time.monotonic()
        blob = await put(images, "k.0", jpeg())
        await images.delete(lambda _: [blob.digest])

        assert await images.find_published("k.0", looked) is None


class TestDamage:
    @pytest.mark.parametrize("damage", ["gone", "shorter", "longer", "other bytes"])
    async def test_a_file_that_is_not_what_it_was_is_forgotten(
        self, images: ImageStore, tmp_path: Path, metrics: Metrics, damage: str
    ) -> None:
        """It is not found, its file goes, and it takes no room any more."""
        data = jpeg()
        blob = await put(images, "k.0", data)
        path = tmp_path / "images" / blob.digest[:2] / blob.digest
        match damage:
            case "gone":
                path.unlink()
            case "shorter":
                path.write_bytes(data[:-1])
            case "longer":
                path.write_bytes(data + b"x")
            case _:
                path.write_bytes(data[::-1])

        assert await images.missing([blob]) == {blob.digest}
        assert await found(images, "k.0") == {}
        assert (files(tmp_path), stored_bytes(metrics)) == ([], 0)

    async def test_a_file_that_was_only_touched_is_known_again(self, images: ImageStore, tmp_path: Path) -> None:
        """With its new time: another one that is equally long does not pass for it."""
        blob = await put(images, "k.0", jpeg())
        path = tmp_path / "images" / blob.digest[:2] / blob.digest
        os.utime(path, ns=(1, 1))

        assert await found(images, "k.0") == {"k.0": blob}
        path.write_bytes(jpeg()[::-1])
        assert await found(images, "k.0") == {}

    @pytest.mark.parametrize("damaged", [False, True])
    async def test_a_file_of_another_boot_is_read_although_size_and_time_are_right(
        self, images: ImageStore, database: Database, tmp_path: Path, damaged: bool
    ) -> None:
        """A power cut may have taken its last pages and left its length."""
        blob = await put(images, "k.0", jpeg())
        path = tmp_path / "images" / blob.digest[:2] / blob.digest
        if damaged:
            status = path.stat()
            path.write_bytes(jpeg()[:-100] + bytes(100))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        await boot_again(database)

        assert await found(images, "k.0") == ({} if damaged else {"k.0": blob})

    async def test_after_a_boot_each_file_is_read_once(
        self, images: ImageStore, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was found right is of this boot from then on."""
        blob = await put(images, "k.0", jpeg())
        await boot_again(database)
        reads: list[Path] = []
        really_read = blobs.is_intact

        def count(path: Path, wanted: Blob) -> bool:
            reads.append(path)
            return really_read(path, wanted)

        monkeypatch.setattr(integrity, "is_intact", count)
        for _ in range(3):
            assert await images.missing([blob]) == set()

        assert len(reads) == 1

    async def test_what_was_found_right_is_not_missing_although_that_cannot_be_recorded(
        self, images: ImageStore, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a full disk it is only read again."""
        blob = await put(images, "k.0", jpeg())
        await boot_again(database)

        def refuse(*_: object) -> None:
            raise OutOfSpace("full")

        monkeypatch.setattr(blob_index, "restamp", refuse)

        assert await images.missing([blob]) == set()

    @pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
    @pytest.mark.parametrize("booted", [False, True])
    async def test_a_file_that_cannot_be_opened_just_now_is_not_damaged(
        self,
        images: ImageStore,
        database: Database,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: int,
        booted: bool,
    ) -> None:
        """It is neither deleted nor fetched again: whoever reads it is told so, and later it is there."""
        blob = await put(images, "k.0", jpeg())
        if booted:
            await boot_again(database)

        def refuse(*_: object, **__: object) -> None:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", refuse)
            patched.setattr(Path, "stat", refuse)
            assert await images.missing([blob]) == set()
            assert await found(images, "k.0") == {"k.0": blob}
            with pytest.raises(BlobUnreadable):
                await images.open_blob(blob)

        assert await read(images, blob) == jpeg()
        assert files(tmp_path) == [blob.digest]

    async def test_what_was_stored_again_meanwhile_stays(
        self, images: ImageStore, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given two who look at a damaged file: one has fetched its image before the other is done with looking."""
        blob = await put(images, "k.0", jpeg())
        (tmp_path / "images" / blob.digest[:2] / blob.digest).write_bytes(jpeg()[::-1])
        really_look = Integrity._is_intact

        async def look(self: Integrity, wanted: Blob) -> bool:
            is_intact = await really_look(self, wanted)
            await put(images, "k.0", jpeg())
            return is_intact

        with monkeypatch.context() as patched:
            patched.setattr(Integrity, "_is_intact", look)
            await images.missing([blob])

        assert await found(images, "k.0") == {"k.0": blob}
        assert await read(images, blob) == jpeg()
        assert stored_bytes(metrics) == blob.size

    async def test_what_nobody_knows_is_missing(self, images: ImageStore) -> None:
        """Nothing is looked for on the disk."""
        assert await images.missing([Blob("0" * 64, 1, 1, "jpg")]) == {"0" * 64}


class TestOpening:
    async def test_what_a_crash_left_is_swept(self, tmp_path: Path, database: Database) -> None:
        """Unfinished downloads, and files without a row: their bytes would never be counted."""
        async with open_store(tmp_path, database) as images:
            blob = await put(images, "k.0", jpeg())
        stray = tmp_path / "images" / blob.digest[:2] / ("ab" * 32)
        stray.write_bytes(b"stray")
        (tmp_path / "images" / "incoming" / "half").write_bytes(b"half")

        async with open_store(tmp_path, database) as images:
            assert files(tmp_path) == [blob.digest]
            assert left_over(tmp_path) == []
            assert await found(images, "k.0") == {"k.0": blob}

    async def test_what_is_there_counts_from_the_start(self, tmp_path: Path, database: Database) -> None:
        """Against the budget, which is made from it."""
        async with open_store(tmp_path, database) as images:
            await put(images, "k.0", jpeg())
        held: list[int] = []
        metrics = Metrics()

        def limit(used: int) -> int:
            held.append(used)
            return 1 << 30

        again = await ImageStore.open(
            tmp_path / "images", database, limit, metrics, evict=Evictions(), max_image_bytes=MIB
        )
        await again.close()

        assert (held, stored_bytes(metrics)) == ([len(jpeg())], len(jpeg()))


class TestPublishing:
    async def test_a_file_whose_rows_cannot_be_committed_goes_again(
        self, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The caller gets the error, and nothing is found."""
        monkeypatch.setattr(blob_index, "_INSERT_VARIANT", "INSERT INTO nowhere VALUES (?, ?, ?, ?)")
        for size in (10, 2 * MIB):
            with pytest.raises(sqlite3.OperationalError):
                await put(images, "k.0", bytes(size))

        assert files(tmp_path) == []
        assert left_over(tmp_path) == []
        assert await found(images, "k.0") == {}

    async def test_a_failed_second_copy_does_not_take_the_first_along(
        self, images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file belongs to the row that is there."""
        blob = await put(images, "k.0", jpeg())

        monkeypatch.setattr(blob_index, "_INSERT_VARIANT", "INSERT INTO nowhere VALUES (?, ?, ?, ?)")
        with pytest.raises(sqlite3.OperationalError):
            await put(images, "l.0", jpeg())

        assert files(tmp_path) == [blob.digest]
        assert await found(images, "k.0") == {"k.0": blob}

    async def test_a_full_disk_is_told_as_that(self, images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not as an error of the machine."""

        def refuse(_: BlobFiles, digest: str, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(BlobFiles, "write", refuse)

        with pytest.raises(OutOfSpace):
            await put(images, "k.0", b"photo")

    async def test_bytes_of_our_own_are_stored_without_a_key(self, images: ImageStore, database: Database) -> None:
        """As the report is."""
        blob = await images.add(b"report", "txt")

        assert (await read(images, blob), blob.extension) == (b"report", "txt")
        assert await database.run(lambda c: c.execute("SELECT count(*) FROM variants").fetchone()[0]) == 0

    async def test_bytes_of_our_own_are_no_image_that_is_too_large(self, tmp_path: Path, database: Database) -> None:
        """A report of thousands may be longer than a picture."""
        async with open_store(tmp_path, database, max_image_bytes=5) as images:
            assert (await images.add(b"report", "txt")).size == 6


class TestRoom:
    async def test_room_is_made_when_it_is_needed(
        self, tmp_path: Path, database: Database, evictions: Evictions, metrics: Metrics
    ) -> None:
        """Just as much as is missing is asked for, and what goes is counted."""
        async with open_store(tmp_path, database, metrics, evictions, limit=4_000) as images:
            first = [await put(images, f"k{number}.0", bytes([number]) * 900) for number in range(4)]
            evictions.digests = [first[0].digest]
            await put(images, "new.0", bytes(1_000))

            assert evictions.missing == [600]
            assert sample(metrics.registry, "batch_store_evictions_total") == 1
            assert stored_bytes(metrics) == 3_700

    async def test_without_anything_to_free_there_is_no_room(
        self, tmp_path: Path, database: Database, evictions: Evictions, metrics: Metrics
    ) -> None:
        """And nothing is promised to who was refused."""
        async with open_store(tmp_path, database, metrics, evictions, limit=4_000) as images:
            for number in range(4):
                await put(images, f"k{number}.0", bytes([number]) * 900)
            for _ in range(2):
                with pytest.raises(OutOfSpace):
                    await put(images, "new.0", bytes(1_000))
            await put(images, "small.0", b"x" * 400)

            assert stored_bytes(metrics) == 4_000

    async def test_what_would_not_fit_if_all_went_costs_nobody_anything(
        self, tmp_path: Path, database: Database, evictions: Evictions
    ) -> None:
        """Nobody is asked to go for it."""
        async with open_store(tmp_path, database, evict=evictions, limit=4_000) as images:
            await put(images, "k.0", bytes(400))
            async with AsyncExitStack() as stack:
                for _ in range(3):
                    await (await stack.enter_async_context(images.receive())).expect(1_000)
                last = await stack.enter_async_context(images.receive())
                await last.expect(500)
                with pytest.raises(OutOfSpace):
                    await last.expect(1_000)
                with pytest.raises(OutOfSpace):
                    await (await stack.enter_async_context(images.receive())).expect(1_000)

        assert evictions.missing == [400]


@pytest.mark.parametrize(
    "error", [OSError(errno.EROFS, "read only"), OutOfSpace(), sqlite3.OperationalError(), TimeoutError()], ids=repr
)
async def test_a_store_that_cannot_be_written_says_so(
    images: ImageStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """For the probe; also with a database that is broken, full or slow."""

    def refuse(_: BlobFiles) -> None:
        raise error

    before = await images.is_usable()
    monkeypatch.setattr(BlobFiles, "probe", refuse)

    assert (before, await images.is_usable()) == (True, False)


async def test_what_names_a_deleted_blob_goes_with_it(images: ImageStore, database: Database) -> None:
    """Else its key would lead nowhere, and a photo of the same content would be found under it."""
    blob = await put(images, "a.0", b"photo")

    await images.delete(lambda _: [blob.digest])

    rows = await database.run(lambda connection: connection.execute("SELECT count(*) FROM variants").fetchone())
    assert rows == (0,)
    assert await found(images, "a.0") == {}


async def test_a_file_that_is_removed_and_comes_anew_stays(images: ImageStore, database: Database) -> None:
    """Given work behind both that fails, and has its transaction run again: the removal is no part of it."""
    data, held = bytes(2 * MIB), threading.Event()
    blob = await put(images, "k.0", data)

    def fail(_: sqlite3.Connection) -> None:
        raise KeyError

    async with images.receive() as body:
        await body.expect(len(data))
        await fill(body, data)
        content, _ = await body.complete("txt")
        blocked = database.give(lambda _: held.wait())
        removing = asyncio.create_task(images.delete(lambda _: [blob.digest]))
        await yield_to_loop()
        image = ImageRequest("k.0", "a", Rendition())
        publishing = asyncio.create_task(images.publish(body, content, "jpg", image))
        await yield_to_loop()
        failing = database.give(fail)
        held.set()
        await blocked
        with pytest.raises(KeyError):
            await failing
        assert (await removing, await publishing) == ((1, len(data)), blob)

    assert await found(images, "k.0") == {"k.0": blob}
    assert await read(images, blob) == data


async def test_each_image_that_made_room_is_counted(images: ImageStore, evictions: Evictions, metrics: Metrics) -> None:
    """Given two that go at once."""
    evictions.digests = [(await put(images, f"{number}.0", jpeg(number))).digest for number in range(2)]

    await images._make_room(1)

    assert sample(metrics.registry, "batch_store_evictions_total") == 2
