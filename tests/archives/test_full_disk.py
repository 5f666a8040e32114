"""On a disk without a free byte, what is stored is served: reading needs no room."""

import asyncio
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from service.archives.named import SCHEMA, NamedArchives
from service.archives.options import Options
from service.database import Database
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


_NOTES = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL);"


def _write_notes(connection: sqlite3.Connection) -> None:
    connection.executemany("INSERT INTO notes VALUES (?)", [("x" * 500,)] * 1_000)


def _change_notes(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE notes SET text = hex(randomblob(250)) WHERE rowid % 10 = 0")


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


async def test_the_reserve_is_enough_for_any_number_of_transactions(tmp_path: Path) -> None:
    """Their log is used again and again; only what they add to the database stays."""
    async with small_disk(tmp_path / "disk") as disk:
        database = await Database.open(disk / "data", [_NOTES])
        await database.run(_write_notes)
        await asyncio.to_thread(_take_the_rest, disk)
        free = os.statvfs(disk).f_bavail

        for _ in range(1_000):
            await database.run(_change_notes)
            await database.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('one more')"))

        rows = await database.run(lambda connection: connection.execute("SELECT count(*) FROM notes").fetchone()[0])
        assert (free, rows) == (0, 2_000)
        await database.close()


async def test_the_reserve_is_not_taken_while_the_log_can_be_used_again(tmp_path: Path) -> None:
    """It is for what has no other room."""
    async with small_disk(tmp_path / "disk") as disk:
        database = await Database.open(disk / "data", [_NOTES])
        await database.run(_write_notes)
        await database.close()
        database = await Database.open(disk / "data", [_NOTES])
        await database.run(_change_notes)
        await asyncio.to_thread(_take_the_rest, disk)
        free = os.statvfs(disk).f_bavail

        for _ in range(10):
            await database.run(_change_notes)

        assert (free, (disk / "data" / "reserve").exists()) == (0, True)
        await database.close()
