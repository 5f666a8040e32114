"""State as the API's documents: OrderOut, ImageOut, BracketOut, in each of their historical variants."""

from datetime import UTC, datetime
from typing import Any

from .state import FAILED, Bracket, Image, Order, State, new_id

UPLOAD_URL_SINCE = "2025-05-05"
STRING_AI_VERSION_SINCE = "2024-10-01"
WINDOW_PULL_TYPE_SINCE = "2025-08-31"

DEFAULT_SETTINGS: dict[str, Any] = {
    "ai_version": "5.x",
    "enhance": True,
    "enhance_type": "neutral",
    "lens_correction": True,
    "vertical_correction": True,
    "sky_replacement": False,
    "cloud_type": None,
    "privacy": None,
    "window_pull": None,
    "upscale": False,
    "rating": None,
    "metadata": {},
    "finetune_settings": None,
}
ECHOED = frozenset(DEFAULT_SETTINGS) | {"window_pull_type", "preset_id", "tripod_hide", "restage"}
"""Input fields that an image shows again."""


def order_document(state: State, order: Order, version: str) -> dict[str, Any]:
    """One OrderOut as an account on API `version` gets it; dates are UTC."""
    now = state.clock.now()
    images = order.shown_images(now)
    total: float = len(images) + state.config.unlisted_images
    return {
        "order_id": order.order_id,
        "name": order.name,
        "status": order.status(now),
        "is_processing": order.is_processing(now),
        "is_merging": order.is_merging(now),
        "is_deleted": False,
        "total_images": float(total) if state.config.float_totals else total,
        "created_at": _date(state, order.created_at),
        "last_updated_at": _date(state, order.updated_at),
        "images": [image_document(state, image, version) for image in images],
    }


def image_document(state: State, image: Image, version: str) -> dict[str, Any]:
    """One ImageOut."""
    config = state.config
    id_field, name_field = ("id", "name") if config.field_names == "short" else ("image_id", "image_name")
    seconds = image.added_at
    document: dict[str, Any] = {
        id_field: image.image_id,
        name_field: image.name,
        "order_id": image.order_id,
        **_state_fields(state, image),
        "downloaded": image.downloaded,
        "date_added": int(seconds * 1000) if config.date_added == "ms" else int(seconds),
        "scene": "kitchen" if "kitchen" in image.name.lower() else "interior",
        "user_id": "auth0|000000000000000000000001",
        "parent_image_id": image.parent_image_id,
        **DEFAULT_SETTINGS,
        **{name: value for name, value in image.settings.items() if name in ECHOED},
        **(_volatile_fields(state, image) if config.volatile_fields else {}),
    }
    _age(state, document, version)
    return document


def bracket_document(state: State, bracket: Bracket) -> dict[str, Any]:
    """One BracketOut."""
    return {
        "bracket_id": bracket.bracket_id,
        "name": bracket.name,
        "order_id": bracket.order_id,
        "metadata": bracket.metadata,
        "is_uploaded": state.is_uploaded(bracket),
        "image_id": state.bracket_image_id(bracket),
    }


def _state_fields(state: State, image: Image) -> dict[str, Any]:
    status = image.status(state.clock.now())
    reason = image.reason if status in FAILED else None
    if state.config.state_fields == "booleans":
        return {"enhanced": status == "processed", "error": status in FAILED, "status_reason": reason}
    return {"status": status, "status_reason": reason}


def _volatile_fields(state: State, image: Image) -> dict[str, Any]:
    image.views += 1
    now = state.clock.now()
    return {
        "preview_url": f"https://images.example/{image.image_id}?X-Amz-Expires=300&X-Amz-Signature={new_id()}",
        "views": image.views,
        "last_accessed": _date(state, now),
        "expires_at": _date(state, now + 300),
        "account": {"credits": state.credits, "last_seen": now},
    }


def _age(state: State, document: dict[str, Any], version: str) -> None:
    """Give a document the shape it has in an API of that version."""
    if state.config.numeric_ai_version or version < STRING_AI_VERSION_SINCE:
        document["ai_version"] = _number(str(document["ai_version"]))
    if version < UPLOAD_URL_SINCE:
        document["image_type"] = "hdr_bracket" if document.get("hdr") else "single"
        document["is_threesixty"] = False
    if version >= WINDOW_PULL_TYPE_SINCE:
        pulled = document.pop("window_pull", None)
        document.setdefault("window_pull_type", "ONLY_WINDOWS" if pulled else "NONE")


def _number(version: str) -> float:
    digits = version.replace(".x", ".0")
    try:
        return float(digits)
    except ValueError:
        return 5.0


def _date(state: State, seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    text = moment.isoformat(timespec="microseconds")
    return f"{text}Z" if state.config.dates == "utc" else text
