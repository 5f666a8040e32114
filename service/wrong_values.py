"""What is wrong with a value, in our own words: what is allowed, and never what was given."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import annotated_types as bounds
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_NUMBERS = frozenset(
    {
        "int_parsing",
        "int_parsing_size",
        "int_type",
        "int_from_float",
        "float_parsing",
        "float_type",
        "finite_number",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
    }
)
_MESSAGES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "extra_forbidden": "unknown {what}",
    "ip_v4_network": "must be networks such as 10.0.0.0/8",
    "ip_v6_network": "must be networks such as 10.0.0.0/8",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "path_type": "must be a path",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "value_error": "{error}",
}


def wrong_values(model: type[BaseModel], error: ValidationError, *, what: str) -> Iterator[tuple[str, str]]:
    """Each field that is wrong, once, with what is allowed there; no name at all for what concerns several of them.

    `what` is what a field is called where its name is unknown: a setting, a parameter, a member.
    """
    seen = set()
    for found in error.errors(include_url=False, include_input=False):
        name = str(found["loc"][0]) if found["loc"] else ""
        if name not in seen:
            seen.add(name)
            yield name, _reason(model.model_fields.get(name), found, what)


def _reason(field: FieldInfo | None, found: ErrorDetails, what: str) -> str:
    if found["type"] in _NUMBERS and field is not None:
        return f"must be {_number(field)}"
    message = _MESSAGES.get(found["type"])
    context: Mapping[str, Any] = found.get("ctx", {})
    expected = str(context.get("expected", "")).replace("'", "")
    return message.format_map({**context, "what": what, "expected": expected}) if message else found["msg"]


def _number(field: FieldInfo) -> str:
    """The numbers that a field takes, such as `a whole number from 1 to 10`."""
    kinds = (field.annotation, *get_args(field.annotation))
    noun = "a whole number" if int in kinds else "a number"
    limits = {type(limit): limit for limit in field.metadata}
    lowest, above, highest = (limits.get(kind) for kind in (bounds.Ge, bounds.Gt, bounds.Le))
    if lowest and highest:
        return f"{noun} from {lowest.ge} to {highest.le}"
    ends = [f"at least {lowest.ge}"] if lowest else [f"more than {above.gt}"] if above else []
    ends += [f"at most {highest.le}"] if highest else []
    return " of ".join((noun, " and ".join(ends))) if ends else noun
