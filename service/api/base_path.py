"""The path below which callers reach the service, where a proxy offers it below one.

Inside, every address is without it; here it comes off what callers ask for, and on what they are told.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from yarl import URL

from service.api.caller import is_from_trusted_proxy
from service.api.keys import SETTINGS
from service.settings import is_path

_IN_HTML = re.compile(rb'\b(href|src|action)="/(?!/)')


def base_path(request: web.Request) -> str:
    """`BASE_PATH`, or what a trusted proxy says it is (`X-Forwarded-Prefix`); empty at the root."""
    if request.app[SETTINGS].base_path or not is_from_trusted_proxy(request):
        return request.app[SETTINGS].base_path
    said = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    return said if is_path(said) else ""


def external(request: web.Request, path: str) -> str:
    """A path of ours, as this caller must ask for it."""
    return base_path(request) + path


def with_external_links(request: web.Request, document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of ours whose `links` are as this caller must ask for them."""
    links = {name: path and external(request, path) for name, path in document["links"].items()}
    return {**document, "links": links}


def in_html(html: bytes, base: str) -> bytes:
    """A page of ours whose links lead below `base`."""
    return _IN_HTML.sub(rb'\1="%s/' % base.encode(), html)


async def complete_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: `Location` and `Link` lead below the path."""
    if not (base := base_path(request)):
        return
    if response.headers.get("Location", "").startswith("/"):
        response.headers["Location"] = base + response.headers["Location"]
    if link := response.headers.get("Link"):
        response.headers["Link"] = link.replace("</", f"<{base}/")


def taken_off(base: str, make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Makes requests without the path, for proxies that leave it on."""

    def make(message: Any, *others: Any) -> web.BaseRequest:
        asked: str = message.path
        if asked.partition("?")[0] == base or asked.startswith(f"{base}/"):
            inside = asked.removeprefix(base)
            inside = inside if inside.startswith("/") else f"/{inside}"
            # By its parts: read as an address, what begins with two slashes would name another host.
            path, _, query = inside.partition("#")[0].partition("?")
            url = URL.build(path=path, query_string=query, encoded=True)
            message = message._replace(path=inside, url=url)
        return make_request(message, *others)

    return make if base else make_request
