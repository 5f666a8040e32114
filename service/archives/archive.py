"""An archive: what is in it so far, what could not be had, and whether more is to come."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from service.archives.layout import BlobSlice, Layout, Member
from service.archives.readers import Readers
from service.archives.renditions import ORIGINAL
from service.images.blobs import Blob
from service.problems import Problem
from service.reasons import Reason
from service.signal import Signal


class State(StrEnum):
    """Where an archive stands."""

    BUILDING = "building"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImageResult:
    """How one image of the archive turned out; a line of the report."""

    image_id: str
    original_name: str
    name: str | None
    """In the ZIP; None when it is not there."""
    bytes: int
    crc: int | None
    code: Reason | None
    """Why it is missing or incomplete; None when all is well."""
    attempts: int
    status_reason: str | None = None
    """What Autoenhance says of the image's state, for its owner."""
    rendition: str | None = None
    """Which of several, or `original`."""
    blake3: str | None = None
    """Of its content, where that is known."""
    key: str | None = None
    """Of the image in the store, where it is in the archive."""

    @property
    def is_original(self) -> bool:
        """Whether it is the unaltered photo."""
        return self.rendition == ORIGINAL

    @property
    def explanation(self) -> str:
        """What happened and the next step, for a person; empty when all is well."""
        if self.code is None:
            return ""
        if self.status_reason is None:
            return self.code.advice
        return f"{self.code.explained} Autoenhance says: {self.status_reason}"

    @property
    def failure(self) -> dict[str, Any]:
        """The shape of a failure in every document."""
        which = {} if self.rendition is None else {"rendition": self.rendition}
        failure = {"image_id": self.image_id, "name": self.original_name, "code": self.code, "reason": self.explanation}
        return failure | which

    def line(self) -> dict[str, Any]:
        """The shape of an image in the report resource."""
        outcome = "downloaded" if self.code is None else "failed" if self.name is None else "incomplete"
        line = asdict(self)
        del line["status_reason"], line["key"]
        return {**line, "outcome": outcome}


class Archive:
    """An append-only list of members with its readers. `id` names one sequence of bytes for ever."""

    def __init__(
        self,
        archive_id: str,
        *,
        key: str,
        order_id: str,
        order_name: str | None,
        total: int,
        readers: Readers,
        unlisted: int = 0,
        created: float | None = None,
    ) -> None:
        self.id = archive_id
        self.key = key
        self.order_id = order_id
        self.order_name = order_name
        self.total = total
        self.unlisted = unlisted
        """Images that Autoenhance counts but does not list."""
        self.created = created if created is not None else time.time()
        self.readers = readers
        self.state = State.BUILDING
        self.members: list[Member] = []
        self.results: list[ImageResult] = []
        self.failure: Problem | None = None
        self._layout = Layout()
        self._changed = Signal()

    @property
    def length(self) -> int:
        """Bytes known so far; once settled, all of them."""
        return self._layout.length

    @property
    def is_settled(self) -> bool:
        """Nothing will be added any more."""
        return self.state is not State.BUILDING

    @property
    def downloaded(self) -> int:
        """Images that are in the archive and complete."""
        return sum(result.code is None for result in self.results)

    @property
    def failures(self) -> list[ImageResult]:
        """Images that are missing, or incomplete."""
        return [result for result in self.results if result.code is not None]

    @property
    def has_report(self) -> bool:
        """Whether the last member is in: only the directory may follow it."""
        return any(member.image_id is None for member in self.members)

    def blobs(self) -> list[Blob]:
        """What must be in the store for the archive to be served."""
        return [member.blob for member in self.members]

    def append(self, member: Member, result: ImageResult | None = None) -> None:
        """Add a member that is committed; readers see its bytes at once."""
        self.members.append(member)
        self._layout.append(member)
        if result is not None:
            self.results.append(result)
        self._changed.fire()

    def add_failure(self, result: ImageResult) -> None:
        """Note an image that will not be in the archive."""
        self.results.append(result)
        self._changed.fire()

    def settle(self, state: State, comment: str) -> None:
        """Add the directory: the archive is whole."""
        self._layout.close(comment)
        self.state = state
        self._changed.fire()

    def fail(self, problem: Problem) -> None:
        """Give up: readers that have begun are cut, others get `problem`."""
        self.failure = problem
        self.state = State.FAILED
        self._changed.fire()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, or until settled. Raises the archive's problem when it failed."""
        while not (self.is_settled or condition()):
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure

    async def slices(self, start: int, stop: int | None) -> AsyncIterator[bytes | BlobSlice]:
        """The bytes from `start` to before `stop` (None: to the end), as they become known.

        Raises the archive's problem when it fails on the way.
        """
        while stop is None or start < stop:
            known = self.length if stop is None else min(stop, self.length)
            for piece in self._layout.slices(start, known):
                yield piece
            start = max(start, known)
            if self.is_settled and start >= self.length:
                break
            await self.wait_until(lambda: self.length > start)  # noqa: B023  # awaited before `start` changes
        if self.failure is not None:
            raise self.failure

    def summary(self) -> dict[str, Any]:
        """The shape that overview, job, report and callback share."""
        failures = [result.failure for result in self.failures]
        return {
            "order_id": self.order_id,
            "status": self.state,
            "total": self.total,
            "downloaded": self.downloaded,
            "failed": len(failures),
            "bytes": sum(result.bytes for result in self.results),
            "failures": failures,
        }
