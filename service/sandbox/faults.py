"""Scripted misbehaviour: what goes wrong, for which requests, how often."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .log import DOWNLOADS

HOPS = frozenset({"asset", "storage"})


class FaultKind(StrEnum):
    """What can go wrong."""

    STATUS = "status"
    """Answers `status`, with `Retry-After` when `retry_after` is given; `body` replaces the JSON."""
    RESET = "reset"
    """Resets the connection: before the headers, or once `after_bytes` of the body are out."""
    TRUNCATED = "truncated"
    """Announces the full length, sends `after_bytes` (default: half), closes."""
    CHUNKED_CUT = "chunked_cut"
    """As TRUNCATED, chunked: closes without the last chunk."""
    STALL = "stall"
    """As TRUNCATED, but the connection stays open and silent."""
    BLACK_HOLE = "black_hole"
    """Never answers."""
    WRONG_TYPE = "wrong_type"
    """The right bytes as `content_type` (default: text/html)."""
    WRONG_BYTES = "wrong_bytes"
    """A web page (or `body`) under the right content type."""
    INCOMPLETE = "incomplete"
    """Half of the picture (or its first `after_bytes`), sent as if that were all of it."""
    HTML = "html"
    """200 and a web page."""
    INVALID_JSON = "invalid_json"
    """200, application/json, and half a document (or `body`)."""
    SLOW_FIRST_BYTE = "slow_first_byte"
    """The right answer after `delay` seconds."""
    DRIP = "drip"
    """The right answer, `chunk_bytes` every `interval` seconds."""
    REDIRECT_LOOP = "redirect_loop"
    """302 into redirects without end."""
    REDIRECT_TO = "redirect_to"
    """302 to `location`."""
    REDIRECT_NOWHERE = "redirect_nowhere"
    """302 without `Location`."""


BODY_KINDS = frozenset(
    {
        FaultKind.TRUNCATED,
        FaultKind.CHUNKED_CUT,
        FaultKind.STALL,
        FaultKind.WRONG_TYPE,
        FaultKind.WRONG_BYTES,
        FaultKind.INCOMPLETE,
        FaultKind.DRIP,
    }
)


@dataclass(kw_only=True)
class Fault:
    """A fault and the requests it strikes: those that fit every given criterion, `times` of them (None = all).

    Without `operation`, a fault of the body strikes image bytes (`storage`), any other fault of an `image_id`
    strikes its download routes, and the rest strike every API call. `skip` lets that many fitting requests pass.
    """

    kind: FaultKind
    fault_id: int = 0
    operation: frozenset[str] | None = None
    image_id: str | None = None
    order_id: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int = 500
    retry_after: float | None = None
    retry_after_date: bool = False
    """Sends `Retry-After` as an HTTP date."""
    after_bytes: int | None = None
    body: str | None = None
    content_type: str = "text/html"
    delay: float = 1.0
    chunk_bytes: int = 1024
    interval: float = 0.05
    location: str = ""

    def fits(self, operation: str, image_id: str | None, order_id: str | None) -> bool:
        """Whether the fault is for such a request."""
        if self.image_id is not None and self.image_id != image_id:
            return False
        if self.order_id is not None and self.order_id != order_id:
            return False
        if self.operation is not None:
            return operation in self.operation
        if self.kind in BODY_KINDS or (self.kind is FaultKind.RESET and self.after_bytes is not None):
            return operation == "storage"
        return operation in DOWNLOADS if self.image_id is not None else operation not in HOPS


def operations(value: str | Iterable[str] | None) -> frozenset[str] | None:
    """One operation, several, or `download` for all routes that begin one."""
    if value is None:
        return None
    names = {value} if isinstance(value, str) else set(value)
    return frozenset(names - {"download"} | (DOWNLOADS if "download" in names else frozenset()))


class FaultScript:
    """The faults in force, in the order they were added; the first that fits a request strikes."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        """Put a fault behind the others; it gets an id."""
        fault.fault_id = next(self._ids)
        self.faults.append(fault)
        return fault

    def remove(self, fault_id: int) -> bool:
        """Whether there was a fault of that id."""
        kept = [fault for fault in self.faults if fault.fault_id != fault_id]
        found = len(kept) < len(self.faults)
        self.faults = kept
        return found

    def take(self, operation: str, image_id: str | None, order_id: str | None) -> Fault | None:
        """The fault that strikes this request, used up by one; None when all is well."""
        for fault in self.faults:
            if not fault.fits(operation, image_id, order_id):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.remove(fault.fault_id)
            return fault
        return None
