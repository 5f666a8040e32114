"""`config check` and `config example`: the settings, before anything starts."""

import os
import sys
from pathlib import Path

from service import app
from service.commands.refusal import refuse
from service.docs.example import example
from service.settings import InvalidSettings, Settings
from service.startup import screen, summary, warnings

WRONG = 2


def check() -> int:
    """Say what would start, and what looks wrong; returns 0 when the service would start, else 2."""
    try:
        settings = Settings.load()
        app.check(settings)
    except InvalidSettings as error:
        return refuse(error, code=WRONG)
    print(screen(summary(settings)))
    if (problem := _data_dir_problem(settings.data_dir)) is not None:
        return refuse(f"DATA_DIR: {problem}", code=WRONG)
    for warning in warnings(settings):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def print_example() -> int:
    print(example(), end="")
    return 0


def _data_dir_problem(data_dir: Path) -> str | None:
    """Why the service could keep nothing there; it makes what is missing."""
    folder = data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder."
    return None if os.access(folder, os.W_OK | os.X_OK) else f"this user may not write to {folder}."
