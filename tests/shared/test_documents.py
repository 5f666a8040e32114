"""Documents in a storage that instances share: who may go on with an archive, and what is known of an order."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from service.archives.archive import State
from service.archives.named import REMEMBERED_SECONDS, Named
from service.archives.record import Record
from service.cluster import cluster, orders
from service.cluster.documents import Documents
from service.cluster.link import Unavailable
from service.cluster.named import ClusterNames
from service.cluster.objects import ObjectChanged, Objects
from service.cluster.orders import Naming, OrderDocument, OrderDocuments
from service.database import Database
from service.orders.generations import Observation
from service.problems import StillBuilding
from service.telemetry.metrics import Metrics, Shared
from tests.support.plans import plan_of
from tests.support.samples import ORDER

DAY = 24 * 3600.0


@pytest.fixture
def objects() -> Objects:
    return Objects(MemoryStore(), Metrics())


def take_away(objects: Objects) -> None:
    objects.link.is_up, objects.link._retry_at = False, float("inf")


def give_back(objects: Objects) -> None:
    objects.link._retry_at = 0.0


def settled(comment: str = "of three") -> Record:
    return Record("a1", State.COMPLETE, 1, plan_of("i"), (), comment, 5.0, 7.0, ())


class TestArchives:
    """`Documents`."""

    async def test_what_nobody_has_written_is_not_there(self, objects: Objects) -> None:
        """Nor is it an error."""
        assert await Documents(objects).get("a1") is None

    @pytest.mark.parametrize("alone", [True, False])
    async def test_who_goes_on_is_told_to_all(self, objects: Objects, alone: bool) -> None:
        """And whether nobody else can."""
        tag = await Documents(objects).claim("a1", "me", alone=alone, tag=None)

        found = await Documents(objects).get("a1")
        assert found is not None
        assert (found.owner, found.tag, found.is_alone, found.record) == ("me", tag, alone, None)

    async def test_of_two_who_want_to_go_on_one_may(self, objects: Objects) -> None:
        """As first ones, and after one that was there: whoever knows what is there now."""
        documents = Documents(objects)
        first = await documents.claim("a1", "me", alone=False, tag=None)
        with pytest.raises(ObjectChanged):
            await documents.claim("a1", "other", alone=False, tag=None)

        second = await documents.claim("a1", "other", alone=False, tag=first)
        with pytest.raises(ObjectChanged):
            await documents.claim("a1", "me", alone=False, tag=first)
        found = await documents.get("a1")
        assert found is not None
        assert (found.owner, found.tag) == ("other", second)

    @pytest.mark.parametrize("is_claimed", [True, False])
    async def test_the_list_of_a_settled_archive_is_there_to_stay(self, objects: Objects, is_claimed: bool) -> None:
        """Over whoever wanted to go on with it; one that is there already is not replaced."""
        documents = Documents(objects)
        if is_claimed:
            await documents.claim("a1", "other", alone=True, tag=None)

        await documents.publish(settled(), "me")
        await documents.publish(settled("another"), "other")

        found = await documents.get("a1")
        assert found is not None
        assert (found.owner, found.is_alone, found.record) == ("me", False, settled())


def naming(archive_id: str, *, age: float = 0.0, is_only: bool = True) -> Naming:
    return Naming(archive_id, is_only, time.time() - age)


class TestOrders:
    """`OrderDocuments`."""

    async def test_what_one_writes_another_one_reads(self, objects: Objects) -> None:
        """Images and names; nothing where there is no document."""
        written = OrderDocument({"i": Observation(finished=True, generation=3)}, {"k": naming("a1")})
        assert await OrderDocuments(objects).read(ORDER) == OrderDocument()

        await OrderDocuments(objects).update(ORDER, lambda _: written)

        assert await OrderDocuments(objects).read(ORDER) == written

    async def test_of_two_who_write_at_once_none_is_lost(self, objects: Objects) -> None:
        """Who was slower makes its change to what is there by then."""
        seen: list[list[str]] = []

        async def write(name: str) -> None:
            def add(document: OrderDocument) -> OrderDocument:
                seen.append(sorted(document.names))
                return replace(document, names={**document.names, name: naming(name)})

            await documents.update(ORDER, add)

        documents, other = OrderDocuments(objects), OrderDocuments(objects)
        get = documents._get

        async def get_and_be_overtaken(order_id: str) -> tuple[bytes, str | None]:
            found = await get(order_id)
            if not seen:
                await other.update(ORDER, lambda _: OrderDocument(names={"other": naming("a1")}))
            return found

        documents._get = get_and_be_overtaken  # type: ignore[method-assign]
        await write("mine")

        assert seen == [[], ["other"]]
        assert sorted((await other.read(ORDER)).names) == ["mine", "other"]

    async def test_what_changes_nothing_is_not_written(self, objects: Objects) -> None:
        """An answer from the storage costs time and money."""
        await OrderDocuments(objects).update(ORDER, lambda document: document)

        assert await objects.get(f"generations/{ORDER}") is None

    async def test_what_changes_too_fast_is_given_up(self, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
        """After ten tries, as if the storage were away."""
        tries = []

        async def put(*_: object) -> None:
            tries.append(1)
            raise ObjectChanged

        documents = OrderDocuments(objects)
        monkeypatch.setattr(documents, "_put", put)

        with pytest.raises(Unavailable):
            await documents.update(ORDER, lambda _: OrderDocument(names={"k": naming("a1")}))
        assert len(tries) == 10

    async def test_what_was_read_of_late_need_not_be_read_again(self, objects: Objects) -> None:
        """Where that is enough; what was changed elsewhere is noticed when it is written."""
        documents, other = OrderDocuments(objects), OrderDocuments(objects)
        await documents.update(ORDER, lambda _: OrderDocument(names={"k": naming("a1")}))
        await other.update(ORDER, lambda _: OrderDocument(names={"k": naming("a2")}))

        recent = await documents.update(ORDER, lambda document: document, may_be_recent=True)
        assert recent.names["k"].archive_id == "a1"
        assert (await documents.update(ORDER, lambda document: document)).names["k"].archive_id == "a2"

        await other.update(ORDER, lambda _: OrderDocument(names={"k": naming("a3")}))
        added = await documents.update(
            ORDER, lambda document: replace(document, names={**document.names, "n": naming("a4")}), may_be_recent=True
        )
        assert {name: one.archive_id for name, one in added.names.items()} == {"k": "a3", "n": "a4"}

    async def test_so_many_are_kept_and_no_long_ones(self, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those that were used last."""
        monkeypatch.setattr(orders, "_RECENT", 2)
        monkeypatch.setattr(orders, "_SHORT_BYTES", 1_000)
        documents = OrderDocuments(objects)
        for name in ("a", "b", "a", "c"):
            await documents.read(name)
        assert list(documents._recent) == ["a", "c"]

        await documents.update("a", lambda _: OrderDocument(names={"k" * 1_000: naming("a1")}))
        assert list(documents._recent) == ["c"]

    async def test_names_are_forgotten_in_the_end(self, objects: Objects) -> None:
        """With the next change; images are not."""
        old, fresh = naming("a1", age=REMEMBERED_SECONDS + 60), naming("a2", age=REMEMBERED_SECONDS - 60)
        seen = {"i": Observation(finished=True, generation=1)}

        await OrderDocuments(objects).update(ORDER, lambda _: OrderDocument(seen, {"old": old, "fresh": fresh}))

        body = await objects.get(f"generations/{ORDER}")
        assert body is not None
        assert list(json.loads(body[0])) == ["i", ""]
        assert await OrderDocuments(objects).read(ORDER) == OrderDocument(seen, {"fresh": fresh})


