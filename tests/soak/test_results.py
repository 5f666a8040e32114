"""The results file keeps what other checks found."""

from pathlib import Path

from tests.faults.findings import Row
from tests.soak.results import record


def test_a_run_replaces_its_own_section_only(tmp_path: Path) -> None:
    """Of two checks, the one that ran again has its new figures, the other its old ones."""
    file = tmp_path / "RESULTS.md"
    record("kills", "Kills", [Row("nothing is lost", "3 of 3", True)], 1.0, file)
    record("disk", "A full disk", [Row("nothing breaks", "5 of 5", True)], 2.0, file)
    record("kills", "Kills", [Row("nothing is lost", "3 of 4", False, "an image | lost")], 1.0, file)

    text = file.read_text()

    assert text.count("## kills: Kills") == 1
    assert "| nothing is lost | 3 of 4 | **no** an image \\| lost |" in text
    assert "3 of 3" not in text
    assert "| nothing breaks | 5 of 5 | yes |" in text
