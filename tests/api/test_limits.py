"""`RATE_LIMIT`: what counts, for whom, and what the caller is told."""

import asyncio
import time

import pytest

from tests.api.conftest import FIRST, SECOND
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

IMAGES = f"/v1/orders/{ORDER}/images"


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
    upstream.images["a"] = jpeg()


async def test_a_caller_is_told_where_it_stands(start_service: StartService) -> None:
    """`RateLimit-Policy` and `RateLimit` on what was counted; `Retry-After` once it is too much."""
    service = await start_service(rate_limit="2/minute")

    answers = [await service.download() for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == ['"downloads";q=2;w=60'] * 3
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert answers[2].problem["code"] == "rate_limited"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60


async def test_after_the_time_told_there_is_room_again(start_service: StartService) -> None:
    """`Retry-After` is long enough."""
    service = await start_service(rate_limit="1/second")
    await service.download()
    refused = await service.download()

    await asyncio.sleep(float(refused.headers["Retry-After"]))

    assert refused.status == 429
    assert (await service.download()).status == 200


async def test_downloads_and_jobs_count_hit_or_miss(start_service: StartService) -> None:
    """A download that is here already, one that is not, and a job: all begin something, and share the limit."""
    service = await start_service(rate_limit="3/minute")

    answers = [
        await service.download(),
        await service.download(),
        await service.ask(f"/v1/orders/{ORDER}/jobs", method="POST"),
        await service.ask(f"/v1/orders/{ORDER}/jobs", method="POST"),
        await service.download(OTHER_ORDER),
    ]

    assert [answer.status for answer in answers] == [200, 200, 202, 429, 429]


async def test_what_begins_nothing_is_never_counted(start_service: StartService) -> None:
    """Probes, metrics, the page, jobs, their events, archives, ranges: as often as wanted."""
    service = await start_service(rate_limit="2/minute")
    archive = (await service.download()).headers["X-Archive-Id"]
    job = (await service.ask(f"/v1/orders/{ORDER}/jobs", method="POST")).document["job_id"]
    free = [
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/",
        "/openapi.json",
        f"/v1/jobs/{job}",
        f"/v1/jobs/{job}/events",
        f"/v1/jobs/{job}/download",
        f"/v1/archives/{archive}",
        f"/v1/archives/{archive}/report",
        "/v1/stats",
    ]

    answers = [await service.ask(path, headers={"Range": "bytes=0-9"}) for path in free for _ in range(3)]

    assert {answer.status for answer in answers} <= {200, 204, 206}
    assert all("RateLimit" not in answer.headers for answer in answers)
    assert (await service.download()).status == 429


@pytest.mark.parametrize(("method", "path"), [("GET", f"/v1/orders/{ORDER}"), ("HEAD", IMAGES)])
async def test_what_only_asks_autoenhance_has_a_limit_of_its_own(
    start_service: StartService, method: str, path: str
) -> None:
    """Ten times `RATE_LIMIT`, for overviews and `HEAD` together; it takes nothing from downloads."""
    service = await start_service(rate_limit="1/minute")

    looks = [await service.ask(path, method=method) for _ in range(11)]

    assert [answer.status for answer in looks] == [200] * 10 + [429]
    assert looks[0].headers["RateLimit-Policy"] == '"overviews";q=10;w=60'
    assert (await service.ask(f"/v1/orders/{ORDER}")).status == 429
    assert (await service.download()).status == 200


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_wall_clock_that_is_set_locks_nobody_out(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Nor does it let anybody in: limits have a clock of their own."""
    service = await start_service(rate_limit="2/second")
    right = time.time
    full = [await service.download() for _ in range(3)]
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)

    refused = await service.download()
    await asyncio.sleep(float(refused.headers["Retry-After"]))

    assert [answer.status for answer in full] == [200, 200, 429]
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert (await service.download()).status == 200


async def test_a_resumed_download_is_not_a_new_one(upstream: FakeUpstream, start_service: StartService) -> None:
    """`Range` with the tag of what one holds goes on, limit or not, and even while Autoenhance is away."""
    service = await start_service(rate_limit="1/minute", order_freshness=0)
    whole = await service.download()
    upstream.orders[ORDER] = 500

    rest = [await _rest(service, whole) for _ in range(3)]

    assert [(answer.status, answer.body) for answer in rest] == [(206, whole.body[100:])] * 3


async def test_a_partial_archive_is_resumed_too(upstream: FakeUpstream, start_service: StartService) -> None:
    """A new request would get another archive; whoever holds a part of this one gets the rest of it."""
    service = await start_service(rate_limit="1/minute")
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images["b"] = 404
    whole = await service.download()

    rest = await _rest(service, whole)

    assert whole.headers.get("X-Archive-Id")
    assert (rest.status, rest.body) == (206, whole.body[100:])


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (IMAGES, {"If-Range": '"' + "0" * 32 + '"'}),
        (IMAGES, {"If-Range": "Fri, 31 Dec 2100 23:59:59 GMT"}),
        (IMAGES, {"Range": "bytes=0-1,4-5"}),
        (IMAGES, {"Range": "nonsense"}),
        (f"{IMAGES}?format=png", {}),
        (f"/v1/orders/{OTHER_ORDER}/images", {}),
    ],
)
async def test_whatever_is_not_a_resumed_download_counts(
    start_service: StartService, path: str, changed: dict[str, str]
) -> None:
    """An unknown tag, no usable range, another order or other options: that is a download like any."""
    service = await start_service(rate_limit="1/minute")
    whole = await service.download()

    answer = await service.ask(path, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]} | changed)

    assert answer.status == 429


async def test_each_key_has_its_own_limit(start_service: StartService) -> None:
    """A busy caller takes nothing from another, although both come from one address."""
    service = await start_service(rate_limit="1/minute", service_api_key=f"{FIRST},{SECOND}")

    statuses = [(await service.download(headers={"X-API-Key": key})).status for key in (FIRST, FIRST, SECOND)]

    assert statuses == [200, 429, 200]


async def test_inventing_keys_helps_nobody(start_service: StartService) -> None:
    """In an open service callers are told apart by address, whatever key they send."""
    service = await start_service(rate_limit="1/minute")

    statuses = [(await service.download(headers={"X-API-Key": key})).status for key in ("one", "two")]

    assert statuses == [200, 429]


async def _downloads_of(service: Service, *forwarded: str) -> list[int]:
    return [(await service.download(headers={"X-Forwarded-For": value})).status for value in forwarded]


async def test_a_forged_forwarded_for_changes_nothing(start_service: StartService) -> None:
    """Without trusted proxies the header is anybody's word."""
    service = await start_service(rate_limit="1/minute")

    assert await _downloads_of(service, "192.0.2.1", "192.0.2.2", "2001:db8::1") == [200, 429, 429]


async def test_behind_a_trusted_proxy_each_address_has_its_own_limit(start_service: StartService) -> None:
    """And what the caller itself put before the proxy's word does not count."""
    service = await start_service(rate_limit="1/minute", trusted_proxies="127.0.0.0/8")

    statuses = await _downloads_of(service, "192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.1", "127.0.0.1, 192.0.2.2")

    assert statuses == [200, 200, 429, 429]


async def test_one_household_is_one_caller(start_service: StartService) -> None:
    """Of IPv6 addresses, the first 64 bits tell callers apart."""
    service = await start_service(rate_limit="1/minute", trusted_proxies="127.0.0.1")

    statuses = await _downloads_of(service, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")

    assert statuses == [200, 429, 200]


async def _rest(service: Service, whole: Answer) -> Answer:
    return await service.download(headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
