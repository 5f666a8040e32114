"""Sample photos that ship with the service: seven views of a house that does not exist, rendered for this project by a
path tracer of its own and under its licence."""

from pathlib import Path

PHOTOS = Path(__file__).parent
"""The folder with the photos (`*.jpg`)."""
