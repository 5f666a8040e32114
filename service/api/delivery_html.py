"""The page behind a share link, as HTML; it works without scripts."""

from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from service.api.page import DELIVERY_TEMPLATE
from service.api.share_links import SharedImage, ShareLink
from service.problems import LinkNotFound

PREVIEW_QUERY = "preview=true&max_width=480"
"""Of the photos that the page shows."""


def gallery(link: ShareLink, base: str, brand: str, *, are_previews: bool) -> str:
    """The page, as HTML: whose photos, the order's name, each to be saved, and all of them in one ZIP below `base`."""
    title = link.order_name or "Your photos"
    ends = datetime.fromtimestamp(link.expires, UTC)
    kind = "preview" if are_previews else "photo"
    count = f"{len(link.images)} {kind}{'' if len(link.images) == 1 else 's'}"
    until = f"{ends.day} {ends:%B %Y}, {ends:%H:%M} UTC"
    body = [
        '<main class="delivery">',
        '<header class="delivery-head">',
        f'<p class="from">Photos from {escape(brand)}</p>' if brand else "",
        f"<h1>{escape(title)}</h1>",
        f'<p class="until">{count}. Available until <time datetime="{ends.isoformat()}">{until}</time>.</p>',
        "</header>",
        f'<ul class="gallery" aria-label="Photos">{"".join(_photo(shared, base) for shared in link.images)}</ul>',
        '<div class="delivery-bar"><div>',
        f'<a class="button primary" href="{base}/download" download>{_save_all(len(link.images))}</a>',
        "<p>Or save single photos above.</p>" if len(link.images) > 1 else "",
        '<p id="missing" role="status"></p>',
        "</div></div>",
        "</main>",
    ]
    return _page(" - ".join(part for part in (title, brand) if part), "\n".join(part for part in body if part))


def gone() -> str:
    """The page of a link that does not work, or no longer."""
    title = escape(LinkNotFound.title)
    return _page(LinkNotFound.title, f'<main class="gone"><h1>{title}</h1><p>{escape(LinkNotFound.advice)}</p></main>')


def _page(title: str, body: str) -> str:
    return DELIVERY_TEMPLATE.substitute(title=escape(title), body=body)


def _save_all(count: int) -> str:
    return "Save the photo as a ZIP" if count == 1 else f"Save all {count} photos in one ZIP"


def _photo(shared: SharedImage, base: str) -> str:
    path, name = f"{base}/images/{quote(shared.image_id, safe='')}", escape(shared.name)
    return (
        f'<li><a class="gallery-photo" href="{path}"><img src="{path}?{escape(PREVIEW_QUERY)}" alt="{name}" '
        'width="480" height="320" loading="lazy" decoding="async"></a>'
        f'<div class="gallery-line"><span class="gallery-name" title="{name}">{name}</span>'
        f'<a class="button small" href="{path}?download=true" download aria-label="Save {name}">Save</a></div></li>'
    )
