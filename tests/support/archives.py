"""Everything that builds archives, wired as the service wires it, without HTTP in front."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.archives import archive_index
from service.archives.archive import Archive
from service.archives.archives import Archives
from service.archives.build import BuildContext
from service.archives.catalogue import Catalogue
from service.archives.eviction import Eviction
from service.archives.options import Options
from service.archives.planner import Planner
from service.archives.registry import Registry
from service.database import Database
from service.images import blob_index, spending
from service.images.fetch import ImageFetcher
from service.images.spending import LocalSpending
from service.images.store import ImageStore
from service.orders import generations
from service.orders.generations import Generations
from service.orders.orders import Orders
from service.telemetry.metrics import CacheResult
from service.upstream.concurrency import DownloadSlots
from tests.support.images import open_store
from tests.support.samples import ORDER
from tests.support.transport import TIMEOUT, Parts, open_client
from tests.support.upstream import FakeUpstream


@dataclass
class ArchiveSystem:
    """What tests of archives work with."""

    archives: Archives
    catalogue: Catalogue
    database: Database
    images: ImageStore
    orders: Orders
    registry: Registry
    parts: Parts

    async def start(
        self, order_id: str | tuple[str, ...] = ORDER, caller: str = "", **options: Any
    ) -> tuple[Archive, CacheResult]:
        """The archive for these options."""
        return await self.archives.get_or_start(order_id, Options(**options), caller)

    async def finished(self, order_id: str | tuple[str, ...] = ORDER, **options: Any) -> Archive:
        """The archive for these options, read to its end."""
        archive, _ = await self.start(order_id, **options)
        return await self.read_to_the_end(archive)

    async def read_to_the_end(self, archive: Archive) -> Archive:
        """Want all of it, and wait until it is settled. Raises its problem when it fails."""
        async with asyncio.timeout(TIMEOUT):
            with archive.readers.reading(to_the_end=True):
                await archive.wait_until(lambda: False)
                await self.build_is_over(archive)
        return archive

    async def build_is_over(self, archive: Archive) -> None:
        """Wait until nothing works on it any more."""
        await asyncio.gather(*(task for task in self.archives._tasks if archive.id in task.get_name()))

    async def bytes_of(self, archive: Archive) -> bytes:
        """The whole ZIP."""
        whole = b""
        async for piece in archive.slices(0, None):
            if isinstance(piece, bytes):
                whole += piece
                continue
            opened = await self.images.open_blob(piece.blob)
            assert opened is not None
            with opened:
                whole += os.pread(opened.file.fileno(), piece.count, piece.offset)
        return whole


@asynccontextmanager
async def open_archives(
    upstream: FakeUpstream,
    data_dir: Path,
    *,
    limit: int = 1 << 40,
    ttl: float = 3_600,
    freshness: float = 0,
    window: int = 256 << 20,
    grace: float = 60,
    concurrency: int = 5,
    attempts: int = 1,
    max_images: int = 100,
    credits_a_day: int | None = None,
    boot: str | None = None,
) -> AsyncIterator[ArchiveSystem]:
    """All of it on this data directory; closed as the service closes it. Every order call goes to upstream."""
    async with AsyncExitStack() as stack:
        schemas = [blob_index.SCHEMA, spending.SCHEMA, generations.SCHEMA, archive_index.SCHEMA]
        database = await Database.open(data_dir, schemas)
        stack.push_async_callback(database.close)
        parts = await stack.enter_async_context(open_client(upstream.url, attempts=attempts))
        registry = Registry()
        images = await stack.enter_async_context(
            open_store(data_dir, database, parts.metrics, Eviction(registry), limit)
        )
        slots = DownloadSlots(concurrency, parts.metrics)
        fetcher = ImageFetcher(parts.client, images, slots, parts.metrics, LocalSpending(database, credits_a_day))
        stack.push_async_callback(fetcher.close)
        orders = Orders(parts.client, freshness)
        stack.push_async_callback(orders.close)
        planner = Planner(max_images, images.has_legacy)
        records = Catalogue(database, ttl)
        await stack.enter_async_context(records.building_in(boot))
        context = BuildContext(fetcher, images, records, orders, Generations(database), planner, parts.metrics)
        archives = Archives(context, registry, window=window, grace=grace)
        stack.push_async_callback(archives.close)
        yield ArchiveSystem(archives, records, database, images, orders, registry, parts)
