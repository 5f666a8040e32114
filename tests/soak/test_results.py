"""The results file keeps what other checks found."""

from pathlib import Path

from tests.faults.findings import Row
from tests.soak.results import RESULTS, record


def test_a_run_replaces_its_own_line_only(tmp_path: Path) -> None:
    """Of two checks, the one that ran again has its new findings, the other its old ones."""
    file = tmp_path / "RESULTS.md"
    record("kills", "Kills", [Row("nothing is lost", "3 of 3", True)], 1.0, file)
    record("disk", "A full disk", [Row("nothing breaks", "5 of 5", True)], 2.0, file)
    again = [Row("nothing is lost", "3 of 4", False, "an image | lost"), Row("x", "1", True)]
    record("kills", "Kills", again, 1.0, file)

    lines = file.read_text().splitlines()[-2:]

    assert lines[0].startswith("| disk | A full disk | all 1 hold | ")
    assert lines[1].startswith("| kills | Kills | 1 of 2 hold; nothing is lost: 3 of 4 an image \\| lost | ")


def test_what_is_kept_is_short() -> None:
    """A line for each check."""
    assert len(RESULTS.read_text().splitlines()) < 60
