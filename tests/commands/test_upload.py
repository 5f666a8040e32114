"""`upload`, before anything is sent."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from service.__main__ import main
from service.commands.client import Refused, Service


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


def test_the_answer_may_take_as_long_as_sending_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the last photo is at Autoenhance."""
    asked: list[float] = []

    def session(_: Service, more_seconds: float = 0.0) -> NoReturn:
        asked.append(more_seconds)
        raise Refused("So.")

    monkeypatch.setattr(Service, "session", session)
    (tmp_path / "kitchen.jpg").touch()

    main(["upload", str(tmp_path / "kitchen.jpg")])

    assert asked == [3600.0]
