"""`Idempotency-Key`: what names a request, so that sending it again does nothing twice."""

import re

from aiohttp import web

from service.api.caller import tenant
from service.images.identity import digest
from service.problems import InvalidParameter

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
"""Goes with an answer to a request that was answered before."""

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def read_key(request: web.Request, *scope: str) -> str | None:
    """A digest of the key, apart from those of callers with another API key and of other scopes; None without one.

    Raises `InvalidParameter`.
    """
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise InvalidParameter(HEADER, "must be one value of 1 to 255 printable ASCII characters")
    return digest(*scope, tenant(request), given[0])
