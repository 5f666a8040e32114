"""What can be the id of an order: a UUID."""

import re
from typing import TypeGuard

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_order_id(value: object) -> TypeGuard[str]:
    """Whether a value can be the id of an order."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def find_order_id(text: str) -> str | None:
    """The first order id in some text, such as a URL, in lower case."""
    found = _UUID.search(text)
    return found[0].lower() if found else None
