"""Sample photos that ship with the service: seven views of a house that does not exist, rendered for this project by a
path tracer of its own and under its licence."""

import secrets
from pathlib import Path

PHOTOS = Path(__file__).parent
"""The folder with the photos (`*.jpg`)."""


def uniquely_named() -> dict[str, Path]:
    """The photos by file names that no other order has: Autoenhance limits how often an hour it takes the same one."""
    mark = secrets.token_hex(3)
    return {f"{path.stem}_{mark}{path.suffix}": path for path in sorted(PHOTOS.glob("*.jpg"))}
