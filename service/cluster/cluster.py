"""What instances share, opened from the settings: S3 for what is kept, a Redis or Valkey for what is in motion.

Both come with extras that the default install does not have; nothing of them is imported before it is asked for.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from service.api.order_requests import LocalOrderRequests, OrderRequests
from service.api.share_links import ShareLinks
from service.api.shared_limits import SharedWindow
from service.archives.named import SharedNames
from service.archives.shared_archives import SharedArchives
from service.data_dir import data_dir_needed
from service.database import Database
from service.images.protocols import ImageLeases, SharedImages
from service.images.spending import Spending
from service.images.store import ImageStore
from service.jobs.embedded import EmbeddedJobs
from service.jobs.engine import JobEngine
from service.orders.generations import SharedGenerations
from service.orders.orders import Orders
from service.settings import CannotShare, InvalidSettings, Settings
from service.telemetry.metrics import Metrics
from service.upstream.breaker import Breaker

if TYPE_CHECKING:
    from service.cluster.publishing import Publisher
    from service.cluster.redis_link import RedisLink

SCHEMA = """
-- The process that has this data directory: the next one says that it has ended.
CREATE TABLE IF NOT EXISTS instance (id TEXT PRIMARY KEY);
-- Settled archives that other instances do not have yet.
CREATE TABLE IF NOT EXISTS unshared_lists (
    archive_id TEXT PRIMARY KEY REFERENCES archives ON DELETE CASCADE
) WITHOUT ROWID;
-- How this instance saw the images of an order while others could not be told.
CREATE TABLE IF NOT EXISTS unshared_observations (order_id TEXT PRIMARY KEY, image_ids TEXT NOT NULL) WITHOUT ROWID;
-- What addresses have named here while others could not be told.
CREATE TABLE IF NOT EXISTS unshared_names (
    url_key TEXT NOT NULL, archive_id TEXT NOT NULL, order_id TEXT NOT NULL, PRIMARY KEY (url_key, archive_id)
) WITHOUT ROWID;
-- Archives that are built here without a list in Redis.
CREATE TABLE IF NOT EXISTS alone (archive_id TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
"""

_ORDER = "order:"
# By setting: the extra that brings what it needs, and the modules that stand on it.
_EXTRAS = {
    "STORE_URL": ("s3", ("service.cluster.objects",)),
    "SHARED_URL": ("redis", ("service.cluster.jobs", "service.cluster.breaker_hints", "service.cluster.redis_link")),
}


def load_extras(settings: Settings) -> None:
    """Import what sharing needs, before there is an event loop to hold up.

    Raises `InvalidSettings` when it is not installed, or cannot use STORE_URL or an option of SHARED_URL.
    """
    if settings.shared_url is None or settings.store_url is None:
        return
    for name, (extra, modules) in _EXTRAS.items():
        try:
            for module in modules:
                import_module(module)
        except ImportError:
            raise InvalidSettings(
                f"{name}: needs the extra {extra}, which is not installed: pip install '.[redis,s3]' in a checkout, or"
                " an image built with LOCK=shared"
            ) from None
    from redis.asyncio import ConnectionPool
    from redis.exceptions import RedisError

    try:
        pool: Any = ConnectionPool.from_url(settings.shared_url.get_secret_value())
        pool.make_connection()  # to nothing yet
    except (AttributeError, RedisError, TypeError, ValueError):
        raise InvalidSettings("SHARED_URL: an option behind its ? is unknown, or its value is not valid") from None
    from service.cluster.objects import open_store

    try:
        open_store(settings.store_url)  # connects to nothing yet
    except ValueError as error:
        raise InvalidSettings(f"STORE_URL: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What takes the place of local parts; where an instance stands alone, nothing does."""

    order_requests: OrderRequests
    images: SharedImages | None = None
    spending: Spending | None = None
    leases: ImageLeases | None = None
    archives: SharedArchives | None = None
    generations: SharedGenerations | None = None
    names: SharedNames | None = None
    share_links: ShareLinks | None = None
    redis: "RedisLink | None" = None
    publish: "Callable[[ImageStore], Publisher] | None" = None

    @classmethod
    async def open(cls, stack: AsyncExitStack, settings: Settings, database: Database, metrics: Metrics) -> "Cluster":
        """The parts that the settings ask for, closed with `stack`.

        Raises `CannotShare` when the storage cannot be shared.
        """
        if settings.shared_url is None or settings.store_url is None:
            return cls(order_requests=LocalOrderRequests(database))
        from service.cluster.archives import ClusterArchives
        from service.cluster.generations import ClusterGenerations
        from service.cluster.image_leases import RedisImageLeases
        from service.cluster.images import ClusterImages
        from service.cluster.named import ClusterNames
        from service.cluster.objects import Objects, open_store
        from service.cluster.order_requests import SharedOrderRequests
        from service.cluster.orders import OrderDocuments
        from service.cluster.publishing import Publisher
        from service.cluster.redis_link import RedisLink
        from service.cluster.share_links import ClusterShareLinks
        from service.cluster.spending import SharedSpending

        metrics.declare_shared()
        objects = Objects(open_store(settings.store_url), metrics)
        try:
            await objects.check()
        except ValueError as error:
            raise CannotShare(f"STORE_URL: {error}") from None
        url, instance = settings.shared_url.get_secret_value(), uuid4().hex
        before = await database.run(lambda connection: _replace_instance(connection, instance))
        redis = await stack.enter_async_context(RedisLink.open(url, instance, metrics, before=before))
        await redis.warn()
        images, leases = ClusterImages(objects), RedisImageLeases(redis, objects.link)
        await images.look_for_earlier()
        stack.push_async_callback(leases.close)
        archives = ClusterArchives(objects, redis, database, settings.archive_ttl, images.has_work.fire)
        documents = OrderDocuments(objects)
        generations, names = ClusterGenerations(documents, database), ClusterNames(documents, database)

        async def share_the_rest() -> bool:
            # An archive is told of after what was seen of its images: else others might take them for the newest.
            for share in (generations.share, names.share, archives.share_lists, objects.is_there):
                if not await share():
                    return False
            return True

        return cls(
            order_requests=SharedOrderRequests(redis),
            images=images,
            spending=SharedSpending(redis, settings.max_credits_per_day),
            leases=leases,
            archives=archives,
            generations=generations,
            names=names,
            share_links=ClusterShareLinks(objects),
            redis=redis,
            publish=lambda store: Publisher(images, database, store, share_the_rest),
        )

    def share(self, stack: AsyncExitStack, store: ImageStore) -> None:
        """From now on, give the other instances what is fetched and settled here; all of it before `stack` closes."""
        if self.publish is not None:
            stack.push_async_callback(self.publish(store).close)

    async def notify(self, order_id: str) -> None:
        """Something happened to an order: let whoever waits for it at another instance look at once."""
        if self.redis is not None:
            await self.redis.publish(_ORDER + order_id)

    def listen(self, orders: Orders) -> None:
        """Hand on what other instances say of orders."""

        def heard(topic: str) -> None:
            if topic.startswith(_ORDER):
                orders.notify(topic.removeprefix(_ORDER))

        if self.redis is not None:
            self.redis.listeners.append(heard)

    async def exchange_hints(self, breakers: Iterable[Breaker]) -> None:
        """Tell other instances of broken dependencies, until cancelled; returns where there are no others."""
        if self.redis is not None:
            from service.cluster.breaker_hints import BreakerHints

            await BreakerHints(self.redis.redis, breakers).exchange_regularly()


def window(settings: Settings) -> SharedWindow | None:
    """Where instances count their callers together; None: each counts for itself."""
    return None if settings.shared_url is None else SharedWindow(settings.shared_url.get_secret_value())


async def open_engine(stack: AsyncExitStack, settings: Settings, database: Database) -> JobEngine:
    """The engine of background jobs, closed with `stack`. Raises `CannotShare` when another version's jobs wait."""
    if settings.shared_url is None:
        with data_dir_needed():
            return await EmbeddedJobs.open(database)
    from service.cluster.job_records import IncompatibleJobs
    from service.cluster.jobs import SharedJobs

    try:
        return await stack.enter_async_context(SharedJobs.open(settings.shared_url.get_secret_value()))
    except IncompatibleJobs as error:
        raise CannotShare(str(error)) from None


def _replace_instance(connection: sqlite3.Connection, instance: str) -> str | None:
    """Note the new process; returns the one before."""
    row = connection.execute("DELETE FROM instance RETURNING id").fetchone()
    connection.execute("INSERT INTO instance VALUES (?)", (instance,))
    return None if row is None else str(row[0])
