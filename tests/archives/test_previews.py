"""What a request would cost, and what its caller has already."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from service.archives.archive import State
from service.archives.options import Options
from service.archives.plan import Plan
from service.images.blobs import Blob
from service.problems import InvalidParameter, MaxCreditsExceeded, StillBuilding
from tests.support.archives import ArchiveSystem
from tests.support.orders import fill_with
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.transport import yield_to_loop
from tests.support.upstream import FakeUpstream


class TestPrice:
    async def test_as_much_as_may_be_spent_and_no_more(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Whether it is too much is known before anything is asked for; what is stored costs nothing."""
        fill_with(upstream, "a", "b")

        with pytest.raises(MaxCreditsExceeded):
            await system.start(preview=False, max_credits=1)
        before = upstream.image_calls
        bought = await system.finished(preview=False, max_credits=2)
        again = await system.finished(preview=False, max_credits=0)

        assert (before, bought.state, again.id, upstream.image_calls) == (0, State.COMPLETE, bought.id, 2)

    async def test_what_is_fetched_anew_is_bought_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Though it is stored."""
        fill_with(upstream, "a")
        await system.finished(preview=False)

        with pytest.raises(MaxCreditsExceeded):
            await system.start(preview=False, max_credits=0, refresh=True)

        assert upstream.image_calls == 1

    async def test_a_refusal_makes_nothing_anew(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """What is stored is still what is wanted."""
        fill_with(upstream, "a")
        bought = await system.finished(preview=False)

        with pytest.raises(MaxCreditsExceeded):
            await system.start(preview=False, max_credits=0, refresh=True)
        again = await system.finished(preview=False, max_credits=0)

        assert again.id == bought.id

    async def test_what_a_caller_has_costs_nothing(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Though it is no longer stored: it is not asked for."""
        fill_with(upstream, "a")
        held = await system.finished(preview=False)
        upstream.orders[ORDER], upstream.images["b"] = order(["a", "b"]), jpeg(9)
        await system.images.delete(lambda _: [blob.digest for blob in held.blobs()])

        archive = await system.finished(preview=False, since=held.id, max_credits=1)

        assert [result.image_id for result in archive.results] == ["b"]

    async def test_all_orders_of_an_archive_cost_together(self, system: ArchiveSystem, upstream: FakeUpstream) -> None:
        """Not each by itself."""
        fill_with(upstream, "a", "b")
        upstream.orders |= {ORDER: order(["a"]), OTHER_ORDER: order(["b"], order_id=OTHER_ORDER)}

        with pytest.raises(MaxCreditsExceeded) as refused:
            await system.start((ORDER, OTHER_ORDER), preview=False, max_credits=1)

        assert refused.value.extra["to_buy"] == 2


class TestSince:
    async def test_only_an_archive_of_the_same_order_says_what_is_held(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Another order's may have the same images."""
        fill_with(upstream, "a")
        upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
        other = await system.finished(OTHER_ORDER)

        with pytest.raises(InvalidParameter, match="since"):
            await system.start(since=other.id)

    async def test_of_one_that_is_being_built_it_is_not_known_yet(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Come back when it is there."""
        fill_with(upstream, "a")
        gate = upstream.hold("a")
        archive, _ = await system.start()

        with archive.readers.reading(to_the_end=True):
            with pytest.raises(StillBuilding):
                await system.start(since=archive.id)
            gate.set()
            await system.read_to_the_end(archive)


class TestPreview:
    async def test_it_tells_what_is_new_and_what_of_that_is_stored(
        self, system: ArchiveSystem, upstream: FakeUpstream
    ) -> None:
        """Since an archive that its caller has; nothing is begun."""
        fill_with(upstream, "a", "b", "c")
        held = await system.finished(image=("a",))
        await system.finished(image=("b",))
        document, options = await system.orders.get(ORDER), Options(since=held.id)

        def describe(plan: Plan, stored: Mapping[str, Blob]) -> list[tuple[str, bool]]:
            return [(image.image_id, image.key in stored) for image in plan.images]

        told = await system.archives.previews.preview(ORDER, document, options, describe)

        assert (told, upstream.image_calls) == ([("b", True), ("c", False)], 2)

    async def test_of_large_orders_there_is_one_at_a_time(
        self, system: ArchiveSystem, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each takes much memory."""
        monkeypatch.setattr("service.archives.previews.MANY_IMAGES", 1)
        fill_with(upstream, "a", "b")
        document, at_once, most = await system.orders.get(ORDER), 0, 0
        really_find = system.images.find

        async def find(keys: Collection[str]) -> dict[str, Blob]:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await yield_to_loop()
            at_once -= 1
            return await really_find(keys)

        monkeypatch.setattr(system.images, "find", find)
        previews = system.archives.previews
        await asyncio.gather(
            *(previews.preview(ORDER, document, Options(), lambda plan, stored: plan.keys) for _ in range(3))
        )

        assert most == 1
