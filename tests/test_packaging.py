"""What is installed is what is in the repository."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_file_of_the_package_ships() -> None:
    """Pages, pictures, styles and photos too: every file in `service/` that is no Python is named as package data."""
    files = {path for path in (ROOT / "service").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["service"]

    shipped = {path for pattern in patterns for path in (ROOT / "service").glob(pattern)}

    assert sorted(path for path in files - shipped if path.suffix != ".py") == []
