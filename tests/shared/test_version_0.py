"""What instances of version 0 left in S3 is carried on: nothing of it is fetched, or bought, again."""

import hashlib
import json
import time
from pathlib import Path

import obstore
import pytest
import xxhash
from obstore.store import from_url

from tests.support.client import StartService
from tests.support.s3_server import S3Server
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

DUMP = Path(__file__).parent / "version_0.json"
IMAGES = {"a": jpeg(1), "b": jpeg(2, size=3_000), "c": jpeg(3), "d": jpeg(4)}
# Previews, and bought images; and what the bytes of both were when version 0 sent them.
ARCHIVES = ("69c2bd1e071f4577ad80425a580c6267", "43fbc1c6c9734675856a20c1036e7b3f")
CONTENT = "6ed64b8ec76cbe16354c1125fec0d3e4590116823b0ebc978612e482ff5f1cda"


def _of_now(name: str, body: str) -> str:
    """A document as it would be if it had been written a moment ago: archives do not last for ever."""
    if not name.startswith("archives/"):
        return body
    record = json.loads(body)
    return json.dumps(record | {name: time.time() for name in ("created", "settled") if record[name] is not None})


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A storage as it was left: two archives of three images, and of a third one the first of two images."""
    address = s3.make_bucket()
    store = from_url(address, client_options={"allow_http": True})
    for name, body in json.loads(DUMP.read_text()).items():
        obstore.put(store, name, _of_now(name, body).encode())
    for data in IMAGES.values():
        name = xxhash.xxh3_128_hexdigest(data)
        obstore.put(store, f"blobs/{name[:2]}/{name}", data)
    return address


@pytest.fixture(autouse=True)
def upstream_of_then(upstream: FakeUpstream) -> None:
    """Its orders are what they were, and every image that was fetched is now another one."""
    first = photo("a", enhance_type="property", sky_replacement=True)
    upstream.orders |= {ORDER: order([first, "b", "c"]), OTHER_ORDER: order(["d", "e"], order_id=OTHER_ORDER)}
    upstream.images |= dict.fromkeys("abcd", jpeg(99)) | {"e": jpeg(5)}


@pytest.mark.parametrize("query", ["", "?preview=false"], ids=["previews", "bought"])
async def test_its_images_are_found_by_every_instance(
    upstream: FakeUpstream, start_member: StartService, bucket: str, query: str
) -> None:
    """New requests at two instances, one after the other and with another subset, fetch no image."""
    for subset in ("", "&image=b&image=c"):
        service = await start_member(store_url=bucket)
        path = f"/v1/orders/{ORDER}/images{query}{subset if query else subset.replace('&', '?', 1)}"
        answer = await service.ask(path)

        names = "bc" if subset else "abc"
        assert answer.images == {f"{name}.jpg": IMAGES[name] for name in names}
    assert upstream.image_calls == 0


async def test_its_archives_are_served_byte_for_byte(
    upstream: FakeUpstream, start_member: StartService, bucket: str
) -> None:
    """By id; nothing is asked of Autoenhance."""
    service = await start_member(store_url=bucket)

    answers = [await service.ask(f"/v1/archives/{archive_id}") for archive_id in ARCHIVES]

    assert [hashlib.sha256(answer.body).hexdigest() for answer in answers] == [CONTENT] * 2
    assert upstream.received == []


async def test_of_a_build_that_it_left_only_what_was_missing_is_fetched(
    upstream: FakeUpstream, start_member: StartService, bucket: str
) -> None:
    """Its list was never settled: the next request has an archive of its own, of the images that are there."""
    service = await start_member(store_url=bucket)

    answer = await service.download(OTHER_ORDER)

    assert answer.images == {"d.jpg": jpeg(4), "e.jpg": jpeg(5)}
    assert [upstream.calls(image) for image in "de"] == [0, 1]
