"""While a fifth of everything fails, every answer is one of three. The full form runs with the soak."""

from pathlib import Path

from tests.faults.storm import weather_storm


async def test_in_a_storm_every_answer_is_a_true_archive_a_problem_or_a_cut(tmp_path: Path) -> None:
    """Sixty downloads; afterwards no task, socket, file or memory is held that was not before."""
    (await weather_storm(tmp_path, downloads=60, seed=1, rest=4)).verify()
