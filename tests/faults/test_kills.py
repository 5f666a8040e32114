"""What `kill -9` leaves is whole. The full form runs with the soak."""

from pathlib import Path

from tests.faults.kills import kill_builds


async def test_a_kill_in_a_build_costs_nothing_that_was_finished(tmp_path: Path) -> None:
    """Three kills: no corrupt image, no second fetch, no temporary file, and the cut callers get the rest."""
    findings = await kill_builds(tmp_path, kills=3, seed=3)

    findings.verify()
