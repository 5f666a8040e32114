"""`wait=true`: images are fetched as upstream finishes them, until the deadline."""

from typing import Any

import pytest

from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

UNFINISHED = order(["a", photo("b", status="processing")], status="processing", is_processing=True)


async def test_an_image_that_becomes_ready_is_included(upstream: FakeUpstream, service: Service) -> None:
    """It is processing when first asked for, and done when asked again."""
    upstream.orders[ORDER] = [UNFINISHED, UNFINISHED, order(["a", "b"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download(wait="true", wait_timeout="60")

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert (upstream.calls(ORDER), upstream.calls("a"), upstream.calls("b")) == (3, 1, 1)


async def test_at_the_deadline_what_is_there_is_delivered(upstream: FakeUpstream, service: Service) -> None:
    """The rest is reported as not ready, after a last look at the deadline."""
    upstream.orders[ORDER] = UNFINISHED
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download(wait="true", wait_timeout="1")

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "not_ready" in answer.report
    assert upstream.calls(ORDER) == 2
    assert upstream.calls("b") == 0


async def test_the_last_look_is_at_the_deadline(upstream: FakeUpstream, service: Service) -> None:
    """An image that was finished just before the deadline is not missed."""
    upstream.orders[ORDER] = [UNFINISHED, order(["a", "b"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download(wait="true", wait_timeout="1")

    assert set(answer.members) == {"a.jpg", "b.jpg"}


async def test_an_image_that_fails_while_it_is_waited_for_is_reported(upstream: FakeUpstream, service: Service) -> None:
    """Waiting ends when nothing is left to wait for."""
    upstream.orders[ORDER] = [UNFINISHED, order(["a", photo("b", status="error")])]
    upstream.images["a"] = jpeg(1)

    answer = await service.download(wait="true", wait_timeout="60")

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "enhancement_failed" in answer.report


async def test_without_a_single_image_at_the_deadline_it_is_a_422(upstream: FakeUpstream, service: Service) -> None:
    """Nothing became ready: no archive, and the reason for each image."""
    upstream.orders[ORDER] = order([photo("b", status="processing")], is_processing=True)

    answer = await service.download(wait="true", wait_timeout="1")

    assert answer.status == 422
    assert answer.failures == {"b": "not_ready"}


async def test_a_finished_order_is_not_waited_for(upstream: FakeUpstream, service: Service) -> None:
    """Where all is done, `wait` makes no difference and asks nothing twice."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)

    answer = await service.download(wait="true")

    assert answer.members == {"a.jpg": jpeg(1)}
    assert upstream.calls(ORDER) == 1


async def test_images_that_appear_while_waiting_are_included(upstream: FakeUpstream, service: Service) -> None:
    """While brackets are merged an order has no images yet; those that appear are delivered."""
    upstream.orders[ORDER] = [order([], is_merging=True), order(["a", "b"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download(wait="true", wait_timeout="60")

    assert set(answer.members) == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("fields", [{"is_merging": True}, {"is_processing": True, "total_images": 2}])
async def test_images_that_are_listed_later_are_included(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    """One is listed already, and the order says that it is not all of them."""
    monkeypatch.setattr("service.orders.orders._SHORT_SECONDS", 0)
    first = order(["a"], **fields)
    upstream.orders[ORDER] = [first, first, first, order(["a", "b"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    overview = await service.ask(f"/v1/orders/{ORDER}")
    answer = await service.download(wait="true", wait_timeout="60", on_failure="strict")

    assert overview.document["status"] == "processing"
    assert set(answer.members) == {"a.jpg", "b.jpg"}


async def test_a_bad_moment_of_upstream_ends_no_waiting(upstream: FakeUpstream, start_service: StartService) -> None:
    """It is asked again, whether or not there are images yet."""
    service = await start_service(upstream_attempts=1)
    upstream.orders[ORDER] = [order([], is_merging=True), 500, UNFINISHED, 500, order(["a", "b"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download(wait="true", wait_timeout="60")

    assert set(answer.members) == {"a.jpg", "b.jpg"}


async def test_an_image_that_is_added_while_waiting_is_in_the_next_archive(
    upstream: FakeUpstream, service: Service
) -> None:
    """What was asked for before it came does not answer for the order that has it."""
    upstream.orders[ORDER] = [UNFINISHED, order(["a", "b", "c"])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": jpeg(3)}

    before = await service.download(wait="true", wait_timeout="1")
    after = await service.download()

    assert set(before.members) == {"a.jpg", "b.jpg"}
    assert set(after.members) == {"a.jpg", "b.jpg", "c.jpg"}
    assert upstream.image_calls == 3


async def test_an_image_that_is_made_anew_while_waiting_is_in_the_next_archive(
    upstream: FakeUpstream, service: Service
) -> None:
    """The earlier picture is not taken for the later one."""
    upstream.orders[ORDER] = [UNFINISHED, order([photo("a", updated_at="2026-04-01T10:00:00"), "b"])]
    upstream.images |= {"a": [jpeg(1), jpeg(3)], "b": jpeg(2)}

    await service.download(wait="true", wait_timeout="1")
    after = await service.download()

    assert after.members == {"a.jpg": jpeg(3), "b.jpg": jpeg(2)}


async def test_an_archive_that_was_waited_for_answers_the_next_request(
    upstream: FakeUpstream, service: Service
) -> None:
    """Also when images look different once they are finished."""
    upstream.orders[ORDER] = [UNFINISHED, order(["a", photo("b", width=6000)])]
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    first = await service.download(wait="true", wait_timeout="1")
    second = await service.download()

    assert second.headers["X-Archive-Id"] == first.headers["X-Archive-Id"]
