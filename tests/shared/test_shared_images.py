"""The index of shared images: an old picture never takes the place of a newer one."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from service.cluster import publishing
from service.cluster.image_index import TRUSTED_SECONDS, ImageIndex, _Rounds
from service.cluster.images import ClusterImages, Unshared
from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.database import Database
from service.images import blob_index
from service.images.blobs import Blob, BlobAway, BlobLost
from service.images.requests import ImageRequest
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.upstream.models import Rendition
from tests.support.client import TIMEOUT
from tests.support.images import boot_again, open_store, put
from tests.support.transport import FakeClock, yield_to_loop


def blob(number: int) -> Blob:
    """Another one for each number."""
    return Blob(f"{number:064}", 5, number, "jpg")


def image(key: str, order_id: str = "o") -> ImageRequest:
    """An image of an order."""
    return ImageRequest(key, "i", Rendition(), order_id=order_id)


def marked(number: int, key: str, order_id: str = "o") -> Unshared:
    """A blob that is to be shared as this image."""
    return Unshared(blob(number), order_id, key)


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
    first._earlier = second._earlier = ()
    return first, second


async def test_a_late_image_of_an_older_generation_does_not_replace_a_newer_one(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Whether its instance had looked before the newer one came, or not at all."""
    first, second = two
    await first.find(image("v.1"), None)
    await second.publish(marked(2, "v.2"), file)

    await first.publish(marked(1, "v.1"), file)

    assert await second.find(image("v.2"), None) == (blob(2), True)
    assert await first.find(image("v.1"), None) == (None, True)


