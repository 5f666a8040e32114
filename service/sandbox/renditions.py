"""Which rendering of an image is meant: the download routes' query, checked and made one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from .validation import check

_BOOLEANS = {"true": True, "false": False}
_WIDTHS = {"small": 400, "large": 1920, "big": None}
FIRST_FORMATS = ("jpeg", "png", "webp")
"""Those that every API version takes."""

Truth = Annotated[bool, Strict(), BeforeValidator(lambda word: _BOOLEANS.get(word, word))]


class Asked(BaseModel):
    """The query of a download as the caller wrote it; None = left out. Unknown items are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    preview: Truth | None = None
    watermark: Truth | None = None
    finetune: Truth | None = None
    format: Literal["jpeg", "png", "webp", "avif", "jxl"] | None = None
    size: Literal["small", "large", "big"] | None = None
    dpi: Annotated[int, Field(ge=72)] | None = None
    quality: Annotated[int, Field(ge=1, le=90)] | None = None
    max_width: Annotated[int, Field(ge=1)] | None = None
    scale: Annotated[float, Field(ge=0, le=1)] | None = None


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
    def of(cls, kind: Literal["enhanced", "original"], asked: Asked, *, preview_default: bool = False) -> Self:
        """What is asked for, and what that leaves open."""
        return cls(
            kind=kind,
            preview=preview_default if asked.preview is None else asked.preview,
            watermark=bool(asked.watermark),
            format=asked.format or "jpeg",
            quality=asked.quality,
            max_width=asked.max_width or _WIDTHS[asked.size or "big"],
            scale=asked.scale,
        )

    @classmethod
    def from_link(cls, kind: str, query: Mapping[str, str]) -> Self:
        """Read a rendition back from a link; raises InvalidInput."""
        return cls.of("original" if kind == "original" else "enhanced", check(query, Asked, "query"))


def _word(value: bool) -> str:  # noqa: FBT001 - the value is the argument
    return "true" if value else "false"
