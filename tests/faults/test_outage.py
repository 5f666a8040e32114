"""While upstream is away, what is here is served. The full form runs with the soak."""

from pathlib import Path

from tests.faults.outage import survive_outages


async def test_a_known_order_outlives_an_outage(tmp_path: Path) -> None:
    """Marked as stale, with the breaker closed or open, also after a kill -9; what is not here is a clear error."""
    (await survive_outages(tmp_path, rounds=2, seed=1)).verify()
