"""What handlers return that are called without a service."""

import json
from typing import Any

from aiohttp import web


def document_of(answer: web.Response) -> dict[str, Any]:
    """The JSON object that is answered."""
    assert isinstance(answer.body, bytes)
    found: dict[str, Any] = json.loads(answer.body)
    return found
