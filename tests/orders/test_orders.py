"""The order cache: one call for a burst, and never an old answer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.orders import orders as orders_module
from service.orders.orders import Orders
from service.problems import OrderNotFound, UpstreamError
from service.upstream.models import Order
from service.upstream.order_document import parse_order
from tests.support.order_calls import CHANGING, FINAL, Upstream
from tests.support.transport import FakeClock, yield_to_loop

FRESHNESS = 10.0


@pytest.fixture
async def upstream() -> Upstream:
    """In place of the client."""
    return Upstream()


@pytest.fixture
def orders(upstream: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """A cache whose time is turned by hand."""
    monkeypatch.setattr(orders_module, "time", clock)
    return upstream.orders(FRESHNESS)


@pytest.mark.parametrize(("document", "seconds"), [(FINAL, FRESHNESS), (CHANGING, 1.0)], ids=["final", "changing"])
async def test_a_document_is_used_again_as_long_as_it_is_fresh(
    upstream: Upstream, orders: Orders, clock: FakeClock, document: Order, seconds: float
) -> None:
    """Seconds where all is done, one second where something may change at any moment; not a moment longer."""
    upstream.answer = document
    await orders.get("o")

    clock.advance(seconds - 0.001)
    again = await orders.get("o")
    calls_before = len(upstream.calls)
    clock.advance(0.001)
    await orders.get("o")

    assert again is document
    assert (calls_before, len(upstream.calls)) == (1, 2)


@pytest.mark.parametrize("document", [FINAL, CHANGING], ids=["final", "changing"])
@pytest.mark.parametrize("freshness", [0.0, 0.5])
async def test_a_shorter_freshness_holds_for_all(
    upstream: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, document: Order, freshness: float
) -> None:
    """The setting is the most; zero keeps nothing."""
    monkeypatch.setattr(orders_module, "time", clock)
    orders = upstream.orders(freshness)
    upstream.answer = document
    await orders.get("o")
    clock.advance(freshness)

    await orders.get("o")

    assert len(upstream.calls) == 2


async def test_an_answer_is_as_old_as_its_arrival(upstream: Upstream, orders: Orders, clock: FakeClock) -> None:
    """Asking again does not make it younger."""
    await orders.get("o")
    for _ in range(4):
        clock.advance(FRESHNESS / 4)
        await orders.get("o")

    assert len(upstream.calls) == 2


async def test_refresh_goes_past_the_cache_and_fills_it(upstream: Upstream, orders: Orders) -> None:
    """What it brings is what others get from then on."""
    await orders.get("o")
    upstream.answer = newer = parse_order({"name": "newer", "images": [{"image_id": "a", "status": "processed"}]})

    refreshed = await orders.refresh("o")

    assert (refreshed, await orders.get("o")) == (newer, newer)
    assert len(upstream.calls) == 2


async def test_callers_at_the_same_time_share_one_call(upstream: Upstream, orders: Orders) -> None:
    """Whether they came for any answer or for a new one."""
    upstream.gate.clear()
    callers = [asyncio.create_task(ask("o")) for ask in (orders.get, orders.refresh, orders.get, orders.refresh)]
    await yield_to_loop()

    upstream.gate.set()
    answers = await asyncio.gather(*callers)

    assert all(answer is FINAL for answer in answers)
    assert upstream.calls == ["o"]


async def test_orders_do_not_wait_for_each_other(upstream: Upstream, orders: Orders) -> None:
    """Two ids are two calls, and two entries."""
    upstream.gate.clear()
    callers = [asyncio.create_task(orders.get(order_id)) for order_id in ("o", "p")]
    await yield_to_loop()
    under_way = list(upstream.calls)
    upstream.gate.set()
    await asyncio.gather(*callers)

    await orders.get("o")
    await orders.get("p")

    assert under_way == upstream.calls == ["o", "p"]


async def test_a_failed_call_is_not_kept(upstream: Upstream, orders: Orders) -> None:
    """All who waited for it get its error; the next caller tries again."""
    upstream.answer = UpstreamError()
    upstream.gate.clear()
    callers = [asyncio.create_task(orders.get("o")) for _ in range(3)]
    await yield_to_loop()
    upstream.gate.set()
    failed = await asyncio.gather(*callers, return_exceptions=True)

    upstream.answer = FINAL
    order = await orders.get("o")

    assert [type(outcome) for outcome in failed] == [UpstreamError] * 3
    assert order is FINAL
    assert len(upstream.calls) == 2


async def test_a_failed_refresh_leaves_what_was_known(upstream: Upstream, orders: Orders) -> None:
    """For as long as that is fresh."""
    await orders.get("o")
    upstream.answer = UpstreamError()

    with pytest.raises(UpstreamError):
        await orders.refresh("o")

    assert await orders.get("o") is FINAL


async def test_a_caller_who_leaves_does_not_end_the_others_call(upstream: Upstream, orders: Orders) -> None:
    """Not even the one who began it."""
    upstream.gate.clear()
    first, second = (asyncio.create_task(orders.get("o")) for _ in range(2))
    await yield_to_loop()

    first.cancel()
    await yield_to_loop()
    upstream.gate.set()
    order = await second

    assert first.cancelled()
    assert order is FINAL
    assert (upstream.calls, upstream.cancelled) == (["o"], 0)


async def test_a_call_that_everybody_left_still_fills_the_cache(upstream: Upstream, orders: Orders) -> None:
    """The answer is on its way; the next caller may as well have it."""
    upstream.gate.clear()
    caller = asyncio.create_task(orders.get("o"))
    await yield_to_loop()
    caller.cancel()
    await yield_to_loop()
    upstream.gate.set()
    await yield_to_loop()

    await orders.get("o")

    assert upstream.calls == ["o"]


async def test_a_failure_that_nobody_waited_for_is_silent(
    upstream: Upstream, orders: Orders, caplog: pytest.LogCaptureFixture
) -> None:
    """No complaint about an exception that was never retrieved."""
    upstream.gate.clear()
    upstream.answer = UpstreamError()
    caller = asyncio.create_task(orders.get("o"))
    await yield_to_loop()
    caller.cancel()
    await yield_to_loop()
    upstream.gate.set()
    await yield_to_loop()

    del caller
    assert caplog.records == []


async def test_closing_ends_what_is_under_way(upstream: Upstream, orders: Orders) -> None:
    """Nothing outlives it."""
    upstream.gate.clear()
    caller = asyncio.create_task(orders.get("o"))
    await yield_to_loop()

    await orders.close()
    await asyncio.wait([caller])

    assert caller.cancelled()
    assert upstream.cancelled == 1


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than two documents are kept."""
    monkeypatch.setattr(orders_module, "_MAX_BYTES", 2 * FINAL.memory_bytes)


