"""An archive: what is in it so far, what could not be had, and whether more is to come."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from service.archives.layout import BlobSlice, Layout, Member
from service.archives.plan import PlannedOrder
from service.archives.readers import Readers
from service.archives.renditions import ORIGINAL
from service.images.blobs import Blob
from service.problems import ImagesMissing, Problem
from service.reasons import Reason
from service.signal import Signal


class State(StrEnum):
    """Where an archive stands."""

    BUILDING = "building"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


SETTLED = (State.COMPLETE, State.PARTIAL)
"""The states of an archive whose list is final."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """How one image of the archive turned out; a line of the report."""

    image_id: str
    original_name: str
    name: str | None = None
    """In the ZIP; None when it is not there."""
    bytes: int = 0
    crc: int | None = None
    code: Reason | None = None
    """Why it is missing or incomplete; None when all is well."""
    attempts: int = 0
    status_reason: str | None = None
    """What Autoenhance says of the image's state, for its owner."""
    rendition: str | None = None
    """Which of several, or `original`."""
    blake3: str | None = None
    """Of its content, where that is known."""
    key: str | None = None
    """Of the image in the store, where it is in the archive."""
    order: int = 0
    """Which of the archive's orders it is of."""

    @property
    def identity(self) -> tuple[int, str, str | None]:
        """What tells it from the other results of its archive."""
        return self.order, self.image_id, self.rendition

    @property
    def is_original(self) -> bool:
        return self.rendition == ORIGINAL

    @property
    def explanation(self) -> str:
        """What happened and the next step, for a person; empty when all is well."""
        if self.code is None:
            return ""
        if self.status_reason is None:
            return self.code.advice
        return f"{self.code.description} Autoenhance says: {self.status_reason}"

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
        del line["status_reason"], line["key"], line["order"]
        return {**line, "outcome": outcome}


class Archive:
    """An append-only list of members with its readers. `id` names one sequence of bytes for ever."""

    def __init__(
        self,
        archive_id: str,
        *,
        key: str,
        orders: Sequence[PlannedOrder],
        readers: Readers,
        created: float | None = None,
    ) -> None:
        self.id = archive_id
        self.key = key
        self.orders = orders
        self.total = sum(order.total for order in orders)
        self.unlisted = sum(order.unlisted for order in orders)
        """Images that no download has."""
        self.created = created if created is not None else time.time()
        self.readers = readers
        self.state = State.BUILDING
        self.is_joinable = True
        """New requests may be given it: somebody can go on with it."""
        self.members: list[Member] = []
        self.results: list[ImageResult] = []
        """In the sequence in which they came; once settled, in the sequence of the plan."""
        self.arrived = self.results
        """The same, never sorted."""
        self.failure: Problem | None = None
        self._layout = Layout()
        self._changed = Signal()

    @property
    def length(self) -> int:
        """Bytes known so far; once settled, all of them."""
        return self._layout.length

    @property
    def order_ids(self) -> list[str]:
        return [order.order_id for order in self.orders]

    @property
    def failed_orders(self) -> list[PlannedOrder]:
        """Those of which nothing can be had."""
        return [order for order in self.orders if order.code is not None]

    @property
    def is_settled(self) -> bool:
        """Nothing will be added any more."""
        return self.state is not State.BUILDING

    @property
    def is_whole(self) -> bool:
        """Its end is there: its length and its counts are final."""
        return self.state in SETTLED

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

    def require_all(self) -> None:
        """Raises `ImagesMissing` when, as far as it has come, an image is missing."""
        if self.failures or self.unlisted or self.failed_orders:
            failures = [self.failure_of(result) for result in self.failures]
            raise ImagesMissing(failures, self.unlisted, [order.failure for order in self.failed_orders])

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
            if start == stop or (self.is_settled and start >= self.length):
                break
            await self.wait_until(lambda: self.length > start)  # noqa: B023  # awaited before `start` changes
        if self.failure is not None:
            raise self.failure

    def summary(self) -> dict[str, Any]:
        """The shape that overview, job, report and callback share."""
        failures = [self.failure_of(result) for result in self.failures]
        return {
            "order_id": self.orders[0].order_id if len(self.orders) == 1 else None,
            "status": self.state,
            "total": self.total,
            "downloaded": self.downloaded,
            "failed": len(failures),
            "bytes": sum(result.bytes for result in self.results),
            "failures": failures,
            "orders": self._orders_summary(),
        }

    def failure_of(self, result: ImageResult) -> dict[str, Any]:
        """The shape of a failure, with its order where there are several."""
        return result.failure if len(self.orders) == 1 else {"order_id": self.order_of(result), **result.failure}

    def order_of(self, result: ImageResult) -> str:
        return self.orders[result.order].order_id

    def _orders_summary(self) -> list[dict[str, Any]]:
        """How much of each order is here, and why nothing of one can be."""
        ended = Counter((result.order, result.code is None) for result in self.results)
        return [
            {
                "order_id": order.order_id,
                "name": order.name,
                "folder": order.folder or None,
                "total": order.total,
                "downloaded": ended[at, True],
                "failed": ended[at, False],
                "unlisted": order.unlisted,
                "code": order.code,
                "reason": order.reason or None,
            }
            for at, order in enumerate(self.orders)
        ]
