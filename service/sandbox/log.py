"""What was asked of the sandbox: every request, and the counts that tests and benchmarks judge by."""

from collections import Counter, deque
from dataclasses import dataclass, field

from aiohttp import web

DOWNLOADS = frozenset({"enhanced", "original", "preview", "watermark"})
DOWNLOAD_HOPS = DOWNLOADS | {"asset", "storage"}
HEADERS = [
    "x-api-key",
    "x-api-version",
    "x-dev-mode",
    "accept",
    "accept-encoding",
    "authorization",
    "content-type",
    "if-range",
    "range",
    "traceparent",
    "user-agent",
    "host",
]


@dataclass(kw_only=True)
class Served:
    """One request; `status`, `sent` (body bytes), `complete` and `seconds` are settled when it ends."""

    at: float
    method: str
    path: str
    operation: str
    image_id: str | None
    order_id: str | None
    query: dict[str, str]
    headers: dict[str, str]
    in_flight: int
    """Downloads under way when this one began, itself included; 0 for other operations."""
    landed: bool = False
    """Whether it no longer counts as under way."""
    status: int | None = None
    sent: int = 0
    complete: bool = False
    fault: str | None = None
    seconds: float | None = None


@dataclass(kw_only=True)
class Counters:
    """Sums over the requests since the last reset; `in_flight` is the present number of downloads."""

    requests: Counter[str] = field(default_factory=Counter)
    """Per operation."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults applied, per kind."""
    in_flight: int = 0
    max_in_flight: int = 0
    complete_downloads: Counter[str] = field(default_factory=Counter)
    """Whole bodies sent, per image."""
    purchases: Counter[str] = field(default_factory=Counter)
    """Credits taken, per image."""
    credits_spent: int = 0
    bytes_sent: int = 0
    """Bytes of image bodies."""
    key_leaks: int = 0
    """Requests at the asset server or the storage that carried an API key."""
    webhooks: int = 0


class RequestLog:
    """The requests in the order of their arrival, and their counters."""

    def __init__(self, size: int) -> None:
        self.entries: deque[Served] = deque(maxlen=size)
        self.counters = Counters()

    def begin(
        self, request: web.Request, at: float, operation: str, image_id: str | None, order_id: str | None
    ) -> Served:
        """Note a request that has arrived at second `at`."""
        counters = self.counters
        counters.requests[operation] += 1
        downloading = operation in DOWNLOAD_HOPS
        if downloading:
            counters.in_flight += 1
            counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        entry = Served(
            at=at,
            method=request.method,
            path=request.path,
            operation=operation,
            image_id=image_id,
            order_id=order_id,
            query=dict(request.query),
            headers={name: request.headers[name] for name in HEADERS if name in request.headers},
            in_flight=counters.in_flight if downloading else 0,
        )
        self.entries.append(entry)
        return entry

    def landed(self, entry: Served) -> None:
        """A download is over; called before its last byte goes out, so that `in_flight` never overstates."""
        if entry.in_flight and not entry.landed:
            entry.landed = True
            self.counters.in_flight -= 1

    def reset(self) -> None:
        """Start anew; downloads under way still count as such."""
        self.entries.clear()
        self.counters = Counters(in_flight=self.counters.in_flight, max_in_flight=self.counters.in_flight)
