"""What instances share, opened from the settings: a storage for images and archives, a Redis or Valkey for the rest.

Both come with extras that the default install does not have; nothing of them is imported before it is asked for.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module

from service.api.shared_limits import SHARED_SECONDS, SharedWindow
from service.cluster.archives import ClusterArchives
from service.cluster.generations import ClusterGenerations
from service.cluster.images import ClusterImages
from service.cluster.objects import Objects
from service.database import Database, data_dir_needed
from service.jobs.embedded import EmbeddedJobs
from service.jobs.engine import JobEngine
from service.settings import InvalidSettings, Settings
from service.upstream.breaker import Breaker

# By extra: the modules that stand on it.
_EXTRAS = {"s3": ("obstore", "obstore.store"), "redis": ("service.cluster.jobs", "service.cluster.breaker_hints")}


def load_extras(settings: Settings) -> None:
    """Import what sharing needs, before there is an event loop to hold up.

    Raises `InvalidSettings` when it is not installed.
    """
    for name, value, extra in (("STORE_URL", settings.store_url, "s3"), ("SHARED_URL", settings.shared_url, "redis")):
        if value is None:
            continue
        try:
            for module in _EXTRAS[extra]:
                import_module(module)
        except ImportError:
            raise InvalidSettings(f"{name}: needs the extra: pip install 'autoenhance-batch[{extra}]'") from None


@dataclass(frozen=True)
class SharedStorage:
    """What the storage that instances share holds; None of each where there is none."""

    images: ClusterImages | None = None
    archives: ClusterArchives | None = None
    generations: ClusterGenerations | None = None


async def open_storage(settings: Settings) -> SharedStorage:
    """The storage that instances share. Raises `InvalidSettings` when it cannot serve as such."""
    if settings.store_url is None:
        return SharedStorage()
    try:
        objects = Objects.open(settings.store_url)
        await objects.check()
    except ValueError as error:
        raise InvalidSettings(f"STORE_URL: {error}") from None
    return SharedStorage(
        ClusterImages(objects), ClusterArchives(objects, settings.archive_ttl), ClusterGenerations(objects)
    )


def window(settings: Settings) -> SharedWindow | None:
    """Where instances count their callers together; None: each counts for itself."""
    return None if settings.shared_url is None else SharedWindow(settings.shared_url.get_secret_value())


async def open_engine(stack: AsyncExitStack, settings: Settings, database: Database) -> JobEngine:
    """The engine of background jobs, closed with `stack`. Raises `InvalidSettings` when another version's jobs wait."""
    if settings.shared_url is None:
        with data_dir_needed():
            return await EmbeddedJobs.open(database)
    from service.cluster.job_records import IncompatibleJobs
    from service.cluster.jobs import SharedJobs

    try:
        return await stack.enter_async_context(SharedJobs.open(settings.shared_url.get_secret_value()))
    except IncompatibleJobs as error:
        raise InvalidSettings(str(error)) from None


async def exchange_hints(settings: Settings, breakers: list[Breaker]) -> None:
    """Tell other instances of broken dependencies, until cancelled; returns where there are no others."""
    if settings.shared_url is None:
        return
    from redis.asyncio import Redis

    from service.cluster.breaker_hints import BreakerHints

    url = settings.shared_url.get_secret_value()
    # `BreakerHints` bounds its calls; redis-py's own bound loses cancellations (CPython #86296).
    async with Redis.from_url(url, socket_timeout=None, socket_connect_timeout=SHARED_SECONDS) as redis:
        await BreakerHints(redis, breakers).exchange_regularly()
