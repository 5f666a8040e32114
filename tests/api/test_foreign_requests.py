"""Pages of other sites, and browsers by themselves, spend no credits and change nothing."""

import asyncio

import pytest

from tests.api.conftest import FIRST, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

IMAGES = f"/v1/orders/{ORDER}/images"
JOBS = f"/v1/orders/{ORDER}/jobs"
PAGE, OTHER = "https://page.example", "https://other.example"

BUYS_OR_CHANGES = [
    ("GET", f"{IMAGES}?preview=false"),
    ("GET", f"{IMAGES}?preview=0&format=png"),
    ("GET", f"/orders/{ORDER}/images?preview=no"),
    ("GET", f"{IMAGES}/a?preview=false"),
    ("POST", JOBS),
    ("POST", f"/orders/{ORDER}/jobs"),
    ("POST", "/v1/ask"),
    ("POST", "/v1/links"),
    ("POST", "/v1/session"),
    ("DELETE", f"/v1/jobs/{'0' * 32}"),
]
FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OTHER},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Referer": f"{OTHER}/page"},
    {"Origin": OTHER},
    {"Origin": "null"},
    {"Origin": "http://[broken"},
    {"Referer": f"{OTHER}/page"},
    {"Origin": f"{PAGE}.evil.example"},
]
PREFETCHES: list[dict[str, str]] = [
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
]


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service without keys, which one page may call."""
    return await start_service(allowed_origins=PAGE, admin_token=TOKEN)


def code(answer: Answer) -> object:
    """The code of a problem; None for any other answer."""
    is_problem = answer.headers.get("Content-Type", "").startswith("application/problem+json")
    return answer.problem["code"] if is_problem else None


async def answers(
    service: Service, requests: list[tuple[str, str]], headers: list[dict[str, str]]
) -> set[tuple[int, object]]:
    """Status and code that these requests get, each with each of the headers."""
    every = [(method, path, one) for method, path in requests for one in headers]
    asked = await asyncio.gather(*(service.ask(path, method=method, headers=one) for method, path, one in every))
    got = {(answer.status, code(answer)) for answer in asked}
    print(*((answer.status, code(answer), *request) for request, answer in zip(every, asked, strict=True)), sep="\n")
    return got


async def test_a_page_of_another_site_buys_and_changes_nothing(upstream: FakeUpstream, service: Service) -> None:
    """403 before anything is asked upstream."""
    assert await answers(service, BUYS_OR_CHANGES, FOREIGN) == {(403, "origin_refused")}
    assert not upstream.calls("a")


async def test_a_page_of_another_site_is_no_administrator(service: Service) -> None:
    """What is for administrators asks for one first, wherever the request comes from."""
    requests = [("POST", "/v1/orders"), ("POST", "/v1/orders/sample")]

    assert await answers(service, requests, FOREIGN) == {(403, "administrators_only")}


async def test_what_costs_nothing_is_open_as_before(service: Service) -> None:
    """Previews, overviews, the page."""
    free = [IMAGES, f"{IMAGES}?preview=true", f"/v1/orders/{ORDER}", "/", "/livez"]

    assert await answers(service, [("GET", path) for path in free], FOREIGN) == {(200, None)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": PAGE},
        {"Sec-Fetch-Site": "cross-site", "Referer": f"{PAGE}/orders?id=1"},
        {"Origin": PAGE},
    ],
    ids=str,
)
async def test_programs_our_page_and_allowed_pages_may(service: Service, headers: dict[str, str]) -> None:
    """Also by a link on an allowed page, of which the browser says no more than where it was."""
    download = await service.download(preview="false", headers=headers)
    job = await send(service, "POST", JOBS, headers=headers)

    assert [download.status, job.status] == [200, 202]


async def test_a_browser_of_old_is_believed_what_it_says_of_our_page(service: Service) -> None:
    """Its origin is our address."""
    assert (await send(service, "POST", JOBS, headers={"Origin": service.url})).status == 202


async def test_any_origin_may_where_any_is_allowed(start_service: StartService) -> None:
    """`ALLOWED_ORIGINS=*` says so."""
    service = await start_service(allowed_origins="*")

    assert (await send(service, "POST", JOBS, headers={"Origin": OTHER})).status == 202


async def test_who_proves_who_it_is_may(start_service: StartService) -> None:
    """With keys no page can ask without one; an administrator's token is as good."""
    keyed, opened = await start_service(service_api_key=FIRST), await start_service(admin_token=TOKEN)
    foreign = {"Sec-Fetch-Site": "cross-site", "Host": "evil.example"}

    by_key = await send(keyed, "POST", JOBS, headers=foreign | {"X-API-Key": FIRST})
    by_token = await send(opened, "POST", JOBS, headers=foreign | {"X-Admin-Token": TOKEN})

    assert [by_key.status, by_token.status] == [202, 202]


