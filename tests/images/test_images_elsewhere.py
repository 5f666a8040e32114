"""Images that other instances have: brought here when they are wanted, and never taken for lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from sqlite3 import Connection

import pytest
import xxhash

from service.database import Database
from service.images.blobs import Blob, BlobLost, BlobWrong, content_of
from service.images.requests import ImageRequest
from service.images.store import ImageStore
from service.telemetry.metrics import Metrics
from service.upstream.models import Rendition
from tests.support.images import MIB, found, open_store, put, read
from tests.support.samples import jpeg
from tests.support.transport import sample

IMAGE = ImageRequest("a.0", "a", Rendition(), order_id="order")


class Elsewhere:
    """A shared storage in memory; keeps what it was told."""

    has_legacy = False

    def __init__(self) -> None:
        self.images: dict[str, Blob] = {}
        self.contents: dict[str, bytes] = {}
        self.is_certain = True
        self.marked: list[tuple[Blob, ImageRequest | None]] = []
        self.stored_here: list[tuple[Blob, ImageRequest | None, object]] = []
        self.reads = 0

    def put(self, data: bytes, key: str = IMAGE.key) -> Blob:
        """An instance has fetched it."""
        content = content_of(data)
        blob = self.images[key] = Blob(content.digest, content.size, content.crc, "jpg")
        self.contents[blob.digest] = data
        return blob

    async def find(self, image: ImageRequest, shared_in: str | None) -> tuple[Blob | None, bool]:
        """What is there."""
        return self.images.get(image.key), self.is_certain

    def mark(self, connection: Connection, blob: Blob, image: ImageRequest | None) -> None:
        """It is to be shared."""
        self.marked.append((blob, image))

    def stored(self, blob: Blob, image: ImageRequest | None, when_shared: Callable[[], None] | None) -> None:
        """It is here."""
        self.stored_here.append((blob, image, when_shared))

    async def present(self, digests: Collection[str]) -> set[str]:
        """Those that are there."""
        return set(digests) & self.contents.keys()

    async def read(self, blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        """In two pieces."""
        self.reads += 1
        if blob.digest not in self.contents:
            raise BlobLost(blob.digest)
        data = self.contents[blob.digest][start:stop]
        yield data[:10]
        yield data[10:]


@pytest.fixture
def elsewhere() -> Elsewhere:
    """With nothing in it."""
    return Elsewhere()


@pytest.fixture
async def images(
    tmp_path: Path, database: Database, metrics: Metrics, elsewhere: Elsewhere
) -> AsyncIterator[ImageStore]:
    """An empty store in front of it, for images of at most 4 MiB."""
    async with open_store(tmp_path, database, metrics, max_image_bytes=4 * MIB, shared=elsewhere) as opened:
        yield opened


@pytest.mark.parametrize("size", [2_000, 3 * MIB])
async def test_what_another_instance_fetched_is_brought_here(
    images: ImageStore, elsewhere: Elsewhere, size: int
) -> None:
    """Under its key; it is there already, so nobody shares it once more."""
    blob = elsewhere.put(jpeg(size=size))

    assert await images.find_shared(IMAGE) == (blob, True)
    assert await found(images, IMAGE.key) == {IMAGE.key: blob}
    assert await read(images, blob) == jpeg(size=size)
    assert (elsewhere.marked, elsewhere.stored_here) == ([], [])


@pytest.mark.parametrize("is_certain", [True, False])
async def test_what_nobody_has_is_not_found(images: ImageStore, elsewhere: Elsewhere, is_certain: bool) -> None:
    """Whether that is certain is said."""
    elsewhere.is_certain = is_certain

    assert await images.find_shared(IMAGE) == (None, is_certain)


@pytest.mark.parametrize("there", ["other bytes", "nothing"])
async def test_what_is_not_what_its_name_says_is_not_kept(
    images: ImageStore, elsewhere: Elsewhere, metrics: Metrics, there: str
) -> None:
    """It is lost, and is fetched again."""
    blob = elsewhere.put(jpeg(1))
    if there == "nothing":
        del elsewhere.contents[blob.digest]
    else:
        elsewhere.contents[blob.digest] = jpeg(2)

    assert await images.find_shared(IMAGE) == (None, True)
    assert await found(images, IMAGE.key) == {}
    assert sample(metrics.registry, "batch_images_refetched_total", why="lost") == 1


async def test_what_is_not_what_its_name_of_version_0_says_is_not_kept(
    images: ImageStore, elsewhere: Elsewhere
) -> None:
    """Those names say nothing of the bytes that could be told quickly: their checksum does."""
    data = jpeg(1)
    digest = xxhash.xxh3_128_hexdigest(data)
    elsewhere.images[IMAGE.key] = Blob(digest, len(data), content_of(data).crc, "jpg")
    elsewhere.contents[digest] = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]

    assert await images.find_shared(IMAGE) == (None, True)


async def test_what_is_fetched_here_is_shared(images: ImageStore, elsewhere: Elsewhere) -> None:
    """Noted in the transaction that keeps it, and told once it is kept."""
    blob = await put(images, "a.0", jpeg())

    assert [(one, image and image.key) for one, image in elsewhere.marked] == [(blob, "a.0")]
    assert [(one, image and image.key) for one, image, _ in elsewhere.stored_here] == [(blob, "a.0")]


async def test_what_is_elsewhere_is_not_missing(images: ImageStore, elsewhere: Elsewhere) -> None:
    """It can be served, though it is not here."""
    there = elsewhere.put(jpeg(1))
    nowhere = Blob("0" * 64, 1, 1, "jpg")

    assert await images.missing([there, nowhere]) == {nowhere.digest}


async def test_only_for_the_whole_image_it_is_brought_here(images: ImageStore, elsewhere: Elsewhere) -> None:
    """A part is better read there."""
    blob = elsewhere.put(jpeg())

    part = await images.open_blob(blob, whole=False)
    read_there = elsewhere.reads
    opened = await images.open_blob(blob)

    assert (part, read_there) == (None, 0)
    assert opened is not None
    with opened:
        pass


@pytest.mark.parametrize("why", ["it is too large", "it is lost", "there is no room"])
async def test_what_cannot_be_brought_here_is_read_there(
    tmp_path: Path, database: Database, elsewhere: Elsewhere, why: str
) -> None:
    """As far as it can be read at all."""
    limit = 6 * MIB if why == "there is no room" else 1 << 40
    async with open_store(tmp_path, database, limit=limit, max_image_bytes=MIB, shared=elsewhere) as images:
        body = images.receive(6 * MIB)
        if why == "there is no room":
            await body.expect(6 * MIB)
        blob = elsewhere.put(jpeg(size=2 * MIB if why == "it is too large" else 2_000))
        if why == "it is lost":
            elsewhere.contents.clear()

        assert await images.open_blob(blob) is None
        body.release_room()


@pytest.mark.parametrize("mended", ["here", "there"])
async def test_what_was_found_wrong_is_not_read_before_it_is_mended(
    images: ImageStore, elsewhere: Elsewhere, mended: str
) -> None:
    """Neither all of it nor a part: it is missing, until it was fetched again here or by another instance."""
    data = jpeg()
    blob = elsewhere.put(data)
    elsewhere.contents[blob.digest] = data[::-1]

    for whole in (True, False):
        with pytest.raises(BlobLost):
            await images.open_blob(blob, whole=whole)
    lost = await images.missing([blob])
    if mended == "here":
        await put(images, IMAGE.key, data)
    else:
        elsewhere.contents[blob.digest] = data

    assert lost == {blob.digest}
    assert await read(images, blob) == data
    assert await images.missing([blob]) == set()


async def test_what_is_found_wrong_while_a_part_is_read_is_missing(
    images: ImageStore, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one that is too short there: whoever comes back for the rest finds it mended."""

    async def read_short(blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
        yield b"some"
        raise BlobWrong(blob.digest)

    blob = elsewhere.put(jpeg())
    monkeypatch.setattr(elsewhere, "read", read_short)
    with pytest.raises(BlobLost):
        [piece async for piece in images.read_shared(blob, 10, 20)]

    assert await images.missing([blob]) == {blob.digest}


async def test_what_was_found_wrong_is_not_read_there_where_there_is_no_room_to_check_it_again(
    tmp_path: Path, database: Database, elsewhere: Elsewhere
) -> None:
    """Its bytes would be sent as those of the image."""
    async with open_store(tmp_path, database, limit=6 * MIB, shared=elsewhere) as images:
        blob = elsewhere.put(jpeg())
        elsewhere.contents[blob.digest] = jpeg()[::-1]
        assert await images.find_shared(IMAGE) == (None, True)
        body = images.receive(6 * MIB)
        await body.expect(6 * MIB)

        with pytest.raises(BlobLost):
            await images.open_blob(blob)
        body.release_room()


async def test_what_makes_room_knows_that_images_are_elsewhere_too(
    tmp_path: Path, database: Database, elsewhere: Elsewhere
) -> None:
    """No archive is lost with them."""
    told: list[tuple[int, int, bool]] = []

    def evict(missing: int, *, limit: int, is_cache: bool) -> Callable[[Connection], list[str]]:
        told.append((missing, limit, is_cache))
        return lambda _: []

    for shared in (elsewhere, None):
        async with open_store(tmp_path, database, evict=evict, limit=4 * MIB, shared=shared) as images:
            await images._make_room(7)

    assert told == [(7, 4 * MIB, True), (7, 4 * MIB, False)]


@pytest.mark.parametrize("is_there", [True, False])
async def test_images_of_version_0_may_be_elsewhere(
    tmp_path: Path, database: Database, elsewhere: Elsewhere, is_there: bool
) -> None:
    """Then their keys are looked for, though this instance has none of them."""
    elsewhere.has_legacy = is_there
    async with open_store(tmp_path, database, shared=elsewhere) as images:
        assert images.has_legacy is is_there


async def test_what_is_being_brought_here_ends_with_the_store(
    tmp_path: Path, database: Database, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file goes, and who waits for it is told."""
    reading = asyncio.Event()

    async def read_for_ever(*_: object) -> AsyncIterator[bytes]:
        reading.set()
        await asyncio.Event().wait()
        yield b""

    monkeypatch.setattr(elsewhere, "read", read_for_ever)
    blob = elsewhere.put(jpeg(size=2 * MIB))
    async with open_store(tmp_path, database, shared=elsewhere) as images:
        opening = asyncio.create_task(images.open_blob(blob))
        await reading.wait()

    assert not images._pulls.is_running(blob.digest)
    await asyncio.wait([opening])
    assert opening.cancelled()
