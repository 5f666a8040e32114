"""Waiting for an order: one look at a time however many wait, and nothing that happens is missed."""

import asyncio
from collections.abc import Callable

import pytest

from service.orders import orders as orders_module
from service.orders.orders import Orders
from service.orders.schedule import PollSchedule
from service.problems import OrderNotFound, Problem, UpstreamBusy, UpstreamError, UpstreamTimeout
from service.single_flight import SingleFlight
from service.upstream.models import Order
from service.upstream.order_document import parse_order
from tests.support.order_calls import CHANGING, EMPTY, FINAL, Upstream
from tests.support.transport import TIMEOUT, FakeClock, yield_to_loop

ONE = {"order_id": "o", "images": [{"image_id": "a", "status": "processed"}]}
MERGING = parse_order(ONE | {"is_merging": True})
SHORT = parse_order(ONE | {"is_processing": True, "total_images": 2})


class Schedule(PollSchedule):
    """Looks when told to: `pause` never ends by itself unless it is due."""

    def __init__(self, *, is_due: bool = False) -> None:
        super().__init__(deadline=0, clock=lambda: -1)
        self.is_due = is_due
        self.looks_left: int | None = None
        self.least: list[float] = []

    @property
    def is_over(self) -> bool:
        """After so many looks, if any were set."""
        return self.looks_left is not None and self.looks_left <= 0

    def pause(self, least: float = 0.0) -> float:
        """No time when due, else more than any test takes."""
        self.least.append(least)
        if self.looks_left is not None:
            self.looks_left -= 1
        return 0 if self.is_due else 10 * TIMEOUT


@pytest.fixture
async def upstream() -> Upstream:
    """In place of the client."""
    return Upstream()


@pytest.fixture
def orders(upstream: Upstream) -> Orders:
    """A cache that keeps nothing."""
    return upstream.orders(0)


class Waiter:
    """A task that takes looks one after the other, until it is content."""

    def __init__(self, orders: Orders, schedule: PollSchedule, is_content: Callable[[Order], bool]) -> None:
        self.outcomes: list[Order | Problem] = []
        self.task = asyncio.create_task(self._wait(orders, schedule, is_content))

    async def _wait(self, orders: Orders, schedule: PollSchedule, is_content: Callable[[Order], bool]) -> None:
        with orders.watch("o") as watch:
            while True:
                try:
                    order = await watch.next_poll(schedule)
                except Problem as problem:
                    self.outcomes.append(problem)
                    if isinstance(problem, OrderNotFound):
                        return
                else:
                    self.outcomes.append(order)
                    if is_content(order):
                        return


def is_final(order: Order) -> bool:
    return order.is_final


async def done(*waiters: Waiter) -> None:
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*(waiter.task for waiter in waiters))


async def test_two_who_wait_for_one_order_make_one_look(upstream: Upstream, orders: Orders) -> None:
    """Both get what it brings."""
    waiters = [Waiter(orders, Schedule(is_due=True), is_final) for _ in range(2)]

    await done(*waiters)

    assert [waiter.outcomes for waiter in waiters] == [[FINAL], [FINAL]]
    assert upstream.calls == ["o"]


async def test_who_did_not_look_hears_of_it_too(upstream: Upstream, orders: Orders) -> None:
    """Given one whose time has not come, another's look is his as well."""
    patient = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    eager = Waiter(orders, Schedule(is_due=True), is_final)

    await done(patient, eager)

    assert patient.outcomes == [FINAL]
    assert upstream.calls == ["o"]


async def test_many_make_one_look_at_a_time_also_when_looks_fail(upstream: Upstream, orders: Orders) -> None:
    """Thirty waiters, three failures, then an answer: four calls."""
    upstream.answer = UpstreamError()
    waiters = [Waiter(orders, Schedule(is_due=True), is_final) for _ in range(30)]
    await upstream.until(lambda: len(upstream.calls) == 3)
    upstream.answer = FINAL

    await done(*waiters)

    assert len(upstream.calls) == 4
    outcomes = {tuple(type(outcome) for outcome in waiter.outcomes) for waiter in waiters}
    assert outcomes == {(UpstreamError, UpstreamError, UpstreamError, Order)}


