"""What is written to Redis goes by itself, whatever becomes of who wrote it; and when."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from limits import parse

from service.api.shared_limits import SharedWindow
from service.cluster import image_leases
from service.cluster.breaker_hints import BreakerHints
from service.cluster.job_records import JobRecords
from service.cluster.live_lists import LiveLists, entry
from service.cluster.order_requests import SharedOrderRequests
from service.cluster.redis_link import RedisLink
from service.cluster.spending import SharedSpending
from service.jobs.job import Job
from service.telemetry.metrics import Circuit, Metrics
from service.upstream.breaker import Breaker
from tests.jobs.conformance.work import request
from tests.shared.test_image_leases import leases_of
from tests.shared.test_live_lists import ID, PLAN
from tests.support.redis_server import RedisServer

DAY, HOUR = "2026-01-01", 3600
JOB = request()


@pytest.fixture
async def link(redis: RedisServer, long_timeouts: None) -> AsyncIterator[RedisLink]:
    """An instance's way to Redis."""
    async with RedisLink.open(redis.url, "mine", Metrics()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """No midnight comes meanwhile."""
    monkeypatch.setattr("service.cluster.spending.today", lambda: DAY)


async def take_lease(link: RedisLink) -> None:
    await leases_of(link).acquire("image.0", buys=True)


async def tell_where_an_image_is(link: RedisLink) -> None:
    leases = leases_of(link)
    (await leases.acquire("image.0", buys=True)).release("an order")
    await leases.close()


async def tell_without_a_lease(link: RedisLink) -> None:
    leases = leases_of(link)
    await tell_where_an_image_is(link)
    await link.redis.persist("batch:image:image.0")
    leases._tell("image.0", 7, "another order")
    await leases.close()


async def warn_of_what_cannot_be_shared(link: RedisLink) -> None:
    leases_of(link)._s3.is_up = False
    await link.beat()


async def begin_request(link: RedisLink) -> None:
    await SharedOrderRequests(link).begin("key")


async def finish_request(link: RedisLink) -> None:
    requests = SharedOrderRequests(link)
    await requests.begin("key")
    await link.redis.persist("batch:order-request:key")
    await requests.finish("key", {})


async def take_request_over(link: RedisLink) -> None:
    await SharedOrderRequests(link).begin("key")
    await link.redis.persist("batch:order-request:key")
    await link.leave("mine")
    await SharedOrderRequests(link).begin("key")


async def reserve_credit(link: RedisLink) -> None:
    await SharedSpending(link, 1).reserve("image.0")


async def confirm_credit(link: RedisLink) -> None:
    spending = SharedSpending(link, 1)
    reservation = await spending.reserve("image.0")
    assert reservation is not None
    await link.redis.persist(f"batch:credits:{DAY}")
    await spending.confirm(reservation)


async def begin_list(link: RedisLink) -> None:
    await LiveLists(link, HOUR).begin(ID, PLAN, 1.0, anyway=False)


async def extend_list(link: RedisLink) -> None:
    lists = LiveLists(link, HOUR)
    await lists.begin(ID, PLAN, 1.0, anyway=False)
    await link.redis.persist(f"batch:list:{ID}")
    await lists.append(ID, 1, [entry("owner", "")])


async def point_and_keep(link: RedisLink) -> None:
    lists = LiveLists(link, HOUR)
    await lists.point(["one", "two"], ID)
    await lists.keep(ID, time.time() + 2 * HOUR)


async def open_circuit(link: RedisLink) -> None:
    breaker = Breaker(Circuit.API, failures=1, reset=HOUR, metrics=Metrics())
    hints = BreakerHints(link.redis, [breaker])
    for pause in (1, HOUR):
        breaker.advise(pause)
        await hints.exchange(breaker)


async def count_a_caller(link: RedisLink) -> None:
    window = SharedWindow("redis://127.0.0.1:9")
    await window.close()
    window._redis = link.redis
    window._run = link.redis.register_script(window._run.script)
    assert (await window.hit("caller", parse("5/hour"))).allowed
    await window.test("another", parse("5/hour"))


async def accept_job(link: RedisLink) -> None:
    records = JobRecords(link.redis)
    await records.claim_key("key", JOB.id)
    await records.add(Job.new(JOB))
    for index in ("all", "open"):  # what has gone is dropped from these on the way
        await link.redis.delete(f"batch:jobs:{index}")


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (take_lease, {"batch:image:image.0": 24 * HOUR}),
        (tell_where_an_image_is, {"batch:image:image.0": image_leases._TOLD_SECONDS}),
        (tell_without_a_lease, {"batch:image:image.0": image_leases._TOLD_SECONDS}),
        (warn_of_what_cannot_be_shared, {"batch:cannot-share:mine": 8}),
        (begin_request, {"batch:order-request:key": 24 * HOUR}),
        (finish_request, {"batch:order-request:key": 24 * HOUR}),
        (take_request_over, {"batch:order-request:key": 24 * HOUR}),
        (reserve_credit, {f"batch:credits:{DAY}": 48 * HOUR}),
        (confirm_credit, {f"batch:credits:{DAY}": 48 * HOUR}),
        (begin_list, {f"batch:list:{ID}": 7 * HOUR, f"batch:of:{PLAN.build_key}": 7 * HOUR}),
        (extend_list, {f"batch:list:{ID}": 7 * HOUR, f"batch:of:{PLAN.build_key}": 7 * HOUR}),
        (point_and_keep, {"batch:of:one": HOUR, "batch:of:two": HOUR, f"batch:kept:{ID}": 2 * HOUR}),
        (open_circuit, {f"batch:circuit:{Circuit.API}": HOUR, f"batch:circuit:{Circuit.API}:trial": 10}),
        (count_a_caller, {"limit:caller": HOUR}),
        (accept_job, {"batch:jobs:key:key": 48 * HOUR, f"batch:jobs:record:{JOB.id}": 30 * 24 * HOUR}),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
async def test_what_is_written_goes_by_itself(
    link: RedisLink, write: Callable[[RedisLink], Awaitable[None]], expected: dict[str, int]
) -> None:
    """Long after it is of use, and not before: an image that was told of, for as long as an index is trusted."""
    await write(link)

    left = {name.decode(): await link.redis.ttl(name) for name in await link.redis.keys("*")}
    assert left.pop("batch:alive:mine") in range(1, 9)
    assert left.keys() == expected.keys()
    for name, seconds in expected.items():
        assert left[name] in range(seconds - 5, seconds + 2), name


async def test_an_instance_that_left_is_known_for_as_long_as_one_that_died(link: RedisLink) -> None:
    """Others are told of it, and find it so when they look."""
    await link.leave("mine")

    assert await link.redis.get("batch:alive:mine") == b"left"
    assert await link.redis.ttl("batch:alive:mine") in range(1, 9)
