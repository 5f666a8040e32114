"""Browser pages of other origins (`ALLOWED_ORIGINS`)."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api.cors import refuse_odd_preflights
from service.problems import OriginRefused
from tests.api.conftest import FIRST, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

PAGE, OTHER = "https://page.example", "https://other.example"
IMAGES = f"/v1/orders/{ORDER}/images"


@pytest.fixture
async def service(start_service: StartService, upstream: FakeUpstream) -> Service:
    """A service that one page may call, with keys and a limit."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    return await start_service(
        allowed_origins=PAGE, service_api_key=FIRST, admin_token=TOKEN, rate_limit="1/minute", trusted_proxies=""
    )


async def preflight(
    service: Service, path: str = IMAGES, origin: str = PAGE, method: str = "GET", headers: str = "X-API-Key, Range"
) -> Answer:
    """Ask as a browser does before it sends a request."""
    return await service.ask(
        path,
        method="OPTIONS",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


def allows(answer: Answer) -> str | None:
    """The origin that may read the answer."""
    assert "Origin" in answer.headers["Vary"]
    return answer.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        (IMAGES, "GET", "X-API-Key, Range, If-Range, If-Match, If-None-Match"),
        (f"/v1/orders/{ORDER}/jobs", "POST", "X-API-Key, Idempotency-Key"),
        ("/v1/links", "POST", "X-API-Key, Content-Type"),
        ("/v1/jobs/x/events", "GET", "X-API-Key, Last-Event-ID"),
        ("/v1/jobs/x", "DELETE", "X-API-Key, X-Request-Id"),
        ("/v1/jobs/x", "GET", "traceparent, tracestate"),
        (f"/orders/{ORDER}/images", "GET", "X-API-Key"),
    ],
)
async def test_an_allowed_page_may_call(service: Service, path: str, method: str, headers: str) -> None:
    """The preflight needs no key, and names the headers that our routes take."""
    answer = await preflight(service, path, method=method, headers=headers)

    assert answer.status == 200
    assert allows(answer) == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == method
    assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    "asked",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": PAGE + ".evil.example"},
        {"method": "PUT"},
        {"headers": "X-Admin-Token"},
        {"headers": "Cookie"},
    ],
)
async def test_a_denied_preflight_says_so(service: Service, asked: dict[str, str]) -> None:
    """403 as a problem document, and no permission."""
    answer = await preflight(service, **asked)

    assert (answer.status, answer.problem["code"]) == (403, "origin_refused")
    assert allows(answer) is None


async def test_preflights_are_not_counted(service: Service) -> None:
    """A page that asks often does not use up its caller's downloads, and a wrong token in them is no attempt."""
    for _ in range(5):
        assert (await preflight(service)).status == 200

    answer = await service.download(headers={"X-API-Key": FIRST, "Origin": PAGE})

    assert answer.status == 200


async def test_a_page_can_read_a_download(service: Service) -> None:
    """The answer is open to the page, and so are the headers that tell how it went."""
    answer = await service.download(headers={"X-API-Key": FIRST, "Origin": PAGE})

    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert allows(answer) == PAGE
    assert exposed >= {"Content-Disposition", "ETag", "X-Archive-Id", "X-Failed", "Retry-After", "RateLimit"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_page_can_read_errors(service: Service) -> None:
    """401, 404 of a route, 404 and 405 of none, 429: else a page would see nothing but a failed fetch."""
    headers = {"X-API-Key": FIRST, "Origin": PAGE}
    await service.download(headers=headers)

    answers = [
        await service.download(headers={"Origin": PAGE}),
        await service.ask("/v1/jobs/nothing", headers=headers),
        await service.ask("/nowhere", headers=headers),
        await service.ask("/health", method="PUT", headers=headers),
        await service.download(headers=headers),
    ]

    assert [answer.status for answer in answers] == [401, 404, 404, 405, 429]
    assert [allows(answer) for answer in answers] == [PAGE] * 5


@pytest.mark.parametrize("origin", [OTHER, "null", f"{PAGE}, {OTHER}", ""])
async def test_other_pages_can_read_nothing(service: Service, origin: str) -> None:
    """Neither answers nor errors."""
    answers = [await service.ask(path, headers={"Origin": origin}) for path in ("/health", "/nowhere", IMAGES)]

    assert [allows(answer) for answer in answers] == [None] * 3


async def test_caches_are_told_that_the_origin_matters(service: Service) -> None:
    """`Vary: Origin` also on what was asked without one; the page's own `Vary` stays."""
    assert allows(await service.ask("/health")) is None
    assert (await service.ask("/")).headers.getall("Vary") == ["Accept-Encoding, Origin"]


async def test_any_origin_can_be_allowed(start_service: StartService) -> None:
    """`*`: answers and errors are open to every page."""
    service = await start_service(allowed_origins="*")

    answers = [await service.ask(path, headers={"Origin": OTHER}) for path in ("/health", "/nowhere")]

    assert [allows(answer) for answer in answers] == [OTHER, OTHER]


async def test_without_origins_there_is_no_cors(start_service: StartService) -> None:
    """No page but our own may call."""
    service = await start_service()

    answer = await service.ask("/health", headers={"Origin": PAGE})
    refused = await service.ask(
        "/health", method="OPTIONS", headers={"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    )

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert refused.status == 405


@pytest.mark.parametrize("header", ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"])
@pytest.mark.parametrize(
    ("method", "value", "is_refused"), [("OPTIONS", "ü", True), ("OPTIONS", "u", False), ("GET", "ü", False)]
)
async def test_only_a_preflight_that_cannot_be_answered_is_refused(
    header: str, method: str, value: str, is_refused: bool
) -> None:
    """Its answer would repeat what is no text."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    request = make_mocked_request(method, "/", headers={header: value})
    if is_refused:
        with pytest.raises(OriginRefused):
            await refuse_odd_preflights(request, handler)
        return
    assert (await refuse_odd_preflights(request, handler)).status == 204
