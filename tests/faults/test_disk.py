"""A full disk breaks nothing. The full form runs with the soak."""

from pathlib import Path

from tests.faults.disk import fill_disk


async def test_a_disk_that_fills_up_breaks_nothing(tmp_path: Path) -> None:
    """A clear error or a cut, a service that lives on, and everything delivered once there is room."""
    (await fill_disk(tmp_path, rounds=3, seed=1)).verify()
