"""Every series the service exports, in one class over its own registry."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service import __version__
from service.reasons import Reason
from service.telemetry import traces

MetricT = TypeVar("MetricT", Counter, Gauge)


class ArchiveOutcome(StrEnum):
    """How an archive ended."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"
    CANCELLED = "cancelled"


class ImageOutcome(StrEnum):
    """How the fetching of one image ended; `stored` ones were here already."""

    DOWNLOADED = "downloaded"
    STORED = "stored"
    FAILED = "failed"


class Refetch(StrEnum):
    """Why an image that had been fetched before was fetched once more."""

    LOST = "lost"
    """Its blob was missing or damaged."""
    INCOMPLETE = "incomplete"
    """It came without its end."""
    REFRESH = "refresh"
    """The caller asked for it anew."""
    UNCOORDINATED = "uncoordinated"
    """Another instance may have fetched it: Redis or S3 was away."""


class Shared(StrEnum):
    """What several instances share."""

    REDIS = "redis"
    S3 = "s3"


class CacheResult(StrEnum):
    """What a request for an archive met."""

    HIT = "hit"
    MISS = "miss"
    JOINED = "joined"
    STALE = "stale"


class JobStatus(StrEnum):
    """Where a background job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"


OPEN_STATUSES = (JobStatus.QUEUED, JobStatus.PROCESSING)
"""Of jobs that have not ended."""
_FINAL_STATUSES = tuple(status for status in JobStatus if status not in OPEN_STATUSES)


class Circuit(StrEnum):
    """The dependencies that have a circuit breaker each."""

    API = "api"
    ASSETS = "assets"


class Call(StrEnum):
    """What is asked of Autoenhance; an `asset` is where a redirect leads."""

    ORDER = "order"
    IMAGE = "image"
    ASSET = "asset"
    LIST_ORDERS = "list_orders"
    CREATE_ORDER = "create_order"
    REGISTER_IMAGE = "register_image"
    UPLOAD = "upload"


# How calls to Autoenhance fail: its usual statuses, and none at all.
_CALL_FAILURES = ("401", "402", "403", "404", "429", "500", "502", "503", "504", "timeout", "error")

# Buckets are chosen where the answers lie; around the values that alerts ask for (1, 10 and 30 s) they are narrow.

# A preview takes 0.1 s to a few seconds, a first rendering up to the 60 s deadline of an image.
_IMAGE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
# An archive is up to 100 images in lanes of 5: from a second to 20 deadlines.
_ARCHIVE_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)
# The first byte waits for the order call and the first image; a stored archive's is there in milliseconds.
_FIRST_BYTE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
# From a small preview (30 kB) to a full-size PNG (100 MB), by powers of about three.
_IMAGE_BYTES = (3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
_ARCHIVE_BYTES = (1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10)
# From a probe's answer to the last byte of an archive.
_HTTP_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
# The head of an answer: a redirect takes a tenth of a second, a first rendering up to the image's deadline.
_UPSTREAM_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# A healthy loop is late by a millisecond or two; from a tenth of a second on, callers feel it.
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


# For the whole process; the library knows no other way. Nobody asks when a series began, and each would have one more.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Histogram(Histogram):
    """A histogram whose observations carry the trace they were made in, as their exemplar."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        super().observe(amount, exemplar or traces.exemplar())


