"""Which API version takes which format."""

from typing import get_args

import pytest

from service.settings import Settings
from service.upstream.models import Rendition
from service.upstream.versions import required_version, takes_format

FORMATS = get_args(Rendition.model_fields["format"].annotation)


@pytest.mark.parametrize(
    ("version", "formats"),
    [
        ("2025-05-08", {"jpeg", "png", "webp"}),
        ("2026-09-30", {"jpeg", "png", "webp"}),
        ("2026-10-01", {"jpeg", "png", "webp", "avif", "jxl"}),
        ("2026-11-09", {"jpeg", "png", "webp", "avif", "jxl"}),
        (None, {"jpeg", "png", "webp", "avif", "jxl"}),
    ],
)
def test_newer_formats_need_a_newer_version(version: str | None, formats: set[str]) -> None:
    """The account's own version, which is not known here, is given the benefit of the doubt."""
    assert {one for one in FORMATS if takes_format(version, one)} == formats


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_version_to_pin_takes_the_format(image_format: str) -> None:
    """What a caller is advised works; without advice none is needed at the version pinned by default."""
    required = required_version(image_format)

    assert takes_format(required or Settings.model_fields["autoenhance_api_version"].default, image_format)
