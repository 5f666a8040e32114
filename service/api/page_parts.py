"""What the page shows of this service's own: its presets as choices, and a way to the sample order of a sandbox."""

from html import escape

from yarl import URL

from service.archives.renditions import Presets, RenditionOptions
from service.hosts import is_loopback

SAMPLE = (
    '<p class="sample" id="sample-order">'
    '<a class="button small" href="/?order=6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11">Try it with the sample order</a></p>'
)
"""To be seen once the page has found that the order is there."""

_LABELS = {"print": "Print", "mls": "Listing (MLS)", "web": "Web"}
_CHOSEN = frozenset({"print", "mls"})


def is_sandbox(api_base: str) -> bool:
    """Whether Autoenhance may be the sandbox: it is on this machine, or beside it under a bare name."""
    host = URL(api_base).host or ""
    return is_loopback(host) or "." not in host


def sizes(presets: Presets) -> str:
    """A tick for each preset, with its pixels and its price, as HTML."""
    return "\n".join(_size(name, options) for name, options in presets.items())


def _size(name: str, options: RenditionOptions) -> str:
    buys = not options.preview
    label = _LABELS.get(name, name.replace("-", " ").capitalize())
    hint = f"{_pixels(options)}, {'uses credits' if buys else 'free'}"
    return (
        f'<label class="check"><input type="checkbox" name="rendition" value="{escape(name)}"'
        f"{' data-buys' if buys else ''}{' checked' if name in _CHOSEN else ''}>"
        f' <span>{escape(label)} <span class="hint">{hint}</span></span></label>'
    )


def _pixels(options: RenditionOptions) -> str:
    size = "preview" if options.preview else "full size"
    if options.max_width is not None:
        size = f"up to {options.max_width} pixels wide"
    elif options.scale is not None:
        size = f"{options.scale:.0%} of {size}"
    return size if options.format == "jpeg" else f"{size}, {_FORMATS.get(options.format, options.format.upper())}"


_FORMATS = {"webp": "WebP", "jxl": "JPEG XL"}
