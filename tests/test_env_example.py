"""`.env.example`: every setting, as the code has it."""

import re
from pathlib import Path

from service.docs.example import example
from service.settings import Settings
from tests.support.doc_blocks import ROOT

KEPT = (ROOT / ".env.example").read_text()


def test_what_is_kept_is_what_the_command_prints() -> None:
    """`make docs` after every change of the settings."""
    assert example() == KEPT


def test_it_has_every_setting_and_its_default(tmp_path: Path) -> None:
    """With every line uncommented the settings are what they are without any."""
    lines = [line[1:] for line in KEPT.splitlines() if re.match(r"#[A-Z]", line)]
    path = tmp_path / "all"
    path.write_text("\n".join(lines))

    assert [line.partition("=")[0].lower() for line in lines] == list(Settings.model_fields)
    assert Settings.load(_env_file=path) == Settings.load(_env_file=None)
