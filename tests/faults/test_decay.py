"""Image files that were damaged are noticed. The full forms run with the soak."""

from pathlib import Path

from tests.faults.decay import damage_files, damage_while_sending


async def test_a_damaged_image_is_noticed_and_fetched_again(tmp_path: Path) -> None:
    """Rotten, short, long, blank or missing: the same bytes again, or 410 where upstream has them no more."""
    (await damage_files(tmp_path, rounds=5, seed=1)).verify()


async def test_an_image_that_is_lost_while_it_is_sent_is_a_cut(tmp_path: Path) -> None:
    """Whether its file was open already or not."""
    (await damage_while_sending(tmp_path, rounds=1, seed=1)).verify()
