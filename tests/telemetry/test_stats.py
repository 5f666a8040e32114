"""Live counters for a person, and the last errors."""

import pytest

from service.telemetry import stats as stats_module
from service.telemetry.metrics import ArchiveOutcome, ImageOutcome, Metrics
from service.telemetry.stats import Stats
from tests.support.transport import FakeClock


def test_the_counters_are_those_of_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that nobody wanted any more was not processed; an image that was here was not downloaded."""
    clock = FakeClock()
    monkeypatch.setattr(stats_module, "time", clock)
    metrics = Metrics()
    stats = Stats(metrics)
    for number, archive in enumerate(ArchiveOutcome):
        metrics.archives.labels(archive).inc(10**number)
    for number, image in enumerate((ImageOutcome.DOWNLOADED, ImageOutcome.FAILED, ImageOutcome.STORED)):
        metrics.images.labels(image).inc(10**number)
    metrics.archives_served.inc(7)
    clock.advance(61.6)

    assert list(ArchiveOutcome)[-1] is ArchiveOutcome.CANCELLED
    assert stats.snapshot() == {
        "uptime_seconds": 62,
        "orders_processed": 111,
        "images_downloaded": 1,
        "images_failed": 10,
        "zips_served": 7,
    }


def test_the_last_twenty_errors_are_kept_the_newest_first() -> None:
    """With where and when, and what to look for in the log."""
    stats = Stats(Metrics())
    for number in range(21):
        stats.note_error("internal_error", "/route", f"r{number}")

    errors = stats.recent_errors()

    assert [error["request_id"] for error in errors] == [f"r{number}" for number in range(20, 0, -1)]
    assert errors[0] | {"time": ""} == {
        "time": "",
        "code": "internal_error",
        "route": "/route",
        "request_id": "r20",
    }
    assert errors[0]["time"].endswith("+00:00")
