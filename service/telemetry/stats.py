"""Live counters for a person: what the metrics know, since the start of the process."""

import time
from typing import Any

from service.telemetry.metrics import ArchiveOutcome, ImageOutcome, Metrics


class Stats:
    """Reads the counters; keeps none of its own but the time of the start."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = metrics.registry
        self._started = time.monotonic()

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

    def _count(self, series: str, **labels: str) -> int:
        return int(self._registry.get_sample_value(series, labels) or 0)
