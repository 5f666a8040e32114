"""What takes the place of local parts where several instances share, and what nobody else is told of where none do."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.api.order_requests import LocalOrderRequests
from service.api.shared_limits import SharedWindow
from service.cluster import cluster
from service.cluster.cluster import Cluster
from service.cluster.job_records import IncompatibleJobs
from service.cluster.jobs import SharedJobs
from service.cluster.redis_link import RedisLink
from service.database import Database
from service.jobs import table
from service.jobs.embedded import EmbeddedJobs
from service.orders.orders import Orders
from service.settings import CannotShare, InvalidSettings, Settings
from service.telemetry.metrics import Metrics
from tests.support.s3_server import S3Server

SHARED = {"shared_url": "redis://127.0.0.1:9/0", "store_url": "s3://bucket"}


def settings(**given: Any) -> Settings:
    return Settings.load(_env_file=None, **given)


class Heard:
    """A Redis that others hear, and orders that are told of."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.listeners: list[Any] = []
        self.woken: list[str] = []

    async def publish(self, topic: str) -> None:
        self.published.append(topic)

    def notify(self, order_id: str) -> None:
        self.woken.append(order_id)


async def test_news_of_an_order_are_told_and_heard() -> None:
    """What else is published is no order's: of a lost connection nobody knows what it was."""
    heard = Heard()
    member = Cluster(order_requests=cast(Any, None), redis=cast(Any, heard))
    member.listen(cast(Orders, heard))

    await member.notify("an-order")
    for topic in (*heard.published, "", "list:an-archive", "image.0", "order:another"):
        heard.listeners[0](topic)

    assert heard.woken == ["an-order", "another"]


async def test_an_instance_that_stands_alone_tells_nobody(tmp_path: Path) -> None:
    """Its parts are those of this process."""
    database = await Database.open(tmp_path, [cluster.SCHEMA, table.SCHEMA])
    async with AsyncExitStack() as stack:
        alone = await Cluster.open(stack, settings(), database, Metrics())
        alone.listen(cast(Orders, None))
        alone.share(stack, cast(Any, None))
        await alone.notify("an-order")
        await alone.exchange_hints([])
        assert isinstance(await cluster.open_engine(stack, settings(), database), EmbeddedJobs)
        assert isinstance(alone.order_requests, LocalOrderRequests)
    await database.close()

    assert cluster.window(settings()) is None


async def test_what_is_missing_for_sharing_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts; who shares nothing needs none of it."""
    monkeypatch.setattr(cluster, "import_module", SimpleNamespace)

    cluster.load_extras(settings())
    for missing, (name, extra) in {
        "service.cluster.objects": ("STORE_URL", "s3"),
        "service.cluster.jobs": ("SHARED_URL", "redis"),
        "service.cluster.redis_link": ("SHARED_URL", "redis"),
    }.items():

        def import_module(module: str, missing: str = missing) -> None:
            if module == missing:
                raise ImportError

        monkeypatch.setattr(cluster, "import_module", import_module)
        with pytest.raises(InvalidSettings, match=f"^{name}: needs the extra {extra},"):
            cluster.load_extras(settings(**SHARED))


@pytest.mark.parametrize("option", ["nonsense=1", "max_connections=many", "ssl_cert_reqs=perhaps", "retry=1"])
async def test_an_option_that_the_client_for_redis_cannot_use_is_refused(option: str) -> None:
    """In one line, without the URL: it may hold a password."""
    url = f"rediss://:secret-of-redis@127.0.0.1:9/0?{option}"

    with pytest.raises(InvalidSettings) as refused:
        cluster.load_extras(settings(**SHARED | {"shared_url": url}))

    assert str(refused.value).startswith("SHARED_URL: ")
    assert "\n" not in str(refused.value)
    assert "secret-of-redis" not in str(refused.value)


async def test_an_option_that_the_client_for_redis_knows_is_accepted() -> None:
    """Such as a certificate authority of one's own."""
    cluster.load_extras(settings(**SHARED | {"shared_url": "rediss://127.0.0.1:9/0?ssl_ca_certs=/etc/ca.pem"}))


