"""One image of an order by itself: from the store, or fetched into it by the rules of every download."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from limits import parse

from service.api import limits
from service.images.blobs import Blob, BlobLost
from service.images.store import ImageStore
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, Document, jpeg, order, photo, png
from tests.support.upstream import FakeUpstream, Script

SMALL, LARGE = jpeg(1), jpeg(2, size=3_000_000)
KITCHEN = photo("a", "Küche.jpg")


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order([KITCHEN, photo("b")])
    upstream.images |= {"a": SMALL, "b": LARGE}


async def get(
    service: Service, image_id: str = "a", method: str = "GET", *, headers: Any = None, **query: str
) -> Answer:
    """Ask for an image by itself."""
    return await service.ask(f"/v1/orders/{ORDER}/images/{image_id}", method=method, params=query, headers=headers)


@pytest.mark.parametrize(("image_id", "body"), [("a", SMALL), ("b", LARGE)])
async def test_an_image_is_fetched_once_and_kept(
    upstream: FakeUpstream, service: Service, image_id: str, body: bytes
) -> None:
    """The first request fetches it, the next one and the order's ZIP find it."""
    first = await get(service, image_id)
    again = await get(service, image_id)
    members = (await service.download(image=image_id)).members

    assert (first.status, first.body) == (again.status, again.body) == (200, body)
    assert list(members.values()) == [body]
    assert upstream.calls(image_id) == 1


async def test_an_image_of_a_zip_is_not_fetched_again(upstream: FakeUpstream, service: Service) -> None:
    """What a download has stored is served."""
    await service.download()

    assert (await get(service, "b")).body == LARGE
    assert upstream.calls("b") == 1


async def test_the_rendition_is_asked_for_as_in_a_download(upstream: FakeUpstream, service: Service) -> None:
    """Each rendition is an image of its own."""
    await get(service)
    await get(service, format="png", quality="70", max_width="480", scale="0.5", dev_mode="true")

    plain, rendered = upstream.requests("a")
    assert plain.query == {"format": "jpeg", "preview": "true"}
    assert rendered.query == {
        "format": "png", "preview": "true", "quality": "70", "max_width": "480", "scale": "0.5",
    }  # fmt: skip
    assert rendered.headers["x-dev-mode"] == "true"


async def test_who_asks_at_the_same_time_shares_one_download(upstream: FakeUpstream, service: Service) -> None:
    """Two single requests and a ZIP: one fetch."""
    gate = upstream.hold("a")
    asked = [asyncio.create_task(get(service)) for _ in range(2)]
    asked.append(asyncio.create_task(service.download(image="a")))
    await upstream.until(lambda: upstream.in_flight == 1)
    gate.set()

    one, two, archive = await asyncio.gather(*asked)

    assert one.body == two.body == archive.images["Küche.jpg"] == SMALL
    assert upstream.calls("a") == 1


async def test_an_image_says_what_it_is(service: Service) -> None:
    """Type, tag, name, and that only its caller may keep it."""
    answer = await get(service)

    assert answer.headers["Content-Type"] == "image/jpeg"
    assert re.fullmatch(r'"[0-9a-f]{64}"', answer.headers["ETag"])
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert {part.strip() for part in answer.headers["Cache-Control"].split(",")} == {"private", "no-transform"}
    assert answer.headers["Content-Length"] == str(len(SMALL))
    assert answer.headers["Content-Disposition"] == "inline; filename=\"Kuche.jpg\"; filename*=UTF-8''K%C3%BCche.jpg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_image_can_be_saved_instead_of_shown(service: Service) -> None:
    """`download=true` makes it an attachment; the content stays the same."""
    shown, saved = await get(service), await get(service, download="true")

    assert saved.headers["Content-Disposition"] == shown.headers["Content-Disposition"].replace("inline", "attachment")
    assert saved.headers["ETag"] == shown.headers["ETag"]


async def test_the_type_is_that_of_the_bytes(upstream: FakeUpstream, service: Service) -> None:
    """Autoenhance sent a PNG where a JPEG was asked for."""
    upstream.images["a"] = png()

    answer = await get(service)

    assert answer.headers["Content-Type"] == "image/png"
    assert 'filename="Kuche.png"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(("image_id", "body"), [("a", SMALL), ("b", LARGE)])
@pytest.mark.parametrize(
    ("wanted", "start", "stop"), [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None)]
)
async def test_a_range_is_a_part_of_the_image(
    service: Service, image_id: str, body: bytes, wanted: str, start: int, stop: int | None
) -> None:
    """Of a small one in memory, and of a large one in its file."""
    answer = await get(service, image_id, headers={"Range": wanted})

    assert (answer.status, answer.body) == (206, body[start:stop])
    first = start % len(body)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(body)}"


