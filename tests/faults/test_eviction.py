"""Room is made, never at the cost of what is in use. The full form runs with the soak."""

from pathlib import Path

from tests.faults.eviction import evict


async def test_a_small_store_evicts_what_nobody_uses(tmp_path: Path) -> None:
    """Least recently used first; slow readers keep theirs."""
    (await evict(tmp_path, rounds=1, seed=1)).verify()
