"""Several renditions in one archive, a folder each: presets, and what callers make of them."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from service.upstream.models import Rendition
from service.wrong_values import wrong_values

ORIGINAL: Final = "original"
"""What the unaltered photos are called where enhanced ones have the name of their rendition."""
ORIGINALS_FOLDER: Final = "originals"

PRESETS_OF_CONTEXT = "presets"
"""Under this name a validation of `Options` is given the presets; without, there are `PRESETS`."""
_KEYS = ("format", "quality", "preview", "max_width", "scale")
_NAME = re.compile(r"[a-z0-9-]{1,32}")
# Windows has no folders of these names.
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
_TAKEN = frozenset({ORIGINAL, ORIGINALS_FOLDER})


class RenditionOptions(Rendition):
    """How to render the images, as a query has it."""

    scale: float | None = Field(None, gt=0, le=1, description="Of width and height. Left out: unchanged.")

    @field_validator("quality", "max_width", "part", "max_credits", mode="before", check_fields=False)
    @classmethod
    def _whole_number(cls, value: object) -> object:
        """Python's own ways to write one (`1_000`, `5.0`) are no number in a query."""
        if isinstance(value, str) and not value.strip().lstrip("+-").isdecimal():
            raise PydanticKnownError("int_parsing")
        return value

    @property
    def plain(self) -> Rendition:
        """The part that makes an image what it is."""
        return Rendition(**{name: getattr(self, name) for name in Rendition.model_fields})


class NamedRendition(RenditionOptions):
    """One of several renditions; its folder has its name. Read from `print`, `print,quality=85` or
    `name,key=value,...`."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            if info.context:  # of a caller; what is kept has no other form
                raise PydanticKnownError("string_type")
            return value
        presets = (info.context or {}).get(PRESETS_OF_CONTEXT, PRESETS)
        return _parse(value, presets)

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a rendition's name must be 1 to 32 of a-z, 0-9 and -")
        if _DEVICE.fullmatch(name) or name in _TAKEN:
            raise ValueError(f"no rendition can be named {name}")
        return name

    @property
    def text(self) -> str:
        """As a query has it, whatever the presets are."""
        values = self.model_dump(mode="json", include=set(_KEYS), exclude_none=True)
        return ",".join([self.name, *(f"{key}={str(value).lower()}" for key, value in values.items())])


Presets = Mapping[str, RenditionOptions]

PRESETS: Presets = MappingProxyType(
    {
        "print": RenditionOptions(preview=False),
        "mls": RenditionOptions(preview=False, max_width=2048, quality=80),
        "web": RenditionOptions(format="webp"),
    }
)


def read_presets(own: Mapping[str, Any]) -> Presets:
    """The presets, with an operator's own: `{name: {key: value}}`. Raises `ValueError`, which says what is wrong."""
    presets: dict[str, RenditionOptions] = dict(PRESETS)
    for name, values in own.items():
        if not isinstance(values, dict) or not set(values) <= set(_KEYS):
            raise ValueError(f"{name}: must be an object with {', '.join(_KEYS)}")
        try:
            named = NamedRendition.model_validate(values | {"name": name}, strict=True)
        except ValidationError as error:
            raise ValueError(f"{name}: {_first(error)}") from None
        presets[name] = RenditionOptions(**named.model_dump(include=set(_KEYS)))
    return MappingProxyType(presets)


def _parse(text: str, presets: Presets) -> dict[str, Any]:
    name, *given = (part.strip() for part in text.split(","))
    if not given and name not in presets:
        raise ValueError(f"must be {', '.join(presets)}, or name,key=value,... with {', '.join(_KEYS)}")
    values: dict[str, Any] = {}
    for part in given:
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in _KEYS or not value:
            raise ValueError(f"after the name come key=value, where key is {', '.join(_KEYS)}")
        if key in values:
            raise ValueError(f"{key} is given twice for one rendition")
        values[key] = value
    base = presets[name].model_dump(include=set(_KEYS)) if name in presets else {}
    try:
        rendition = NamedRendition.model_validate(base | values | {"name": name})
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    return rendition.model_dump()


def _first(error: ValidationError) -> str:
    """What is wrong with a rendition, in one line."""
    key, reason = next(wrong_values(NamedRendition, error, what="key"))
    return reason if key == "name" else f"{key} {reason}"
