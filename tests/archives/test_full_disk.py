"""On a disk without a free byte, what is stored is served: reading needs no room."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from service.archives.named import SCHEMA, NamedArchives
from service.archives.options import Options
from service.telemetry.metrics import CacheResult
from tests.faults.disk import small_disk
from tests.support.archives import open_archives
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


def _take_the_rest(disk: Path) -> None:
    for piece in (1 << 20, 512):
        with suppress(OSError), (disk / f"ballast-{piece}").open("wb", buffering=0) as file:
            while file.write(bytes(piece)) == piece:
                pass


async def test_what_is_stored_is_served_from_a_full_disk(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Found for its order and by its id, and told in the overview; what has to be noted has its room in the reserve."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    async with small_disk(tmp_path / "disk") as disk, open_archives(upstream, disk / "data") as system:
        await system.database.run(lambda connection: [connection.execute(part) for part in SCHEMA.split(";")])
        named = NamedArchives(system.database)
        archive = await system.finished()
        before = await system.bytes_of(archive)
        await asyncio.to_thread(_take_the_rest, disk)
        free = os.statvfs(disk).f_bavail

        again, result = await system.start()
        found = await system.archives.by_id(archive.id)
        order_now = await system.orders.get(ORDER)
        stored = await system.archives.previews.preview(ORDER, order_now, Options(), lambda _, stored: len(stored))
        is_only = await named.add(ORDER, Options(), archive.id)

        assert (free, again.id, result, found.id) == (0, archive.id, CacheResult.HIT, archive.id)
        assert stored == 2
        assert is_only
        assert await system.bytes_of(found) == before


async def test_a_start_on_a_full_disk_serves_what_is_stored(upstream: FakeUpstream, tmp_path: Path) -> None:
    """The opening of the database may take the reserve, too."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)
    async with small_disk(tmp_path / "disk") as disk:
        async with open_archives(upstream, disk / "data", boot="boot") as system:
            archive = await system.finished()
            before = await system.bytes_of(archive)
        await asyncio.to_thread(_take_the_rest, disk)
        free = os.statvfs(disk).f_bavail

        async with open_archives(upstream, disk / "data", boot="boot") as system:
            again, result = await system.start()

            assert (free, again.id, result) == (0, archive.id, CacheResult.HIT)
            assert await system.bytes_of(again) == before
