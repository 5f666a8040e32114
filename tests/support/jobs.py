"""Background jobs as a caller handles them, and a receiver of their callbacks."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.client import TIMEOUT, Answer, Service
from tests.support.loopback import LoopbackServer
from tests.support.samples import ORDER

Document = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    number: int
    job: Document


async def submit(
    service: Service, order_id: str = ORDER, *, headers: dict[str, str] | None = None, **query: str
) -> Document:
    """Create a job; its document as first answered."""
    answer = await post(service, order_id, headers=headers, **query)
    assert answer.status == 202, answer.body
    return answer.document


async def post(
    service: Service, order_id: str = ORDER, *, headers: dict[str, str] | None = None, **query: str
) -> Answer:
    """Ask for a job, whatever the answer."""
    return await service.ask(f"/v1/orders/{order_id}/jobs", method="POST", params=query, headers=headers)


async def status(service: Service, job: Document) -> Document:
    """The job as it stands."""
    return (await service.ask(f"/v1/jobs/{job['job_id']}")).document


@asynccontextmanager
async def events(service: Service, job: Document, *, after: int | None = None) -> AsyncIterator[AsyncIterator[Event]]:
    """The job's events as they come, after the one with number `after`."""
    headers = {"Last-Event-ID": str(after)} if after is not None else None
    async with service.request(f"/v1/jobs/{job['job_id']}/events", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"

        async def read() -> AsyncIterator[Event]:
            fields: dict[str, str] = {}
            async for raw in response.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                fields[name] = value
                if name == "data":
                    yield Event(fields.pop("event", "message"), int(fields.pop("id")), json.loads(value))

        yield read()


async def all_events(service: Service, job: Document, *, after: int | None = None) -> list[Event]:
    """All events to the end of the stream."""
    async with asyncio.timeout(TIMEOUT), events(service, job, after=after) as stream:
        return [event async for event in stream]


async def ended(service: Service, job: Document) -> Document:
    """The job when it has ended."""
    return (await all_events(service, job))[-1].job


@dataclass(frozen=True)
class Delivery:
    """A callback as it arrived."""

    path: str
    """With its query, as it was sent."""
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Document:
        """What it says."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class Receiver(LoopbackServer):
    """A server that takes callbacks; answers with the statuses of `answers` in turn, the last one for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = [204]
        self.headers: dict[str, str] = {}
        """Sent with every answer."""
        self.received: list[Delivery] = []

    def routes(self) -> list[web.RouteDef]:
        """Callbacks go to any path."""
        return [web.post("/{path:.*}", self._take)]

    async def _take(self, request: web.Request) -> web.Response:
        self.received.append(Delivery(request.raw_path, dict(request.headers), await request.read()))
        self.changed()
        status = self.answers[min(len(self.received), len(self.answers)) - 1]
        return web.Response(status=status, headers=self.headers)