async def test_webhooks_have_a_secret_of_their_own(start_service: StartService) -> None:
    """Whatever name Autoenhance knows us by."""
    service = await start_service(autoenhance_webhook_secret="secret-of-the-webhook")
    headers = {"Authentication": "secret-of-the-webhook", "Host": "batch.example"}

    answer = await send(service, "POST", "/v1/webhooks/autoenhance", {"event": "x"}, headers)

    assert answer.status == 200


async def test_a_name_that_somebody_gave_this_machine_is_not_ours(upstream: FakeUpstream, service: Service) -> None:
    """A page can make its own name lead here (DNS rebinding); the browser then takes us for its own site."""
    hosts = ["evil.example", "evil.example:8000", "localhost.evil.example", "192.0.2.1", "x", "["]
    headers = [{"Host": host, "Sec-Fetch-Site": "same-origin"} for host in hosts]

    assert await answers(service, BUYS_OR_CHANGES, headers) == {(403, "host_refused")}
    assert not upstream.calls("a")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST.", "batch.localhost", "127.0.0.1", "127.1.2.3:80", "[::1]:8000"]
)
async def test_the_loopback_s_names_are_ours(service: Service, host: str) -> None:
    """With any port."""
    assert (await send(service, "POST", JOBS, headers={"Host": host})).status == 202


@pytest.mark.parametrize(("allowed", "status"), [("Batch.Example, other.example", 202), ("*", 202), ("example", 403)])
async def test_other_names_can_be_allowed(start_service: StartService, allowed: str, status: int) -> None:
    """For a proxy on this machine."""
    service = await start_service(allowed_hosts=allowed)

    assert (await send(service, "POST", JOBS, headers={"Host": "batch.example:8443"})).status == status


async def test_a_program_without_a_host_may(service: Service) -> None:
    """HTTP/1.0 needs none, and no browser speaks it."""
    received = await service.raw(f"POST {JOBS} HTTP/1.0\n\n")

    assert received.startswith(b"HTTP/1.0 202 ")


@pytest.mark.parametrize("path", [path for method, path in BUYS_OR_CHANGES if method == "GET"])
async def test_what_is_fetched_ahead_spends_nothing(
    upstream: FakeUpstream, start_service: StartService, path: str
) -> None:
    """With keys or without, and by a link too."""
    opened, keyed = await start_service(), await start_service(service_api_key=FIRST)
    made = await send(keyed, "POST", "/v1/links", {"path": path}, {"X-API-Key": FIRST})
    with_key = [headers | {"X-API-Key": FIRST} for headers in PREFETCHES]

    got = await answers(opened, [("GET", path)], PREFETCHES)
    got |= await answers(keyed, [("GET", path)], with_key)
    got |= await answers(keyed, [("GET", str(made.document["url"]))], PREFETCHES)

    assert got == {(403, "prefetch_refused")}
    assert not upstream.calls("a")


async def test_what_is_free_may_be_fetched_ahead(service: Service) -> None:
    """Previews, and watermarked images."""
    free = [IMAGES, f"{IMAGES}?preview=true", f"{IMAGES}?preview=false&dev_mode=true", "/"]

    assert await answers(service, [("GET", path) for path in free], PREFETCHES) == {(200, None)}
