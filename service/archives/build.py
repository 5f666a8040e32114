"""One archive's build as a task: what becomes of the archive, however the build ends."""

import asyncio
import sqlite3
import time

from service.archives.archive import Archive, State
from service.archives.builder import Builder, Workshop
from service.archives.demand import Abandoned
from service.archives.plan import Plan
from service.archives.readiness import Readiness
from service.archives.shared import BEAT_SECONDS, TakenOver
from service.archives.takeover import take_up
from service.disk import OutOfSpace
from service.problems import ArchiveGone, Draining, InternalError, Problem, StillBuilding, StoreFull
from service.telemetry.logs import get_logger
from service.telemetry.metrics import ArchiveOutcome
from service.telemetry.traces import mark_failed, span

log = get_logger(__name__)


class Build:
    """A running build. Its task never raises: the archive itself says how it ended."""

    def __init__(
        self,
        archive: Archive,
        plan: Plan,
        readiness: Readiness,
        builder: Builder,
        workshop: Workshop,
        *,
        is_new: bool,
    ) -> None:
        self.archive = archive
        self.plan = plan
        self.readiness = readiness
        self._builder = builder
        self._catalogue = workshop.catalogue
        self._metrics = workshop.metrics
        self._is_new = is_new
        self._started = time.monotonic()
        self.task = asyncio.create_task(self._run(), name=f"build {archive.id}")

    async def _run(self) -> None:
        archive = self.archive
        with span("archive", {"archive.id": archive.id, "order.id": archive.order_id}) as current:
            try:
                if self._is_new:
                    await self._catalogue.begin(archive, self.plan)
                if self._is_new or await take_up(archive, self._catalogue):
                    await self._builder.build()
            except asyncio.CancelledError:
                archive.fail(Draining())
                raise
            except Exception as error:
                await self._give_up(_cause(error))
            outcome = self._outcome()
            current.set_attributes(
                {"archive.outcome": outcome, "archive.images": archive.total, "archive.failed": len(archive.failures)}
            )
            if outcome is ArchiveOutcome.FAILURE and archive.failure is not None:
                mark_failed(current, archive.failure.code)
            self._report(outcome)

    async def _give_up(self, cause: BaseException) -> None:
        """First on disk, then to the readers: nobody who comes back at once may find the failed archive again."""
        was_seen = self.archive.length > 0
        try:
            await (self._catalogue.drop if was_seen else self._catalogue.forget)(self.archive.id)
        except (OutOfSpace, sqlite3.Error):
            log.exception("archive could not be dropped", archive_id=self.archive.id)
        self.archive.fail(_problem(cause))

    def _outcome(self) -> ArchiveOutcome:
        match self.archive.state:
            case State.COMPLETE:
                return ArchiveOutcome.SUCCESS
            case State.PARTIAL:
                return ArchiveOutcome.PARTIAL
            case _ if isinstance(self.archive.failure, ArchiveGone):
                return ArchiveOutcome.CANCELLED
            case _:
                return ArchiveOutcome.FAILURE

    def _report(self, outcome: ArchiveOutcome) -> None:
        archive = self.archive
        seconds = time.monotonic() - self._started
        self._metrics.archives.labels(outcome).inc()
        if archive.state in (State.COMPLETE, State.PARTIAL):
            self._metrics.archive_duration.observe(seconds)
            self._metrics.archive_size.observe(archive.length)
        log.info(
            "archive ended",
            archive_id=archive.id,
            order_id=archive.order_id,
            outcome=outcome,
            code=archive.failure.code if archive.failure else None,
            images=archive.total,
            downloaded=archive.downloaded,
            failed=len(archive.failures),
            bytes=archive.length,
            seconds=round(seconds, 3),
        )


def _cause(error: BaseException) -> BaseException:
    """The first real error within groups of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _problem(cause: BaseException) -> Problem:
    match cause:
        case Problem():
            return cause
        case Abandoned():
            return ArchiveGone()
        case OutOfSpace():
            log.warning("no room", reason=str(cause))
            return StoreFull()
        case TakenOver():
            return StillBuilding(retry_after=BEAT_SECONDS)
    log.error("build failed", exc_info=cause)
    return InternalError()
