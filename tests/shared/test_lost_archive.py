"""The shared record of archives: builders that were overtaken, and archives that are dropped."""

import asyncio
from datetime import UTC, datetime

import pytest
from obstore.store import MemoryStore

from service.archives.archive import Archive
from service.archives.demand import Demand
from service.archives.layout import Member
from service.archives.plan import Plan
from service.archives.record import GONE
from service.archives.shared import SharedCatalogue, TakenOver
from service.images.blobs import Blob
from service.images.objects import Objects
from service.upstream.models import Rendering

ID = "a" * 32
PLAN = Plan(order_id="o", order_name=None, rendering=Rendering(), images=(), key="k", family="f")
MEMBER = Member("a.jpg", Blob("b" * 32, 5, 1, "jpg"), datetime(2026, 1, 1, tzinfo=UTC), "a")


async def test_a_builder_whose_beat_met_the_other_builder_is_told_at_its_next_member() -> None:
    """Given a beat that was refused, the next member raises `TakenOver`, as if it had been refused itself."""
    objects = Objects(MemoryStore())
    slow, quick = SharedCatalogue(objects, 60), SharedCatalogue(objects, 60)
    archive = Archive(ID, key="k", order_id="o", order_name=None, total=1, demand=Demand(1, grace=60))
    await slow.begin(archive, PLAN)
    news = await quick.watch(ID, None)
    assert news is not None
    assert await quick.claim(ID, news[1])

    await slow.beat({ID})

    with pytest.raises(TakenOver):
        await slow.append(ID, MEMBER, 1)


class _SlowObjects(Objects):
    """A storage that takes a write, and answers when `gate` opens."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.gate = asyncio.Event()
        self.has_write = asyncio.Event()

    async def replace(self, name: str, body: bytes, tag: str) -> str:
        new_tag = await super().replace(name, body, tag)
        self.has_write.set()
        await self.gate.wait()
        return new_tag


async def test_an_archive_that_is_dropped_in_the_middle_of_a_write_is_gone() -> None:
    """No instance finds a build to go on with, whether the write was answered before or never."""
    objects = _SlowObjects()
    catalogue = SharedCatalogue(objects, 60)
    archive = Archive(ID, key="k", order_id="o", order_name=None, total=1, demand=Demand(1, grace=60))
    await catalogue.begin(archive, PLAN)
    writing = asyncio.create_task(catalogue.append(ID, MEMBER, 1))
    await objects.has_write.wait()

    dropping = asyncio.create_task(catalogue.drop(ID))
    objects.gate.set()
    await asyncio.gather(writing, dropping)

    record = await catalogue.load(ID)
    assert record is not None
    assert record.state == GONE
