"""A route: its path, its handler, its policy (who may, what it counts against), and what it takes and answers.

Each resource's file ends with its `ROUTES`. The router, the middlewares, the limits, the metrics and `/openapi.json`
read them, and nothing else says any of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from service.api.caller import identity
from service.api.keys import LIMITERS
from service.api.limits import Counts
from service.problems import Problem

Json = dict[str, Any]
Problems = tuple[type[Problem], ...]

_PATTERN = re.compile(r"\{(\w+)(?::[^/]+)?\}")


WEB_ROLES = frozenset({"all", "web"})
EVERY_ROLE = WEB_ROLES | {"worker"}


class Who(Enum):
    """Who may use a route. Everybody is a caller while the service has no keys."""

    OPEN = "everybody"
    CALLER = "who has a key, and administrators"
    DOWNLOADER = "a caller, and who comes by a signed link"
    NAMED = "a caller that is told apart from others: while there are no keys, administrators alone"
    ADMINISTRATOR = "administrators"
    SHARED = "who has a share link, which the handler looks at"
    WEBHOOK = "who knows the webhook's secret, which the handler asks for"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is no problem. `content`: a model of a JSON document, or schemas by media type."""

    status: int
    description: str
    content: type[BaseModel] | Mapping[str, Json] | None = None
    headers: tuple[str, ...] = ()
    """Those that it may carry; the names are those of `openapi.HEADERS`."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries."""

    model: type[BaseModel]
    example: Json | None = None
    media_type: str = "application/json"
    required: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, or a part of the path, that is no member of a query's model."""

    name: str
    example: str
    description: str
    where: str = "header"
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """What is sent to a URL that the caller names."""

    address: str
    """A runtime expression of OpenAPI, such as `{$request.query.callback_url}`."""
    summary: str
    model: type[BaseModel]
    parameters: tuple[Parameter, ...]
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method of one path."""

    method: str
    path: str
    """With `{name}` for a part; `{name:pattern}` where not every text fits."""
    handler: Handler
    name: str = ""
    """Of the operation; a route without one is no part of the API, and not described."""
    summary: str = ""
    alias: str | None = None
    """Version 0's path for the same."""
    successor: str | None = None
    """Of an alias: the path that replaced it."""
    tag: str = ""
    """The group of its resource in the reference, see `routes`."""

    who: Who = Who.CALLER
    counts: Counts | None = None
    """The limit that the handler counts the request against, with `count`, once it is known to be right."""
    buys: bool = False
    """Whether it may spend credits, by what its query or its link says."""
    traced: bool = True
    """False for what is asked every few seconds."""
    routine: bool = False
    """Whether a success is logged at DEBUG alone: probes, and the files of a page, of which one view asks for many."""
    roles: frozenset[str] = WEB_ROLES
    """The roles (`ROLE`) of the instances that have it."""
    head: bool = True
    """Whether a GET answers HEAD too, with its own headers. A route of its own for HEAD goes before."""

    query: type[BaseModel] | None = None
    headers: tuple[Parameter, ...] = ()
    body: Body | None = None
    answers: tuple[Answer, ...] = ()
    problems: Problems = ()
    """Those of the handler; what follows from the policy and the body is added."""
    callback: Callback | None = None

    @property
    def canonical(self) -> str:
        """The path as labels, traces and documents have it."""
        return _PATTERN.sub(r"{\1}", self.path)

    @property
    def parts(self) -> list[str]:
        """The names of the path's parts."""
        return _PATTERN.findall(self.path)

    @property
    def changes(self) -> bool:
        """Whether it changes something for whoever sends it, as no page of another site may without keys."""
        return self.method not in ("GET", "HEAD") and self.who is not Who.WEBHOOK

    def with_aliases(self) -> tuple["Route", ...]:
        """The route, and its alias if it has one."""
        if self.alias is None:
            return (self,)
        return self, replace(self, path=self.alias, alias=None, successor=self.path)

    def is_at(self, path: str) -> bool:
        """Whether a path as it was sent is this route's."""
        return re.fullmatch(_PATTERN.sub("[^/]+", self.path), path) is not None

    def definition(self, *, allow_head: bool) -> web.RouteDef:
        """As aiohttp's router takes it: a part of the path may be any text but a slash."""
        path = re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", self.path)
        more = {"allow_head": allow_head} if self.method == "GET" else {}
        return web.RouteDef(self.method, path, self.handler, more)


UNMATCHED = Route("*", "unmatched", web.Application)  # type: ignore[arg-type]  # never called
"""The policy of what no route fits: it takes a key to learn what there is not."""

POLICIES = web.AppKey("POLICIES", dict[tuple[str, str], Route])
"""Every route by its method and canonical path."""


def policy_of(request: web.Request) -> Route:
    """The route that a request came by; where its method does not fit, an open route at that path, if there is one."""
    policies = request.app[POLICIES]
    resource = request.match_info.route.resource
    if resource is not None:
        method = "GET" if request.method == "HEAD" else request.method
        path = resource.canonical
        return policies.get((request.method, path)) or policies.get((method, path)) or UNMATCHED
    here = (route for (_, path), route in policies.items() if path == request.path)
    return next((route for route in here if route.who is Who.OPEN), UNMATCHED)


def successor_of(request: web.Request) -> str | None:
    """The path that replaced the one of a request, also where its method does not fit; None for what was never
    replaced."""
    if request.match_info.route.resource is not None:
        return policy_of(request).successor
    path, replaced = request.rel_url.raw_path, (route for route in request.app[POLICIES].values() if route.successor)
    return next((route.successor for route in replaced if route.is_at(path)), None)


async def count(request: web.Request, apart: str = "") -> None:
    """Count the request against its route's limit. Raises `RateLimited` when its caller had too many.

    With `apart`, it is counted under that word, apart from what is counted without.
    """
    if (counts := policy_of(request).counts) is not None:
        await request.app[LIMITERS][counts].count(request, f"{identity(request)} {apart}".rstrip())


def text(*kinds: str) -> dict[str, Json]:
    """The content of an answer that is some text of one of these media types."""
    return {kind: {"schema": {"type": "string"}} for kind in kinds}


EVENTS: dict[str, Json] = {"text/event-stream": {"schema": {}}}
"""The content of an answer that is server-sent events."""
