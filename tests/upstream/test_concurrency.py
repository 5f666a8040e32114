"""Download slots: never more than allowed, shared fairly, and none is ever lost."""

import asyncio
from collections.abc import Iterable

import pytest

from service.telemetry.metrics import Metrics
from service.upstream import concurrency
from service.upstream.adaptive_limit import AdaptiveLimit
from service.upstream.concurrency import DownloadSlots, NotWanted, Slot
from tests.support.transport import FakeClock, sample, yield_to_loop


def in_flight(metrics: Metrics) -> float:
    return sample(metrics.registry, "batch_downloads_in_flight")


class Line:
    """Downloads that queue for slots, hold them until told, and note who was served."""

    def __init__(self, slots: DownloadSlots) -> None:
        self._slots = slots
        self._holding: list[tuple[str, asyncio.Event]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.slots: dict[str, Slot] = {}
        self.served: list[str] = []

    def join(
        self, name: str, caller: str = "caller", build: str = "build", *, ahead: bool = False, behind: bool = False
    ) -> None:
        """One more download waits."""
        self.slots[name] = slot = self._slots.slot(caller, build, ahead=ahead, behind=behind)
        self.tasks[name] = asyncio.create_task(self._download(name, slot))

    def join_all(self, names: Iterable[str], caller: str, build: str = "build") -> None:
        """Several of one build."""
        for name in names:
            self.join(name, caller, build)

    @property
    def holding(self) -> list[str]:
        """Who has a slot now, in the sequence in which they got it."""
        return [name for name, _ in self._holding]

    async def release(self, name: str | None = None) -> None:
        """Let one download end: the oldest unless told."""
        at = 0 if name is None else self.holding.index(name)
        self._holding.pop(at)[1].set()
        await yield_to_loop()

    async def finish(self) -> list[str]:
        """Let all end, one after the other; who was served, in that sequence."""
        await yield_to_loop()
        while self._holding:
            await self.release()
        await asyncio.gather(*self.tasks.values())
        return self.served

    async def _download(self, name: str, slot: Slot) -> None:
        async with slot:
            done = asyncio.Event()
            self.served.append(name)
            self._holding.append((name, done))
            await done.wait()


async def test_no_more_than_the_limit_run_at_once(metrics: Metrics) -> None:
    """Ten downloads through two slots: two at a time, all of them in the end."""
    slots = DownloadSlots(2, metrics)
    running, most, ended = 0, 0, 0

    async def download() -> None:
        nonlocal running, most, ended
        async with slots.slot("caller", "build"):
            running += 1
            most = max(most, running)
            await yield_to_loop(3)
            running -= 1
        ended += 1

    await asyncio.gather(*(download() for _ in range(10)))

    assert (most, ended) == (2, 10)
    assert in_flight(metrics) == 0


async def test_within_a_build_first_come_first_served(metrics: Metrics) -> None:
    """Slots are given in the sequence they were asked for."""
    line = Line(DownloadSlots(1, metrics))
    line.join_all("abcdef", "caller")

    assert await line.finish() == list("abcdef")


async def test_a_download_that_has_begun_goes_before_those_that_have_not(metrics: Metrics) -> None:
    """Its second attempt does not wait for the whole of its build."""
    line = Line(DownloadSlots(1, metrics))
    line.join_all("abc", "caller")
    await yield_to_loop()
    line.join("again", "caller", ahead=True)

    assert await line.finish() == ["a", "again", "b", "c"]


async def test_two_builds_of_a_caller_take_turns(metrics: Metrics) -> None:
    """However many images the first one has, and however early it came."""
    line = Line(DownloadSlots(1, metrics))
    line.join_all([f"large {number}" for number in range(6)], "caller", "large")
    await yield_to_loop()
    line.join_all([f"small {number}" for number in range(3)], "caller", "small")

    served = await line.finish()

    assert [name.split()[0] for name in served] == ["large"] + ["large", "small"] * 3 + ["large"] * 2


async def test_two_callers_take_turns(metrics: Metrics) -> None:
    """Among equals it is who has waited longest since its last turn."""
    line = Line(DownloadSlots(1, metrics))
    line.join_all([f"many {number}" for number in range(5)], "many")
    await yield_to_loop()
    line.join_all([f"few {number}" for number in range(2)], "few")

    served = await line.finish()

    assert [name.split()[0] for name in served] == ["many", "many", "few", "many", "few", "many", "many"]


async def test_of_a_callers_builds_the_one_that_holds_fewest_is_next(metrics: Metrics) -> None:
    """Although another one's last turn is longer ago."""
    line = Line(DownloadSlots(2, metrics))
    line.join("a 1", build="a")
    await yield_to_loop()
    line.join("b 1", build="b")
    await yield_to_loop()
    line.join("a 2", build="a")
    line.join("b 2", build="b")
    await line.release("b 1")

    assert line.holding == ["a 1", "b 2"]
    await line.finish()


async def test_callers_share_alike_however_many_builds_they_have(metrics: Metrics) -> None:
    """A caller with eighteen jobs has half of the slots when another wants the other half."""
    line = Line(DownloadSlots(4, metrics))
    for job in range(18):
        line.join_all([f"many {job}.{number}" for number in range(3)], "many", f"job {job}")
    await yield_to_loop()
    line.join_all([f"one {number}" for number in range(4)], "one")
    for _ in range(2):
        await line.release()

    assert sorted(name.split()[0] for name in line.holding) == ["many", "many", "one", "one"]
    await line.finish()


async def test_one_image_waits_for_one_image_only(metrics: Metrics) -> None:
    """Given a caller who holds every slot and queues for more, the next free one is the other caller's."""
    line = Line(DownloadSlots(3, metrics))
    line.join_all([f"many {number}" for number in range(20)], "many")
    await yield_to_loop()
    line.join("single", "other")
    await line.release()

    assert "single" in line.holding
    await line.finish()


async def test_slots_that_come_free_together_are_shared(metrics: Metrics) -> None:
    """Who asks again in the very moment of release takes no second turn before the others."""
    line = Line(DownloadSlots(2, metrics))
    line.join_all(["large 0", "large 1", "large 2", "large 3"], "a")
    await yield_to_loop()
    line.join_all(["small 0", "small 1"], "b")
    for _, done in list(line._holding):
        done.set()
    line._holding.clear()
    await yield_to_loop()

    assert sorted(line.holding) == ["large 2", "small 0"]
    await line.finish()


async def test_who_is_not_wanted_any_more_takes_no_slot(metrics: Metrics) -> None:
    """It is asked when its turn comes, and the next one is served instead."""
    slots = DownloadSlots(1, metrics)
    wanted = True
    line = Line(slots)
    line.join("first")
    await yield_to_loop()

    async def download() -> None:
        async with slots.slot("caller", "build", lambda: wanted):
            pytest.fail("it was let in")

    unwanted = asyncio.create_task(download())
    await yield_to_loop()
    line.join("last")
    wanted = False
    served = await line.finish()

    with pytest.raises(NotWanted):
        await unwanted
    assert served == ["first", "last"]
    assert in_flight(metrics) == 0


@pytest.mark.parametrize("moment", ["while waiting", "when just served", "one turn after release"])
async def test_a_waiter_who_leaves_takes_no_slot_along(metrics: Metrics, moment: str) -> None:
    """Neither before its turn, nor at that very moment, nor when it has been told but has not run yet."""
    line = Line(DownloadSlots(1, metrics))
    line.join("held")
    await yield_to_loop()
    line.join_all(["leaving", "staying"], "caller")
    leaving, staying = line.tasks["leaving"], line.tasks["staying"]
    await yield_to_loop()

    if moment == "while waiting":
        leaving.cancel()
        await yield_to_loop()
        await line.release()
    else:
        line._holding.pop()[1].set()
        # One turn: the holder ends. Another: its slot is granted, and the waiter who has it has not run yet.
        for _ in range(1 if moment == "when just served" else 2):
            await asyncio.sleep(0)
        leaving.cancel()
        await yield_to_loop()

    assert leaving.cancelled()
    assert line.holding == ["staying"]
    assert in_flight(metrics) == 1
    await line.release()
    await staying
    assert in_flight(metrics) == 0


async def test_a_slot_comes_back_from_a_download_that_failed(metrics: Metrics) -> None:
    """Or was cancelled."""
    slots = DownloadSlots(1, metrics)

    for error in (OSError, asyncio.CancelledError):
        with pytest.raises(error):
            async with slots.slot("caller", "build"):
                raise error

    async with slots.slot("caller", "build"):
        assert in_flight(metrics) == 1


async def test_parties_that_are_gone_are_forgotten(metrics: Metrics) -> None:
    """Callers come and go for years: nothing is kept of those who hold and want nothing."""
    slots = DownloadSlots(2, metrics)
    line = Line(slots)
    for number in range(5):
        line.join(f"{number}", f"caller {number}", f"build {number}", behind=number == 4)
    line.join("leaving", "leaving", "leaving")
    await yield_to_loop()
    line.tasks.pop("leaving").cancel()
    await yield_to_loop()
    await line.finish()

    assert slots._line._callers == slots._behind._callers == {}


async def test_the_time_in_the_queue_is_told(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """It is not upstream's."""
    monkeypatch.setattr(concurrency, "time", clock)
    slots = DownloadSlots(1, metrics, AdaptiveLimit(1, clock))
    slot = slots.slot("caller", "build")

    async def download() -> None:
        async with slot:
            pass

    async with slots.slot("caller", "build"):
        waiting = asyncio.create_task(download())
        await yield_to_loop()
        clock.advance(7)
    await waiting

    assert slot.waited == 7


class TestOvertime:
    async def test_a_download_in_overtime_gives_its_slot_to_the_next(self, metrics: Metrics) -> None:
        """It still counts as under way, and ends without taking anybody's slot."""
        slots = DownloadSlots(1, metrics)
        line = Line(slots)
        async with slots.slot("slow", "build") as slow:
            line.join("next")
            await yield_to_loop()
            granted = slow.begin_overtime()
            await yield_to_loop()

            assert (granted, line.holding, in_flight(metrics)) == (True, ["next"], 2)

        assert in_flight(metrics) == 1
        await line.finish()
        assert in_flight(metrics) == 0

    async def test_so_many_may_and_no_more(self, metrics: Metrics) -> None:
        """The sixth keeps its slot, until one of the others has ended."""
        slots = DownloadSlots(1, metrics)
        others = [slots.slot("slow", "build") for _ in range(5)]
        for slot in others:
            await slot.__aenter__()
            assert slot.begin_overtime()

        async with slots.slot("slow", "build") as sixth:
            refused = sixth.begin_overtime()
            await others[0].__aexit__(None, None, None)
            granted = sixth.begin_overtime()

        for slot in others[1:]:
            await slot.__aexit__(None, None, None)
        assert (refused, granted, in_flight(metrics)) == (False, True, 0)

    async def test_a_refused_one_still_gives_its_slot_back(self, metrics: Metrics) -> None:
        """Once, at its end."""
        slots = DownloadSlots(1, metrics)
        slots._overtime = 5
        async with slots.slot("slow", "build") as slow:
            assert not slow.begin_overtime()
        slots._overtime = 0

        line = Line(slots)
        line.join_all(["a", "b"], "caller")
        await yield_to_loop()
        assert line.holding == ["a"]
        await line.finish()


async def test_limit_and_use_are_exported(metrics: Metrics) -> None:
    """Both gauges tell the truth at any moment."""
    line = Line(DownloadSlots(3, metrics))
    line.join_all(["a", "b"], "caller")
    await yield_to_loop()

    busy = in_flight(metrics)
    await line.finish()

    assert sample(metrics.registry, "batch_download_concurrency_limit") == 3
    assert (busy, in_flight(metrics)) == (2, 0)


async def test_a_learned_rate_delays_the_next_start_and_loses_nobody(metrics: Metrics) -> None:
    """Who has to wait for the rate only is let in when it allows, without anybody asking again."""

    class OneLook(AdaptiveLimit):
        looks = 0

        def delay(self) -> float:
            self.looks += 1
            return 0.01 if self.looks == 1 else 0.0

    slots = DownloadSlots(1, metrics, OneLook(1))

    async with asyncio.timeout(20), slots.slot("caller", "build"):
        assert in_flight(metrics) == 1


async def test_what_is_behind_holds_two_slots_at_most(metrics: Metrics) -> None:
    """Four thumbnails and five free slots: two are fetched."""
    line = Line(DownloadSlots(5, metrics))
    for name in ("t1", "t2", "t3", "t4"):
        line.join(name, behind=True)
    await yield_to_loop()

    assert line.holding == ["t1", "t2"]
    assert await line.finish() == ["t1", "t2", "t3", "t4"]


@pytest.mark.parametrize(("limit", "begun"), [(1, 1), (2, 1), (3, 2)])
async def test_what_is_behind_leaves_one_slot_free(metrics: Metrics, limit: int, begun: int) -> None:
    """A download that comes then need not wait for it, unless there is one slot in all."""
    line = Line(DownloadSlots(limit, metrics))
    for name in ("t1", "t2", "t3"):
        line.join(name, behind=True)
    await yield_to_loop()

    assert len(line.holding) == begun
    assert len(await line.finish()) == 3


async def test_what_is_behind_does_not_take_the_last_slot_beside_a_download(metrics: Metrics) -> None:
    """Two slots, one is held by a download: the other one stays free for the next."""
    line = Line(DownloadSlots(2, metrics))
    line.join("photo")
    await yield_to_loop()
    line.join("thumbnail", behind=True)
    await yield_to_loop()
    beside = line.holding
    line.join("next photo", "another")
    await yield_to_loop()

    assert beside == ["photo"]
    assert line.holding == ["photo", "next photo"]
    assert await line.finish() == ["photo", "next photo", "thumbnail"]


async def test_all_downloads_go_before_what_is_behind(metrics: Metrics) -> None:
    """However late they came, and whoever wants them."""
    line = Line(DownloadSlots(2, metrics))
    line.join_all(["a", "b"], "one")
    await yield_to_loop()
    line.join("thumbnail", "other", behind=True)
    await yield_to_loop()
    line.join_all(["c", "d"], "one")
    await yield_to_loop()

    assert await line.finish() == ["a", "b", "c", "d", "thumbnail"]


async def test_what_is_brought_forward_waits_behind_nobody(metrics: Metrics) -> None:
    """Somebody downloads what was only a thumbnail."""
    line = Line(DownloadSlots(1, metrics))
    line.join("running")
    await yield_to_loop()
    line.join("t1", behind=True)
    line.join("t2", behind=True)
    await yield_to_loop()
    line.slots["t2"].bring_forward()
    line.join("photo", "other")
    await yield_to_loop()

    assert (await line.finish())[-1] == "t1"


async def test_what_another_caller_wants_too_takes_its_turn(metrics: Metrics) -> None:
    """It does not wait behind all that the first one wants, and is served once."""
    slots = DownloadSlots(1, metrics)
    line = Line(slots)
    line.join_all(["running", "a", "b", "c"], "one")
    await yield_to_loop()
    for _ in range(2):
        line.slots["c"].add_party("other", "build")

    assert await line.finish() == ["running", "a", "c", "b"]
    assert slots._line._callers == {}


async def test_it_takes_the_turn_of_the_first_if_that_comes_sooner(metrics: Metrics) -> None:
    """Given another caller with more downloads: those of the first are as soon as they were."""
    line = Line(DownloadSlots(1, metrics))
    line.join_all(["running", "x", "y", "z"], "other")
    await yield_to_loop()
    line.join("a", "one")
    line.slots["a"].add_party("other", "build")

    assert await line.finish() == ["running", "x", "a", "y", "z"]


async def test_who_wants_too_what_waits_no_more_changes_nothing(metrics: Metrics) -> None:
    """It runs, or has ended; its slot comes back either way."""
    slots = DownloadSlots(1, metrics)
    line = Line(slots)
    line.join("a")
    await yield_to_loop()
    line.slots["a"].add_party("other", "build")
    await line.finish()
    line.slots["a"].add_party("third", "build")

    assert slots._line._callers == {}
    assert in_flight(metrics) == 0


async def test_what_is_brought_forward_takes_a_free_slot_at_once(metrics: Metrics) -> None:
    """Nobody else has to come or go for that."""
    line = Line(DownloadSlots(5, metrics))
    for name in ("t1", "t2", "t3"):
        line.join(name, behind=True)
    await yield_to_loop()
    line.slots["t3"].bring_forward()
    await yield_to_loop()

    assert line.holding == ["t1", "t2", "t3"]
    await line.finish()


async def test_bringing_forward_what_waits_no_more_changes_nothing(metrics: Metrics) -> None:
    """It runs, or has ended; its slot comes back either way."""
    slots = DownloadSlots(3, metrics)
    line = Line(slots)
    line.join("thumbnail", behind=True)
    await yield_to_loop()
    line.slots["thumbnail"].bring_forward()
    await line.finish()
    line.slots["thumbnail"].bring_forward()

    assert slots._line._callers == slots._behind._callers == {}
    assert in_flight(metrics) == 0


async def test_what_was_brought_forward_holds_no_slot_of_those_behind(metrics: Metrics) -> None:
    """Others that are behind may have these."""
    line = Line(DownloadSlots(5, metrics))
    for name in ("a", "b", "c"):
        line.join(name, behind=True)
    await yield_to_loop()
    assert line.holding == ["a", "b"]

    line.slots["c"].bring_forward()
    await line.release("a")
    line.join("d", behind=True)
    await yield_to_loop()

    assert line.holding == ["b", "c", "d"]
    await line.finish()


class Learned(AdaptiveLimit):
    """A limit that is what the test says, and notes what it is told."""

    def __init__(self, cap: int) -> None:
        super().__init__(5)
        self.now = cap
        self.told: list[str] = []
        self.wait = 0.0

    @property
    def cap(self) -> int:
        return self.now

    def delay(self) -> float:
        return self.wait

    def started(self) -> None:
        self.told.append("started")

    def succeeded(self) -> None:
        self.told.append("succeeded")
        self.now += 1

    def refused(self, image_id: str, *, throttled: bool) -> None:
        self.told.append(f"refused {image_id} {throttled}")
        self.now -= 1


async def test_what_is_learned_counts_at_once(metrics: Metrics) -> None:
    """Every start is told; a success lets the next one in, and the gauge shows it."""
    learned = Learned(1)
    slots = DownloadSlots(5, metrics, learned)
    line = Line(slots)
    line.join_all("abc", "caller")
    await yield_to_loop()
    assert (line.holding, learned.told) == (["a"], ["started"])

    slots.succeeded()
    await yield_to_loop()
    assert (line.holding, learned.told[1:]) == (["a", "b"], ["succeeded", "started"])
    assert sample(metrics.registry, "batch_download_concurrency_limit") == 2

    slots.refused("a", throttled=True)
    assert learned.told[3:] == ["refused a True"]
    assert sample(metrics.registry, "batch_download_concurrency_limit") == 1
    await line.finish()


async def test_one_that_ended_is_not_in_flight_while_the_next_waits_for_the_rate(metrics: Metrics) -> None:
    """However long that takes."""
    learned = Learned(1)
    line = Line(DownloadSlots(1, metrics, learned))
    line.join_all("ab", "caller")
    await yield_to_loop()
    learned.wait = 0.05

    await line.release("a")
    assert (in_flight(metrics), line.holding) == (0, [])

    learned.wait = 0.0
    async with asyncio.timeout(20):
        await line.tasks["a"]
        while not line.holding:  # noqa: ASYNC110  # the loop's own timer lets it in
            await asyncio.sleep(0.01)
    await line.finish()
