"""Bytes decide what an image is, what it is called, and whether it is whole."""

import io
import zipfile
from typing import Any

import pytest

from tests.support import jobs
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo, png, webp
from tests.support.upstream import FakeUpstream, Reply


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """`a` is well, `b` is what the test makes of it."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images["a"] = jpeg(1)


@pytest.mark.parametrize(
    "label",
    [
        "text/plain",
        "text/html; charset=utf-8",
        "jpg",
        "image/jpg",
        "image/jpeg, image/jpeg",
        "multipart/form-data; boundary=x",
        "multipart/mixed",
        "application/x-www-form-urlencoded",
        "application/force-download",
        "application/json",
        '"image/jpeg"',
        "'image/jpeg'",
        "image/heic",
        "/",
        ";",
        "Bild",
    ],
)
@pytest.mark.parametrize("body", [jpeg(2), png(2), webp(2)], ids=["jpg", "png", "webp"])
async def test_no_label_hides_an_image(upstream: FakeUpstream, service: Service, label: str, body: bytes) -> None:
    """Nor does it name the member: its first bytes do."""
    upstream.images["b"] = Reply(body=body, headers={"Content-Type": label}, content_type=label)
    extension = {b"\xff": "jpg", b"\x89": "png", b"R": "webp"}[body[:1]]

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), f"b.{extension}": body}


def iso(major: bytes, *compatible: bytes, extra: bytes = b"") -> bytes:
    """A file of ISO boxes: its brands, some metadata, its picture."""

    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    brands = box(b"ftyp", major + bytes(4) + b"".join(compatible))
    return brands + box(b"meta", bytes(4) + extra) + box(b"mdat", jpeg(7, 3_000))


BRANDS: dict[str, tuple[bytes, str]] = {
    "heic": (iso(b"heic", b"mif1", b"heic"), "heic"),
    "heic by a compatible brand": (iso(b"mif1", b"mif1", b"heic"), "heic"),
    "heix by a compatible brand": (iso(b"mif1", b"miaf", b"heix"), "heic"),
    "a sequence of heic": (iso(b"msf1", b"hevc", b"msf1"), "heic"),
    "avif": (iso(b"avif", b"mif1", b"miaf"), "avif"),
    "avif by a compatible brand": (iso(b"mif1", b"avif", b"miaf"), "avif"),
    "a sequence of avif": (iso(b"avis", b"avif", b"msf1"), "avif"),
}


@pytest.mark.parametrize(("body", "extension"), BRANDS.values(), ids=BRANDS)
async def test_brands_tell_heic_from_avif(
    upstream: FakeUpstream, service: Service, body: bytes, extension: str
) -> None:
    """The major brand may be that of neither."""
    upstream.images["b"] = Reply(body=body, content_type="image/avif")

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), f"b.{extension}": body}


CUT: dict[str, tuple[bytes, str]] = {
    "jpeg, most of it": (jpeg(2)[:-2], "jpg"),
    "jpeg, half": (jpeg(2)[:1_000], "jpg"),
    "jpeg, 12 bytes": (jpeg(2)[:12], "jpg"),
    "large jpeg": (jpeg(2, size=3_000_000)[:-2], "jpg"),
    "png": (png(2)[:-12], "png"),
    "webp": (webp(2)[:-10], "webp"),
    "avif": (iso(b"avif", b"mif1")[:-10], "avif"),
}


@pytest.mark.parametrize(("body", "extension"), CUT.values(), ids=CUT)
async def test_a_cut_picture_is_delivered_and_named(
    upstream: FakeUpstream, start_service: StartService, body: bytes, extension: str
) -> None:
    """It is fetched once more; the same again is what Autoenhance has: delivered as `incomplete`, and kept so."""
    service = await start_service(order_freshness=0)
    upstream.images["b"] = body

    answer = await service.download()
    report = await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")
    later = await service.download(delivery="complete")
    strict = await service.download(on_failure="strict")
    job = await jobs.ended(service, await jobs.submit(service))

    wanted = {"a.jpg": jpeg(1), f"b.{extension}": body}
    assert answer.images == later.images == wanted
    assert "incomplete" in answer.report
    assert {image["image_id"]: image["code"] for image in report.document["images"]} == {"a": None, "b": "incomplete"}
    assert later.headers["X-Failed"] == "1"
    assert (strict.status, strict.failures) == (422, {"b": "incomplete"})
    assert [failure["code"] for failure in job["failures"]] == ["incomplete"]
    assert upstream.calls("b") == 2


@pytest.mark.parametrize("size", [2_000, 3_000_000])
async def test_a_picture_that_was_cut_on_its_way_is_fetched_whole(
    upstream: FakeUpstream, service: Service, size: int
) -> None:
    """The second time it has its end: nobody hears of the first."""
    body = jpeg(2, size=size)
    upstream.images["b"] = [body[: size // 2], body]

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": body}
    assert upstream.calls("b") == 2


async def test_a_cut_picture_that_is_made_anew_is_fetched(upstream: FakeUpstream, start_service: StartService) -> None:
    """Processed again, as its reason advises: the new one is whole, and so is the archive."""
    service = await start_service(order_freshness=0)
    upstream.orders[ORDER] = [order(["a", photo("b", updated_at=when)]) for when in ("2026-03-01", "2026-03-02")]
    upstream.images["b"] = [jpeg(2)[:-2], jpeg(2)[:-2], jpeg(3)]

    await service.download()
    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(3)}


@pytest.mark.parametrize("tail", [b"\x00" * 400, b"\xff\xd9", jpeg(9), b"ftypmp42" + b"\x01" * 3_000])
async def test_bytes_behind_the_end_are_fine(upstream: FakeUpstream, service: Service, tail: bytes) -> None:
    """Padding, a second picture, a film behind a motion photo: it is whole, and passed on as it is."""
    upstream.images["b"] = jpeg(2) + tail

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2) + tail}
    assert upstream.calls("b") == 1


WHEN = (2026, 3, 2, 9, 15, 4)


@pytest.mark.parametrize(
    "date",
    [
        1_772_442_904,
        1_772_442_904.5,
        1_772_442_904_000,
        1_772_442_904_000_000,
        1_772_442_904_000_000_000,
        "1772442904",
        " 1772442904000000 ",
        "2026-03-02T09:15:04",
        "2026-03-02T09:15:04Z",
        "2026-03-02T09:15:04.120931",
        "2026-03-02T09:15:04.120931123+00:00",
        "2026-03-02T10:15:04+01:00",
        "2026-03-02 09:15:04 UTC",
        "2026-03-02 09:15:04 GMT",
        "2026-03-02 09:15:04 +0000",
        "  2026-03-02T09:15:04  ",
        "Mon, 02 Mar 2026 09:15:04 GMT",
        "Mon, 02 Mar 2026 10:15:04 +0100",
        "02 Mar 2026 09:15:04 -0000",
    ],
    ids=repr,
)
async def test_a_member_has_its_images_date(upstream: FakeUpstream, service: Service, date: Any) -> None:
    """In every form that a date has been seen in."""
    upstream.orders[ORDER] = order([photo("a", date_added=date)], created_at=None)

    answer = await service.download()

    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.getinfo("a.jpg").date_time == WHEN
