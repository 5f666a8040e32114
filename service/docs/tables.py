"""The table of settings, read off the model that reads the environment: it cannot disagree with it."""

from pathlib import Path
from typing import Any

from limits import RateLimitItem
from pydantic.fields import FieldInfo

from service.settings import Settings


def settings_table() -> str:
    """Markdown: variable, meaning, default."""
    rows = [
        f"| `{name.upper()}` | {' '.join((field.description or '').split())} | {_default(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| Variable | Meaning | Default |", "|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    match value:
        case None | ():
            return ""
        case bool():
            shown = str(value).lower()
        case RateLimitItem():
            shown = f"{value.amount}/{value.GRANULARITY.name}"
        case Path():
            shown = f"./{value}"
        case _:
            shown = str(value)
    return f"`{shown}`"
