"""Sample photos that ship with the service."""

from pathlib import Path

PHOTOS = Path(__file__).parent
"""The folder with the photos (`*.jpg`)."""