@pytest.mark.usefixtures("room_for_two")
async def test_the_cache_is_bounded(upstream: Upstream, orders: Orders) -> None:
    """By the memory that documents take: the order that was fetched longest ago goes first."""
    for order_id in ("o", "p", "q"):
        await orders.get(order_id)

    await orders.get("q")
    await orders.get("p")
    await orders.get("o")

    assert upstream.calls == ["o", "p", "q", "o"]


async def test_one_document_is_kept_however_large(
    upstream: Upstream, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst for a very large order is still one call."""
    monkeypatch.setattr(orders_module, "_MAX_BYTES", 1)

    await orders.get("o")
    await orders.get("o")

    assert upstream.calls == ["o"]


@pytest.mark.parametrize("ask", [Orders.get, Orders.refresh], ids=["get", "refresh"])
async def test_a_deleted_order_is_not_found(
    upstream: Upstream, orders: Orders, ask: Callable[[Orders, str], Awaitable[Order]]
) -> None:
    """Although Autoenhance still answers for it; nor from the cache."""
    upstream.answer = parse_order({"order_id": "o", "is_deleted": True, "images": [{"image_id": "a"}]})

    for _ in range(2):
        with pytest.raises(OrderNotFound):
            await ask(orders, "o")


def listing(listed: int, total: int, **fields: object) -> Order:
    """A finished order that lists so many of its images."""
    images = [{"image_id": f"i{number}", "status": "processed"} for number in range(listed)]
    return parse_order({"order_id": "o", "images": images, "total_images": total} | fields)


class TestShortListings:
    """An order that lists fewer images than it counts."""

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What is waited for, without waiting."""
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        return pauses

    async def test_what_is_listed_a_moment_later_is_what_there_is(
        self, upstream: Upstream, orders: Orders, pauses: list[float]
    ) -> None:
        """A listing may lag behind its count."""
        upstream.answers = iter([listing(1, 2), listing(2, 2)])

        order = await orders.get("o")

        assert (order.image_count, len(upstream.calls), pauses) == (2, 2, [2.0])

    async def test_what_is_still_so_is_so(
        self, upstream: Upstream, orders: Orders, clock: FakeClock, pauses: list[float]
    ) -> None:
        """It is looked at once more only when the numbers are others."""
        upstream.answer = listing(1, 3)
        for _ in range(2):
            await orders.get("o")
            clock.advance(FRESHNESS)
        looks = len(upstream.calls)
        upstream.answer = listing(2, 3)
        await orders.get("o")

        assert (looks, len(upstream.calls), len(pauses)) == (3, 5, 2)

    async def test_while_an_order_may_grow_its_count_means_nothing(
        self, upstream: Upstream, orders: Orders, pauses: list[float]
    ) -> None:
        """Its brackets are being merged."""
        upstream.answer = listing(1, 3, is_merging=True)

        await orders.get("o")

        assert (len(upstream.calls), pauses) == (1, [])

    async def test_a_thousand_of_them_are_known(
        self, upstream: Upstream, orders: Orders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that were asked for last; one that was listed whole at the second look is none of them."""
        monkeypatch.setattr(orders_module, "_MAX_SHORT", 2)
        upstream.answer = listing(1, 2)
        for order_id in "abc":
            await orders.get(order_id)
        upstream.answers = iter([listing(1, 2), listing(2, 2)])
        await orders.get("d")

        assert list(orders._short) == ["b", "c"]


@pytest.mark.usefixtures("room_for_two")
async def test_the_oldest_document_makes_room(orders: Orders) -> None:
    """For the newest."""
    for order_id in "abc":
        await orders.get(order_id)

    assert [orders.is_kept(order_id) for order_id in "abc"] == [False, True, True]


@pytest.mark.usefixtures("room_for_two")
async def test_a_document_that_is_fetched_again_takes_no_more_room(orders: Orders) -> None:
    """It takes the place of the one before, and costs no other order its own."""
    for order_id in "ab":
        await orders.get(order_id)

    for _ in range(3):
        await orders.refresh("b")

    assert [orders.is_kept(order_id) for order_id in "ab"] == [True, True]


@pytest.mark.usefixtures("room_for_two")
async def test_a_document_that_is_fetched_again_is_the_newest(orders: Orders) -> None:
    """Room for a third is made by the one that was fetched before it."""
    for order_id in "ab":
        await orders.get(order_id)

    await orders.refresh("a")
    await orders.get("c")

    assert [orders.is_kept(order_id) for order_id in "abc"] == [True, False, True]
