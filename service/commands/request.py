"""What `download` fetches: an order's ZIP, the parts of a large order, or several orders together."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from aiohttp import ClientError
from yarl import URL

from service.commands.answers import ask_with_retries
from service.commands.client import Document, Interrupted, Service, Usage, as_pairs, why
from service.commands.talk import Talk

ALL_PARTS = "all"

_LONGEST_WAIT = 3600.0
"""For which the service can be asked."""


@dataclass(frozen=True)
class Request:
    """What to download, and from where."""

    service: Service
    order_id: str
    query: Document = field(default_factory=dict)
    """The options, as the body of a request has them."""
    more: tuple[str, ...] = ()
    """Other orders in the same ZIP, a folder each."""
    job: Document | None = field(default=None, compare=False)
    """Which has built that ZIP, at its end."""

    @property
    def label(self) -> str:
        """What its file is called where the service does not name it."""
        return f"{self.order_id}-and-{len(self.more)}-more" if self.more else self.order_id

    @property
    def partial_name(self) -> str:
        """What its partial file is called: as that of no other part, which another run may have left unfinished."""
        return f"{self.label}-part-{self.query['part']}" if "part" in self.query else self.label

    @property
    def orders(self) -> list[str]:
        """All of them."""
        return [self.order_id, *self.more]

    @property
    def missing_orders(self) -> list[Document]:
        """Those of which nothing is in the ZIP of several, with `order_id`, `code` and `reason`."""
        orders = self.job["orders"] if self.job is not None else []
        return [{name: each[name] for name in ("order_id", "code", "reason")} for each in orders if each["code"]]

    @property
    def which(self) -> Document:
        """Its orders, for programs."""
        return {"order_ids": self.orders} if self.more else {"order_id": self.order_id}

    @property
    def url(self) -> URL:
        """The URL of the archive."""
        if self.job is not None:
            return self.service / "v1/jobs" / str(self.job["job_id"]) / "download"
        return (self.service / "v1/orders" / self.order_id / "images").with_query(as_pairs(self.query))

    @property
    def identity(self) -> str:
        """Equal for requests whose partial file can be resumed; no key in it."""
        orders = " ".join(self.more)
        return f"{replace(self, job=None).url} {orders}".rstrip()

    @property
    def wait(self) -> float:
        """Seconds for which the service may wait for images between two bytes."""
        return 0.0 if self.job is not None else max(0.0, min(self.query.get("wait_timeout", 0.0), _LONGEST_WAIT))

    @property
    def is_strict(self) -> bool:
        """Whether all images are to be there before the first byte."""
        return self.job is None and self.query.get("on_failure") == "strict"

    @property
    def wants_all_parts(self) -> bool:
        """Whether it stands for one request for each part of the order."""
        return self.query.get("part") == ALL_PARTS


def together(requests: Sequence[Request]) -> Request:
    """The request for one ZIP of all their orders. Raises `Usage` when there can be none."""
    first, *more = requests
    for name in ("image", "part", "since"):
        if name in first.query:
            raise Usage(f"--together cannot be combined with --{name}, which is about one order.")
    if len({request.service.url for request in requests}) > 1:
        raise Usage("--together: the orders are at different services.")
    others = tuple(dict.fromkeys(request.order_id for request in more if request.order_id != first.order_id))
    if not others:
        raise Usage("--together: give two orders or more.")
    return replace(first, more=others)


def parts(request: Request, talk: Talk) -> Iterator[Request]:
    """The request itself, or one for each part of its order."""
    if not request.wants_all_parts:
        yield request
        return
    query = {name: value for name, value in request.query.items() if name != "part"}
    count = asyncio.run(_count_parts(request, talk))
    for number in range(1, count + 1):
        yield replace(request, query={**request.query, "part": number} if count > 1 else query)


async def _count_parts(request: Request, talk: Talk) -> int:
    service = request.service
    try:
        async with service.session() as session:
            path = f"v1/orders/{request.order_id}"
            overview = await ask_with_retries(service, session, "GET", path, talk=talk)
            return max(1, len(overview["parts"]))
    except (ClientError, TimeoutError) as error:
        raise Interrupted(why(error, service.url)) from error
