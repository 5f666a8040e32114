"""What upstream's failures become: of the order call, a status; of an image, retries and then a missing image."""

from typing import Any

import pytest
from aiohttp import web

from tests.support.client import Service, StartService
from tests.support.loopback import free_port
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream, Reply, Script


async def test_an_unknown_order_is_a_404(service: Service) -> None:
    """Upstream's 404 is ours."""
    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (404, "order_not_found")


@pytest.mark.parametrize("fields", [{}, {"images": None}, {"is_merging": True}])
async def test_an_order_without_images_is_a_404(
    upstream: FakeUpstream, service: Service, fields: dict[str, Any]
) -> None:
    """An order that exists and holds nothing has its own code."""
    upstream.orders[ORDER] = order([]) | fields

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (404, "order_empty")


async def test_a_deleted_order_is_unknown(upstream: FakeUpstream, service: Service) -> None:
    """`is_deleted` orders may still be answered by upstream; here they are gone."""
    upstream.orders[ORDER] = order(["a"], is_deleted=True)

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (404, "order_not_found")


async def test_more_images_than_allowed_are_refused(upstream: FakeUpstream, service: Service) -> None:
    """101 images are 413, and none of them is fetched."""
    upstream.orders[ORDER] = order([f"i{number}" for number in range(101)])

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (413, "too_many_images")
    assert len(upstream.received) == 1


async def test_the_limit_itself_is_allowed(upstream: FakeUpstream, start_service: StartService) -> None:
    """An order with exactly as many images as allowed is delivered."""
    service = await start_service(max_images_per_order=2)
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download()

    assert len(answer.images) == 2


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (401, 401),
        (403, 401),
        (500, 502),
        (503, 502),
        (418, 502),
        ("<html><body>Bad Gateway</body></html>", 502),
        (Reply(body=b"", content_type="application/json"), 502),
        (Reply(body=b"[]", content_type="application/json"), 502),
        (Reply(body=b'{"images": "many"}', content_type="application/json"), 502),
        (Reply(body=b'{"images": [' + b"[" * 50_000, content_type="application/json"), 502),
        (Reply(body=b'{"images": []}', content_type="application/json", cut_after=5), 502),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_failed_order_call_decides_the_status(
    upstream: FakeUpstream, start_service: StartService, script: Script, status: int
) -> None:
    """A refused key is 401; broken, unreadable or unexpected is 502."""
    service = await start_service(upstream_attempts=1)
    upstream.orders[ORDER] = script

    answer = await service.download()

    assert answer.status == status
    assert answer.problem["status"] == status


async def test_an_upstream_nobody_answers_at_is_a_502(start_service: StartService) -> None:
    """A refused connection is upstream's failure, not a crash of ours."""
    service = await start_service(upstream_attempts=1, autoenhance_api_base=f"http://127.0.0.1:{free_port()}/v3")

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (502, "upstream_error")


async def test_an_order_call_that_never_ends_is_a_504(upstream: FakeUpstream, start_service: StartService) -> None:
    """Past its deadline the order call is given up."""
    service = await start_service(upstream_attempts=1, image_timeout=0.2)
    upstream.orders[ORDER] = order(["a"])
    upstream.hold(ORDER)

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize("trouble", [500, 503, 429])
async def test_the_order_call_is_tried_again(upstream: FakeUpstream, service: Service, trouble: int) -> None:
    """A passing fault of the order call goes unnoticed."""
    upstream.orders[ORDER] = [trouble, order(["a"])]
    upstream.images["a"] = jpeg()

    answer = await service.download()

    assert (answer.status, upstream.calls(ORDER)) == (200, 2)


@pytest.mark.parametrize("trouble", [500, 502, 503, 504, 429, Reply(status=429, headers={"Retry-After": "1"})])
async def test_an_image_is_tried_again_when_that_can_help(
    upstream: FakeUpstream, service: Service, trouble: Script
) -> None:
    """5xx and 429 are worth another attempt."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = [trouble, jpeg()]

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg()}
    assert upstream.calls("a") == 2


async def test_a_dropped_connection_is_tried_again(upstream: FakeUpstream, service: Service) -> None:
    """A connection that ends without an answer is worth another attempt."""

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = [hang_up, jpeg()]

    answer = await service.download()

    assert answer.members == {"a.jpg": jpeg()}


async def test_attempts_are_limited(upstream: FakeUpstream, service: Service) -> None:
    """Three attempts, then the image is missing."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = 500

    answer = await service.download()

    assert answer.failures == {"a": "upstream_error"}
    assert upstream.calls("a") == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 422])
async def test_a_refusal_is_not_asked_again(upstream: FakeUpstream, service: Service, status: int) -> None:
    """Another 4xx than 429 stays what it is, so it is asked once."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = status

    answer = await service.download()

    assert answer.status == 422
    assert upstream.calls("a") == 1


async def test_retry_after_is_waited_for(upstream: FakeUpstream, service: Service) -> None:
    """The second attempt is not made before upstream's `Retry-After` is over: a lower bound, never an upper one."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = [Reply(status=503, headers={"Retry-After": "2"}), jpeg()]

    await service.download()

    first, second = upstream.requests("a")
    assert second.at - first.at >= 1.9


async def test_a_retry_after_past_the_deadline_ends_the_attempts(upstream: FakeUpstream, service: Service) -> None:
    """Who shall wait an hour is not asked again within the image's minute."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = Reply(status=429, headers={"Retry-After": "3600"})

    answer = await service.download()

    assert answer.failures == {"a": "rate_limited"}
    assert upstream.calls("a") == 1


async def test_an_image_past_its_deadline_is_missing(upstream: FakeUpstream, start_service: StartService) -> None:
    """A held image does not hold the others: it is reported as timed out."""
    service = await start_service(image_timeout=0.5, upstream_attempts=1)
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    upstream.hold("b")

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}
    assert "timeout" in answer.report


async def test_an_open_breaker_answers_at_once(upstream: FakeUpstream, start_service: StartService) -> None:
    """Once upstream failed often enough it is left alone: 503, `Retry-After`, no upstream call."""
    service = await start_service(upstream_attempts=1, breaker_failures=2)
    upstream.orders |= {ORDER: 500, OTHER_ORDER: 500}
    await service.download(ORDER)
    await service.download(OTHER_ORDER)
    before = len(upstream.received)

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (503, "breaker_open")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert len(upstream.received) == before


async def test_images_refused_by_an_open_breaker_alone_are_a_503(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Nothing is wrong with the images then, so it is not a 422: come back later."""
    service = await start_service(upstream_attempts=1, breaker_failures=1)
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = 500
    first = await service.download()

    second = await service.download()

    assert (first.status, second.status) == (422, 503)
    assert second.problem["code"] == "breaker_open"
    assert int(second.headers["Retry-After"]) >= 1
    assert upstream.calls("a") == 1
