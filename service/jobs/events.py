"""What happens to a job, as it happens: changes of its state, and the outcomes of its archive's images."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

from service.archives.archive import Archive, ImageResult
from service.archives.archives import Archives
from service.jobs.engine import JobEngine
from service.jobs.job import Job, Status
from service.problems import ArchiveGone, ArchiveNotFound, Problem

# An archive that another instance has begun may not be known here yet; one that was lost here may be found again.
_LOOK_AGAIN_SECONDS = 1.0
# So long the end of a job waits for outcomes that cannot be told yet here.
_LAST_OUTCOMES_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One thing that happened: `status` or `image`. `number` counts the outcomes so far; the end counts as one more."""

    name: str
    number: int
    data: dict[str, Any]
    """The job's document; of its `failures` only the one that this event is about, and all of them at the end."""


async def events(engine: JobEngine, archives: Archives, job_id: str, after: int) -> AsyncGenerator[JobEvent, None]:
    """The job as it stands, one event per change of state, and one per outcome from number `after` + 1 on; to its end.

    An archive that is followed is kept going, as by any reader.
    """
    async with aclosing(engine.watch(job_id)) as records:
        if (job := await anext(records, None)) is None:
            return
        upcoming = asyncio.ensure_future(anext(records, None))
        reported: tuple[Any, ...] | None = None
        with ExitStack() as reading:
            progress = _Progress(after)
            try:
                while True:
                    await progress.follow(archives, job, reading)
                    if not job.is_final and reported != (reported := (job.status, job.archive_id, job.retry_at)):
                        yield JobEvent("status", progress.number, progress.document(job))
                    for result in progress.take():
                        yield JobEvent("image", progress.number, progress.document(job, result))
                    if job.is_final:
                        if not progress.has_told_all_of(job) and await progress.more_of_the_end():
                            continue
                        yield JobEvent("status", outcomes_of(job) + 1, job.document())
                        return
                    await _first_of(upcoming, progress.more())
                    if upcoming.done():
                        if (latest := upcoming.result()) is None:
                            return
                        job, upcoming = latest, asyncio.ensure_future(anext(records, None))
            finally:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)


def outcomes_of(job: Job) -> int:
    """How many image outcomes a job that has ended came to."""
    return int(job.summary["downloaded"] + job.summary["failed"]) if job.summary else 0


async def archive_of(archives: Archives, job: Job, seconds: float) -> Archive | None:
    """The job's archive as it stands, wherever it is built; None when there is none, or no answer in so many seconds.

    A look keeps nothing going: it is no reader.
    """
    if job.archive_id is None:
        return None
    with suppress(Problem, TimeoutError):
        async with asyncio.timeout(seconds):
            return await archives.by_id(job.archive_id, begin=False)
    return None


class _Progress:
    """The outcomes of a job's archive so far, in the sequence in which they came. Each is known by what it is of."""

    def __init__(self, after: int) -> None:
        self._skipped = after
        self._archive: Archive | None = None
        self._archive_id: str | None = None
        self._is_gone = False
        self._ends_at: float | None = None
        self._list: list[ImageResult] = []
        self._read = 0
        self._begin()

    def _begin(self) -> None:
        self._seen: set[tuple[int, str, str | None]] = set()
        self._failed = self._bytes = 0

    @property
    def number(self) -> int:
        """How many outcomes were sent, by this stream or one before it, which may have known more of them."""
        return max(len(self._seen), self._skipped)

    async def follow(self, archives: Archives, job: Job, reading: ExitStack) -> None:
        """Turn to the job's archive, if that is not what is followed; pass over what was sent before."""
        if self._archive is None or self._archive_id != job.archive_id:
            reading.close()
            if self._archive_id not in (None, job.archive_id):  # another archive: all is sent anew
                self._begin()
                self._skipped = 0
            self._archive_id = job.archive_id
            await self._look(archives, job)
            if self._archive is not None and not job.is_final:
                reading.enter_context(self._archive.readers.reading(to_the_end=True))
        outcomes = self._outcomes()
        while len(self._seen) < self._skipped and (result := next(outcomes, None)) is not None:
            self._count(result)

    async def _look(self, archives: Archives, job: Job) -> None:
        """Find the archive, and follow it if another instance builds it.

        Nothing is begun for a job that nobody wants any more, nor for one that may be what ends the process: its build
        goes on only in an attempt, which is counted.
        """
        self._archive, self._is_gone = None, self._archive_id is None
        if self._archive_id is not None and (job.is_final or not job.is_suspect):
            try:
                is_wanted = not job.is_final or job.status is Status.COMPLETE
                self._archive = await archives.by_id(self._archive_id, begin=is_wanted)
            except (ArchiveNotFound, ArchiveGone):
                self._is_gone = True
            except Problem:
                pass

    def has_told_all_of(self, job: Job) -> bool:
        """Whether there is nothing more to be told of the images of a job that has ended."""
        is_settled = self._archive is not None and self._archive.is_settled
        is_told = self._is_gone or is_settled or self.number >= outcomes_of(job)
        return is_told or job.status is Status.CANCELLED

    def take(self) -> Iterator[ImageResult]:
        """Each outcome that was not sent yet, once."""
        for result in self._outcomes():
            if self._count(result) and len(self._seen) > self._skipped:
                yield result

    def _outcomes(self) -> Iterator[ImageResult]:
        """Those that were not read yet. Of a settled archive also its whole list: an instance that only follows learns
        of failures there."""
        archive = self._archive
        if archive is not None:
            if archive.arrived is not self._list:
                self._list, self._read = archive.arrived, 0
            while self._read < len(self._list):
                self._read += 1
                yield self._list[self._read - 1]
            if archive.is_settled:
                yield from tuple(archive.results)

    def _count(self, result: ImageResult) -> bool:
        if result.identity in self._seen:
            return False
        self._seen.add(result.identity)
        self._failed += result.code is not None
        self._bytes += result.bytes
        return True

    async def more(self) -> None:
        """Wait until there may be more outcomes."""
        archive = self._archive
        if archive is None or archive.failure is not None:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            self._archive = None
        elif archive.is_settled:  # whatever comes now is the job's end
            await asyncio.Event().wait()
        else:
            with suppress(Problem):
                await archive.wait_until(lambda: len(archive.arrived) > self._read or archive.arrived is not self._list)

    async def more_of_the_end(self) -> bool:
        """As `more`, of a job that has ended; False when it has taken too long."""
        clock = asyncio.get_running_loop().time
        self._ends_at = self._ends_at or clock() + _LAST_OUTCOMES_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._ends_at):
                await self.more()
                return True
        return False

    def document(self, job: Job, result: ImageResult | None = None) -> dict[str, Any]:
        """The job as it stood when so many outcomes were known; `result` is the latest."""
        progress = {
            "total": self._archive.total if self._archive else 0,
            "downloaded": len(self._seen) - self._failed,
            "failed": self._failed,
            "bytes": self._bytes,
            "failures": [self._archive.failure_of(result)] if self._archive and result and result.code else [],
            "orders": [],
        }
        if job.is_final:
            job = Job(
                request=job.request,
                archive_id=job.archive_id,
                started=job.started,
                callback=job.callback,
                delivery=job.delivery,
            )
        return (replace(job, status=Status.PROCESSING) if result else job).document(progress)


async def _first_of(upcoming: "asyncio.Future[Any]", more: Any) -> None:
    """Wait for either; only the second is given up."""
    waiting = asyncio.ensure_future(more)
    try:
        await asyncio.wait((upcoming, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
