"""`upload`, before anything is sent."""

import errno
import os
from pathlib import Path

import pytest

from service.__main__ import main


def test_a_file_that_may_not_be_read_is_a_wrong_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, which names it."""
    file = tmp_path / "kitchen.jpg"
    file.touch()

    def refuse(path: Path, _flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    code = main(["upload", str(file)])
    monkeypatch.undo()

    assert (code, capsys.readouterr().err) == (2, f"autoenhance-batch: {file}: Permission denied.\n")
