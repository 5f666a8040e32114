"""Health, probes, and what works without a key of ours or of the caller's."""

import pytest

from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


async def test_health_is_the_first_generations_document(service: Service) -> None:
    """Status, whether a key is configured, and the version."""
    health = await _json(service, "/health")

    assert health.keys() >= {"status", "api_key_configured", "version"}
    assert health["api_key_configured"] is True


async def test_health_answers_head_without_a_body(service: Service) -> None:
    """Load balancers ask with HEAD."""
    answer = await service.ask("/health", method="HEAD")

    assert (answer.status, answer.body) == (200, b"")


async def test_without_a_key_the_service_starts_and_says_so(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Health tells that the key is missing; downloads are 503, and upstream hears nothing."""
    service = await start_service(autoenhance_api_key=None)

    health = await _json(service, "/health")
    answer = await service.download()

    assert health["api_key_configured"] is False
    assert (answer.status, answer.problem["code"]) == (503, "not_configured")
    assert upstream.received == []


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_fine_whatever_upstream_does(
    upstream: FakeUpstream, start_service: StartService, path: str
) -> None:
    """An open breaker takes no replica out."""
    service = await start_service(upstream_attempts=1, breaker_failures=1)
    upstream.orders[ORDER] = 500
    assert (await service.download()).status == 502
    assert (await service.download()).status == 503

    answer = await service.ask(path)

    assert answer.status == 200


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"X-API-Key": "k\u00e9y"}])
async def test_with_caller_keys_a_download_needs_one(
    upstream: FakeUpstream, start_service: StartService, headers: dict[str, str]
) -> None:
    """Missing or wrong is 401 with `WWW-Authenticate`, before any upstream call."""
    service = await start_service(service_api_key="first, second")

    answer = await service.download(headers=headers)

    assert answer.status == 401
    assert answer.problem["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"]
    assert upstream.received == []


@pytest.mark.parametrize("key", ["first", "second"])
async def test_each_caller_key_opens(upstream: FakeUpstream, start_service: StartService, key: str) -> None:
    """Several keys may be in force, and none of them goes upstream."""
    service = await start_service(service_api_key="first, second")
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    answer = await service.download(headers={"X-API-Key": key})

    assert answer.status == 200
    assert all(key not in request.headers.values() for request in upstream.received)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/orders"), ("POST", "/api/create-sample-order"), ("GET", "/v1/errors"), ("GET", "/sentry-debug")],
)
async def test_an_administrators_address_says_403_to_everybody_else(
    start_service: StartService, method: str, path: str
) -> None:
    """With a caller's key or without any: it is not a key that is missing."""
    service = await start_service(service_api_key="first", admin_token="secret")

    answers = [await service.ask(path, method=method, headers=headers) for headers in ({}, {"X-API-Key": "first"})]

    assert [answer.status for answer in answers] == [403, 403]


async def test_a_key_in_the_query_is_refused(start_service: StartService) -> None:
    """Keys never travel in a query: it opens nothing."""
    service = await start_service(service_api_key="first")

    answer = await service.ask(f"/v1/orders/{ORDER}/images?api_key=first")

    assert answer.status in (400, 401)


async def test_probes_need_no_key(start_service: StartService) -> None:
    """Health and probes are open."""
    service = await start_service(service_api_key="first")

    statuses = [(await service.ask(path)).status for path in ("/health", "/livez", "/readyz")]

    assert statuses == [200, 200, 200]


async def _json(service: Service, path: str) -> dict[str, object]:
    async with service.request(path) as response:
        assert response.status == 200
        document = await response.json()
        assert isinstance(document, dict)
        return document
