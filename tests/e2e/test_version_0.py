"""A data directory of version 0 is carried on: nothing that it holds is fetched, or bought, again."""

import hashlib
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import xxhash

from tests.support.client import Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

DUMP = Path(__file__).parent / "version_0.sql"
REPORT = (
    "Download report\r\n\r\nOrder: 0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002\r\nImages in this archive: 1 of 2\r\n"
    "Missing: 1\r\n\r\nf.jpg\r\n  image id: f\r\n"
    "  reason:   image_not_found: Autoenhance does not know this image any more.\r\n"
    "  to get it: GET /v1/orders/0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002/images?image=f\r\n\r\n"
    "Ask for the whole order again to get the missing images too: what is here is not fetched twice.\r\n"
)
FILES = [jpeg(1), jpeg(2, size=3_000), jpeg(3), jpeg(4), REPORT.encode()]

# Ids, and what their bytes were when version 0 sent them.
WHOLE = ("7893f28b59784c96a62956e0c43004d4", "6ed64b8ec76cbe16354c1125fec0d3e4590116823b0ebc978612e482ff5f1cda")
BOUGHT = ("ad9189dc903d4a1ba8674cb24d4db2cd", "6ed64b8ec76cbe16354c1125fec0d3e4590116823b0ebc978612e482ff5f1cda")
PARTIAL = ("4a640ab72c9a4b1fbcc8b343652945a9", "fec41e04ce2dd00dee024b76bacc460632b4630ee96247b9f9937d6dc6f02708")
BEGUN = "b720a44b0cbb4b9884ab3660efe72d88"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """As it was left a moment ago: four archives of five images, of which one is a second generation."""
    directory = tmp_path / "data"
    images = directory / "images"
    images.mkdir(parents=True)
    for data in FILES:
        name = xxhash.xxh3_128_hexdigest(data)
        (images / name[:2]).mkdir(exist_ok=True)
        (images / name[:2] / name).write_bytes(data)
    with closing(sqlite3.connect(directory / "batch.sqlite3")) as connection:
        connection.executescript(DUMP.read_text())
        now = time.time()
        connection.execute(
            "UPDATE archives SET created = ?, settled = settled - settled + ?, used = ?", (now, now, now)
        )
        connection.execute("UPDATE kept SET until = ?", (now + 60,))
        connection.commit()
    return directory


@pytest.fixture
def upstream_of_then(upstream: FakeUpstream) -> FakeUpstream:
    """Its orders are what they were, and every image that was fetched is now another one."""
    first = photo("a", enhance_type="property", sky_replacement=True, thumbnail="https://assets.example/a")
    upstream.orders[ORDER] = order([first, "b", "c"])
    upstream.orders[OTHER_ORDER] = order(["d", "e", "f"], order_id=OTHER_ORDER)
    upstream.images |= dict.fromkeys("abcdf", jpeg(99)) | {"e": jpeg(5)}
    return upstream


async def digest(service: Service, path: str) -> str:
    async with service.request(path) as response:
        assert response.status == 200
        return hashlib.sha256(await response.read()).hexdigest()


async def test_its_archives_are_served_byte_for_byte(
    start_service: StartService, upstream_of_then: FakeUpstream, data_dir: Path
) -> None:
    """By id, complete and partial; nothing is asked of Autoenhance."""
    service = await start_service(data_dir=data_dir)

    for archive_id, content in (WHOLE, BOUGHT, PARTIAL):
        assert await digest(service, f"/v1/archives/{archive_id}") == content
    assert upstream_of_then.received == []


@pytest.mark.parametrize("query", ["", "?preview=false"], ids=["previews", "bought"])
async def test_its_images_are_found(
    start_service: StartService, upstream_of_then: FakeUpstream, data_dir: Path, query: str
) -> None:
    """A new request fetches no image: neither the plain ones nor the one that was made anew once."""
    service = await start_service(data_dir=data_dir)

    content = await digest(service, f"/v1/orders/{ORDER}/images{query}")

    assert content == WHOLE[1]
    assert upstream_of_then.image_calls == 0


async def test_they_are_found_again_after_more_restarts(
    start_service: StartService, upstream_of_then: FakeUpstream, data_dir: Path
) -> None:
    """Whatever was swept meanwhile."""
    for _ in range(3):
        service = await start_service(data_dir=data_dir)
        await digest(service, f"/v1/orders/{ORDER}/images?preview=false&image=c")
        await service.stop()

    assert upstream_of_then.image_calls == 0


async def test_a_build_that_it_left_goes_on(
    start_service: StartService, upstream_of_then: FakeUpstream, data_dir: Path
) -> None:
    """With the image that it lacked; the one it had is not fetched again."""
    service = await start_service(data_dir=data_dir)

    async with service.request(f"/v1/archives/{BEGUN}") as response:
        body = await response.read()

    assert response.status == 200
    assert jpeg(4) in body
    assert jpeg(5) in body
    assert [upstream_of_then.calls(image_id) for image_id in "de"] == [0, 1]


async def test_an_image_made_anew_since_is_fetched(
    start_service: StartService, upstream_of_then: FakeUpstream, data_dir: Path
) -> None:
    """That it is remembered does not make it eternal."""
    service = await start_service(data_dir=data_dir, order_freshness=0)
    upstream_of_then.orders[ORDER] = order([photo("b", status="processing")])
    async with service.request(f"/v1/orders/{ORDER}") as response:
        assert response.status == 200
    upstream_of_then.orders[ORDER] = order(["b"])

    await digest(service, f"/v1/orders/{ORDER}/images")

    assert upstream_of_then.calls("b") == 1