async def test_a_newer_generation_replaces_an_older_one_that_it_has_not_seen(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Its first write is refused, its second one is made over what is there."""
    first, second = two
    await first.find(image("v.2"), None)
    await second.publish(marked(1, "v.1"), file)

    await first.publish(marked(2, "v.2"), file)

    assert await second.find(image("v.2"), None) == (blob(2), True)


async def test_of_two_of_one_generation_at_once_one_is_named(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """Both have been shared, whichever it is."""
    first, second = two

    await asyncio.gather(first.publish(marked(1, "v.1"), file), second.publish(marked(2, "v.1"), file))

    found, is_certain = await first.find(image("v.1"), None)
    assert is_certain
    assert found in (blob(1), blob(2))


async def test_an_image_that_was_fetched_again_is_found_as_it_came_last(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """The storage has lost its bytes, and Autoenhance's are others now: nobody has to fetch it once more."""
    first, second = two
    await first.publish(marked(1, "v.1"), file)
    await second.find(image("v.1"), None)

    await second.publish(marked(2, "v.1"), file)

    assert await second.find(image("v.1"), None) == (blob(2), True)
    assert await ClusterImages(first._objects).find(image("v.1"), None) == (blob(2), True)


async def test_an_image_that_is_not_there_yet_is_waited_for(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """A list may name it a moment before it is shared."""
    first, second = two

    async def read() -> bytes:
        return b"".join([piece async for piece in second.read(blob(1), 0, 5)])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await first.publish(Unshared(blob(1)), file)

    assert await reading == b"bytes"


async def test_one_that_is_lost_makes_all_be_looked_for(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list names is taken to be there, until a read has missed it."""
    monkeypatch.setattr("service.cluster.images._NOT_YET_SECONDS", ())
    first, second = two
    await first.publish(Unshared(blob(1)), file)
    digests = {blob(number).digest for number in (1, 2, 3)}
    assert await second.present(digests) == digests

    with pytest.raises(BlobLost):
        [piece async for piece in second.read(blob(2), 0, 5)]

    assert await second.present(digests) == {blob(1).digest}


async def test_an_image_is_found_in_the_index_that_is_told_of(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """That of another order, of which it was shared: it is read anew, for it was told of since."""
    first, second = two
    before = await second.find(image("k.0"), "other")
    await first.publish(marked(1, "k.0", "other"), file)

    assert before == (None, True)
    assert await second.find(image("k.0"), "other") == (blob(1), True)
    assert await second.find(image("k.0"), None) == (None, True)


async def test_what_is_shared_again_is_lost_no_more(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was fetched anew; while the storage is away, nothing is taken for lost."""
    monkeypatch.setattr("service.cluster.images._NOT_YET_SECONDS", ())
    images = two[1]
    with pytest.raises(BlobLost):
        [piece async for piece in images.read(blob(1), 0, 5)]
    missed = set(images._lost)
    await images.publish(Unshared(blob(1)), file)
    shared = set(images._lost)
    images._objects.link.is_up, images._objects.link._retry_at = False, float("inf")
    with pytest.raises(BlobAway):
        [piece async for piece in images.read(blob(1), 0, 5)]

    assert (missed, shared, images._lost) == ({blob(1).digest}, set(), set())


async def test_a_read_that_breaks_off_goes_on_where_it_was(
    two: tuple[ClusterImages, ClusterImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte comes twice, and none is left out."""
    monkeypatch.setattr("service.cluster.images._NOT_YET_SECONDS", (0, 0))
    asked: list[tuple[int, int]] = []

    async def read(_: str, start: int, stop: int) -> AsyncIterator[bytes]:
        asked.append((start, stop))
        for at in range(start, stop, 2):
            if at - start == 4:
                raise Unavailable
            yield b"0123456789"[at : min(at + 2, stop)]

    monkeypatch.setattr(two[0]._objects, "read", read)

    found = b"".join([piece async for piece in two[0].read(blob(1), 1, 10)])

    assert (found, asked) == (b"123456789", [(1, 10), (5, 10), (9, 10)])


def requests_of(images: ClusterImages, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an instance will ask the storage for, but for images."""
    calls: list[str] = []

    def count(name: str) -> None:
        call = getattr(images._objects, name)

        def counted(path: str, *more: Any) -> Any:
            calls.append(f"{name} {path}")
            return call(path, *more)

        monkeypatch.setattr(images._objects, name, counted)

    for name in ("get", "write"):
        count(name)
    return calls


async def test_images_of_an_order_that_come_together_are_found_and_named_together(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request each, however many they are; and what is known of them is not asked for again."""
    first, second = two
    monkeypatch.setattr(first._index._writes, "_pause", 0.5)  # also on a machine on which 20 uploads take that long
    calls, calls_of_other = requests_of(first, monkeypatch), requests_of(second, monkeypatch)
    keys = [f"v{number}.0" for number in range(20)]

    await asyncio.gather(*(first.find(image(key), None) for key in keys))
    await asyncio.gather(*(first.publish(marked(number, key), file) for number, key in enumerate(keys)))
    found = [await second.find(image(key), None) for key in keys]

    assert calls == ["get index/o/0", "write index/o/0"]
    assert calls_of_other == ["get index/o/0"]
    assert found == [(blob(number), True) for number in range(20)]


async def test_what_was_not_shared_since_a_look_is_not_looked_for_again(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an order that was looked at some time ago nothing is known; nor where it cannot be told what was shared."""
    first, _ = two
    calls = requests_of(first, monkeypatch)

    told = [await first.find(image(f"v{number}.0"), "") for number in range(3)]
    await first.publish(marked(1, "v.0"), file)
    told.append(await first.find(image("w.0"), ""))
    before = list(calls)
    await first.find(image("w.0"), None)
    monkeypatch.setattr("service.cluster.image_index.TRUSTED_SECONDS", 0.0)
    await first.find(image("w.0"), "")

    assert told == [(None, True)] * 4
    assert before == ["get index/o/0", "write index/o/0"]
    assert calls[2:] == ["get index/o/0"] * 2


async def test_what_is_looked_for_after_a_look_began_is_looked_for_again(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been shared meanwhile: whoever has the turn to fetch it must find it."""
    first, second = two
    began, goes_on, get = asyncio.Event(), asyncio.Event(), second._objects.get

    async def get_slowly(name: str) -> tuple[bytes, str] | None:
        found = await get(name)
        began.set()
        await goes_on.wait()
        return found

    monkeypatch.setattr(second._objects, "get", get_slowly)
    early = asyncio.create_task(second.find(image("v.0"), None))
    await began.wait()
    await first.publish(marked(1, "v.0"), file)
    late = asyncio.create_task(second.find(image("v.0"), None))
    await asyncio.sleep(0)
    goes_on.set()

    assert await early == (None, True)
    assert await late == (blob(1), True)


async def test_an_order_of_many_images_has_several_documents(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is rewritten once it is full; of two entries of an image the one of the newer generation counts."""
    monkeypatch.setattr("service.cluster.image_index._FULL", 2)
    first, second = two
    await second.find(image("v0.0"), None)

    for number in range(5):
        await first.publish(marked(number, f"v{number}.0"), file)
    await second.publish(marked(7, "v0.1"), file)
    calls = requests_of(first, monkeypatch)

    assert [await second.find(image(f"v{number}.0"), None) for number in range(1, 5)] == [
        (blob(number), True) for number in range(1, 5)
    ]
    assert await first.find(image("v0.1"), None) == (blob(7), True)
    assert await first.find(image("v0.0"), None) == (None, True)
    assert "get index/o/0" not in calls


@pytest.mark.parametrize("generations", [(9, 10), (10, 9), (9, 9)])
@pytest.mark.parametrize("full", [1, 256], ids=["documents of one entry", "one document"])
async def test_of_generations_that_are_named_together_the_newest_counts(
    monkeypatch: pytest.MonkeyPatch, generations: tuple[int, int], full: int
) -> None:
    """Whichever comes last, and in whatever document; of one generation the last one."""
    monkeypatch.setattr("service.cluster.image_index._FULL", full)
    store = MemoryStore()
    indexes = [ImageIndex(Objects(store, Metrics())) for _ in range(2)]
    expected = blob(2) if generations[1] >= generations[0] else blob(1)
    newest = f"v.{max(generations)}"

    named = enumerate(generations, 1)
    await asyncio.gather(*(indexes[0].add("o", f"v.{generation}", blob(number)) for number, generation in named))
    for number, generation in enumerate(generations, 1):
        await indexes[1].add("p", f"v.{generation}", blob(number))

    assert [await indexes[1].find(order_id, newest, is_new=False) for order_id in "op"] == [expected] * 2


async def test_who_is_cancelled_cancels_no_write_that_others_share() -> None:
    """It is one write for all that come together."""
    store = MemoryStore()
    index, other = (ImageIndex(Objects(store, Metrics())) for _ in range(2))
    adding = [asyncio.create_task(index.add("o", f"v{number}.0", blob(number))) for number in range(2)]
    await asyncio.sleep(0)
    adding[0].cancel()
    await asyncio.gather(*adding, return_exceptions=True)

    assert [task.cancelled() for task in adding] == [True, False]
    assert await other.find("o", "v1.0", is_new=False) == blob(1)


async def test_an_index_that_changes_too_fast_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the storage were away: the image stays marked, and is named later."""
    objects, tries = Objects(MemoryStore(), Metrics()), list[str]()

    async def write(name: str, *_: object) -> str:
        tries.append(name)
        raise ObjectChanged

    monkeypatch.setattr(objects, "write", write)

    with pytest.raises(Unavailable):
        await ImageIndex(objects).add("o", "v.0", blob(1))

    assert tries == ["index/o/0"] * 10


async def test_rounds_of_one_order_do_not_overlap() -> None:
    """Given one that comes while another one is under way: it begins when that has ended."""
    gate, running = asyncio.Event(), list[str]()

    async def work(key: str) -> Any:
        running.append("begins")
        await gate.wait()
        running.append("ends")

    rounds = _Rounds(work)
    joining = [asyncio.create_task(rounds.join("o"))]
    await yield_to_loop()
    joining.append(asyncio.create_task(rounds.join("o")))
    await yield_to_loop()
    gate.set()
    await asyncio.gather(*joining)

    assert running == ["begins", "ends"] * 2


async def test_what_one_has_written_says_nothing_of_what_others_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not there at its last look may have been shared since."""
    clock, store = FakeClock(), MemoryStore()
    monkeypatch.setattr("service.cluster.image_index.time", clock)
    index, other = (ImageIndex(Objects(store, Metrics())) for _ in range(2))
    await index.find("o", "v.0", is_new=False)
    clock.advance(TRUSTED_SECONDS - 1)
    await index.add("o", "mine.0", blob(1))
    await other.add("o", "v.0", blob(2))

    assert await index.find("o", "v.0", is_new=True) is None
    clock.advance(1)
    assert await index.find("o", "v.0", is_new=True) == blob(2)


async def test_what_is_remembered_of_indexes_is_bounded(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In entries: those of the order that was not looked at for longest are forgotten, and read again."""
    monkeypatch.setattr("service.cluster.image_index._REMEMBERED", 5)
    first, _ = two
    for number in range(6):
        order_id = "large" if number < 4 else f"small {number}"
        await first.publish(marked(number, f"v{number}.0", order_id), file)
    calls = requests_of(first, monkeypatch)

    assert await first.find(image("v5.0", "small 5"), None) == (blob(5), True)
    assert calls == []
    assert await first.find(image("v0.0", "large"), None) == (blob(0), True)
    assert "get index/large/0" in calls


@pytest.mark.parametrize("many", [1, 5])
async def test_an_index_that_the_storage_has_lost_is_begun_anew(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """By its lifecycle rules, or because it was emptied: an instance that remembers it does not wait for it."""
    monkeypatch.setattr("service.cluster.image_index._FULL", 2)
    first, second = two
    for number in range(many):
        await first.publish(marked(number, f"v{number}.0"), file)
    for part in range((many + 1) // 2):
        await first._objects._store.delete_async(f"index/o/{part}")

    await first.publish(marked(8, "new.0"), file)
    await first.publish(marked(9, "newer.0"), file)

    assert await second.find(image("new.0"), None) == (blob(8), True)
    assert await second.find(image("newer.0"), None) == (blob(9), True)


async def test_an_index_whose_first_document_has_expired_is_one_for_all(
    two: tuple[ClusterImages, ClusterImages], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who remembers it reads it from its start after a while: there others go on."""
    monkeypatch.setattr("service.cluster.image_index._FULL", 2)
    first, second = two
    for number in range(3):
        await first.publish(marked(number, f"v{number}.0"), file)
    await first._objects._store.delete_async("index/o/0")
    await second.publish(marked(8, "new.0"), file)

    monkeypatch.setattr("service.cluster.image_index.TRUSTED_SECONDS", 0)

    assert await first.find(image("new.0"), None) == (blob(8), True)


@pytest.mark.parametrize(("generation", "finds"), [(0, True), (1, False)])
async def test_the_index_of_version_1_is_read(file: Path, generation: int, finds: bool) -> None:
    """A document per image; what is found there is in this version's index from then on."""
    store = MemoryStore()
    await store.put_async("variants/vv/vvv", json.dumps({"generation": generation, "blob": asdict(blob(1))}).encode())
    first, second = (ClusterImages(Objects(store, Metrics())) for _ in range(2))
    await first.look_for_earlier()
    found = await first.find(image("vvv.0"), None)
    await store.delete_async("variants/vv/vvv")
    await second.look_for_earlier()

    assert [found, await second.find(image("vvv.0"), None)] == [(blob(1) if finds else None, True)] * 2
    assert not second.has_legacy


async def test_an_entry_that_calls_an_image_without_its_end_cut_is_read() -> None:
    """As it was called before."""
    store = MemoryStore()
    entry: dict[str, Any] = {"generation": 0, "blob": {**asdict(blob(1)), "is_cut": True}}
    del entry["blob"]["is_incomplete"]
    await store.put_async("variants/v/v", json.dumps(entry).encode())
    images = ClusterImages(Objects(store, Metrics()))

    assert await images.find(image("v.0"), "o") == (replace(blob(1), is_incomplete=True), True)


async def test_what_version_1_has_left_to_be_shared_is_shared(
    two: tuple[ClusterImages, ClusterImages], file: Path
) -> None:
    """It did not note of which order an image is: others have its bytes, for the lists that name them."""
    first, second = two

    await first.publish(marked(1, "v.0", order_id=""), file)

    assert b"".join([piece async for piece in second.read(blob(1), 0, 5)]) == b"bytes"


async def test_one_that_cannot_be_shared_keeps_no_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten whose index entries nobody can read, more than there are workers; once they can be read, they follow."""
    monkeypatch.setattr(publishing, "_RETRY_SECONDS", 0.01)
    storage = MemoryStore()
    images = ClusterImages(Objects(storage, Metrics()))
    database = await Database.open(tmp_path, [blob_index.SCHEMA])
    store = SimpleNamespace(content=lambda _: b"bytes")
    shared = asyncio.Event()

    async def share_rest() -> bool:
        if not shared.is_set():
            raise ZeroDivisionError
        return True

    broken = [f"b{number}" for number in range(10)]
    monkeypatch.setattr(publishing, "_AT_ONCE", 8)
    for order in broken:
        await storage.put_async(f"index/{order}/0", b"no document")
    publisher = publishing.Publisher(images, database, cast(ImageStore, store), share_rest)
    for number, order in enumerate([*broken, "o"]):
        images.stored(blob(number), image("v.1", order), None)
    async with asyncio.timeout(TIMEOUT):
        while await images.find(image("v.1"), None) != (blob(10), True):  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.01)
        for order in broken:
            await storage.delete_async(f"index/{order}/0")
        shared.set()
        for number, order in enumerate(broken):
            while await images.find(image("v.1"), order) != (blob(number), True):  # noqa: ASYNC110  # seen from outside
                await asyncio.sleep(0.01)
        await publisher.close()
    await database.close()

    assert "image could not be shared" in caplog.text
    assert "could not be shared yet" in caplog.text


async def test_of_two_images_of_equal_content_the_one_not_shared_yet_stays_marked(tmp_path: Path) -> None:
    """Given a process that ends when only the other was shared: the next one knows what is left."""
    storage = MemoryStore()
    await storage.put_async("index/broken/0", b"no document")
    images = ClusterImages(Objects(storage, Metrics()))
    database = await Database.open(tmp_path, [blob_index.SCHEMA])
    store = SimpleNamespace(content=lambda _: b"bytes")
    both = (image("v.1"), image("w.1", "broken"))

    async def share_rest() -> bool:
        return True

    def mark(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO blobs VALUES (?, 5, 1, 'jpg', 0, 'boot', 0, 0)", (blob(1).digest,))
        for one in both:
            images.mark(connection, blob(1), one)

    await database.run(mark)
    for one in both:
        images.stored(blob(1), one, None)
    await publishing.Publisher(images, database, cast(ImageStore, store), share_rest).close()
    left = await database.run(lambda connection: connection.execute("SELECT order_id, key FROM unshared").fetchall())
    await database.close()

    assert await images.find(image("v.1"), None) == (blob(1), True)
    assert left == [("broken", "w.1")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ["tried", "shared"]),
        (Unavailable(), ["tried", "tried", "shared"]),
        (OSError(24, "Too many open files"), ["tried", "tried", "shared"]),
        (FileNotFoundError(), ["tried", "shared"]),
    ],
    ids=repr,
)
async def test_who_shares_an_image_is_told_when_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, expected: list[str]
) -> None:
    """What passes is tried again; one whose file is gone is nobody's to share. A list that waited is looked at then."""
    monkeypatch.setattr(publishing, "_RETRY_SECONDS", 0)
    images = ClusterImages(Objects(MemoryStore(), Metrics()))
    database = await Database.open(tmp_path, [blob_index.SCHEMA])
    done: list[str] = []
    errors = [error] if error else []

    async def publish(*_: object) -> None:
        done.append("tried")
        if errors:
            raise errors.pop()

    async def share_rest() -> bool:
        return True

    monkeypatch.setattr(images, "publish", publish)
    store = cast(ImageStore, SimpleNamespace(content=lambda _: b"bytes"))
    publisher = publishing.Publisher(images, database, store, share_rest)
    images.stored(blob(1), image("v.1"), lambda: done.append("shared"))
    async with asyncio.timeout(TIMEOUT):
        await images.marked.join()
    await publisher.close()
    await database.close()

    assert done == expected


@pytest.mark.parametrize("is_damaged", [True, False])
async def test_what_a_power_cut_has_damaged_is_not_shared(tmp_path: Path, is_damaged: bool) -> None:
    """Given an image that was not shared before the cut: others would take its bytes for those of its name."""
    database = await Database.open(tmp_path, [blob_index.SCHEMA])
    async with open_store(tmp_path, database, shared=ClusterImages(Objects(MemoryStore(), Metrics()))) as store:
        stored = await put(store, "v.1", b"bytes")
    await boot_again(database)
    if is_damaged:
        (tmp_path / "images" / stored.digest[:2] / stored.digest).write_bytes(b"other")
    objects = Objects(MemoryStore(), Metrics())
    images = ClusterImages(objects)

    async def share_rest() -> bool:
        return True

    async with open_store(tmp_path, database, shared=images) as store:
        publisher = publishing.Publisher(images, database, store, share_rest)
        await publisher._loading
        await publisher.close()
        kept = await database.run(lambda connection: blob_index.is_known(connection, stored.digest))
    left = await database.run(lambda connection: connection.execute("SELECT * FROM unshared").fetchall())
    await database.close()

    assert await objects.names("blobs/", "", 9) == ([] if is_damaged else [f"{stored.digest[:2]}/{stored.digest}"])
    assert (kept, left) == (not is_damaged, [])
