"""A builder that another instance has overtaken hears of it in one way, whoever met the other first."""

from datetime import UTC, datetime

import pytest
from obstore.store import MemoryStore

from service.archives.archive import Archive
from service.archives.demand import Demand
from service.archives.layout import Member
from service.archives.plan import Plan
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