async def test_a_range_behind_the_end_is_refused(service: Service) -> None:
    """With the length, so that the caller knows that it has all."""
    answer = await get(service, headers={"Range": f"bytes={len(SMALL)}-"})

    assert (answer.status, answer.problem["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(SMALL)}"


async def test_the_tag_decides_what_is_sent(service: Service) -> None:
    """Nothing to who has it, the rest to who has a part of it, all to who has something else."""
    tag = (await get(service)).headers["ETag"]

    held = await get(service, headers={"If-None-Match": tag})
    rest = await get(service, headers={"If-Range": tag, "Range": "bytes=10-"})
    other = await get(service, headers={"If-Range": '"other"', "Range": "bytes=10-"})
    refused = await get(service, headers={"If-Match": '"other"'})

    assert (held.status, held.body, held.headers["ETag"]) == (304, b"", tag)
    assert (rest.status, rest.body) == (206, SMALL[10:])
    assert (other.status, other.body) == (200, SMALL)
    assert (refused.status, refused.problem["code"]) == (412, "precondition_failed")


async def test_head_tells_what_is_known_and_fetches_nothing(upstream: FakeUpstream, service: Service) -> None:
    """Before it is stored there is neither a length nor a tag."""
    before = await get(service, method="HEAD")
    fetched = upstream.calls("a")
    await get(service)
    after = await get(service, method="HEAD")

    assert (before.status, before.headers["Content-Type"], fetched) == (200, "image/jpeg", 0)
    assert "ETag" not in before.headers
    assert "Content-Length" not in before.headers
    assert (after.status, after.body, after.headers["Content-Length"]) == (200, b"", str(len(SMALL)))


OBSTACLES: dict[str, tuple[Document, Script, int, str, str | None]] = {
    "processing": (photo("a", status="processing"), SMALL, 409, "image_not_ready", "not_ready"),
    "never uploaded": (photo("a", status="waiting"), SMALL, 409, "image_not_ready", "not_uploaded"),
    "failed": (photo("a", status="failed"), SMALL, 422, "no_images", "enhancement_failed"),
    "expired": (photo("a", status="expired"), SMALL, 410, "image_expired", "expired"),
    "answered 202": (KITCHEN, 202, 409, "image_not_ready", "not_ready"),
    "gone": (KITCHEN, 410, 410, "image_expired", "expired"),
    "lost upstream": (KITCHEN, 404, 404, "image_not_found", None),
    "no credit": (KITCHEN, 402, 422, "no_images", "no_credit"),
    "rejected": (KITCHEN, 400, 422, "no_images", "rejected"),
}


@pytest.mark.parametrize("case", OBSTACLES)
async def test_what_cannot_be_had_says_why(upstream: FakeUpstream, service: Service, case: str) -> None:
    """A status that fits, and the image's own reason."""
    record, script, status, code, reason = OBSTACLES[case]
    upstream.orders[ORDER], upstream.images["a"] = order([record]), script

    answer = await get(service)

    assert (answer.status, answer.problem["code"]) == (status, code)
    if reason is not None:
        assert answer.failures == {"a": reason}
    assert ("Retry-After" in answer.headers) == (status == 409)


@pytest.mark.parametrize("image_id", ["c", "..", "%2e%2e", "a%2fb", "%ff", "unidentified-1"])
async def test_an_image_of_no_such_id_is_not_found(upstream: FakeUpstream, service: Service, image_id: str) -> None:
    """Nothing is asked for it."""
    answer = await get(service, image_id)

    assert answer.status == 404
    assert upstream.image_calls == 0


async def test_an_open_circuit_is_a_503(start_service: StartService, upstream: FakeUpstream) -> None:
    """What is stored is served all the same."""
    service = await start_service(breaker_failures=1, upstream_attempts=1, order_freshness=60)
    await get(service)
    upstream.images["b"] = 500
    first, paused, stored = await get(service, "b"), await get(service, "b"), await get(service)

    assert (first.status, first.failures) == (422, {"b": "upstream_error"})
    assert (paused.status, paused.problem["code"]) == (503, "breaker_open")
    assert paused.headers["Retry-After"]
    assert stored.body == SMALL


async def test_single_images_are_outside_the_rate_limit(start_service: StartService, upstream: FakeUpstream) -> None:
    """A page shows an order's photos with one request each."""
    service = await start_service(rate_limit="1/minute")

    assert [(await get(service, image_id)).status for image_id in ("a", "b", "a", "b", "a")] == [200] * 5


async def test_fetches_of_single_images_have_a_limit_of_their_own(
    start_service: StartService, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is not counted."""
    monkeypatch.setattr(limits, "_IMAGE_LIMIT", parse("2/minute"))
    service = await start_service(order_freshness=60)

    fetched = [await get(service, quality=str(quality)) for quality in (10, 20, 30)]
    stored = await get(service, quality="20")

    assert [answer.status for answer in fetched] == [200, 200, 429]
    assert fetched[2].headers["RateLimit-Policy"] == '"images";q=2;w=60'
    assert stored.status == 200
    assert upstream.calls("a") == 2


async def test_a_prefetch_never_buys(upstream: FakeUpstream, service: Service) -> None:
    """A browser that asks ahead gets previews only."""
    ahead = {"Sec-Purpose": "prefetch"}

    bought, free = await get(service, preview="false", headers=ahead), await get(service, headers=ahead)

    assert (bought.status, bought.problem["code"]) == (403, "prefetch_refused")
    assert free.status == 200
    assert upstream.calls("a") == 1


@pytest.mark.parametrize("query", [{"wait": "true"}, {"image": "a"}, {"quality": "0"}, {"previev": "false"}])
async def test_other_parameters_are_refused(service: Service, query: dict[str, str]) -> None:
    """By name, before anything is asked."""
    answer = await get(service, **query)

    assert (answer.status, answer.problem["parameter"]) == (400, next(iter(query)))


async def test_the_overview_leads_to_each_image(upstream: FakeUpstream, service: Service) -> None:
    """In the rendition that was asked about."""
    upstream.orders[ORDER] = order(["a", photo("x/ü", "other.jpg")])
    upstream.images["x/ü"] = SMALL

    images = (await service.ask(f"/v1/orders/{ORDER}", params={"format": "png", "max_width": "300"})).document["images"]
    links = [image["link"] for image in images]

    assert links[0] == f"/v1/orders/{ORDER}/images/a?format=png&max_width=300"
    assert [(await service.ask(link)).body for link in links[:1]] == [SMALL]
    assert upstream.requests("a")[-1].query["max_width"] == "300"
    assert links[1].startswith(f"/v1/orders/{ORDER}/images/x%2F%C3%BC?")


@pytest.mark.parametrize(
    ("rendition", "query"),
    [
        ("web", {"format": "webp", "preview": "true"}),
        ("mls", {"format": "jpeg", "preview": "false", "quality": "80", "max_width": "2048"}),
        ("mls,quality=70", {"format": "jpeg", "preview": "false", "quality": "70", "max_width": "2048"}),
        ("flyer,format=png,max_width=1200", {"format": "png", "preview": "true", "max_width": "1200"}),
    ],
)
async def test_a_rendition_of_downloads_can_be_named(
    upstream: FakeUpstream, service: Service, rendition: str, query: dict[str, str]
) -> None:
    """A preset, a changed one, or one of the caller's: as in a ZIP, which then finds it stored."""
    alone = await get(service, rendition=rendition)
    zipped = await service.download(image="a", rendition=rendition)

    (asked,) = upstream.requests("a")
    assert (alone.status, zipped.status) == (200, 200)
    assert asked.query == query


@pytest.mark.parametrize(
    "query",
    [
        [("rendition", "nonsense")],
        [("rendition", "web"), ("rendition", "mls")],
        [("rendition", "web"), ("quality", "8")],
    ],
)
async def test_a_wrong_rendition_is_refused_by_name(service: Service, query: list[tuple[str, str]]) -> None:
    """One that is none, several, and one beside what it decides."""
    answer = await service.ask(f"/v1/orders/{ORDER}/images/a", params=query)

    assert (answer.status, answer.problem["parameter"]) == (400, "rendition")


async def test_the_report_leads_to_each_image(upstream: FakeUpstream, service: Service) -> None:
    """In the rendition that the archive has, found or missing."""
    upstream.images["b"] = [404, LARGE]
    archive = await service.download(max_width="300", quality="70")

    report = (await service.ask(f"/v1/archives/{archive.headers['X-Archive-Id']}/report")).document
    links = {line["image_id"]: line["link"] for line in report["images"]}

    assert links["a"] == f"/v1/orders/{ORDER}/images/a?quality=70&max_width=300"
    assert [(await service.ask(links[image_id])).body for image_id in ("a", "b")] == [SMALL, LARGE]
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 2)


async def test_an_image_that_is_evicted_at_the_wrong_moment_is_fetched_again(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing names it but the store, so it may go before its first byte is sent."""
    really_open = ImageStore.open_blob
    lost: list[Blob] = []

    async def open_late(store: ImageStore, blob: Blob, *, whole: bool = True) -> Any:
        if not lost:
            lost.append(blob)
            await store.delete(lambda _: [blob.digest])
            raise BlobLost(blob.digest)
        return await really_open(store, blob, whole=whole)

    monkeypatch.setattr(ImageStore, "open_blob", open_late)

    answer = await get(service, "b")

    assert lost
    assert (answer.status, answer.body) == (200, LARGE)
    assert upstream.calls("b") == 2


async def test_a_damaged_file_is_fetched_again(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """What is on the disk is checked before it is sent."""
    service = await start_service(data_dir=tmp_path / "store")
    await get(service, "b")
    await service.stop()
    (file,) = (path for path in (tmp_path / "store" / "images").glob("??/*") if path.stat().st_size == len(LARGE))
    file.write_bytes(b"x" * len(LARGE))

    answer = await get(await start_service(data_dir=tmp_path / "store"), "b")

    assert answer.body == LARGE
    assert upstream.calls("b") == 2
