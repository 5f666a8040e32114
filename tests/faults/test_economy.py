"""Nothing is fetched, or paid for, twice. The full forms run with the soak."""

from pathlib import Path

from tests.faults.economy import leave_and_return, mend_partial, share_builds


async def test_ten_callers_who_come_and_go_share_every_image(tmp_path: Path) -> None:
    """Each image is fetched once, and everybody's bytes are the same."""
    (await share_builds(tmp_path, rounds=3, seed=1)).verify()


async def test_a_caller_who_leaves_stops_the_fetching_and_may_return(tmp_path: Path) -> None:
    """In time: the same archive goes on. Too late: a new one, of the same images."""
    (await leave_and_return(tmp_path, rounds=1, seed=1)).verify()


async def test_after_a_failure_was_mended_only_what_failed_is_fetched_and_paid(tmp_path: Path) -> None:
    """Credits spent equals images delivered, at every step."""
    (await mend_partial(tmp_path, rounds=4, seed=1)).verify()
