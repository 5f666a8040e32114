"""The page behind a share link, as HTML: what is on it, and that names are nothing but text there."""

from typing import Any

import pytest

from service.api.delivery_html import gallery, gone
from service.api.share_links import SharedImage, ShareLink

EVIL, HARMLESS = '<b onclick="x">&', "&lt;b onclick=&quot;x&quot;&gt;&amp;"


def page(*images: str, brand: str = "", are_previews: bool = True, **given: Any) -> str:
    values: dict[str, Any] = {"link_id": "l", "token": "t", "maker": "", "order_id": "o", "order_name": None}
    shared = tuple(SharedImage(image_id=image, name=f"{image}.jpg") for image in images)
    link = ShareLink(**values | {"query": "", "images": shared, "created": 0, "expires": 1_785_000_000} | given)
    return gallery(link, "/batch/s/t", brand, are_previews=are_previews)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"brand": EVIL}, f'<p class="from">Photos from {HARMLESS}</p>'),
        ({"brand": EVIL}, f"<title>Your photos - {HARMLESS}</title>"),
        ({"order_name": EVIL}, f"<h1>{HARMLESS}</h1>"),
        ({"order_name": EVIL}, f"<title>{HARMLESS}</title>"),
        ({"images": (SharedImage(image_id="a", name=EVIL),)}, f'alt="{HARMLESS}"'),
        ({"images": (SharedImage(image_id="a", name=EVIL),)}, f'aria-label="Save {HARMLESS}"'),
        ({"images": (SharedImage(image_id="a/?b", name="a.jpg"),)}, 'href="/batch/s/t/images/a%2F%3Fb?download=true"'),
    ],
)
def test_names_are_text_wherever_they_stand(given: dict[str, Any], where: str) -> None:
    """Whoever gave them."""
    found = page("a", **given)

    assert where in found
    assert EVIL not in found


@pytest.mark.parametrize(
    ("images", "are_previews", "count", "button", "has_hint"),
    [
        (("a",), True, "1 preview.", "Save the photo as a ZIP", False),
        (("a", "b"), True, "2 previews.", "Save all 2 photos in one ZIP", True),
        (("a", "b"), False, "2 photos.", "Save all 2 photos in one ZIP", True),
    ],
)
def test_what_can_be_saved(
    images: tuple[str, ...], are_previews: bool, count: str, button: str, has_hint: bool
) -> None:
    """Each photo, and all of them; until when."""
    found = page(*images, are_previews=are_previews)

    assert f"{count} Available until <time" in found
    assert f'href="/batch/s/t/download" download>{button}</a>' in found
    assert ("Or save single photos above." in found) is has_hint
    assert found.count('class="gallery-photo"') == len(images)
    assert "25 July 2026, 17:20 UTC" in found


def test_a_page_without_a_brand_names_none() -> None:
    """Nor does that of a link that opens nothing."""
    assert "Photos from" not in page("a")
    assert 'class="gone"' in gone()
