"""All archives: an equal request finds the finished one or joins the running build, anything else starts a new one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from service.archives.archive import Archive, State
from service.archives.build import Build, BuildContext
from service.archives.options import Options
from service.archives.plan import Plan, PlannedOrder, join, options_key
from service.archives.previews import Previews
from service.archives.readers import Readers
from service.archives.record import Record, extend
from service.archives.registry import Registry, may_share, seconds_left
from service.archives.repair import repair
from service.computing import MANY_IMAGES, compute
from service.orders.schedule import PollSchedule
from service.problems import (
    ArchiveGone,
    ArchiveNotFound,
    NoOrders,
    OrderEmpty,
    OrderNotFound,
    Problem,
    StillBuilding,
    TooManyImages,
    UpstreamError,
    UpstreamTimeout,
)
from service.telemetry.metrics import CacheResult, Refetch
from service.upstream.models import Order, Rendition

_RELEASE_SECONDS = 5.0
_OF_ONE_ORDER = (OrderNotFound, OrderEmpty, TooManyImages, UpstreamError, UpstreamTimeout)
"""What can keep one of several orders out of an archive; anything else concerns them all."""


class Archives:
    """Finds, joins, starts, resumes and drops archives.

    `window` and `grace` are those of `Readers`.
    """

    def __init__(self, context: BuildContext, registry: Registry, *, window: int, grace: float) -> None:
        self._context = context
        self._registry = registry
        self.catalogue = context.catalogue
        self._store = context.store
        self._orders = context.orders
        self.previews = Previews(context, registry)
        self._window = window
        self._grace = grace
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started = time.monotonic()

    async def get_or_start(
        self, order_id: str | tuple[str, ...], options: Options, caller: str = ""
    ) -> tuple[Archive, CacheResult]:
        """The archive for a request: finished, running, interrupted, or started now. `caller` is whose turn its
        downloads take. Several ids: each order has a folder, and what keeps one of them out is in its report.

        Raises what the order call raises, `OrderEmpty`, `UnknownImage`, `TooManyImages` or `MaxCreditsExceeded`; of
        several orders `NoOrders` when nothing can be had of any.
        """
        deadline = time.monotonic() + options.wait_timeout
        if isinstance(order_id, str):
            order = await self._look_up(order_id, options, deadline)
            plan, known = await self._plan(order_id, order, options)
            if options.refresh:
                plan = await self._refreshed(plan, order, options)
            plan = plan.new_since(known)
        else:
            plan = await self._plan_all(order_id, options, deadline)
        if build := self._registry.joinable(plan.build_key, deadline):
            return build.join(caller), CacheResult.JOINED
        finished = await self._finished(plan)
        interrupted = await self._interrupted(plan, deadline) if finished is None else None
        if build := self._registry.joinable(plan.build_key, deadline):  # somebody was quicker meanwhile
            return build.join(caller), CacheResult.JOINED
        if finished is not None:
            return finished, CacheResult.HIT
        # Somebody else may have finished it meanwhile.
        if interrupted is not None and interrupted[1].state in (State.BUILDING, State.COMPLETE):
            return self._continue(*interrupted, caller), CacheResult.HIT
        beginning = asyncio.create_task(self._begin(plan, deadline, caller))  # others may have heard of it by the time
        self._tasks.add(beginning)  # that the caller leaves
        beginning.add_done_callback(self._tasks.discard)
        return await asyncio.shield(beginning)

    async def _look_up(self, order_id: str, options: Options, deadline: float) -> Order:
        """The order's document; with `wait` once the images that are wanted are listed.

        With `refresh` it is a new one: it tells what was bought meanwhile, and so is not bought again.
        """
        order = await self._orders.get(order_id, anew=True) if options.refresh else None
        if options.wait:
            return await self._orders.wait_until_listed(order_id, PollSchedule(deadline), options.subset)
        return order or await self._orders.get(order_id)

    async def _look_again(self, order_id: str, before: Order | BaseException) -> Order:
        """The order's document as it is now; where that cannot be had, what was had before, or raised."""
        try:
            return await self._orders.get(order_id)
        except Problem:
            if isinstance(before, BaseException):
                raise before from None
            return before

    async def _plan(self, order_id: str, order: Order, options: Options) -> tuple[Plan, Collection[bytes]]:
        """The plan of one order, and the keys of the images that its caller has already.

        Raises `MaxCreditsExceeded`, and as `keys_since` and `Planner.plan`.
        """
        known = await self.previews.keys_since(order_id, options)
        plan = await self._context.plan(order_id, order, options)
        await self.previews.check_price([plan.without(known)], options)
        return plan, known

    async def _refreshed(self, before: Plan, order: Order, options: Options) -> Plan:
        """The plan of one order in which every image is to be fetched anew."""
        order_id = before.order_id
        anew = {one for image in before.images for one in (image.image_id, image.source_id) if one is not None}
        plan = await self._context.plan(order_id, order, options, anew)
        left = set(plan.keys)
        replaced = await self._store.find([key for key in before.keys if key not in left])
        self._context.metrics.images_refetched.labels(Refetch.REFRESH).inc(len(replaced))
        return plan

    async def _plan_each(
        self, order_ids: Sequence[str], options: Options, deadline: float
    ) -> list[tuple[Order | None, Plan | PlannedOrder]]:
        """The documents and plans of several orders: in one sequence, so that it is one archive for equal sets.

        Raises what is not the fault of one order.
        """
        ordered = sorted(order_ids)
        looks = [partial(self._look_up, order_id, options, deadline) for order_id in ordered]
        if options.wait:  # some are as they were when others were not listed yet
            before = await asyncio.gather(*(look() for look in looks), return_exceptions=True)
            looks = [
                partial(self._look_again, order_id, known) for order_id, known in zip(ordered, before, strict=True)
            ]
        calls = [self._plan_one(order_id, look, options) for order_id, look in zip(ordered, looks, strict=True)]
        planned = []
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            planned.append(outcome)
        return planned

    async def _plan_one(
        self, order_id: str, look: Callable[[], Awaitable[Order]], options: Options
    ) -> tuple[Order | None, Plan | PlannedOrder]:
        """The document and plan of one of several orders, or why it has none.

        It does not wait for the documents of the others: its images would count as seen like this only then, and what
        somebody else has seen finished meanwhile as made anew.
        """
        order = None
        try:
            order = await look()
            return order, await self._context.plan(order_id, order, options)
        except _OF_ONE_ORDER as problem:
            return order, PlannedOrder.failed(order_id, order.name if order is not None else None, problem)

    async def _plan_all(self, order_ids: Sequence[str], options: Options, deadline: float) -> Plan:
        """The plan of several orders. Raises `NoOrders` when nothing can be had of any, or `MaxCreditsExceeded`."""
        planned = await self._plan_each(order_ids, options, deadline)
        plans = [plan for _, plan in planned]
        failed = [plan.failure for plan in plans if isinstance(plan, PlannedOrder)]
        if len(failed) == len(plans):
            raise NoOrders(failed)
        await self.previews.check_price([plan for plan in plans if isinstance(plan, Plan)], options)
        if options.refresh:
            for at, (order, plan) in enumerate(planned):
                if order is not None and isinstance(plan, Plan):
                    plans[at] = await self._refreshed(plan, order, options)
        files = sum(len(plan.images) for plan in plans if isinstance(plan, Plan))
        return await compute(lambda: join(plans, options), is_short=files <= MANY_IMAGES)

    async def find(self, order_id: str, order: Order, options: Options) -> Archive | Plan:
        """The archive that `get_or_start` would give, or its plan where there is none yet; nothing is started.

        Raises `MaxCreditsExceeded` as that does.
        """
        plan, known = await self._plan(order_id, order, options)
        plan = plan.new_since(known)
        build = self._registry.joinable(plan.build_key, time.monotonic() + options.wait_timeout)
        return build.archive if build else await self._finished(plan) or plan

    async def stale(self, order_id: str, options: Options) -> Archive | None:
        """The newest complete archive for the same options, for when upstream cannot be asked."""
        return await self._first_intact(await self.catalogue.find_stale(options_key(order_id, options)))

    async def by_id(self, archive_id: str, *, begin: bool = True) -> Archive:
        """An archive by its id; a build that a restart interrupted is resumed, and lost images are fetched again.

        Neither without `begin`. Raises `ArchiveNotFound`, `ArchiveGone` for one that was here, or `StillBuilding` while
        it cannot be told whether its images come back.
        """
        if self._registry.is_dropping(archive_id):
            raise ArchiveGone
        if build := self._registry.builds.get(archive_id):
            return build.archive
        record = await self.catalogue.load(archive_id)
        if record is None:
            raise ArchiveNotFound(f"There is no archive {archive_id}.")
        if self.catalogue.is_expired(record):
            raise ArchiveGone(f"Archive {archive_id} has expired.")
        archive = self._restore(record)
        if not begin:
            return archive
        with archive.readers.expected():
            lost = await self._store.missing(archive.blobs())
            if lost and not await repair(self._context, record, lost):
                await self.catalogue.drop(archive_id)
                raise ArchiveGone(f"Images of archive {archive_id} were removed to free space.")
        return self._continue(record, archive)

    async def renditions_of(self, archive: Archive) -> Mapping[str, Rendition]:
        """What the images of an archive were asked for as, by the rendition's name; an only one has none."""
        found = self._registry.builds.get(archive.id) or await self.catalogue.load(archive.id)
        return found.plan.options.renditions if found is not None else {}

    async def resumable(self, archive_id: str, order_id: str, options: Options) -> Archive | None:
        """The archive that a caller says it has a part of; None unless it is here and for just these options."""
        build = self._registry.builds.get(archive_id)
        found = build or await self.catalogue.find(archive_id)
        if found is None or found.plan.options_key != options_key(order_id, options):
            return None
        # Of an old one it need not be told whether somebody keeps it: the request is for the order.
        is_old = isinstance(found, Record) and self.catalogue.is_expired(found)
        with suppress(ArchiveNotFound, ArchiveGone, *([StillBuilding] if is_old else [])):
            return await self.by_id(archive_id)
        return None

    def is_building(self, archive_id: str) -> bool:
        """Whether this instance builds the archive, or follows its build."""
        return archive_id in self._registry.builds

    async def close(self) -> None:
        """Stop all builds; they are resumed after a restart, if somebody comes back for them."""
        tasks, unfinished = list(self._tasks), list(self._registry.builds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await asyncio.gather(*map(self.catalogue.release, unfinished))

    async def release_unwanted(self) -> None:
        """Let other instances go on with builds that nobody here wants any more."""
        for archive_id, build in list(self._registry.builds.items()):
            if not build.archive.readers.count:
                await self.catalogue.release(archive_id)

    async def sweep(self) -> None:
        """Drop what is past its time."""
        orphaned_before = time.time() - self._grace if time.monotonic() - self._started > self._grace else 0
        await self.catalogue.sweep(self._registry.live(), orphaned_before)
        await self._context.generations.sweep()

    async def _finished(self, plan: Plan) -> Archive | None:
        return await self._first_intact(await self.catalogue.find_complete(plan.key))

    async def _interrupted(self, plan: Plan, deadline: float) -> tuple[Record, Archive] | None:
        """A build for this plan that was left unfinished, and can be continued; where several share, see `_begin`."""
        if self.catalogue.shared is not None:
            return None
        record = await self.catalogue.find_unfinished(plan.key)
        if record is None or record.plan.build_key != plan.build_key or self.catalogue.is_expired(record):
            return None
        if not await self._serves(record, plan, deadline):
            return None
        archive = self._restore(record)
        if archive.has_report or archive.is_settled or record.id in self._registry.builds:
            return None
        with archive.readers.expected():
            lost = await self._store.missing(archive.blobs())
        return None if lost else (record, archive)

    async def _first_intact(self, records: Sequence[Record]) -> Archive | None:
        for record in records:
            if (archive := await self._intact(record)) is not None:
                self.catalogue.note_used(record.id)
                return archive
        return None

    async def _intact(self, record: Record) -> Archive | None:
        """The complete archive, to be read at once; None when an image of it is lost."""
        archive = self._restore(record)
        with archive.readers.expected():
            is_whole = archive.state is State.COMPLETE and not await self._store.missing(archive.blobs())
        return archive if is_whole else None

    def _restore(self, record: Record) -> Archive:
        """The archive that a record describes; the same object for everybody who uses it."""
        known = self._registry.known(record.id)
        archive = known or self._new_archive(record.plan, record.id, record.created)
        if not (archive.is_settled or self.is_building(record.id)) and len(record.members) >= len(archive.members):
            extend(archive, record)  # it has grown at another instance
        self._registry.remember(archive)
        return archive

    async def _begin(self, plan: Plan, deadline: float, caller: str) -> tuple[Archive, CacheResult]:
        """A new archive, unless somebody else is quicker, here or at another instance."""
        created = time.time()
        if plan.wait:  # some of its time may be over since the images were asked for
            left = max(0.0, min(plan.wait_timeout, deadline - time.monotonic()))
            plan = plan.model_copy(update={"options": plan.options.model_copy(update={"wait_timeout": left})})
        archive_id, record = await self.catalogue.announce(plan, created)
        if record is not None and not await self._serves(record, plan, deadline):
            archive_id, record = await self.catalogue.announce(plan, created, anyway=True)
        if build := self._registry.builds.get(archive_id) or self._registry.joinable(plan.build_key, deadline):
            archive = build.join(caller)
            if record is None and archive.id != archive_id:  # nobody builds that one: nobody is to wait for it
                await self.catalogue.forget(archive_id)
            return archive, CacheResult.JOINED
        if record is None:
            archive = self._new_archive(plan, archive_id, created)
            build = Build(archive, plan, self._context, deadline=deadline, caller=caller, is_new=True)
            self._keep_until_over(build, asyncio.create_task(build.run(), name=f"build {archive_id}"))
            return archive, CacheResult.MISS
        return self._continue(record, self._restore(record), caller), CacheResult.JOINED

    async def _serves(self, record: Record, plan: Plan, deadline: float) -> bool:
        """Whether an archive that others had begun can be given to whoever waits until `deadline`."""
        if record.settled is not None:
            return await self._intact(record) is not None
        if self._registry.is_dropping(record.id):
            return False
        ends, theirs = time.time() + deadline - time.monotonic(), record.created + record.plan.wait_timeout
        return not plan.wait or may_share(ends, theirs)

    def _continue(self, record: Record, archive: Archive, caller: str = "") -> Archive:
        """The archive; unless it is settled, its build goes on."""
        if archive.is_settled:
            return archive
        if build := self._registry.builds.get(record.id):
            return build.join(caller)
        deadline = time.monotonic() + seconds_left(record.created, record.plan.wait_timeout)
        build = Build(archive, record.plan, self._context, deadline=deadline, caller=caller, is_new=False)
        self._keep_until_over(build, asyncio.create_task(build.run(), name=f"build {record.id}"))
        return archive

    def _keep_until_over(self, build: Build, task: asyncio.Task[None]) -> None:
        self._registry.add(build)
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._registry.remove(build)

        task.add_done_callback(ended)

    def _new_archive(self, plan: Plan, archive_id: str, created: float) -> Archive:
        return Archive(
            archive_id,
            key=plan.key,
            orders=plan.orders,
            readers=Readers(self._window, self._grace),
            created=created,
        )
