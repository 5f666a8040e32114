"""Which rendering of an image is meant: the download routes' query, checked and made one value."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from .content import MEDIA_TYPES
from .errors import InvalidInput

BOOLEANS = {"true": True, "false": False}
WIDTHS = {"small": 400, "large": 1920, "big": None}
FIRST_FORMATS = ("jpeg", "png", "webp")
"""Those that every API version takes."""


@dataclass(frozen=True, kw_only=True)
class Rendition:
    """One rendering of an image; equal values are the same bytes."""

    kind: Literal["enhanced", "original"] = "enhanced"
    preview: bool = True
    format: str = "jpeg"
    quality: int | None = None
    max_width: int | None = None
    scale: float | None = None
    watermark: bool = False

    def query(self) -> dict[str, str]:
        """The rendition as query items; `from_link` is its inverse."""
        items = {"preview": _word(self.preview), "watermark": _word(self.watermark), "format": self.format}
        for name in ("quality", "max_width", "scale"):
            value = getattr(self, name)
            if value is not None:
                items[name] = str(value)
        return items

    @classmethod
    def from_link(cls, kind: str, query: Mapping[str, str]) -> Self:
        """Read a rendition back from a link; raises InvalidInput."""
        asked = Asked.from_query(query)
        return cls(
            kind="original" if kind == "original" else "enhanced",
            preview=bool(asked.preview),
            watermark=bool(asked.watermark),
            format=asked.format or "jpeg",
            quality=asked.quality,
            max_width=asked.max_width,
            scale=asked.scale,
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The query of a download as the caller wrote it; None = left out."""

    preview: bool | None = None
    watermark: bool | None = None
    format: str | None = None
    quality: int | None = None
    max_width: int | None = None
    scale: float | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str], *, formats: Collection[str] = MEDIA_TYPES) -> Self:
        """Check a query; raises InvalidInput naming every wrong item. Unknown items are ignored."""
        reader = _Reader(query)
        reader.boolean("finetune")
        reader.number("dpi", int, 72, None)
        size = reader.choice("size", WIDTHS)
        max_width = reader.number("max_width", int, 1, None)
        quality = reader.number("quality", int, 1, 90)
        scale = reader.number("scale", float, 0, 1)
        asked = cls(
            preview=reader.boolean("preview"),
            watermark=reader.boolean("watermark"),
            format=reader.choice("format", formats),
            quality=None if quality is None else int(quality),
            max_width=int(max_width) if max_width is not None else WIDTHS[size or "big"],
            scale=scale,
        )
        if reader.wrong:
            raise InvalidInput("query", reader.wrong)
        return asked


class _Reader:
    """Reads typed items from a query and remembers what is wrong with them."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self.wrong: dict[str, str] = {}

    def boolean(self, name: str) -> bool | None:
        word = self._query.get(name)
        if word is None:
            return None
        if word not in BOOLEANS:
            self.wrong[name] = "Not a valid boolean."
        return BOOLEANS.get(word)

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        word = self._query.get(name)
        if word is not None and word not in allowed:
            self.wrong[name] = f"Must be one of: {', '.join(allowed)}."
            return None
        return word

    def number(self, name: str, number: type[int] | type[float], low: float, high: float | None) -> float | None:
        word = self._query.get(name)
        if word is None:
            return None
        try:
            value = number(word)
        except ValueError:
            self.wrong[name] = "Not a valid integer." if number is int else "Not a valid number."
            return None
        if not (value >= low and (high is None or value <= high)):
            bounds = f"greater than or equal to {low}" if high is None else f"between {low} and {high}"
            self.wrong[name] = f"Must be {bounds}."
            return None
        return value


def _word(value: bool) -> str:  # noqa: FBT001 - the value is the argument
    return "true" if value else "false"
