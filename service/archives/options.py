"""What a caller asks for: the validated query of a download or a job."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from service.archives.names import ANY_NAME, check_template
from service.archives.renditions import NamedRendition, RenditionOptions
from service.upstream.models import Original, Rendition

MAX_RENDITIONS = 5
_ARCHIVE_ID = re.compile(r"[0-9a-f]{32}")
_OF_ONE_RENDITION = frozenset({"format", "quality", "preview", "max_width", "scale"})
_RENDITION_TEXT = {"type": "string", "examples": ["print", "print,quality=85", "flyer,format=png,max_width=1200"]}


class ImageOptions(RenditionOptions):
    """How to render one image that is asked for by itself, and what it is for."""

    rendition: Annotated[NamedRendition, WithJsonSchema(_RENDITION_TEXT)] | None = Field(
        None, description="A rendition as for a download: a preset such as `print`, or `name,key=value,...`."
    )
    include: Literal["original"] | None = Field(
        None,
        description="`original`: the unaltered photo instead; only `preview` can be chosen with it.",
    )
    download: bool = Field(
        default=False, description="For a browser to save as a file, instead of showing it (`Content-Disposition`)."
    )

    @field_validator("rendition", "include", mode="before")
    @classmethod
    def _only_one(cls, value: object) -> object:
        if isinstance(value, list) and len(value) > 1:
            raise ValueError("may be given only once")
        return value[0] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _rendition_alone(self) -> Self:
        _check_alone(self, [self.rendition] if self.rendition else [])
        if self.include and (
            others := sorted((_OF_ONE_RENDITION - {"preview"} | {"rendition"}) & self.model_fields_set)
        ):
            raise _conflict("include", f"cannot be combined with {others[0]}: an original comes as it was uploaded")
        return self

    @property
    def resolved(self) -> "ImageOptions":
        """The same, without a rendition of its own name."""
        if self.rendition is None:
            return self
        values = self.rendition.plain.model_dump(exclude={"dev_mode"})
        return ImageOptions(**values, dev_mode=self.dev_mode, download=self.download)


class Options(RenditionOptions):
    """How to render the images, which of them, and how to deliver the archive."""

    rendition: tuple[Annotated[NamedRendition, WithJsonSchema(_RENDITION_TEXT)], ...] = Field(
        (),
        description="Several renditions, a folder each (one alone has none); up to 5. `print` (full size), `mls`"
        " (full size, 2048 pixels wide, quality 80), `web` (preview, WebP), a preset of this service, or"
        " `name,key=value,...` with format, quality, preview, max_width, scale; `print,quality=85` changes a preset.",
    )
    names: str = Field(
        ANY_NAME,
        min_length=1,
        max_length=100,
        description="What files are called: `{seq}` (place in the order), `{name}`, `{order}`, `{image_id}` and text.",
    )
    include: tuple[Literal["original", "manifest"], ...] = Field(
        (),
        description="What else is in the ZIP; may be repeated. `original`: the unaltered photo of each image, in"
        " `originals/`, under the same name. `manifest`: `_manifest.json`, which tells what each file is.",
    )
    image: tuple[str, ...] = Field((), description="Only this image id; may be repeated. Left out: all images.")
    part: int | None = Field(
        None, ge=1, description="Of an order with more images than one archive may have: the first so many are part 1."
    )
    since: str | None = Field(
        None,
        description="The id of an archive of this order, at most 30 days old: leave out what it holds unchanged; 204 if"
        " that is everything. Names are those of the whole.",
    )
    wait: bool = Field(
        default=False,
        description="Wait until the images are listed, then fetch each as it becomes ready, instead of reporting those"
        " that are not as missing.",
    )
    wait_timeout: float = Field(
        300,
        ge=0,
        le=3600,
        description="With `wait`: for how many seconds; up to 5 fewer where an equal request is being served already.",
    )
    refresh: bool = Field(
        default=False, description="Fetch the images anew, past what is stored. Full-size images may be bought again."
    )
    max_credits: int | None = Field(
        None, ge=0, description="Refuse, with a 409, what would buy more images than this. Left out: no limit."
    )
    on_failure: Literal["partial", "strict"] = Field(
        "partial", description="`partial`: deliver what there is, with a report. `strict`: all images, or a 422."
    )
    delivery: Literal["stream", "complete"] = Field(
        "stream",
        description="`stream`: the ZIP goes out while images arrive. `complete`: once all is in, with its length.",
    )

    @field_validator("names")
    @classmethod
    def _template(cls, value: str) -> str:
        check_template(value)
        return value

    @field_validator("rendition")
    @classmethod
    def _each_once(cls, value: tuple[NamedRendition, ...]) -> tuple[NamedRendition, ...]:
        if len(value) > MAX_RENDITIONS:
            raise ValueError(f"at most {MAX_RENDITIONS} can be given")
        if len({rendition.name for rendition in value}) < len(value):
            raise ValueError("two have the same name; write name,key=value,... to name one yourself")
        return tuple(sorted(value, key=lambda rendition: rendition.name))

    @field_validator("since")
    @classmethod
    def _is_an_archive(cls, value: str | None) -> str | None:
        if value is not None and not _ARCHIVE_ID.fullmatch(value):
            raise ValueError("must be the id of an archive")
        return value

    @field_validator("include")
    @classmethod
    def _in_one_sequence(cls, value: tuple[Literal["original", "manifest"], ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.part is not None and self.image:
            raise _conflict("part", "cannot be combined with image")
        if self.part is not None and self.since is not None:
            raise _conflict("since", "cannot be combined with part")
        _check_alone(self, self.rendition)
        return self

    @cached_property
    def renditions(self) -> dict[str, Rendition]:
        """What makes an image what it is, by the rendition's name; an only one has none."""
        if not self.rendition:
            return {"": self.plain}
        all_of_them = {one.name: one.plain.model_copy(update={"dev_mode": self.dev_mode}) for one in self.rendition}
        return all_of_them if len(all_of_them) > 1 else {"": all_of_them.popitem()[1]}

    @cached_property
    def original(self) -> Original | None:
        """What the unaltered photos are, if they are wanted: full size where any other is."""
        if "original" not in self.include:
            return None
        return Original(preview=all(one.preview for one in self.renditions.values()), dev_mode=self.dev_mode)

    @property
    def files_per_image(self) -> int:
        """How many files of an archive come from one image."""
        return len(self.renditions) + (self.original is not None)

    @property
    def subset(self) -> tuple[str, ...]:
        """The chosen image ids, each once, in one sequence for equal choices."""
        return tuple(sorted(set(self.image)))

    @property
    def of_plan(self) -> "Options":
        """What decides which images an archive holds and how long they are waited for; not how it is delivered."""
        asked = self.model_fields_set - {
            "refresh",
            "max_credits",
            "on_failure",
            "delivery",
            *(() if self.wait else ("wait_timeout",)),
        }
        values = {name: getattr(self, name) for name in asked}
        return Options.model_construct(asked, **{**values, "image": self.subset})


def kept_options(values: Mapping[str, Any]) -> Options:
    """Options as they were kept with a job or an archive. `scale=0`, which earlier versions took, is carried on.

    Raises pydantic's `ValidationError`.
    """
    if values.get("scale") != 0:
        return Options.model_validate(values)
    others = {name: value for name, value in values.items() if name != "scale"}
    return Options.model_validate(others).model_copy(update={"scale": 0.0})


def _conflict(name: str, reason: str) -> ValidationError:
    """The error of a parameter that another one excludes."""
    kind = PydanticCustomError("value_error", "{error}", {"error": reason})
    return ValidationError.from_exception_data("Options", [InitErrorDetails(type=kind, loc=(name,), input=None)])


def _check_alone(options: RenditionOptions, renditions: Sequence[NamedRendition]) -> None:
    """Raises the error of a parameter that a rendition excludes."""
    if renditions and (twice := sorted(_OF_ONE_RENDITION & options.model_fields_set)):
        example = f"{renditions[0].name},{twice[0]}=..."
        raise _conflict("rendition", f"cannot be combined with {twice[0]}: write rendition={example}")
