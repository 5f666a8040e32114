"""The unaltered photos beside the enhanced ones, and the manifest that tells what each file is."""

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from service.orders.generations import Generations
from service.sandbox import ImageSpec, Sandbox
from service.upstream.models import Order
from tests.support.client import Answer, Service, StartService
from tests.support.jobs import ended, submit
from tests.support.samples import ORDER, jpeg, order, photo, png
from tests.support.services import service_factory
from tests.support.upstream import FakeUpstream, Reply

PATH = f"/v1/orders/{ORDER}/images"
TIFF = b"II*\x00" + bytes(2_000)


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order([photo("a", "kitchen.dng"), photo("b", "bath.png")])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    upstream.originals |= {"a": TIFF, "b": png(3)}


async def report_of(service: Service, answer: Answer) -> list[dict[str, object]]:
    """The lines of the report resource."""
    lines = (await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")).document["images"]
    assert isinstance(lines, list)
    return lines


async def test_originals_have_the_same_name_and_their_own_extension(upstream: FakeUpstream, service: Service) -> None:
    """They are asked for as they are, previews where the others are."""
    answer = await service.download(include="original")

    assert answer.members == {
        "kitchen.jpg": jpeg(1),
        "bath.jpg": jpeg(2),
        "originals/kitchen.dng": TIFF,
        "originals/bath.png": png(3),
    }
    (asked,) = [one for one in upstream.received if one.path == "/v3/images/a/original"]
    assert asked.query == {"preview": "true"}
    assert answer.headers["X-Total-Images"] == "4"
    lines = await report_of(service, answer)
    assert [(line["image_id"], line["rendition"], line["outcome"]) for line in lines] == [
        *(("a", None, "downloaded"), ("b", None, "downloaded")),
        *(("a", "original", "downloaded"), ("b", "original", "downloaded")),
    ]


@pytest.mark.parametrize("query", [[("preview", "false")], [("rendition", "print"), ("rendition", "web")]])
async def test_they_are_full_size_where_any_other_is(
    upstream: FakeUpstream, service: Service, query: list[tuple[str, str]]
) -> None:
    """Nobody compares a full-size photo with a preview."""
    await service.ask(PATH, params=[*query, ("include", "original")])

    assert [one.query for one in upstream.received if one.path == "/v3/images/a/original"] == [{"preview": "false"}]


async def test_a_repeat_asks_for_nothing(upstream: FakeUpstream, service: Service) -> None:
    """Neither by the same request, nor by one that wants the originals with something else."""
    first = await service.download(include="original")
    second = await service.download(include="original")
    await service.download(include="original", names="{seq}")

    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.body == first.body
    assert [upstream.calls(one) for one in ("a", "b", "original/a", "original/b")] == [1, 1, 1, 1]


async def test_a_missing_original_is_a_line_in_the_report(upstream: FakeUpstream, service: Service) -> None:
    """The archive is complete without it, and is used again; who wants all or nothing gets nothing."""
    upstream.originals["a"] = 404

    answer = await service.download(include="original")
    again = await service.download(include="original")
    strict = await service.download(include="original", on_failure="strict")
    job = await ended(service, await submit(service, include="original"))

    assert sorted(answer.images) == ["bath.jpg", "kitchen.jpg", "originals/bath.png"]
    assert "as:       original" in answer.report
    assert f"get it:   GET {PATH}/a?include=original\r\n" in answer.report
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert job["status"] == "complete"
    report = (await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")).document
    assert (report["status"], report["downloaded"], report["failed"]) == ("complete", 3, 1)
    assert [(one["image_id"], one["rendition"], one["code"]) for one in report["failures"]] == [
        ("a", "original", "image_not_found")
    ]
    assert (strict.status, strict.problem["code"]) == (422, "images_missing")
    assert upstream.calls("original/a") == 1


async def test_what_may_come_yet_is_asked_for_again(upstream: FakeUpstream, start_service: StartService) -> None:
    """By the next request; what is here is not fetched again."""
    service = await start_service(upstream_attempts=1)
    upstream.originals["a"] = 500

    first = await service.download(include="original")
    upstream.originals["a"] = TIFF
    second = await service.download(include="original")

    assert "originals/kitchen.dng" not in first.members
    assert second.members["originals/kitchen.dng"] == TIFF
    assert [upstream.calls(one) for one in ("a", "b", "original/a", "original/b")] == [1, 1, 2, 1]


async def test_who_wants_all_is_not_sent_the_rest_of_what_lacks_one(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Given a part of an archive without an original, and `strict` for the rest: it is sent whole, now that it is."""
    service = await start_service(upstream_attempts=1)
    upstream.originals["a"] = 500
    first = await service.download(include="original")
    upstream.originals["a"] = TIFF

    resuming = {"Range": "bytes=100-", "If-Range": first.headers["ETag"]}
    answer = await service.download(include="original", on_failure="strict", headers=resuming)

    assert answer.status == 200
    assert answer.members["originals/kitchen.dng"] == TIFF
    assert answer.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("answer", [402, 404, 500, 503, Reply(body=b"no image")])
async def test_no_enhanced_photo_is_lost_with_them(
    upstream: FakeUpstream, start_service: StartService, answer: int | Reply
) -> None:
    """However originals fail, and however many: neither credits nor the circuit are at stake."""
    images = [f"i{number}" for number in range(12)]
    upstream.orders[ORDER] = order(images)
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(images)}
    upstream.originals |= dict.fromkeys(images, answer)
    service = await start_service(breaker_failures=2, upstream_attempts=1, download_concurrency=2)

    whole = await service.download(preview="false", include="original")
    later = await service.download(preview="false", quality="80")

    assert len([name for name in whole.images if "/" not in name]) == 12
    assert len(later.images) == 12
    assert "_download_report.txt" not in later.members


async def test_an_original_is_there_before_its_enhanced_photo(upstream: FakeUpstream, service: Service) -> None:
    """And also where that failed; not where nothing was ever uploaded."""
    states = {"a": "processing", "b": "error", "c": "waiting", "d": "processed"}
    upstream.orders[ORDER] = order([photo(image_id, status=status) for image_id, status in states.items()])
    upstream.images["d"] = jpeg(4)
    upstream.originals |= dict.fromkeys("abcd", png(3))

    answer = await service.download(include="original")

    assert sorted(answer.images) == ["d.jpg", *(f"originals/{image_id}.png" for image_id in "abd")]
    failed = {(line["image_id"], line["rendition"]): line["code"] for line in await report_of(service, answer)}
    assert failed["c", "original"] == "not_uploaded"
    assert upstream.calls("original/c") == 0


async def test_the_original_of_a_sub_image_is_its_parents(upstream: FakeUpstream, service: Service) -> None:
    """It lies beside that, under the sub-image's own name, and is fetched once."""
    upstream.orders[ORDER] = order([photo("a", "kitchen.dng"), photo("b", "kitchen restaged.jpg", parent_image_id="a")])

    answer = await service.download(include="original")

    assert answer.members["originals/kitchen.dng"] == answer.members["originals/kitchen restaged.tif"] == TIFF
    assert [upstream.calls("original/a"), upstream.calls("original/b")] == [1, 0]


async def test_a_manifest_tells_what_each_file_is(upstream: FakeUpstream, service: Service) -> None:
    """Name, image, original name, rendition, bytes and checksums, and how it turned out; so does the report."""
    upstream.originals["b"] = 404
    query = [("include", "manifest"), ("include", "original"), ("names", "{seq}_{name}")]

    answer = await service.ask(PATH, params=query)

    manifest = json.loads(answer.members["_manifest.json"])
    assert list(answer.members)[-2:] == ["_download_report.txt", "_manifest.json"]
    assert {name: manifest[name] for name in ("order_id", "name", "options")} == {
        "order_id": ORDER,
        "name": "12 Harbour Lane",
        "options": {"include": ["manifest", "original"], "names": "{seq}_{name}"},
    }
    assert [(file["name"], file["image_id"], file["original_name"], file["outcome"]) for file in manifest["files"]] == [
        ("01_kitchen.jpg", "a", "kitchen.dng", "downloaded"),
        ("02_bath.jpg", "b", "bath.png", "downloaded"),
        ("originals/01_kitchen.dng", "a", "kitchen.dng", "downloaded"),
        (None, "b", "bath.png", "failed"),
    ]
    for file in manifest["files"][:3]:
        content = answer.members[file["name"]]
        assert (file["bytes"], file["blake3"]) == (len(content), blake3(content).hexdigest())
    lines = await report_of(service, answer)
    assert manifest["files"] == [
        {key: value for key, value in line.items() if key not in ("attempts", "link", "order_id")} for line in lines
    ]


async def test_any_byte_of_such_an_archive_can_be_resumed(service: Service) -> None:
    """Also within the manifest."""
    query = [("include", "original"), ("include", "manifest"), ("rendition", "web"), ("rendition", "x,quality=3")]
    whole = await service.ask(PATH, params=query)

    for start in range(0, len(whole.body), 211):
        headers = {"Range": f"bytes={start}-", "If-Range": whole.headers["ETag"]}
        part = await service.ask(PATH, params=query, headers=headers)
        assert (part.status, part.body) == (206, whole.body[start:])


async def test_a_lost_manifest_is_made_again(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """Byte for byte, with the report beside it; a lost original is fetched alone."""
    upstream.originals["b"] = 404
    service = await start_service(data_dir=tmp_path / "data")
    whole = await service.ask(PATH, params=[("include", "original"), ("include", "manifest")])
    lost = {whole.members[name] for name in ("_manifest.json", "_download_report.txt", "originals/kitchen.dng")}
    for path in (tmp_path / "data" / "images").rglob("*"):
        if path.is_file() and path.read_bytes() in lost:
            path.unlink()
            lost.discard(b"")

    again = await service.ask(f"/v1/archives/{whole.headers['X-Archive-Id']}")

    assert again.body == whole.body
    assert [upstream.calls(one) for one in ("a", "b", "original/a", "original/b")] == [1, 1, 2, 1]


async def test_a_mix_costs_a_credit_for_each_image_as_was_told(tmp_path: Path) -> None:
    """Whatever is asked for after what: never more than the images, and what the overview said."""
    async with Sandbox() as sandbox, service_factory(sandbox.api_base, tmp_path) as start_service:
        placed = sandbox.control.add_order([ImageSpec(name=f"{number}.jpg") for number in range(4)])
        service = await start_service(autoenhance_api_key=sandbox.api_key, order_freshness=0)
        path = f"/v1/orders/{placed.order_id}"
        before = sandbox.control.credits
        for query in (
            [("rendition", "web"), ("include", "original")],
            [("rendition", "print"), ("rendition", "mls"), ("include", "original"), ("include", "manifest")],
            [("rendition", "print,quality=85"), ("rendition", "web")],
            [("preview", "false"), ("include", "original"), ("names", "{seq}")],
        ):
            had = sandbox.control.credits
            told = (await service.ask(path, params=query)).document["to_buy"]
            answer = await service.ask(f"{path}/images", params=query)
            assert answer.status == 200
            assert "_download_report.txt" not in answer.members
            assert had - sandbox.control.credits == told
        metrics = await service.ask("/metrics")

        assert before - sandbox.control.credits == 4
        assert b"batch_images_bought_total 4.0" in metrics.body


async def test_one_original_by_itself(upstream: FakeUpstream, service: Service) -> None:
    """Fetched once, under its own name; a ZIP with originals finds it in the store."""
    path = f"{PATH}/a"
    head = await service.ask(path, method="HEAD", params={"include": "original"})
    first = await service.ask(path, params={"include": "original", "download": "true"})
    again = await service.ask(path, params={"include": "original"})
    full = await service.ask(path, params={"include": "original", "preview": "false"})
    members = (await service.download(include="original")).members

    assert (head.status, first.status, again.status, full.status) == (200, 200, 200, 200)
    assert first.body == again.body == full.body == members["originals/kitchen.dng"] == TIFF
    assert 'filename="kitchen.dng"' in head.headers["Content-Disposition"]
    assert first.headers["Content-Disposition"].startswith('attachment; filename="kitchen.dng"')
    asked = [one.query["preview"] for one in upstream.received if one.path == "/v3/images/a/original"]
    assert asked == ["true", "false"]
    assert upstream.calls("a") == 1  # for the ZIP


async def test_an_original_by_itself_is_the_parents(upstream: FakeUpstream, service: Service) -> None:
    """Of an image made from another one of the order: what that one was uploaded as."""
    upstream.orders[ORDER] = order([photo("a"), photo("c", parent_image_id="a")])

    answer = await service.ask(f"{PATH}/c", params={"include": "original"})

    assert answer.body == TIFF


async def test_an_original_by_itself_costs_no_look_at_the_whole_order(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images there are: at itself and what it was made from."""
    upstream.orders[ORDER] = order([photo("a"), photo("c", parent_image_id="a"), *map(str, range(50))])
    seen, observe = [], Generations.observe

    async def watched(self: Generations, order_id: str, document: Order, *more: Any) -> dict[str, int]:
        seen.append([image.image_id for image in document.images])
        return await observe(self, order_id, document, *more)

    monkeypatch.setattr(Generations, "observe", watched)
    answer = await service.ask(f"{PATH}/c", params={"include": "original"})

    assert (answer.body, seen) == (TIFF, [["c", "a"]])


@pytest.mark.parametrize("query", ["format=png", "rendition=print", "max_width=480"])
async def test_an_original_is_not_rendered(service: Service, query: str) -> None:
    """Parameters that would change it are refused."""
    answer = await service.ask(f"{PATH}/a?include=original&{query}")

    assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter")
    assert "cannot be combined" in answer.problem["detail"]
