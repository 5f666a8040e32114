"""Live counters for a person: what the metrics know, since the start of the process."""

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from service.telemetry.metrics import ArchiveOutcome, ImageOutcome, Metrics

_ERRORS_KEPT = 20


class Stats:
    """Reads the counters; keeps nothing of its own but the time of the start and the last errors."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = metrics.registry
        self._started = time.monotonic()
        self._errors: deque[dict[str, str]] = deque(maxlen=_ERRORS_KEPT)

    def snapshot(self) -> dict[str, Any]:
        """The counters by the names that the first generation gave them."""
        archives = [ArchiveOutcome.SUCCESS, ArchiveOutcome.PARTIAL, ArchiveOutcome.FAILURE]
        return {
            "uptime_seconds": round(time.monotonic() - self._started),
            "orders_processed": sum(self._count("batch_archives_total", outcome=outcome) for outcome in archives),
            "images_downloaded": self._count("batch_images_total", outcome=ImageOutcome.DOWNLOADED),
            "images_failed": self._count("batch_images_total", outcome=ImageOutcome.FAILED),
            "zips_served": self._count("batch_archives_served_total"),
        }

    def note_error(self, code: str, route: str, request_id: str) -> None:
        """Remember an answer that was our fault or upstream's."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        self._errors.append({"time": moment, "code": code, "route": route, "request_id": request_id})

    def recent_errors(self) -> list[dict[str, str]]:
        """The last errors, newest first."""
        return list(reversed(self._errors))

    def _count(self, series: str, **labels: str) -> int:
        return int(self._registry.get_sample_value(series, labels) or 0)