async def test_a_refusal_says_when_to_look_again(upstream: Upstream, orders: Orders) -> None:
    """At the soonest; an answer, or a failure that says nothing, leaves it to the schedule."""
    upstream.answers = iter([UpstreamBusy(retry_after=60), UpstreamError()])
    schedule = Schedule(is_due=True)

    await done(Waiter(orders, schedule, is_final))

    assert schedule.least == pytest.approx([0, 60, 0], abs=5)


async def test_a_refusal_counts_from_when_it_came(
    upstream: Upstream, orders: Orders, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one who was busy for most of that time: it waits for the rest."""
    monkeypatch.setattr(orders_module, "time", clock)
    upstream.answers = iter([UpstreamBusy(retry_after=60)])
    schedule = Schedule(is_due=True)

    with orders.watch("o") as watch:
        with pytest.raises(UpstreamBusy):
            await watch.next_poll(schedule)
        clock.advance(55)
        await watch.next_poll(schedule)

    assert schedule.least == [0, 5]


async def test_a_notify_makes_who_waits_look_at_once(upstream: Upstream, orders: Orders) -> None:
    """Although his time has not come; other orders are left alone."""
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    orders.notify("p")
    await yield_to_loop()
    before = list(upstream.calls)

    orders.notify("o")
    await done(waiter)

    assert (before, upstream.calls) == ([], ["o"])


async def test_a_notify_is_worth_one_look(upstream: Upstream, orders: Orders) -> None:
    """After it the schedule is kept again."""
    upstream.answer = CHANGING
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    orders.notify("o")
    await yield_to_loop(50)

    assert upstream.calls == ["o"]
    waiter.task.cancel()


async def test_a_notify_during_a_look_is_not_lost(upstream: Upstream, orders: Orders) -> None:
    """The look may have been answered before it happened: there is another one at once."""
    upstream.answer = CHANGING
    upstream.gate.clear()
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    orders.notify("o")
    await yield_to_loop()
    assert upstream.calls == ["o"]

    upstream.answer = FINAL
    orders.notify("o")
    upstream.gate.set()
    await done(waiter)

    assert waiter.outcomes == [CHANGING, FINAL]


async def test_a_notify_is_not_lost_to_a_look_that_others_began_before_it(upstream: Upstream, orders: Orders) -> None:
    """Given an overview's call under way, who waits gets its answer, and looks once more."""
    upstream.answer = CHANGING
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    upstream.gate.clear()
    overview = asyncio.create_task(orders.refresh("o"))
    await yield_to_loop()

    upstream.answer = FINAL
    orders.notify("o")
    await yield_to_loop()
    upstream.gate.set()
    await done(waiter)

    assert await overview is CHANGING
    assert waiter.outcomes[-1] is FINAL
    assert upstream.calls == ["o", "o"]


async def test_an_order_that_is_unknown_twice_in_a_row_is_gone(upstream: Upstream, orders: Orders) -> None:
    """The first time may have met a lagging replica: it is upstream's error then."""
    upstream.answer = OrderNotFound("no")
    waiter = Waiter(orders, Schedule(is_due=True), is_final)

    await done(waiter)

    assert [type(outcome) for outcome in waiter.outcomes] == [UpstreamError, OrderNotFound]
    assert len(upstream.calls) == 2


async def test_only_in_a_row(upstream: Upstream, orders: Orders) -> None:
    """An answer between, and it begins anew."""
    waiter = Waiter(orders, Schedule(is_due=True), is_final)
    answers: list[Order | Exception] = [OrderNotFound("no"), CHANGING, OrderNotFound("no"), FINAL]
    upstream.answers = iter(answers)

    await done(waiter)

    assert [type(outcome) for outcome in waiter.outcomes] == [UpstreamError, Order, UpstreamError, Order]


async def test_what_was_looked_at_before_the_watch_is_no_look(upstream: Upstream, orders: Orders) -> None:
    """Who begins to wait later waits for the next one."""
    with orders.watch("o"):
        await orders.refresh("o")
        waiter = Waiter(orders, Schedule(), is_final)
        await yield_to_loop()

        assert waiter.outcomes == []
        orders.notify("o")
        await done(waiter)

    assert len(upstream.calls) == 2


async def test_looks_of_others_that_were_missed_are_one(upstream: Upstream, orders: Orders) -> None:
    """Only the last of them is known: an order that was unknown then may be there the next time."""
    with orders.watch("o") as watch:
        upstream.answer = OrderNotFound("no")
        for _ in range(2):
            with pytest.raises(OrderNotFound):
                await orders.refresh("o")
        with pytest.raises(UpstreamError):
            await watch.next_poll(Schedule())
        waiting = asyncio.create_task(watch.next_poll(Schedule()))
        await yield_to_loop()
        upstream.answer = FINAL
        orders.notify("o")

        assert await waiting is FINAL


async def test_nothing_is_kept_of_orders_that_nobody_waits_for(upstream: Upstream, orders: Orders) -> None:
    """Also when a waiter was cancelled."""
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    waiter.task.cancel()
    await asyncio.wait([waiter.task])
    orders.notify("o")

    assert orders._polls == {}


async def test_one_who_leaves_takes_nothing_from_the_others(upstream: Upstream, orders: Orders) -> None:
    """Who still waits hears of the next look, whoever takes it, and of a notify."""
    upstream.answer = CHANGING
    waiter = Waiter(orders, Schedule(), is_final)
    await yield_to_loop()
    with orders.watch("o"):
        pass

    await orders.refresh("o")
    await yield_to_loop()
    looks = list(waiter.outcomes)
    upstream.answer = FINAL
    orders.notify("o")
    await yield_to_loop()

    assert (looks, waiter.outcomes) == ([CHANGING], [CHANGING, FINAL])
    await done(waiter)


class TestNextAnswer:
    async def test_it_waits_for_a_look_that_is_answered(self, upstream: Upstream, orders: Orders) -> None:
        """Failures, and news that nobody has looked at, are none."""
        with orders.watch("o") as watch:
            waiting = asyncio.create_task(watch.next_answer())
            await yield_to_loop()
            orders.notify("o")
            upstream.answer = UpstreamTimeout()
            with pytest.raises(UpstreamTimeout):
                await orders.refresh("o")
            await yield_to_loop()
            before = waiting.done()

            upstream.answer = CHANGING
            await orders.refresh("o")
            await yield_to_loop()

            assert (before, waiting.done()) == (False, True)


class TestUntilListed:
    @pytest.mark.parametrize("order", [CHANGING, Order(order_id="o")], ids=["listed", "none to come"])
    async def test_an_order_whose_images_are_listed_is_not_waited_for(
        self, upstream: Upstream, orders: Orders, order: Order
    ) -> None:
        """Whether they are done is another matter; nor is one that will have none."""
        upstream.answer = order

        assert await orders.wait_until_listed("o", Schedule()) is order
        assert upstream.calls == ["o"]

    @pytest.mark.parametrize("order", [MERGING, SHORT], ids=["merging", "processing"])
    async def test_an_order_that_may_list_more_is_waited_for(
        self, upstream: Upstream, orders: Orders, monkeypatch: pytest.MonkeyPatch, order: Order
    ) -> None:
        """One image is there; it is not all of them."""
        monkeypatch.setattr("service.orders.orders._SHORT_SECONDS", 0)
        upstream.answer = order
        waiting = asyncio.create_task(orders.wait_until_listed("o", Schedule(is_due=True)))
        await upstream.until(lambda: len(upstream.calls) == 4)
        upstream.answer = FINAL

        assert await waiting is FINAL

    async def test_who_wants_what_is_listed_waits_for_nothing_else(self, upstream: Upstream, orders: Orders) -> None:
        """Others may be still to come; of two that are wanted both must be there."""
        upstream.answer = MERGING
        waiting = asyncio.create_task(orders.wait_until_listed("o", Schedule(), ("a", "b")))

        assert await orders.wait_until_listed("o", Schedule(), ("a",)) is MERGING
        await yield_to_loop()
        assert not waiting.done()
        waiting.cancel()

    async def test_a_list_that_stays_the_same_for_long_is_all_of_it(
        self, upstream: Upstream, orders: Orders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While images are processed, whatever the count says; brackets that are being merged are waited for."""
        monkeypatch.setattr("service.orders.orders._SHORT_SECONDS", 0)
        monkeypatch.setattr("service.orders.orders._UNCHANGED_SECONDS", 0)
        upstream.answer = SHORT
        schedule = Schedule(is_due=True)
        schedule.looks_left = 9

        assert await orders.wait_until_listed("o", schedule) is SHORT
        assert not schedule.is_over
        upstream.answer = MERGING
        assert await orders.wait_until_listed("o", schedule) is MERGING
        assert schedule.is_over

    async def test_a_failure_at_the_end_costs_nothing_that_is_listed(self, upstream: Upstream, orders: Orders) -> None:
        """It is the order as it was seen last."""
        upstream.answers = iter([MERGING])
        upstream.answer = UpstreamError()
        schedule = Schedule(is_due=True)
        schedule.looks_left = 2

        assert await orders.wait_until_listed("o", schedule) is MERGING

    async def test_it_waits_through_failures(self, upstream: Upstream, orders: Orders) -> None:
        """As long as the schedule has time."""
        upstream.answer = EMPTY
        waiting = asyncio.create_task(orders.wait_until_listed("o", Schedule(is_due=True)))
        await upstream.until(lambda: len(upstream.calls) == 2)
        upstream.answer = UpstreamError()
        await upstream.until(lambda: len(upstream.calls) == 4)
        upstream.answer = FINAL

        assert await waiting is FINAL

    async def test_at_the_end_it_is_as_it_is(self, upstream: Upstream, orders: Orders) -> None:
        """Empty, after the looks that the schedule allows."""
        upstream.answer = EMPTY
        schedule = Schedule(is_due=True)
        schedule.looks_left = 3

        assert await orders.wait_until_listed("o", schedule) is EMPTY
        assert len(upstream.calls) == 4

    async def test_a_failure_at_the_end_is_told(self, upstream: Upstream, orders: Orders) -> None:
        """Nothing is known of the order then."""
        upstream.answer = EMPTY
        schedule = Schedule(is_due=True)
        schedule.looks_left = 2
        waiting = asyncio.create_task(orders.wait_until_listed("o", schedule))
        await upstream.until(lambda: len(upstream.calls) == 2)
        upstream.answer = UpstreamError()

        with pytest.raises(UpstreamError):
            await waiting

    @pytest.mark.parametrize(
        "answer", [OrderNotFound("no"), Order(order_id="o", is_deleted=True)], ids=["unknown", "deleted"]
    )
    async def test_an_order_that_is_gone_ends_it(
        self, upstream: Upstream, orders: Orders, answer: Order | Problem
    ) -> None:
        """Unknown twice in a row, or deleted."""
        upstream.answer = EMPTY
        waiting = asyncio.create_task(orders.wait_until_listed("o", Schedule(is_due=True)))
        await upstream.until(lambda: len(upstream.calls) == 1)
        upstream.answer = answer

        with pytest.raises(OrderNotFound):
            await waiting


async def test_a_flight_that_has_ended_is_not_joined() -> None:
    """Given one who is woken by its last step: what he starts is new."""
    flights: SingleFlight[int] = SingleFlight()
    woken = asyncio.Event()
    started = 0

    async def work() -> int:
        nonlocal started
        started += 1
        woken.set()
        return started

    async def wait() -> int:
        await woken.wait()
        return await flights.join("k", work, "work")

    waiting = asyncio.create_task(wait())
    await yield_to_loop()

    assert await flights.join("k", work, "work") == 1
    assert await waiting == 2
    await yield_to_loop()
    assert not flights.is_running("k")
