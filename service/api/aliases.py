"""Version 0's paths: they do what their successors do, and say so in every answer."""

from urllib.parse import quote

from aiohttp import hdrs, web

from service.api.base_path import external
from service.api.route import successor_of

# RFC 9745: since when, in seconds since 1970. That of the first version with /v1, 28 November 2026.
_DEPRECATION = "@1795824000"
# A path as it was sent: what is encoded stays so.
_SAFE = "/%:@!$&'()*+,;=~"


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: `Deprecation`, and a `Link` to the same thing under `/v1`."""
    if (successor := successor_of(request)) is None:
        return
    # Where ids stand in the path, the successor is the path below /v1.
    path = f"/v1{quote(request.rel_url.raw_path, safe=_SAFE)}" if "{" in successor else successor
    response.headers["Deprecation"] = _DEPRECATION
    response.headers.add(hdrs.LINK, f'<{external(request, path)}>; rel="successor-version"')
