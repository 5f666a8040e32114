"""How instances that share a storage see an image: what one saw while the others could not hear of it is not lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from service.cluster import cluster, generations, orders
from service.cluster.generations import ClusterGenerations
from service.cluster.objects import Objects
from service.cluster.orders import OrderDocuments
from service.computing import MANY_IMAGES
from service.database import Database
from service.images import blob_index
from service.orders.generations import SCHEMA, Generations, observable
from service.telemetry.metrics import Metrics
from service.upstream.order_document import parse_order
from tests.support.client import TIMEOUT
from tests.support.samples import ORDER

READY = parse_order({"images": [{"image_id": "a", "status": "processed"}]})
BUSY = parse_order({"images": [{"image_id": "a", "status": "processing"}]})
BOTH = parse_order({"images": [{"image_id": one, "status": "processed"} for one in "ab"]})


class Instance:
    """One of several, whose storage can be taken away."""

    def __init__(self, storage: MemoryStore, database: Database) -> None:
        self.objects = Objects(storage, Metrics())
        self.shared = ClusterGenerations(OrderDocuments(self.objects), database)
        self.generations = Generations(database, self.shared)

    async def look(self, *, busy: bool = False) -> int:
        """The generation of the image, after a look at its order."""
        return (await self.generations.observe(ORDER, BUSY if busy else READY))["a"]

    @property
    def is_away(self) -> bool:
        """Whether the storage is."""
        return not self.objects.link.is_up

    @is_away.setter
    def is_away(self, value: bool) -> None:
        self.objects.link.is_up = not value
        self.objects.link._retry_at = float("inf") if value else 0.0


@pytest.fixture
async def two(tmp_path: Path, long_timeouts: None) -> AsyncIterator[tuple[Instance, Instance]]:
    """Instances with one storage."""
    storage = MemoryStore()
    async with AsyncExitStack() as stack:
        instances = []
        for name in ("first", "second"):
            database = await Database.open(tmp_path / name, [SCHEMA, blob_index.SCHEMA, cluster.SCHEMA])
            stack.push_async_callback(database.close)
            instances.append(Instance(storage, database))
        yield instances[0], instances[1]


@pytest.mark.parametrize("is_finished_again", [False, True])
async def test_what_was_seen_alone_counts_when_it_is_told_late(
    two: tuple[Instance, Instance], is_finished_again: bool
) -> None:
    """One has fetched the image while the storage was away; another one sees it being made anew, before it hears of
    that: the picture of the first one is an old one."""
    first, second = two
    first.is_away = True
    old = await first.look()
    await second.look(busy=True)
    if is_finished_again:
        await second.look()

    first.is_away = False
    assert await first.shared.share()

    assert old == 0
    assert [await one.look() for one in (second, first, second)] == [1, 1, 1]


async def test_what_was_seen_alone_before_it_was_finished_elsewhere_is_the_same(two: tuple[Instance, Instance]) -> None:
    """Nothing is fetched again because the storage was away."""
    first, second = two
    await second.look(busy=True)
    first.is_away = True
    found = [await first.look(busy=True), await first.look()]
    first.is_away = False
    assert await first.shared.share()

    assert [*found, *[await one.look() for one in (second, first)]] == [0, 0, 0, 0]


async def test_a_clock_that_is_ahead_makes_no_image_new(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sees the image finished, by an earlier time than another has seen it unfinished: it is the same one."""
    exact, ahead = two

    async def look(instance: Instance, seconds: float, *, busy: bool = False) -> int:
        now = 1_000_000.0 + seconds + (60 if instance is ahead else 0)
        monkeypatch.setattr("service.orders.generations.time", SimpleNamespace(time=lambda: now))
        return await instance.look(busy=busy)

    found = [
        await look(ahead, 0, busy=True),
        await look(exact, 30),
        await look(ahead, 40),
        await look(exact, 50),
        await look(ahead, 90),
    ]

    assert found == [0] * 5


async def test_all_that_was_marked_while_the_storage_was_away_is_told(two: tuple[Instance, Instance]) -> None:
    """A look at one image, after one at the whole order, does not take the place of that."""
    first, second = two
    first.is_away = True
    await first.generations.observe(ORDER, BOTH, ["a", "b"])
    await first.look()
    first.is_away = False
    assert await first.shared.share()

    assert await second.generations.observe(ORDER, BOTH) == {"a": 1, "b": 1}


