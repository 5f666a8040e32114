"""All archives: an equal request finds the running or the finished one, anything else begins a new one."""

import asyncio
import time
from contextlib import suppress
from uuid import uuid4
from weakref import WeakValueDictionary

from service.archives.archive import Archive, State
from service.archives.build import Build
from service.archives.builder import Builder, Workshop
from service.archives.catalogue import Catalogue
from service.archives.demand import Demand
from service.archives.options import Options
from service.archives.plan import Plan, family_key, make_plan
from service.archives.polling import Polling
from service.archives.readiness import Readiness
from service.archives.record import Record
from service.archives.repair import repair
from service.archives.restore import bring_up_to
from service.archives.shared import BEAT_SECONDS
from service.archives.signal import Signals, within
from service.background import repeat
from service.images.blobs import Blob
from service.images.generations import Generations
from service.problems import UPSTREAM_DOWN, ArchiveGone, ArchiveNotFound
from service.telemetry.metrics import CacheResult
from service.upstream.models import Order
from service.upstream.orders import Orders

_SWEEP_SECONDS = 30.0
_RELEASE_SECONDS = 5.0


class Archives:
    """Finds, begins, resumes and lets go of archives."""

    def __init__(
        self,
        workshop: Workshop,
        orders: Orders,
        generations: Generations,
        *,
        window: int,
        grace: float,
        most_images: int,
    ) -> None:
        self._workshop = workshop
        self._catalogue: Catalogue = workshop.catalogue
        self._orders = orders
        self._generations = generations
        self._window = window
        self._grace = grace
        self._most_images = most_images
        self._builds: dict[str, Build] = {}
        self._by_key: dict[str, Build] = {}
        # Whatever somebody holds a reference to is in use: it is found here, and not evicted.
        self._known: WeakValueDictionary[str, Archive] = WeakValueDictionary()
        self._news = Signals()
        self._started = time.monotonic()

    async def request(self, order_id: str, options: Options) -> tuple[Archive, CacheResult]:
        """The archive for a caller's wish: running, finished, or begun now.

        Raises what the order call raises, `OrderEmpty`, `UnknownImage` or `TooManyImages`.
        """
        deadline = time.monotonic() + options.wait_timeout
        order = await self._listed(order_id, options, deadline)
        plan = await self._plan(order_id, order, options)
        if build := self._joinable(plan, deadline):
            return build.archive, CacheResult.JOINED
        archive = await self._finished(plan) or await self._unfinished(plan)
        if build := self._joinable(plan, deadline):  # somebody was quicker meanwhile
            return build.archive, CacheResult.JOINED
        if archive is not None:
            return archive, CacheResult.HIT
        return self._begin(plan, options, deadline), CacheResult.MISS

    async def find(self, order_id: str, order: Order, options: Options) -> Archive | None:
        """The archive that `request` would give, if there is one; nothing is begun."""
        plan = await self._plan(order_id, order, options)
        build = self._by_key.get(plan.running_key)
        return build.archive if build else await self._finished(plan)

    async def preview(self, order_id: str, order: Order, options: Options) -> tuple[Plan, dict[str, Blob]]:
        """What `request` would plan, and which of its images are stored, by key."""
        plan = await self._plan(order_id, order, options)
        return plan, await self._workshop.store.find([image.key for image in plan.images])

    async def stale(self, order_id: str, options: Options) -> Archive | None:
        """The newest complete archive for the same wish, for when upstream cannot be asked."""
        return await self._intact(await self._catalogue.find_stale(family_key(order_id, options)))

    async def by_id(self, archive_id: str) -> Archive:
        """An archive by its id; a build that a restart interrupted goes on.

        Raises `ArchiveNotFound`, or `ArchiveGone` for one that was here.
        """
        if build := self._builds.get(archive_id):
            return build.archive
        record = await self._catalogue.load(archive_id)
        if record is None:
            raise ArchiveNotFound(f"Nothing is known of archive {archive_id}.")
        if self._catalogue.is_expired(record):
            raise ArchiveGone(f"The time of archive {archive_id} is over.")
        if build := self._builds.get(archive_id):
            return build.archive
        archive = self._restore(record)
        lost = await self._workshop.store.missing(archive.blobs())
        if lost and not await repair(record, lost, self._workshop):
            await self._catalogue.drop(archive_id)
            raise ArchiveGone(f"Some images of archive {archive_id} made room for others.")
        return archive if archive.is_settled else self._resume(record, archive)

    async def held(self, archive_id: str, order_id: str, options: Options) -> Archive | None:
        """The archive that a caller says it has a part of, as `by_id`; None unless it is here and of this very wish."""
        build = self._builds.get(archive_id)
        found = build or await self._catalogue.load(archive_id)
        if found is None or found.plan.family != family_key(order_id, options):
            return None
        with suppress(ArchiveNotFound, ArchiveGone):
            return await self.by_id(archive_id)
        return None

    async def keep(self, archive_id: str, until: float) -> None:
        """Do not let go of an archive before `until` (epoch seconds), whether or not anybody uses it."""
        await self._catalogue.keep(archive_id, until)

    def wake(self, order_id: str) -> None:
        """There is news of an order: whoever waits for its images looks at once."""
        self._news.fire(order_id)

    async def close(self) -> None:
        """Stop all builds; they go on after a restart, if somebody comes back for them."""
        tasks = [build.task for build in self._builds.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._catalogue.shared is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await self._catalogue.shared.beat(())

    async def beat_regularly(self) -> None:
        """Tell other instances, again and again, which archives are being built here."""
        if (shared := self._catalogue.shared) is not None:
            await repeat("beat", lambda: shared.beat(self._wanted()), every=BEAT_SECONDS)

    def _wanted(self) -> set[str]:
        return {archive_id for archive_id, build in self._builds.items() if build.archive.demand.readers}

    async def sweep_regularly(self) -> None:
        """Let go, again and again, what is past its time."""
        await repeat("sweep archives", self._sweep, every=_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        orphaned_before = time.time() - self._grace if time.monotonic() - self._started > self._grace else 0
        await self._catalogue.sweep(self.live(), orphaned_before)

    def live(self) -> set[str]:
        """Ids of archives that are being built or used."""
        return {*self._builds, *self._known}

    def needed(self) -> set[str]:
        """Keys of the images that running builds have, or are about to have."""
        return {image.key for build in self._builds.values() for image in build.readiness.plan.images}

    async def _listed(self, order_id: str, options: Options, deadline: float) -> Order:
        """The order; if the caller waits, once its images are listed."""
        news = self._news.of(order_id)
        heard = news.next()
        polling = Polling()
        order = await self._orders.get(order_id)
        while options.wait and order.may_grow and not order.images and time.monotonic() < deadline:
            await within(polling.pause(deadline), heard)
            heard = news.next()
            try:
                order = await self._orders.refresh(order_id)
            except UPSTREAM_DOWN:
                if time.monotonic() >= deadline:
                    raise
        return order

    async def _plan(self, order_id: str, order: Order, options: Options) -> Plan:
        generations = await self._generations.observe(order_id, order)
        return make_plan(order_id, order, generations, options, self._most_images)

    def _joinable(self, plan: Plan, deadline: float) -> Build | None:
        build = self._by_key.get(plan.running_key)
        if build is not None and build.archive.is_settled:
            return None
        if build is not None:
            build.readiness.deadline = max(build.readiness.deadline, deadline)
        return build

    async def _finished(self, plan: Plan) -> Archive | None:
        return await self._intact(await self._catalogue.find_complete(plan.key))

    async def _unfinished(self, plan: Plan) -> Archive | None:
        record = await self._catalogue.find_unfinished(plan.key)
        if record is None or record.plan.wait != plan.wait or self._catalogue.is_expired(record):
            return None
        archive = self._restore(record)
        if archive.has_report or record.id in self._builds or await self._workshop.store.missing(archive.blobs()):
            return None
        if archive.is_settled:  # somebody else went on with it meanwhile
            return archive if archive.state is State.COMPLETE else None
        return self._resume(record, archive)

    async def _intact(self, record: Record | None) -> Archive | None:
        if record is None:
            return None
        archive = self._restore(record)
        return None if await self._workshop.store.missing(archive.blobs()) else archive

    def _restore(self, record: Record) -> Archive:
        """The archive that a record describes; the same object for everybody who uses it.

        A build whose failure a full disk kept from being recorded is taken up anew.
        """
        if (known := self._known.get(record.id)) is not None and known.state is not State.FAILED:
            return known
        archive = self._new_archive(record.plan, record.id, record.created)
        bring_up_to(archive, record)
        return archive

    def _begin(self, plan: Plan, options: Options, deadline: float) -> Archive:
        archive = self._new_archive(plan, uuid4().hex, time.time())
        self._start(archive, plan, deadline, is_new=True)
        return archive

    def _resume(self, record: Record, archive: Archive) -> Archive:
        if build := self._builds.get(record.id):
            return build.archive
        # No more than was asked for, wherever the wall clock has jumped to since.
        left = min(record.plan.wait_timeout, record.created + record.plan.wait_timeout - time.time())
        self._start(archive, record.plan, time.monotonic() + left, is_new=False)
        return archive

    def _start(self, archive: Archive, plan: Plan, deadline: float, *, is_new: bool) -> None:
        news = self._news.of(plan.order_id)
        readiness = Readiness(plan, lambda: self._replan(archive, plan), deadline, news)
        builder = Builder(archive, plan, readiness, self._workshop)
        build = Build(archive, plan, readiness, builder, self._workshop, is_new=is_new)
        self._builds[archive.id] = build
        self._by_key.setdefault(plan.running_key, build)
        build.task.add_done_callback(lambda _: self._ended(build))

    async def _replan(self, archive: Archive, plan: Plan) -> Plan:
        """Ask upstream again, as long as somebody wants the archive; raises `Abandoned` when nobody does."""
        await archive.demand.wanted(archive.length)
        order = await self._orders.refresh(plan.order_id)
        return await self._plan(plan.order_id, order, plan.options())

    def _ended(self, build: Build) -> None:
        del self._builds[build.archive.id]
        if self._by_key.get(build.plan.running_key) is build:
            del self._by_key[build.plan.running_key]

    def _new_archive(self, plan: Plan, archive_id: str, created: float) -> Archive:
        archive = Archive(
            archive_id,
            key=plan.key,
            order_id=plan.order_id,
            order_name=plan.order_name,
            total=len(plan.images),
            demand=Demand(self._window, self._grace),
            created=created,
        )
        self._known[archive_id] = archive
        return archive
