"""An image is fetched once, however many ask, and however often."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2, size=150_000)}


async def test_ten_callers_at_once_share_one_build(upstream: FakeUpstream, service: Service) -> None:
    """All have begun while an image is held; each image is fetched once, and all get equal bytes."""
    gate = upstream.hold("b")

    async with AsyncExitStack() as open_responses, asyncio.timeout(TIMEOUT):
        begun = await asyncio.gather(*(open_responses.enter_async_context(service.request(PATH)) for _ in range(10)))
        gate.set()
        bodies = await asyncio.gather(*(response.read() for response in begun))

    assert len(set(bodies)) == 1
    assert len({response.headers["X-Archive-Id"] for response in begun}) == 1
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_a_reader_who_comes_back_finds_the_build_going_on(upstream: FakeUpstream, service: Service) -> None:
    """Leaving halfway and asking again gives the same archive, and no image is fetched twice."""
    gate = upstream.hold("b")
    async with service.request(PATH) as left:
        archive_id = left.headers["X-Archive-Id"]
        left.close()

    async with service.request(PATH) as back, asyncio.timeout(TIMEOUT):
        gate.set()
        await back.read()

    assert back.headers["X-Archive-Id"] == archive_id
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_a_burst_of_callers_is_one_order_call(upstream: FakeUpstream, service: Service) -> None:
    """Ten callers, one question to upstream about the order, one about each image."""
    answers = await asyncio.gather(*(service.download() for _ in range(10)))

    assert {answer.status for answer in answers} == {200}
    assert (upstream.calls(ORDER), upstream.image_calls) == (1, 2)


async def test_a_finished_order_is_served_again_without_upstream_images(
    upstream: FakeUpstream, service: Service
) -> None:
    """The repeat has a length and final counts, the same tag and the same bytes, and costs no image call."""
    first = await service.download()

    second = await service.download()

    assert second.body == first.body
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Content-Length"] == str(len(first.body))
    assert (second.headers["X-Downloaded"], second.headers["X-Failed"]) == ("2", "0")
    assert upstream.image_calls == 2


async def test_after_a_partial_failure_only_what_failed_is_fetched(upstream: FakeUpstream, service: Service) -> None:
    """The next request gets the missing image and not the others again, as a new archive."""
    upstream.images["b"] = [404, jpeg(2)]

    first = await service.download()
    second = await service.download()

    assert first.images == {"a.jpg": jpeg(1)}
    assert second.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert first.headers["ETag"] != second.headers["ETag"]
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 2)


async def test_a_partial_archive_keeps_its_bytes(upstream: FakeUpstream, service: Service) -> None:
    """An archive id names one sequence of bytes, also when a better archive exists by now."""
    upstream.images["b"] = [404, jpeg(2)]
    first = await service.download()
    await service.download()

    again = await service.ask(f"/v1/archives/{first.headers['X-Archive-Id']}")

    assert (again.status, again.body) == (200, first.body)


async def test_after_nothing_came_the_next_request_tries_again(upstream: FakeUpstream, service: Service) -> None:
    """A 422 is not kept."""
    upstream.images |= {"a": [404, jpeg(1)], "b": [404, jpeg(2)]}

    first = await service.download()
    second = await service.download()

    assert (first.status, second.status) == (422, 200)
    assert set(second.members) == {"a.jpg", "b.jpg"}


async def test_a_subset_shares_the_images_of_the_whole(upstream: FakeUpstream, service: Service) -> None:
    """What was fetched for the whole order is not fetched again for a part of it."""
    await service.download()

    part = await service.download(image="b")

    assert part.members == {"b.jpg": jpeg(2, size=150_000)}
    assert upstream.image_calls == 2


async def test_a_reprocessed_image_is_a_new_image(upstream: FakeUpstream, start_service: StartService) -> None:
    """Where its record changed, it is fetched again and the old archive is not used for the order."""
    service = await start_service(order_freshness=0)
    upstream.orders[ORDER] = [
        order(["a", photo("b", enhance_type="neutral")]),
        order(["a", photo("b", enhance_type="warm")]),
    ]
    upstream.images["b"] = [jpeg(2), jpeg(3)]

    first = await service.download()
    second = await service.download()

    assert (first.members["b.jpg"], second.members["b.jpg"]) == (jpeg(2), jpeg(3))
    assert upstream.calls("a") == 1


async def test_fields_that_change_by_themselves_change_nothing(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """`downloaded`, ratings and dates do not make an image another image."""
    service = await start_service(order_freshness=0)
    changed = photo("b", downloaded=True, rating=5, metadata={"seen": 1})
    upstream.orders[ORDER] = [order(["a", "b"]), order(["a", changed], last_updated_at="2026-05-01T00:00:00")]

    first = await service.download()
    second = await service.download()

    assert second.headers["ETag"] == first.headers["ETag"]
    assert upstream.image_calls == 2


async def test_without_upstream_a_complete_archive_is_served_stale(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Upstream is down and the archive is here: it is served, and says that it may be old."""
    service = await start_service(order_freshness=0, upstream_attempts=1)
    upstream.orders[ORDER] = [order(["a", "b"]), 503]
    first = await service.download()

    second = await service.download()

    assert (second.status, second.body) == (200, first.body)
    assert second.headers["X-Archive-Stale"] == "true"
    assert "X-Archive-Stale" not in first.headers


async def test_without_upstream_head_tells_of_the_stale_archive(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """As GET would."""
    service = await start_service(order_freshness=0, upstream_attempts=1)
    upstream.orders[ORDER] = [order(["a", "b"]), 503]
    whole = await service.download()

    head = await service.head()

    assert (head.status, head.headers["ETag"]) == (200, whole.headers["ETag"])
    assert head.headers["X-Archive-Stale"] == "true"


async def test_another_order_is_never_served_from_this_one(upstream: FakeUpstream, service: Service) -> None:
    """An unknown order is unknown, whatever is in the store."""
    await service.download()

    answer = await service.download(OTHER_ORDER)

    assert answer.status == 404
