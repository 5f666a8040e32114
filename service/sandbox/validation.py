"""Bodies of requests: read as JSON and checked, wrong ones answered with a 422 that names each field."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from .errors import ApiError, InvalidInput

Check = Callable[[Any], str | None]
"""Returns what is wrong with a value, or None."""

CATEGORIES = frozenset(
    [
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
)


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


def check(document: Mapping[str, Any], checks: Mapping[str, Check], required: tuple[str, ...] = ()) -> None:
    """Raise InvalidInput naming every wrong or missing field; fields without a check are accepted."""
    wrong = {name: "Missing data for required field." for name in required if document.get(name) is None}
    for name, value in document.items():
        reason = checks[name](value) if name in checks else None
        if reason and name not in wrong:
            wrong[name] = reason
    if wrong:
        raise InvalidInput("json", wrong)


def text(value: Any) -> str | None:
    return None if isinstance(value, str) else "Not a valid string."


def filled(value: Any) -> str | None:
    return text(value) or (None if value else "Shorter than minimum length 1.")


def flag(value: Any) -> str | None:
    return None if value is None or isinstance(value, bool) else "Not a valid boolean."


def mapping(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict) else "Not a valid mapping type."


def identifier(value: Any) -> str | None:
    try:
        uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        return "Not a valid UUID."
    return None


def file_name(value: Any) -> str | None:
    return text(value) or ("Must not contain a slash." if "/" in value else None)


def one_of(*allowed: str | None) -> Check:
    def among(value: Any) -> str | None:
        names = ", ".join(str(item) for item in allowed)
        return None if value in allowed else f"Must be one of: {names}."

    return among


def count(low: int, high: int | None = None) -> Check:
    def within(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            return "Not a valid integer."
        return None if value >= low and (high is None or value <= high) else "Out of range."

    return within


def categories(value: Any) -> str | None:
    if not isinstance(value, list):
        return "Not a valid list."
    return None if CATEGORIES.issuperset(map(str, value)) else "Unknown category."


def bracket_groups(value: Any) -> str | None:
    if value is None:
        return None
    right = isinstance(value, list) and all(
        isinstance(group, dict) and isinstance(group.get("bracket_ids"), list) for group in value
    )
    return None if right else "Not a valid list of bracket groups."


FLAGS = [
    "enhance",
    "lens_correction",
    "vertical_correction",
    "perspective_correction",
    "sky_replacement",
    "privacy",
    "window_pull",
    "upscale",
    "threesixty",
    "tripod_hide",
    "hdr",
]
SETTINGS: dict[str, Check] = {
    **dict.fromkeys(FLAGS, flag),
    "ai_version": text,
    "enhance_type": one_of("property", "property_usa", "warm", "neutral", "modern", "authentic", None),
    "cloud_type": one_of("CLEAR", "LOW_CLOUD", "LOW_CLOUD_LOW_SAT", "HIGH_CLOUD", None),
    "window_pull_type": one_of("NONE", "ONLY_WINDOWS", "WINDOWS_WITH_SKIES", None),
    "rating": count(0, 5),
    "metadata": mapping,
    "finetune_settings": mapping,
}
ORDER: dict[str, Check] = {"name": text, "order_id": identifier}
IMAGE: dict[str, Check] = {**SETTINGS, "image_name": text, "order_id": filled, "image_id": identifier}
BRACKET: dict[str, Check] = {"name": file_name, "order_id": filled, "metadata": mapping}
MERGE: dict[str, Check] = {
    **SETTINGS,
    "images": bracket_groups,
    "number_of_brackets_per_image": count(0),
}
REPORT: dict[str, Check] = {
    "categories": categories,
    "comment": text,
    "score": count(0, 5),
    "source": one_of("WEBAPP", "API"),
}
