"""Bodies and queries of requests: checked by a model, wrong ones answered with a 422 that names each field."""

import json
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import ApiError, InvalidInput

Model = TypeVar("Model", bound=BaseModel)

_MESSAGES = {
    "bool_type": "Not a valid boolean.",
    "dict_type": "Not a valid mapping type.",
    "float_parsing": "Not a valid number.",
    "int_parsing": "Not a valid integer.",
    "int_type": "Not a valid integer.",
    "list_type": "Not a valid list.",
    "literal_error": "Must be one of: {expected}.",
    "missing": "Missing data for required field.",
    "string_type": "Not a valid string.",
    "value_error": "{error}",
}


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as an object; an empty body is `{}`. Raises ApiError 400 or InvalidInput."""
    raw = await request.read()
    try:
        document = json.loads(raw) if raw else {}
    except ValueError:
        raise ApiError(400, "The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise InvalidInput("json", {"_schema": "Invalid input type."})
    return document


def check(values: Mapping[str, Any], model: type[Model], location: str = "json") -> Model:
    """The values as a model. Raises InvalidInput naming every wrong or missing field of the body, or the query."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for found in error.errors(include_url=False):
            context = found.get("ctx", {})
            expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
            message = _MESSAGES.get(found["type"], found["msg"]).format_map({**context, "expected": expected})
            wrong.setdefault(str(found["loc"][0]), message)
        raise InvalidInput(location, wrong) from None


def _identifier(value: str) -> str:
    try:
        uuid.UUID(value)
    except ValueError:
        raise ValueError("Not a valid UUID.") from None
    return value


def _file_name(value: str) -> str:
    if "/" in value:
        raise ValueError("Must not contain a slash.")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Filled = Annotated[str, Field(min_length=1)]
Stars = Annotated[int, Field(ge=0, le=5)]
Category = Literal[
    "AUTO_PRIVACY",
    "COLOUR",
    "CONTRAST",
    "DOWNLOAD",
    "DYNAMIC_RANGE",
    "EXPOSURE",
    "HDR",
    "IMAGE_QUALITY",
    "ITEM_REMOVAL",
    "LENS_CORRECTION",
    "NO_COMPLAINTS",
    "NOISE",
    "OTHER",
    "PERSPECTIVE_CORRECTION",
    "PROCESSING",
    "SHARPNESS",
    "SKY_REPLACEMENT",
    "WHITE_BALANCE",
    "WINDOW_PULL",
    "PRIVACY",
]


class Body(BaseModel):
    """Fields that it does not name are accepted."""

    model_config = ConfigDict(strict=True)


class Settings(Body):
    """How an image is to be enhanced."""

    enhance: bool | None = None
    lens_correction: bool | None = None
    vertical_correction: bool | None = None
    perspective_correction: bool | None = None
    sky_replacement: bool | None = None
    privacy: bool | None = None
    window_pull: bool | None = None
    upscale: bool | None = None
    threesixty: bool | None = None
    tripod_hide: bool | None = None
    hdr: bool | None = None
    ai_version: str = ""
    enhance_type: Literal["property", "property_usa", "warm", "neutral", "modern", "authentic"] | None = None
    cloud_type: Literal["CLEAR", "LOW_CLOUD", "LOW_CLOUD_LOW_SAT", "HIGH_CLOUD"] | None = None
    window_pull_type: Literal["NONE", "ONLY_WINDOWS", "WINDOWS_WITH_SKIES"] | None = None
    rating: Stars | None = None
    metadata: dict[str, Any] | None = None
    finetune_settings: dict[str, Any] | None = None


class Order(Body):
    name: str = ""
    order_id: Identifier = ""


class Image(Settings):
    image_name: str = ""
    order_id: Filled = ""
    image_id: Identifier = ""


class NewImage(Image):
    image_name: str


class NewBracket(Body):
    name: Annotated[str, AfterValidator(_file_name)]
    order_id: Filled
    metadata: dict[str, Any] | None = None


class BracketGroup(Body):
    bracket_ids: list[Any]


class Merge(Settings):
    images: list[BracketGroup] | None = None
    number_of_brackets_per_image: Annotated[int, Field(ge=0)] | None = None


class Report(Body):
    categories: list[Category]
    comment: str = ""
    score: Stars | None = None
    source: Literal["WEBAPP", "API"] = "API"
