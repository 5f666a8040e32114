"""Listings that are shorter than their count, and orders that go away while they are waited for."""

import asyncio

import pytest
from yarl import URL

from tests.support import jobs
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream, Script

SHORT = order(["a", "b"], total_images=500)
UNFINISHED = order(["a", photo("b", status="processing")], status="processing", is_processing=True)


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


async def test_a_short_listing_is_told_and_makes_nothing_partial(upstream: FakeUpstream, service: Service) -> None:
    """What is listed is delivered whole; overview and report say how many are not."""
    upstream.orders[ORDER] = SHORT

    overview = await service.ask(f"/v1/orders/{ORDER}")
    answer = await service.download(delivery="complete")
    report = await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")

    assert overview.document["unlisted"] == report.document["unlisted"] == 498
    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert (answer.headers["X-Downloaded"], answer.headers["X-Failed"]) == ("2", "0")


async def test_strict_refuses_a_short_listing(upstream: FakeUpstream, service: Service) -> None:
    """A download says how many are missing; a job ends with that error; also when the archive is there already."""
    upstream.orders[ORDER] = SHORT

    first = await service.download(on_failure="strict")
    await service.download()
    second = await service.download(on_failure="strict")
    job = await jobs.ended(service, await jobs.submit(service, on_failure="strict"))

    assert [answer.status for answer in (first, second)] == [422, 422]
    assert [answer.problem["code"] for answer in (first, second)] == ["images_missing"] * 2
    assert first.problem["unlisted"] == 498
    assert (job["status"], job["error"]["code"]) == ("error", "images_missing")


async def test_images_beyond_those_that_are_kept_are_told(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the order fits into one archive by their count, and where it does not: the overview's links can be had."""
    monkeypatch.setattr("service.upstream.order_document.MAX_IMAGES", 2)
    upstream.orders[ORDER] = order(["a", "b", "c"])
    large, small = await start_service(), await start_service(max_images_per_order=2)

    whole = await large.download()
    refused = await small.download()
    overviews = [(await service.ask(f"/v1/orders/{ORDER}")).document for service in (large, small)]
    parts = [await small.ask(URL(part["link"]).path_qs) for part in overviews[1]["parts"]]

    assert whole.images == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert (await large.download(on_failure="strict")).problem["unlisted"] == 1
    assert (refused.status, refused.problem["images"]) == (413, 3)
    assert [(document["unlisted"], document["truncated"]) for document in overviews] == [(1, True)] * 2
    assert [part["link"].partition("?")[2] for part in overviews[0]["parts"]] == [""]
    assert [part.images for part in parts] == [whole.images]


async def test_a_listing_that_lags_is_looked_at_twice(upstream: FakeUpstream, service: Service) -> None:
    """A moment later it is complete: that is the order."""
    upstream.orders[ORDER] = [order(["a"], total_images=2), order(["a", "b"])]

    answer = await service.download(on_failure="strict")

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert upstream.calls(ORDER) == 2


@pytest.mark.parametrize(
    "fields",
    [{"total_images": 1}, {"total_images": 2}, {"total_images": None}, {"total_images": "2"}, {"total_images": -1}],
    ids=str,
)
async def test_other_totals_mean_nothing(upstream: FakeUpstream, service: Service, fields: dict[str, object]) -> None:
    """A count that is met, exceeded or unreadable is no matter, under `strict` either; nobody looks twice."""
    upstream.orders[ORDER] = order(["a", "b"]) | fields

    answer = await service.download(on_failure="strict")

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert upstream.calls(ORDER) == 1


async def test_an_image_listed_twice_is_not_a_short_listing(upstream: FakeUpstream, service: Service) -> None:
    """Two entries for one image and a count of two: nothing is missing."""
    upstream.orders[ORDER] = order(["a", "a"])

    answer = await service.download(on_failure="strict")

    assert answer.members == {"a.jpg": jpeg(1)}


ENDS: dict[str, list[Script]] = {
    "deleted": [order([], is_deleted=True)],
    "deleted with its images": [UNFINISHED | {"is_deleted": True}],
    "unknown twice": [404, 404],
    "gone twice": [410, 410],
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_an_order_that_goes_away_ends_the_wait(
    upstream: FakeUpstream, service: Service, end: list[Script]
) -> None:
    """What was ready is delivered, the rest is missing for good; nobody asks on until the deadline."""
    upstream.orders[ORDER] = [UNFINISHED, UNFINISHED, *end]

    async with asyncio.timeout(TIMEOUT):
        answer = await service.download(wait="true", wait_timeout="3600")

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "image_not_found" in answer.report
    assert upstream.calls(ORDER) == 2 + len(end)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_it_ends_a_job_and_a_wait_for_the_first_image(
    upstream: FakeUpstream, service: Service, end: list[Script]
) -> None:
    """Before anything was listed: the order is unknown, and nothing else."""
    merging = order([], is_merging=True)
    upstream.orders[ORDER] = [merging, *end]

    async with asyncio.timeout(TIMEOUT):
        job = await jobs.ended(service, await jobs.submit(service, wait="true", wait_timeout="3600"))

    assert (job["status"], job["error"]["code"]) == ("error", "order_not_found")
    assert upstream.calls(ORDER) == 1 + len(end)


async def test_unknown_for_one_look_is_not_gone(upstream: FakeUpstream, start_service: StartService) -> None:
    """A lagging replica: the next look finds it."""
    service = await start_service()
    upstream.orders[ORDER] = [UNFINISHED, 404, order(["a", "b"])]

    answer = await service.download(wait="true", wait_timeout="3600")

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}


@pytest.mark.parametrize("others", [["unidentified-1"], ["unidentified-1", "unidentified-2", "unidentified-1x"]])
async def test_an_image_without_an_id_is_no_other(upstream: FakeUpstream, service: Service, others: list[str]) -> None:
    """Whatever the others are called: it is reported, and they are delivered."""
    nameless = photo("")
    upstream.orders[ORDER] = order([nameless, *others, nameless])
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(others)}

    answer = await service.download()

    assert answer.images == {f"{image_id}.jpg": jpeg(number) for number, image_id in enumerate(others)}
    assert "Missing: 2" in answer.report
