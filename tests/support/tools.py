"""Programs that some tests need besides Python: skipped where one is missing, but never on CI."""

import os
import shutil
from typing import NoReturn

import pytest


def require_tool(name: str) -> str:
    """The path of a program; without it the test is skipped, or fails where `CI` is "true"."""
    path = shutil.which(name)
    return path if path is not None else missing(name)


def missing(what: str) -> NoReturn:
    """End the test because the machine lacks something: a skip, or a failure where `CI` is "true"."""
    reason = f"{what} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
