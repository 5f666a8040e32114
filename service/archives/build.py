"""A build: the task that fills one archive, and settles it or lets it fail."""

import asyncio
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from service.archives.archive import Archive, State
from service.archives.catalogue import Catalogue
from service.archives.layout import Member
from service.archives.options import Options
from service.archives.outcomes import (
    FOR_GOOD,
    MAY_BE_STORED,
    image_failure,
    nothing_usable,
    obstacle,
    outcome_of,
    problem_of,
)
from service.archives.plan import Plan, PlannedImage
from service.archives.planner import Planner
from service.archives.record import result_of
from service.archives.report import comment, texts_of
from service.archives.shared_archives import TakenOver
from service.computing import MANY_IMAGES, compute
from service.disk import OutOfSpace
from service.images.fetch import ImageFetcher
from service.images.requests import FetchContext, Fetched, ImageFailed
from service.images.store import ImageStore
from service.orders.generations import Generations
from service.orders.orders import Orders, OrderWatch
from service.orders.schedule import PollSchedule
from service.problems import ArchiveGone, Draining, OrderNotFound, Problem
from service.reasons import Reason
from service.telemetry.logs import get_logger
from service.telemetry.metrics import ArchiveOutcome, ImageOutcome, Metrics
from service.telemetry.traces import mark_failed, span
from service.upstream.concurrency import NotWanted
from service.upstream.models import FINAL, Order

log = get_logger(__name__)

# Images of one build that are under way, for each that may be downloaded at once: while some are being stored, the
# downloads go on.
_AT_ONCE = 2

_Ready: TypeAlias = "asyncio.Queue[tuple[PlannedImage, Reason | None]]"


@dataclass(frozen=True)
class BuildContext:
    """What every build works with."""

    fetcher: ImageFetcher
    store: ImageStore
    catalogue: Catalogue
    orders: Orders
    generations: Generations
    planner: Planner
    metrics: Metrics

    async def plan(
        self,
        order_id: str,
        order: Order,
        options: Options,
        anew: Iterable[str] = (),
        planned_ids: Collection[str] | None = None,
    ) -> Plan:
        """The plan of an order as it is now, for which the images of `anew` count as made anew; made beside the event
        loop where it takes long.

        `planned_ids`, and what it raises: as `Planner.plan`.
        """
        generations = await self.generations.observe(order_id, order, anew)
        files = min(len(order.images), self.planner.max_images) * options.files_per_image
        return await compute(
            lambda: self.planner.plan(order_id, order, generations, options, planned_ids), is_short=files <= MANY_IMAGES
        )