async def see_while_telling(
    first: Instance, monkeypatch: pytest.MonkeyPatch, see: Callable[[], Awaitable[object]]
) -> None:
    """Have `first` tell what it saw while the storage was away; before the storage has that, it sees more."""
    documents = first.shared._documents
    update = documents.update
    first.is_away = True
    await first.look()

    async def update_late(*values: object, **more: object) -> object:
        monkeypatch.setattr(documents, "update", update)
        first.is_away = True
        await see()
        first.is_away = False
        return await update(*values, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(documents, "update", update_late)
    first.is_away = False
    for _ in range(2):
        assert await first.shared.share()


async def test_what_is_seen_while_others_are_told_is_told_next(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same image, seen made anew before the storage has what was seen of it earlier."""
    first, second = two

    await see_while_telling(first, monkeypatch, lambda: first.look(busy=True))

    assert await second.look() == 1


async def test_other_images_that_are_marked_while_some_are_told_are_told_next(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an order of which one image is told: what is seen of another one meanwhile is not forgotten."""
    first, second = two

    await see_while_telling(first, monkeypatch, lambda: first.generations.observe(ORDER, BOTH, ["b"]))

    assert await second.generations.observe(ORDER, BOTH) == {"a": 0, "b": 1}


def delay_updates(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let the storage be late for this instance; what it is asked for is done while the event is set."""
    documents, gate = instance.shared._documents, asyncio.Event()
    update = documents.update

    async def update_late(*values: object, **more: object) -> object:
        await gate.wait()
        return await update(*values, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(documents, "update", update_late)
    return gate


async def test_what_comes_late_is_known_at_the_next_look(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not wait for a storage that is late has an old picture once, not again and again."""
    first, second = two
    await first.look()
    await second.look(busy=True)
    monkeypatch.setattr(generations, "_WAIT_SECONDS", 0)
    gate = delay_updates(first, monkeypatch)
    late = await first.look()
    gate.set()
    async with asyncio.timeout(TIMEOUT):
        while first.shared._late:  # noqa: ASYNC110  # what is late
            await asyncio.sleep(0)
    gate.clear()

    assert (late, await first.look()) == (0, 1)
    gate.set()


async def test_all_who_look_before_anything_is_known_wait_for_the_storage(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second of two first looks would take an image that was made anew for the old one."""
    first, second = two
    for busy in (False, True, False):
        await first.look(busy=busy)
    monkeypatch.setattr(generations, "_WAIT_SECONDS", 0)
    gate = delay_updates(second, monkeypatch)
    looks: list[asyncio.Task[int]] = []
    for _ in range(2):
        looks.append(asyncio.create_task(second.look()))
        await asyncio.wait(looks, timeout=0.1)
    gate.set()

    assert await asyncio.gather(*looks) == [1, 1]


async def test_one_whose_state_says_nothing_is_what_others_have_seen(two: tuple[Instance, Instance]) -> None:
    """Given an image that one instance is to fetch anew: the others do not send what was there before."""
    first, second = two
    unknown = parse_order({"images": [{"image_id": "a", "status": "a word of tomorrow"}]})

    seen = [await first.generations.observe(ORDER, unknown, ["a"]), await second.generations.observe(ORDER, unknown)]

    assert seen == [{"a": 1}] * 2


async def test_what_comes_after_the_end_is_dropped(two: tuple[Instance, Instance]) -> None:
    """The database has closed by then: it is known to all, and no error."""
    first, _ = two
    await first.look()
    late = asyncio.ensure_future(first.shared.observe(ORDER, observable(READY), set()))
    await late
    await first.shared._database.close()

    first.shared._keep(cast(Any, late))


async def test_what_was_seen_of_other_images_stays(two: tuple[Instance, Instance]) -> None:
    """Given an order that lists one of two for a while."""
    first, second = two
    await first.generations.observe(ORDER, BOTH)

    await second.look()

    assert (await first.shared._documents.read(ORDER)).observations.keys() == {"a", "b"}


async def test_who_wants_images_made_anew_waits_for_the_storage(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it is: else others would not know that they are new."""
    first, _ = two
    await first.look()
    monkeypatch.setattr(generations, "_WAIT_SECONDS", 0)
    gate = delay_updates(first, monkeypatch)
    looking = asyncio.create_task(first.shared.observe(ORDER, observable(READY), {"a"}))
    done, _ = await asyncio.wait([looking], timeout=0.1)
    gate.set()

    assert not done
    assert (await looking).keys() == {"a"}


async def test_many_images_are_compared_beside_the_loop(
    two: tuple[Instance, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all know of them is read, compared and written there; a document that has become long is read there also
    for one image."""
    first, _ = two
    threads = set()

    def watch(module: ModuleType, name: str) -> None:
        function = getattr(module, name)

        def watched(*values: object) -> object:
            threads.add((name, threading.current_thread().name))
            return function(*values)

        monkeypatch.setattr(module, name, watched)

    for module, name in ((orders, "_decode"), (orders, "_encode"), (generations, "_merged"), (generations, "observed")):
        watch(module, name)
    many = parse_order({"images": [{"image_id": str(one), "status": "processed"} for one in range(4 * MANY_IMAGES)]})
    assert len(await first.shared.observe(ORDER, observable(many), set())) == 4 * MANY_IMAGES
    beside = {(name, "computing_0") for name in ("_decode", "_encode", "_merged", "observed")}
    assert threads == beside

    threads.clear()
    await first.look()

    assert threads == beside
