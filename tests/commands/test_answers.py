"""What commands print of an answer."""

import sys

import pytest

from service.commands.answers import print_table


def test_an_id_is_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is what the next command is given."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    cells = ["1" * 32, "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001", "complete"]

    print_table(("JOB", "ORDER", "STATUS"), [cells])

    assert capsys.readouterr().out.splitlines()[1].split() == cells
