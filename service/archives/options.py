"""What a caller asks for: the validated query of a download or a job."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticKnownError

from service.upstream.models import Rendition


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
    def rendition(self) -> Rendition:
        """The part that makes an image what it is."""
        return Rendition(**{name: getattr(self, name) for name in Rendition.model_fields})


class ImageOptions(RenditionOptions):
    """How to render one image that is asked for by itself, and what it is for."""

    download: bool = Field(
        default=False, description="For a browser to save as a file, instead of showing it (`Content-Disposition`)."
    )


class Options(RenditionOptions):
    """How to render the images, which of them, and how to deliver the archive."""

    image: tuple[str, ...] = Field((), description="Only this image id; may be repeated. Left out: all images.")
    part: int | None = Field(
        None, ge=1, description="Of an order with more images than one archive may have: the first so many are part 1."
    )
    wait: bool = Field(
        default=False, description="Fetch images as they become ready, instead of reporting them as missing."
    )
    wait_timeout: float = Field(
        300, ge=0, le=3600, allow_inf_nan=False, description="With `wait`: for how many seconds."
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

    @model_validator(mode="after")
    def _part_of_all(self) -> Self:
        if self.part is not None and self.image:
            raise ValueError("part: cannot be combined with image")
        return self

    @property
    def subset(self) -> tuple[str, ...]:
        """The chosen image ids, each once, in one sequence for equal choices."""
        return tuple(sorted(set(self.image)))
