"""What the page shows of this service's own: its presets as choices, and a way to the sample order of a sandbox."""

from html import escape

from service.archives.renditions import Presets, RenditionOptions
from service.settings import Settings

SAMPLE = (
    '<p class="sample">'
    '<a class="button small" href="/?order=6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11">Try it with the sample order</a></p>'
)
"""The way to the order that the sandbox begins with."""

_SANDBOX_KEY = "sandbox-key"
_LABELS = {"print": "Print", "mls": "Listing (MLS)", "web": "Web"}
_CHOSEN = frozenset({"print", "mls", "web"})


def is_sandbox(settings: Settings) -> bool:
    """Whether Autoenhance is the sandbox: its key is one that opens nothing else."""
    key = settings.autoenhance_api_key
    return key is not None and key.get_secret_value() == _SANDBOX_KEY


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
