"""The sample photos that ship with the service."""

from pathlib import Path
from typing import Any

import pytest

from service.samples import PHOTOS

Image: Any = pytest.importorskip("PIL.Image")

FILES = sorted(PHOTOS.glob("*.jpg"))
IDS = [path.name for path in FILES]


def test_there_are_enough_small_ones() -> None:
    """An order's worth of photos; small enough for a package."""
    assert len(FILES) >= 6
    assert sum(path.stat().st_size for path in FILES) < 3_000_000


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_each_is_a_wide_jpeg(path: Path) -> None:
    """Complete JPEGs, wider than any preview."""
    with Image.open(path) as photo:
        photo.load()
        assert photo.format == "JPEG"
        assert photo.width >= 1600


def test_sizes_vary() -> None:
    """No two of the same size and shape would hide mistakes of scaling."""
    sizes = set()
    for path in FILES:
        with Image.open(path) as photo:
            sizes.add(photo.size)
    assert len(sizes) >= 4