class TestNames:
    """`ClusterNames`."""

    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        database = await Database.open(tmp_path, [cluster.SCHEMA.replace(" REFERENCES archives ON DELETE CASCADE", "")])
        yield database
        await database.close()

    @pytest.fixture(autouse=True)
    def patient(self, long_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.cluster.named._WAIT_SECONDS", 20.0)

    async def test_the_first_archive_is_the_only_one_until_there_is_another(
        self, objects: Objects, database: Database
    ) -> None:
        """By whichever instance; then it is so for good."""
        one, other = (ClusterNames(OrderDocuments(objects), database) for _ in range(2))
        assert await one.find(ORDER, "k") is None

        assert await one.add(ORDER, "k", "a1") is True
        assert await other.add(ORDER, "k", "a1") is True
        assert await other.find(ORDER, "k") == Named("a1", is_only=True)
        assert await other.add(ORDER, "k", "a2") is False
        assert await one.add(ORDER, "k", "a2") is False
        assert await one.find(ORDER, "k") == Named("a2", is_only=False)
        assert await one.find(ORDER, "another") is None

    @pytest.mark.parametrize("is_only", [True, False])
    async def test_what_was_named_long_ago_is_forgotten(
        self, objects: Objects, database: Database, is_only: bool
    ) -> None:
        """Nobody holds a part of it any more; the next archive is the only one again."""
        names = ClusterNames(OrderDocuments(objects), database)
        old = naming("a1", age=REMEMBERED_SECONDS - 1, is_only=is_only)
        await names._documents.update(ORDER, lambda _: OrderDocument(names={"k": old}))
        assert await names.find(ORDER, "k") == Named("a1", is_only)

        older = replace(old, seen=time.time() - REMEMBERED_SECONDS - 1)
        document = OrderDocument(names={"k": older})
        names._documents._recent[ORDER] = orders._encode(document), None
        await objects.overwrite(f"generations/{ORDER}", json.dumps({"": {"k": ["a1", is_only, older.seen]}}).encode())

        assert await names.find(ORDER, "k") is None
        assert await names.add(ORDER, "k", "a2") is True

    @pytest.mark.parametrize(("age", "is_written"), [(DAY - 60, False), (DAY + 60, True)])
    async def test_that_it_named_the_same_again_is_noted_once_a_day(
        self, objects: Objects, database: Database, age: float, is_written: bool
    ) -> None:
        """And takes nothing back."""
        names = ClusterNames(OrderDocuments(objects), database)
        before = naming("a1", age=age, is_only=False)
        await names._documents.update(ORDER, lambda _: OrderDocument(names={"k": before}))

        assert await names.add(ORDER, "k", "a1") is False

        (after,) = (await names._documents.read(ORDER)).names.values()
        assert (after != before, after.is_only) == (is_written, False)

    async def test_what_cannot_be_told_is_told_later(self, objects: Objects, database: Database) -> None:
        """Once the storage is back, in the sequence in which it was named."""
        names = ClusterNames(OrderDocuments(objects), database)
        take_away(objects)
        for key in ("k", "k", "other"):
            assert await names.add(ORDER, key, "a1") is None
        with pytest.raises(StillBuilding):
            await names.find(ORDER, "k")
        assert await names.share() is False

        give_back(objects)
        assert await names.share() is True

        assert await names.find(ORDER, "k") == Named("a1", is_only=True)
        assert await names.find(ORDER, "other") == Named("a1", is_only=True)
        marked = await database.run(lambda connection: connection.execute("SELECT * FROM unshared_names").fetchall())
        assert marked == []

    async def test_what_comes_late_is_noted_all_the_same(
        self, objects: Objects, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A download does not wait for it; what has begun is carried through."""
        monkeypatch.setattr("service.cluster.named._WAIT_SECONDS", 0.01)
        names, gate, ended = ClusterNames(OrderDocuments(objects), database), asyncio.Event(), asyncio.Event()
        write = objects.write

        async def write_late(*values: Any) -> str:
            try:
                await gate.wait()
                return await write(*values)
            finally:
                ended.set()

        monkeypatch.setattr(objects, "write", write_late)

        assert await names.add(ORDER, "k", "a1") is None
        gate.set()
        await ended.wait()

        assert await names.find(ORDER, "k") == Named("a1", is_only=True)

    async def test_what_is_left_when_the_storage_goes_away_again_stays_marked(
        self, objects: Objects, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Given an address that has named two archives: after the first one it is not known yet that there are two."""
        names = ClusterNames(OrderDocuments(objects), database)
        take_away(objects)
        for archive_id in ("a1", "a2"):
            await names.add(ORDER, "k", archive_id)
        give_back(objects)
        write = objects.write

        async def write_once(*values: Any) -> str:
            tag = await write(*values)
            take_away(objects)
            return tag

        with monkeypatch.context() as patch:
            patch.setattr(objects, "write", write_once)
            assert await names.share() is False

        give_back(objects)
        assert await names.share() is True
        assert await names.find(ORDER, "k") == Named("a2", is_only=False)


class TestObjects:
    """`Objects`."""

    async def test_an_object_is_created_once_and_replaced_by_who_knows_it(self, objects: Objects) -> None:
        """What is not there any more cannot be replaced."""
        tag = await objects.write("a", b"1")
        with pytest.raises(ObjectChanged):
            await objects.write("a", b"2")
        other = await objects.write("a", b"3", tag)
        with pytest.raises(ObjectChanged):
            await objects.write("a", b"4", tag)

        with pytest.raises(ObjectChanged):
            await objects.write("gone", b"5", tag)

        assert await objects.get("a") == (b"3", other)
        assert await objects.get("b") is None

    async def test_what_is_not_there_has_changed_or_there_is_no_bucket(
        self, objects: Objects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S3 answers both with a 404."""

        async def put_async(*_: object, **__: object) -> None:
            raise FileNotFoundError

        monkeypatch.setattr("obstore.put_async", put_async)

        with pytest.raises(ObjectChanged):
            await objects.write("a", b"1", '"tag"')
        for write in (objects.write, objects.overwrite):
            objects.link.is_up = True
            with pytest.raises(Unavailable):
                await write("a", b"1")

    async def test_each_call_has_the_time_that_it_needs(
        self, objects: Objects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A document little, a piece of an image more, and an upload as much for each part of it."""
        times: list[float | None] = []
        call = objects.link.call

        async def note(command: Callable[[], Awaitable[Any]], seconds: float | None = None) -> Any:
            times.append(seconds)
            return await call(command, seconds)

        monkeypatch.setattr(objects.link, "call", note)
        await objects.write("a", b"1")
        await objects.get("a")
        await objects.upload("b", b"12345", 5)
        await objects.upload("c", b"12345", 24 << 20)
        _ = [piece async for piece in objects.read("b", 0, 5)]

        assert times == [None, None, pytest.approx(15, abs=0.1), 60, 15]

    async def test_names_come_in_order_a_page_at_a_time(self, objects: Objects) -> None:
        """Without their prefix, those behind the last one of the page before."""
        for name in ("p/c", "p/a", "p/d", "p/b", "q/a"):
            await objects.write(name, b"")

        assert await objects.names("p/", "", 3) == ["a", "b", "c"]
        assert await objects.names("p/", "b", 3) == ["c", "d"]
        assert await objects.names("p/", "d", 3) == []
        assert (await objects.has_any("q/"), await objects.has_any("r/")) == (True, False)

    async def test_a_range_comes_in_pieces(self, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whole, from its first byte to before its last."""
        monkeypatch.setattr("service.cluster.objects._READ", 4)
        await objects.write("a", b"0123456789ABC")

        assert [piece async for piece in objects.read("a", 2, 12)] == [b"2345", b"6789", b"AB"]
        assert [piece async for piece in objects.read("a", 3, 3)] == []
        with pytest.raises(FileNotFoundError):
            [piece async for piece in objects.read("b", 0, 1)]

    @pytest.mark.parametrize("start", [0, 4, 6], ids=["begins in it", "begins at its end", "begins behind it"])
    async def test_one_that_is_shorter_than_it_should_be_is_no_outage(self, objects: Objects, start: int) -> None:
        """Nor the end of what was asked for: the storage has answered."""
        await objects.write("a", b"0123")

        with pytest.raises(ObjectChanged):
            [piece async for piece in objects.read("a", start, 9)]

        assert objects.link.is_up

    async def test_a_read_that_fails_is_an_outage(self, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the object is as long as it should be."""
        await objects.write("a", b"0123")

        async def fail(*_: object, **__: object) -> None:
            raise GenericError("503")

        monkeypatch.setattr("obstore.get_range_async", fail)

        with pytest.raises(Unavailable):
            [piece async for piece in objects.read("a", 0, 4)]

        assert not objects.link.is_up

    async def test_a_file_that_is_gone_is_no_fault_of_the_storage(self, objects: Objects, tmp_path: Path) -> None:
        """It may be asked right after that."""
        with pytest.raises(FileNotFoundError):
            await objects.upload("a", tmp_path / "gone", 1)

        (tmp_path / "there").write_bytes(b"1")
        await objects.upload("a", tmp_path / "there", 1)
        assert (await objects.exists("a"), await objects.exists("b"), objects.link.is_up) == (True, False, True)

    async def test_whether_it_answers_is_asked_only_where_it_did_not(self, objects: Objects) -> None:
        """As soon as it may be asked."""
        asked = []

        async def exists(name: str) -> bool:
            asked.append(name)
            raise Unavailable(Shared.S3)

        ask, objects.exists = objects.exists, exists  # type: ignore[method-assign]
        assert (await objects.is_there(), asked) == (True, [])
        take_away(objects)
        assert (await objects.is_there(), len(asked)) == (False, 1)

        objects.exists = ask  # type: ignore[method-assign]
        give_back(objects)
        assert await objects.is_there()
