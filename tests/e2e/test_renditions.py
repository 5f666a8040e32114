"""Several renditions in one ZIP, a folder each, under names that the caller chose."""

from typing import Any

import pytest
from aiohttp import web

from tests.support import jobs
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo, webp
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"
SEVERAL = [("rendition", "print"), ("rendition", "web")]


def body_of(image_id: str, query: dict[str, str]) -> bytes:
    """What upstream has of an image in a rendition: each is another."""
    seed = sum(map(ord, image_id + "".join(f"{name}={value}" for name, value in sorted(query.items()))))
    return webp(seed) if query["format"] == "webp" else jpeg(seed)


async def rendered(request: web.Request) -> web.StreamResponse:
    return web.Response(body=body_of(request.match_info["id"], dict(request.query)))


PRINT = {"format": "jpeg", "preview": "false"}
WEB = {"format": "webp", "preview": "true"}


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order([photo("a", "kitchen.dng"), photo("b", "kitchen.jpg")])
    upstream.images |= {"a": rendered, "b": rendered}


async def download(service: Service, *query: tuple[str, str], path: str = PATH, **headers: str) -> Answer:
    return await service.ask(path, params=list(query), headers=headers)


async def test_each_has_a_folder_with_the_same_names(upstream: FakeUpstream, service: Service) -> None:
    """And its own files in it; the report tells which is which."""
    answer = await download(service, *SEVERAL, ("names", "{seq}_{name}"))

    assert answer.status == 200
    assert answer.headers["X-Total-Images"] == "4"
    assert answer.members == {
        "print/01_kitchen.jpg": body_of("a", PRINT),
        "print/02_kitchen.jpg": body_of("b", PRINT),
        "web/01_kitchen.webp": body_of("a", WEB),
        "web/02_kitchen.webp": body_of("b", WEB),
    }
    report = (await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")).document
    assert [
        (line["image_id"], line["original_name"], line["rendition"], line["name"]) for line in report["images"]
    ] == [
        ("a", "kitchen.dng", "print", "print/01_kitchen.jpg"),
        ("b", "kitchen.jpg", "print", "print/02_kitchen.jpg"),
        ("a", "kitchen.dng", "web", "web/01_kitchen.webp"),
        ("b", "kitchen.jpg", "web", "web/02_kitchen.webp"),
    ]
    assert (report["total"], report["downloaded"], report["failed"]) == (4, 4, 0)


async def test_an_only_one_has_no_folder(service: Service) -> None:
    """It is the archive that its options make without it."""
    named = await download(service, ("rendition", "web"))
    plain = await download(service, ("format", "webp"))

    assert list(named.members) == ["kitchen.webp", "kitchen_1.webp"]
    assert named.headers["ETag"] == plain.headers["ETag"]


async def test_equal_requests_are_one_archive(upstream: FakeUpstream, service: Service) -> None:
    """In another sequence, written in full, as a job by query or by body: nothing is asked of upstream again."""
    first = await download(service, *SEVERAL)
    asked = upstream.image_calls

    others = [
        await download(service, *SEVERAL[::-1]),
        await download(service, ("rendition", "web,format=webp"), ("rendition", "print,preview=false")),
    ]
    job = await jobs.ended(service, (await post(service, {"rendition": ["print", "web"]})).document)

    assert {other.headers["ETag"] for other in others} == {first.headers["ETag"]}
    assert job["archive_id"] == first.headers["X-Archive-Id"]
    assert upstream.image_calls == asked == 4


async def post(service: Service, body: dict[str, Any]) -> Answer:
    url = f"{service.url}/v1/orders/{ORDER}/jobs"
    async with service.session.post(url, json=body) as response:
        return Answer(response.status, response.headers, await response.read())


async def test_what_is_stored_is_used_in_any_archive(upstream: FakeUpstream, service: Service) -> None:
    """Of one rendition or of several: an image is fetched once in each."""
    await download(service, ("preview", "false"))
    await download(service, *SEVERAL)
    await download(service, ("format", "webp"), ("image", "a"))

    assert (upstream.calls("a"), upstream.calls("b")) == (2, 2)


async def test_a_failure_is_told_by_rendition(upstream: FakeUpstream, service: Service) -> None:
    """In the ZIP, in the report, in the job and its events; the other rendition of the image is there."""

    async def half(request: web.Request) -> web.StreamResponse:
        return await rendered(request) if request.query["format"] == "webp" else web.Response(status=404)

    upstream.images["b"] = half
    missing = {"image_id": "b", "name": "kitchen.jpg", "code": "image_not_found", "rendition": "print"}

    job = await jobs.ended(service, (await post(service, {"rendition": ["print", "web"]})).document)
    answer = await download(service, path=f"/v1/jobs/{job['job_id']}/download")
    report = (await service.ask(f"/v1/archives/{job['archive_id']}/report")).document
    strict = await download(service, *SEVERAL, ("on_failure", "strict"))

    assert sorted(answer.images) == ["print/kitchen.jpg", "web/kitchen.webp", "web/kitchen_1.webp"]
    for document in (job, report, strict.problem):
        (failure,) = document["failures"]
        assert failure.items() >= missing.items()
    assert (job["total"], job["downloaded"], job["failed"]) == (4, 3, 1)
    assert "  as:       print\r\n" in answer.report
    assert f"get it:   GET {PATH}?image=b&preview=false\r\n" in answer.report
    assert [line["outcome"] for line in report["images"]] == ["downloaded", "failed", "downloaded", "downloaded"]


async def test_the_overview_tells_of_every_file_and_of_what_each_image_costs(
    upstream: FakeUpstream, service: Service
) -> None:
    """A credit buys an image, in how many renditions so ever; one that was bought is not counted."""
    upstream.orders[ORDER] = order([photo("a", "kitchen.dng"), photo("b", downloaded=True)])
    query = [("rendition", "print"), ("rendition", "mls"), ("rendition", "web"), ("names", "{seq}")]

    before = (await download(service, *query, path=f"/v1/orders/{ORDER}")).document
    await download(service, *query)
    after = (await download(service, *query, path=f"/v1/orders/{ORDER}")).document

    assert [(file["image_id"], file["rendition"], file["file_name"]) for file in before["images"]] == [
        *(("a", "mls", "mls/01.jpg"), ("b", "mls", "mls/02.jpg")),
        *(("a", "print", "print/01.jpg"), ("b", "print", "print/02.jpg")),
        *(("a", "web", "web/01.webp"), ("b", "web", "web/02.webp")),
    ]
    assert (before["total"], before["downloaded"], before["to_buy"]) == (6, 0, 1)
    assert (after["total"], after["downloaded"], after["to_buy"]) == (6, 6, 0)


async def test_any_byte_can_be_resumed(service: Service) -> None:
    """Also in the middle of a folder's name."""
    whole = await download(service, *SEVERAL)
    tag = whole.headers["ETag"]

    for start in range(0, len(whole.body), 97):
        part = await download(service, *SEVERAL, Range=f"bytes={start}-", **{"If-Range": tag})
        assert (part.status, part.body) == (206, whole.body[start:])


async def test_a_lost_file_is_fetched_alone(upstream: FakeUpstream, start_service: StartService, tmp_path: Any) -> None:
    """Of one image in one rendition."""
    service = await start_service(data_dir=tmp_path / "data")
    whole = await download(service, *SEVERAL)
    lost = body_of("b", WEB)
    (path,) = [
        path for path in (tmp_path / "data" / "images").rglob("*") if path.is_file() and path.read_bytes() == lost
    ]
    path.unlink()

    again = await download(service, path=f"/v1/archives/{whole.headers['X-Archive-Id']}")

    assert again.body == whole.body
    assert (upstream.calls("a"), upstream.calls("b")) == (2, 3)


async def test_images_that_are_waited_for_come_in_every_rendition(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """As they become ready."""
    service = await start_service(order_freshness=0)
    busy = order([photo("a", "kitchen.dng"), photo("b", status="processing")], is_processing=True)
    upstream.orders[ORDER] = [busy, busy, order([photo("a", "kitchen.dng"), "b"])]

    answer = await download(service, *SEVERAL, ("wait", "true"), ("names", "{seq}"))

    assert sorted(answer.members) == ["print/01.jpg", "print/02.jpg", "web/01.webp", "web/02.webp"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ([("rendition", "flyer")], "rendition"),
        ([("rendition", "print"), ("quality", "80")], "rendition"),
        ([("rendition", f"r{number},quality=1") for number in range(6)], "rendition"),
        ([("names", "{address}")], "names"),
        ([("names", "{seq}"), ("names", "{name}")], "names"),
        ([("rendition", "x,format=avif")], "rendition"),
    ],
)
async def test_what_cannot_be_is_refused(
    upstream: FakeUpstream, service: Service, query: list[tuple[str, str]], parameter: str
) -> None:
    """With the parameter's name, at every address that takes it; nothing is asked of upstream."""
    answers = [
        await download(service, *query),
        await download(service, *query, path=f"/v1/orders/{ORDER}"),
        await service.ask(f"/v1/orders/{ORDER}/jobs", method="POST", params=query),
    ]

    assert [(answer.status, answer.problem["parameter"]) for answer in answers] == [(400, parameter)] * 3
    assert upstream.received == []


async def test_an_operators_preset_is_known(start_service: StartService) -> None:
    """By query and by body."""
    service = await start_service(renditions='{"flyer": {"max_width": 1200}}')

    answer = await download(service, ("rendition", "flyer"), ("rendition", "web"))
    job = await jobs.ended(service, (await post(service, {"rendition": ["flyer", "web"]})).document)

    assert sorted(answer.members)[0] == "flyer/kitchen.jpg"
    assert job["archive_id"] == answer.headers["X-Archive-Id"]