@pytest.mark.parametrize("url", ["s3://", "ftp://batch/archives", "batch"])
async def test_a_storage_that_cannot_be_one_is_a_wrong_setting(url: str) -> None:
    """Before anything starts; one that only refuses us now may let us in later."""
    with pytest.raises(InvalidSettings, match="STORE_URL: ") as refused:
        cluster.load_extras(settings(**SHARED | {"store_url": url}))

    assert not isinstance(refused.value, CannotShare)


@pytest.mark.parametrize("url", ["minio:9000", "ftp://minio", "http://"])
async def test_an_endpoint_that_is_no_url_is_a_wrong_setting(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes it at first, and panics at its first call."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)

    with pytest.raises(InvalidSettings, match="STORE_URL: AWS_ENDPOINT_URL must be a URL"):
        cluster.load_extras(settings(**SHARED))


async def test_callers_are_counted_where_instances_share() -> None:
    """By all together."""
    window = cluster.window(settings(**SHARED))

    assert isinstance(window, SharedWindow)
    await window.close()


async def test_unfinished_jobs_of_another_version_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends with a line that says what to do."""

    @asynccontextmanager
    async def refuse(_: str) -> AsyncIterator[SharedJobs]:
        raise IncompatibleJobs("3 jobs of an earlier version")
        yield

    monkeypatch.setattr(SharedJobs, "open", refuse)
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotShare, match="3 jobs of an earlier version"):
            await cluster.open_engine(stack, settings(**SHARED), cast(Database, None))


def test_the_process_before_is_known_to_the_next_one() -> None:
    """And one alone."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(cluster.SCHEMA)

        assert [cluster._replace_instance(connection, name) for name in ("a", "b", "c")] == [None, "a", "b"]


@pytest.mark.parametrize("fails", ["generations", "names", "archives", "images", ""])
async def test_an_archive_is_told_of_after_what_was_seen_of_its_images(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Else others might take them for the newest; nothing is told behind what could not be."""
    told: list[str] = []
    steps = {
        "generations": "service.cluster.generations.ClusterGenerations.share",
        "names": "service.cluster.named.ClusterNames.share",
        "archives": "service.cluster.archives.ClusterArchives.share_lists",
        "images": "service.cluster.objects.Objects.is_there",
    }
    for name, place in steps.items():

        async def share(_: object, name: str = name) -> bool:
            told.append(name)
            return name != fails

        monkeypatch.setattr(place, share)
    shares: list[Any] = []
    monkeypatch.setattr("service.cluster.publishing.Publisher", lambda *parts: shares.append(parts[-1]))
    database = await Database.open(tmp_path, [cluster.SCHEMA])
    given = settings(**SHARED | {"store_url": s3.make_bucket()})
    async with AsyncExitStack() as stack:
        member = await Cluster.open(stack, given, database, Metrics())
        assert member.publish is not None
        member.publish(cast(Any, None))
        is_all = await shares[0]()
    await database.close()

    order = list(steps)
    assert (is_all, told) == (not fails, order[: order.index(fails) + 1] if fails else order)


async def test_an_instance_follows_the_one_before_it_and_ends_in_order(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others hear that the one before has left; images of earlier versions are looked for, and leases given back."""
    steps: list[Any] = []
    really_open = RedisLink.open

    def open_link(url: str, instance: str, metrics: Metrics, *, before: str | None) -> Any:
        steps.append((instance, before))
        return really_open(url, instance, metrics, before=before)

    async def look(_: object) -> None:
        steps.append("earlier ones")

    async def close(_: object) -> None:
        steps.append("leases")

    monkeypatch.setattr(RedisLink, "open", open_link)
    monkeypatch.setattr("service.cluster.images.ClusterImages.look_for_earlier", look)
    monkeypatch.setattr("service.cluster.image_leases.RedisImageLeases.close", close)
    database = await Database.open(tmp_path, [cluster.SCHEMA])
    given = settings(**SHARED | {"store_url": s3.make_bucket(), "max_credits_per_day": 7})
    for _ in range(2):
        async with AsyncExitStack() as stack:
            member = await Cluster.open(stack, given, database, Metrics())
            assert member.spending is not None
            assert member.spending.limit == 7
    await database.close()

    (first, _), _, _, (second, before), *_ = steps
    assert (first != second, before) == (True, first)
    assert steps == [(first, None), "earlier ones", "leases", (second, first), "earlier ones", "leases"]
