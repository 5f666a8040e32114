"""Live counters for a person: what the metrics know, since the start of the process."""

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter

from service.telemetry.metrics import ArchiveOutcome, ImageOutcome, Metrics

_ERRORS_KEPT = 20


class Stats:
    """Reads the counters; keeps nothing of its own but the time of the start and the last errors."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._started = time.monotonic()
        self._errors: deque[dict[str, str]] = deque(maxlen=_ERRORS_KEPT)

    def snapshot(self) -> dict[str, Any]:
        """The counters by the names that version 0 gave them."""
        metrics = self._metrics
        archives = [ArchiveOutcome.SUCCESS, ArchiveOutcome.PARTIAL, ArchiveOutcome.FAILURE]
        return {
            "uptime_seconds": round(time.monotonic() - self._started),
            "orders_processed": sum(_count(metrics.archives, outcome=outcome) for outcome in archives),
            "images_downloaded": _count(metrics.images, outcome=ImageOutcome.DOWNLOADED),
            "images_failed": _count(metrics.images, outcome=ImageOutcome.FAILED),
            "zips_served": _count(metrics.archives_served),
        }

    def note_error(self, code: str, route: str, request_id: str) -> None:
        """Remember an answer that was our fault or upstream's."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        self._errors.append({"time": moment, "code": code, "route": route, "request_id": request_id})

    def recent_errors(self) -> list[dict[str, str]]:
        """The last errors, newest first."""
        return list(reversed(self._errors))


def _count(counter: Counter, **labels: str) -> int:
    """Of this counter alone: the registry would read /proc for it."""
    samples = (sample for family in counter.collect() for sample in family.samples)
    return int(sum(one.value for one in samples if one.name.endswith("_total") and one.labels == labels))
