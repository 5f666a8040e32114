"""An order whose images are all there: one ZIP, its members, its headers."""

import re
from urllib.parse import urljoin

import pytest

from tests.support.client import REPORT, Service
from tests.support.samples import ORDER, Document, jpeg, order, photo, png, webp
from tests.support.upstream import FakeUpstream

BODIES = {"a": jpeg(1), "b": jpeg(2, size=70_000), "c": jpeg(3, size=17)}


@pytest.fixture(autouse=True)
def three_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images |= BODIES


@pytest.mark.parametrize("path", [f"/v1/orders/{ORDER}/images", f"/orders/{ORDER}/images"])
async def test_every_image_is_in_the_zip_byte_for_byte(service: Service, path: str) -> None:
    """The archive holds what upstream sent, unchanged, under the contract's path and version 0's."""
    answer = await service.ask(path)

    assert answer.status == 200
    assert answer.members == {f"{image_id}.jpg": body for image_id, body in BODIES.items()}


async def test_nothing_failed_means_no_report(service: Service) -> None:
    """The report file is there for bad news only."""
    answer = await service.download()

    assert REPORT not in answer.members


async def test_a_download_says_what_it_is(service: Service) -> None:
    """Every header that the contract promises for a download."""
    headers = (await service.download()).headers

    assert headers["Content-Type"] == "application/zip"
    assert headers["X-Total-Images"] == "3"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"] == f'"{headers["X-Archive-Id"]}"'
    assert {part.strip() for part in headers["Cache-Control"].split(",")} == {"private", "no-transform"}
    assert headers["X-Accel-Buffering"] == "no"
    assert "Last-Modified" not in headers


async def test_the_download_has_a_file_name_for_old_and_new_clients(upstream: FakeUpstream, service: Service) -> None:
    """`Content-Disposition` is ASCII, with the plain name and the RFC 8187 name."""
    upstream.orders[ORDER] = order(["a"], name='Straße "5"\r\nX-Evil: 1 / 家')

    disposition = (await service.download()).headers["Content-Disposition"]

    assert disposition.isascii()
    assert re.match(r'attachment; filename="[^"\\/]+\.zip"', disposition)
    assert re.search(r"; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+\.zip", disposition)


async def test_the_report_resource_is_linked_and_names_every_image(service: Service) -> None:
    """`Link: rel="describedby"` leads to the facts about each image."""
    headers = (await service.download()).headers

    link = re.search(r'<([^>]+)>; rel="?describedby"?', headers["Link"])
    assert link is not None
    target = urljoin(service.url, link[1])
    assert target == f"{service.url}/v1/archives/{headers['X-Archive-Id']}/report"
    report = await service.ask(target.removeprefix(service.url))
    assert report.status == 200
    assert report.headers["Content-Type"].startswith("application/json")
    assert all(f"{image_id}.jpg" in report.text for image_id in BODIES)


async def test_equal_names_are_made_unique(upstream: FakeUpstream, service: Service) -> None:
    """Images with one name all arrive; names differ without regard to case, and none takes a real name."""
    names = ["kitchen.jpg", "Kitchen.JPG", "kitchen_1.jpg"]
    upstream.orders[ORDER] = order(photo(image_id, name) for image_id, name in zip(BODIES, names, strict=True))

    members = (await service.download()).members

    assert sorted(members.values()) == sorted(BODIES.values())
    assert len({name.lower() for name in members}) == 3
    assert members["kitchen_1.jpg"] == BODIES["c"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DSC_0042", "DSC_0042.jpg"),
        ("raw.CR2", "raw.jpg"),
        ("old.jpeg", "old.jpg"),
        ("v1.2 final.png", "v1.2 final.jpg"),
        ("12.5 m.jpg", "12.5 m.jpg"),
    ],
)
async def test_the_extension_follows_what_was_delivered(
    upstream: FakeUpstream, service: Service, name: str, expected: str
) -> None:
    """An image's known extension is replaced, any other dot is kept."""
    upstream.orders[ORDER] = order([photo("a", name)])

    answer = await service.download()

    assert list(answer.members) == [expected]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\x\\y.jpg", "a\x00b\n.jpg", "CON.jpg", "/absolute.jpg", REPORT, "..", "x" * 400]
)
async def test_a_hostile_name_is_neutralised(upstream: FakeUpstream, service: Service, name: str) -> None:
    """No member can leave its directory, take the report's name, or be unusable on some system."""
    upstream.orders[ORDER] = order([photo("a", name)])

    (member,) = (await service.download()).members

    assert re.search(r'[\x00-\x1f/\\:*?"<>|]', member) is None
    assert member.partition(".")[0].upper() not in ("", "CON")
    assert member != REPORT
    assert len(member.encode()) <= 150


@pytest.mark.parametrize(("body", "extension"), [(png(), "png"), (webp(), "webp")])
async def test_the_bytes_decide_the_extension(
    upstream: FakeUpstream, service: Service, body: bytes, extension: str
) -> None:
    """What the bytes are wins over the format that was asked for."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = body

    answer = await service.download(format="jpeg")

    assert answer.members == {f"a.{extension}": body}


@pytest.mark.parametrize(
    "record",
    [
        {"id": "a", "name": "hall.jpg", "status": "processed"},
        {"image_id": "a", "image_name": "hall.jpg", "enhanced": True},
        {"image_id": "a", "image_name": "hall.jpg", "status": "PROCESSED", "error": False, "downloaded": None},
    ],
)
async def test_records_of_older_versions_are_understood(
    upstream: FakeUpstream, service: Service, record: Document
) -> None:
    """`id` and `name` serve for `image_id` and `image_name`, and `enhanced` for a status."""
    upstream.orders[ORDER] = {"id": ORDER, "images": [record]}

    answer = await service.download()

    assert answer.members == {"hall.jpg": BODIES["a"]}


async def test_a_subset_holds_only_the_chosen_images(upstream: FakeUpstream, service: Service) -> None:
    """`image` may be repeated; the others are not even fetched."""
    answer = await service.ask(f"/v1/orders/{ORDER}/images?image=a&image=c")

    assert set(answer.members) == {"a.jpg", "c.jpg"}
    assert upstream.calls("b") == 0