class Build:
    """Fills one archive; members are appended in the sequence in which their images arrive.

    `deadline` (of `time.monotonic`) ends the waiting for images that are not ready. `caller` is whose turn its
    downloads take. The archive itself says how the build ended: its `run` raises nothing but a cancellation.
    """

    def __init__(
        self, archive: Archive, plan: Plan, context: BuildContext, *, deadline: float, caller: str, is_new: bool
    ) -> None:
        self.archive = archive
        self.plan = plan
        self.current = plan
        """The plan as its images are now."""
        self.deadline = deadline
        self._fetcher = context.fetcher
        self._store = context.store
        self._catalogue = context.catalogue
        self._context = context
        self._metrics = context.metrics
        self._is_new = is_new
        self._started = time.monotonic()
        self._fetches = FetchContext(archive.id, caller, lambda: archive.readers.want_more(self._length()))
        self._arrived: list[tuple[PlannedImage, Fetched]] = []
        self._arrived_bytes = 0
        """Bytes of the images that arrived, and of those that are being appended."""
        self._is_appending = False
        self._stems = plan.stems
        self._planned = self._entries = plan.entries
        """By what `Member.entry` says of them, the images as they were planned, and as the order is now."""
        self._newer_keys: dict[tuple[str | None, str], str] = {}
        """Of the images that were made anew while the archive was built, in their newer version."""
        self._gone: set[int] = set()
        """Orders that Autoenhance no longer knows."""

    def _length(self) -> int:
        """Bytes of the archive with the images that are about to be in it."""
        return self.archive.length + self._fetches.storing + self._arrived_bytes

    def join(self, caller: str) -> Archive:
        """The archive, for one more caller: to its end the downloads take the turns of all."""
        self._fetcher.join(self._fetches, caller)
        return self.archive

    async def run(self) -> None:
        """Fetch every image and settle the archive; where that cannot be, it has failed."""
        archive = self.archive
        with span("archive", {"archive.id": archive.id, "order.id": ",".join(archive.order_ids)}) as current:
            try:
                if self._is_new:
                    await self._catalogue.begin(archive, self.plan)
                while self._is_new or await self._catalogue.continue_here(archive, self.plan):
                    try:
                        await self._fill()
                        await self._settle()
                        break
                    except* TakenOver:  # another instance goes on with it
                        self._is_new, self._arrived, self._arrived_bytes = False, [], 0
                        archive.results = [result for result in archive.results if result.name is not None]
                        archive.arrived = archive.results
            except asyncio.CancelledError:
                archive.fail(Draining())
                raise
            except Exception as error:
                await self._give_up(error)
            outcome = outcome_of(archive)
            current.set_attributes(
                {"archive.outcome": outcome, "archive.images": archive.total, "archive.failed": len(archive.failures)}
            )
            if outcome is ArchiveOutcome.FAILURE and archive.failure is not None:
                mark_failed(current, archive.failure.code)
            self._report(outcome)

    async def _fill(self) -> None:
        """Append what is stored, fetch the rest as it becomes ready and while a reader wants it.

        Raises `Abandoned`, `OutOfSpace`, or a `Problem`; alone or in a group.
        """
        if self.archive.has_report:  # its build died before the end: what would follow could belie the report
            raise ArchiveGone
        left = await self._append_stored()
        free = asyncio.Semaphore(self._fetcher.concurrency * _AT_ONCE)
        ready: _Ready = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            for order in sorted({image.order for image in left}):
                tasks.create_task(self._watch_order(order, left, ready))
            for _ in left:
                image, reason = await ready.get()
                if reason is not None:
                    self._add_failure(image, reason)
                    continue
                await self.archive.readers.wait_for_demand(self._length)
                await free.acquire()
                tasks.create_task(self._fetch(image)).add_done_callback(lambda _: free.release())

    async def _append_stored(self) -> list[PlannedImage]:
        """Append the images that need no download; returns the others."""
        here = {member.entry for member in self.archive.members}
        left = [image for image in self.plan.images if image.entry not in here]
        keys = [image.key for image in left if image.state in MAY_BE_STORED]
        self._fetches.looked_at = dict.fromkeys(keys, time.monotonic())
        stored = await self._store.find(keys)
        for image in left:
            if image.key in stored:
                self._note_arrival(image, Fetched(stored[image.key], 0))
        await self._append_arrived()
        here = {member.entry for member in self.archive.members}
        return [image for image in left if image.entry not in here]

    async def _watch_order(self, order: int, left: Sequence[PlannedImage], ready: _Ready) -> None:
        """Report each image of `left` that is of this order once: with None when it can be fetched, else with the
        reason why not."""
        waiting = {image.entry: image for image in left if image.order == order}
        schedule = PollSchedule(self.deadline)
        has_looked = self._is_new  # else the plan is as old as the archive, and its time may be over
        missed: Collection[object] = ()  # a listing may lag: gone is what is missing at two looks in a row
        with self._context.orders.watch(self.plan.orders[order].order_id) as watch:
            while True:
                is_last_poll = not self.plan.wait or (schedule.is_over and has_looked) or order in self._gone
                now = self._entries if order not in self._gone else {}
                for entry, image in list(waiting.items()):
                    current = now.get(entry)
                    if is_last_poll or (entry in missed if current is None else current.state in FINAL):
                        del waiting[entry]
                        if current is None:
                            ready.put_nowait((image, Reason.IMAGE_NOT_FOUND))
                        else:
                            ready.put_nowait((current, obstacle(current)))
                if not waiting or is_last_poll:
                    return
                missing = waiting.keys() - now.keys()
                if await self._poll_order(order, watch, schedule):
                    missed = missing
                has_looked = True

    async def _poll_order(self, order: int, watch: OrderWatch, schedule: PollSchedule) -> bool:
        """Wait for the next look at an order, while somebody wants the archive; returns whether its images were listed.

        Raises `Abandoned`.
        """
        await self.archive.readers.wait_for_demand(self._length)
        order_id = self.plan.orders[order].order_id
        planned_ids = {image.image_id for image in self.plan.images if image.order == order}
        try:
            document = await watch.next_poll(schedule)
            now = await self._context.plan(order_id, document, self.plan.options, planned_ids=planned_ids)
            self.current = self.current.replaced(order, now)
            self._entries = self.current.entries
        except OrderNotFound:
            self._gone.add(order)
            return False
        except Problem:  # the watch has told the log
            return False
        return True

    async def _fetch(self, image: PlannedImage) -> None:
        """Have an image fetched, while a reader wants it, and append it."""
        fetched: Fetched | None = None
        try:
            while fetched is None:
                try:
                    fetched = await self._fetcher.fetch(self.plan.request(image), self._fetches)
                except NotWanted:
                    await self.archive.readers.wait_for_demand(self._length)
        except ImageFailed as failed:
            self._add_failure(image, failed.reason, failed.attempts)
        except OutOfSpace:
            if not image.is_original:
                raise
            self._add_failure(image, Reason.STORE_FULL)
        else:
            self._note_arrival(image, fetched)
            await self._append_arrived()

    def _note_arrival(self, image: PlannedImage, fetched: Fetched) -> None:
        self._arrived.append((image, fetched))
        self._arrived_bytes += fetched.blob.size

    async def _append_arrived(self) -> None:
        """Append every image that has arrived; what arrives meanwhile is appended by whoever is at it.

        Raises `OutOfSpace` when one was evicted meanwhile.
        """
        if self._is_appending:
            return
        self._is_appending = True
        try:
            while self._arrived:
                arrived, self._arrived = self._arrived, []
                await self._append(arrived)
        finally:
            self._is_appending = False

    async def _append(self, arrived: Sequence[tuple[PlannedImage, Fetched]]) -> None:
        members = [
            (
                Member(
                    # It keeps the name that was planned, whatever is listed before it by now.
                    self.plan.file_name(self._planned[image.entry], self._stems, found.blob.extension),
                    found.blob,
                    image.modified,
                    image.image_id,
                ),
                found.attempts,
            )
            for image, found in arrived
        ]
        if not await self._catalogue.append(self.archive, members):
            raise OutOfSpace("an image was evicted before its archive had it")
        for (image, _), (member, attempts) in zip(arrived, members, strict=True):
            self.archive.append(member, result_of(image, member, attempts))
            self._arrived_bytes -= member.blob.size
            if image.key != self._planned[image.entry].key:
                self._newer_keys[image.entry] = image.key
            self._metrics.images.labels(ImageOutcome.DOWNLOADED if attempts else ImageOutcome.STORED).inc()
            if member.blob.is_incomplete:
                self._metrics.image_failures.labels(Reason.INCOMPLETE).inc()

    def _add_failure(self, image: PlannedImage, reason: Reason, attempts: int = 0) -> None:
        self._metrics.images.labels(ImageOutcome.FAILED).inc()
        self._metrics.image_failures.labels(reason).inc()
        self.archive.add_failure(image_failure(image, reason, attempts))
        self.archive.readers.moved()  # there is room for another one in place of it

    async def _settle(self) -> None:
        archive = self.archive
        if len(archive.results) != archive.total:  # a download was cancelled
            raise Draining
        places: dict[tuple[int, str | None], dict[str, int]] = defaultdict(dict)
        for place, image in enumerate(self.plan.images):
            places[image.order, image.rendition or None][image.image_id] = place
        archive.results = sorted(
            archive.results, key=lambda result: places[result.order, result.rendition][result.image_id]
        )
        failures = archive.failures
        if not archive.members:
            if len(self._gone) == len(self.plan.orders):
                raise OrderNotFound(f"It no longer has order {', '.join(archive.order_ids)}.")
            raise nothing_usable(archive)
        await self._append_texts()
        # A missing original is reported, and the archive is complete without it.
        is_complete = all(result.is_original for result in failures) and not archive.failed_orders
        state = State.COMPLETE if is_complete else State.PARTIAL
        summary = comment(archive.orders, archive.downloaded, archive.total)
        archive.key = self._final_key()
        if state is State.COMPLETE and any(result.code not in FOR_GOOD for result in failures):
            archive.key += "/original missing"  # which may come yet: the next request asks again
        await self._catalogue.settle(archive, state, summary)
        archive.settle(state, summary)

    def _final_key(self) -> str:
        """Of its images as they are now, if the archive holds just these and as many are unlisted; else of the order as
        it was asked for.

        With `since` it is always the latter, which is a key of the images that are left out, too.
        """
        planned, now = self.plan.images, self.current.images
        is_current = (
            self.plan.options.since is None
            and [order.unlisted for order in self.plan.orders] == [order.unlisted for order in self.current.orders]
            and len(planned) == len(now)
            and all(
                (image.entry, image.name, image.stem) == (latest.entry, latest.name, latest.stem)
                and self._newer_keys.get(image.entry, image.key) == latest.key
                for image, latest in zip(planned, now, strict=True)
            )
        )
        return self.current.key if is_current else self.archive.key

    async def _append_texts(self) -> None:
        """Append the report and the manifest, together, as far as there are to be any."""
        results = self.archive.results
        texts = await compute(lambda: texts_of(self.plan, results), is_short=len(results) <= MANY_IMAGES)
        if not texts:
            return
        newest = max(image.modified for image in self.plan.images)
        for _ in range(2):  # no archive names them yet: want of room may take them at once
            members = [
                Member(name, await self._store.add(text, name.rpartition(".")[2]), newest, None)
                for name, text in texts.items()
            ]
            if await self._catalogue.append(self.archive, [(member, 0) for member in members]):
                for member in members:
                    self.archive.append(member)
                return
        raise OutOfSpace("the report was evicted before its archive had it")

    async def _give_up(self, error: BaseException) -> None:
        """First on disk, then to the readers: nobody who comes back at once may find the failed archive again."""
        self.archive.readers.is_abandoned = True
        was_seen = self.archive.length > 0
        try:
            await (self._catalogue.drop if was_seen else self._catalogue.forget)(self.archive.id)
        except (OutOfSpace, sqlite3.Error):
            log.exception("archive could not be dropped", archive_id=self.archive.id)
        finally:
            self.archive.fail(problem_of(error))

    def _report(self, outcome: ArchiveOutcome) -> None:
        archive = self.archive
        seconds = time.monotonic() - self._started
        self._metrics.archives.labels(outcome).inc()
        if archive.is_whole:
            self._metrics.archive_duration.observe(seconds)
            self._metrics.archive_size.observe(archive.length)
        log.info(
            "archive ended",
            archive_id=archive.id,
            order_id=",".join(archive.order_ids),
            outcome=outcome,
            code=archive.failure.code if archive.failure else None,
            images=archive.total,
            downloaded=archive.downloaded,
            failed=len(archive.failures),
            bytes=archive.length,
            seconds=round(seconds, 3),
        )