class Metrics:
    """The service's series. One process per pod, so one registry and no multi-process mode."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        # Every known value of a label exists from the start, so that rate() begins at zero, not at nothing.
        def counter(name: str, description: str, **labels: Iterable[str]) -> Counter:
            return _begun(Counter(f"batch_{name}", description, labels, registry=registry), labels)

        def gauge(name: str, description: str, **labels: Iterable[str]) -> Gauge:
            return _begun(Gauge(f"batch_{name}", description, labels, registry=registry), labels)

        def histogram(name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return _Histogram(f"batch_{name}", description, labels, buckets=buckets, registry=registry)

        self.http_requests = counter("http_requests", "Requests answered.", route=(), method=(), status=())
        self.http_duration = histogram(
            "http_request_duration_seconds", "From request to last byte.", _HTTP_SECONDS, "route", "method", "status"
        )

        self.archives = counter("archives", "Archives built, by outcome.", outcome=ArchiveOutcome)
        self.archives_served = counter("archives_served", "Archives sent to the last byte, at once or in parts.")
        self.archive_duration = histogram(
            "archive_duration_seconds", "From the start of a build to its last image.", _ARCHIVE_SECONDS
        )
        self.archive_first_byte = histogram(
            "archive_first_byte_seconds", "To the first byte, where none asked to wait for more.", _FIRST_BYTE_SECONDS
        )
        self.archive_size = histogram("archive_size_bytes", "Length of a settled archive.", _ARCHIVE_BYTES)

        self.images = counter("images", "Images by outcome.", outcome=ImageOutcome)
        self.image_failures = counter("image_failures", "Images missing, by reason.", reason=Reason)
        self.images_bought = counter("images_bought", "Images bought: fetched in full size, for a credit.")
        self.images_refetched = counter(
            "images_refetched", "Images fetched although they had been fetched before, by reason.", why=Refetch
        )
        self.image_download = histogram(
            "image_download_seconds", "One image, retries and their pauses included.", _IMAGE_SECONDS
        )
        self.image_size = histogram("image_size_bytes", "Size of a downloaded image.", _IMAGE_BYTES)

        self.upstream_requests = counter(
            "upstream_requests", "Calls to Autoenhance.", operation=Call, status=_CALL_FAILURES
        )
        self.upstream_duration = histogram(
            "upstream_request_duration_seconds",
            "One call to Autoenhance, up to the head of its answer.",
            _UPSTREAM_SECONDS,
            "operation",
            "status",
        )
        self._upstream_series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self.upstream_retries = counter("upstream_retries", "Calls repeated, by reason.", reason=Reason)
        self.breaker_state = gauge("breaker_state", "0 closed, 1 half-open, 2 open.", circuit=Circuit)
        self.breaker_transitions = counter(
            "breaker_transitions",
            "Changes of a circuit's state.",
            circuit=Circuit,
            state=("closed", "half-open", "open"),
        )
        self.concurrency_limit = gauge("download_concurrency_limit", "Image downloads allowed at once.")
        self.download_rate_limit = gauge(
            "download_rate_limit", "Image downloads that may start per second; 0 = no limit."
        )
        self.downloads_in_flight = gauge("downloads_in_flight", "Image downloads under way.")

        self.cache_requests = counter(
            "archive_cache_requests", "Requests for an archive, by cache result.", result=CacheResult
        )
        self.jobs_open = gauge("jobs_open", "Background jobs that have not ended, by status.", status=OPEN_STATUSES)
        self.jobs_ended = counter("jobs", "Background jobs ended, by outcome.", outcome=_FINAL_STATUSES)
        outcomes = ("delivered", "retry", "failed")
        self.callbacks = counter("callbacks", "Callbacks attempted, by outcome.", outcome=(*outcomes, "stopped"))
        self.deliveries = counter("deliveries", "Deliveries into storage attempted, by outcome.", outcome=outcomes)
        self.store_bytes = gauge("store_bytes", "Bytes of images kept on disk.")
        self.store_limit = gauge("store_limit_bytes", "Bytes of images that may be kept on disk.")
        self.store_evictions = counter("store_evictions", "Images removed to make room.")
        self.shared_up = gauge("shared_up", "Whether the last call to what instances share succeeded.", what=())
        self.rate_limited = counter("rate_limited", "Requests refused because their caller sent too many.")
        self.client_disconnects = counter("client_disconnects", "Clients that left before the last byte.")
        self.loop_lag = histogram("event_loop_lag_seconds", "How late the event loop wakes a timer.", _LAG_SECONDS)
        self.loop_tasks = gauge("event_loop_tasks", "Tasks of the event loop that have not ended.")
        gauge("build_info", "The running version.", version=()).labels(__version__).set(1)

    def upstream_call(self, operation: str, status: str, seconds: float) -> None:
        """One call to Autoenhance was answered, or failed, after so many seconds."""
        series = self._upstream_series.get((operation, status))
        if series is None:  # `labels` takes a lock and several calls, a look into a dict does not
            labels = (operation, status)
            series = self.upstream_requests.labels(*labels), self.upstream_duration.labels(*labels)
            self._upstream_series[labels] = series
        series[0].inc()
        series[1].observe(seconds)

    def declare_failures(self, failures: Iterable[tuple[str, str, str]]) -> None:
        """Make the series of failed requests (route, method, status) begin at zero: the first one counts in a rate."""
        for failure in failures:
            self.http_requests.labels(*failure)

    def declare_shared(self) -> None:
        """Make `shared_up` exist, at 0 until the first call succeeds: only where several instances share."""
        for shared in Shared:
            self.shared_up.labels(shared)

    @staticmethod
    def values(gauge: Gauge) -> dict[str, float]:
        """What a gauge with one label shows now, by the label's value."""
        return {
            value: sample.value
            for family in gauge.collect()
            for sample in family.samples
            for value in sample.labels.values()
        }


def _begun(metric: MetricT, labels: Mapping[str, Iterable[str]]) -> MetricT:
    """A metric with every combination of known values of its labels; a label without any has none yet."""
    for values in product(*labels.values()) if labels else ():
        metric.labels(*values)
    return metric
