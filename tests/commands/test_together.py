"""`download --together`: the job that the service builds for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import ClientSession

from service.commands.client import Document, Service
from service.commands.talk import Talk
from service.commands.together import build
from tests.support.samples import ORDER, OTHER_ORDER


class _Slow(Service):
    """Accepts a job when it is let."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:8000")
        self.asked: list[str] = []
        self.was_asked, self.accepts = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def session(self, more_seconds: float = 0.0) -> AsyncIterator[ClientSession]:
        yield cast(ClientSession, None)

    async def ask(self, session: ClientSession, method: str, path: str, **more: Any) -> Document:
        self.asked.append(f"{method} {path}")
        self.was_asked.set()
        if method == "POST":
            await self.accepts.wait()
        return {"job_id": "j"}


async def test_who_leaves_while_the_job_is_accepted_cancels_it() -> None:
    """It would buy to its end."""
    service = _Slow()
    building = asyncio.create_task(build(service, [ORDER, OTHER_ORDER], {}, Talk(quiet=True)))
    await service.was_asked.wait()

    building.cancel()
    service.accepts.set()
    with pytest.raises(asyncio.CancelledError):
        await building

    assert service.asked == ["POST v1/jobs", "DELETE v1/jobs/j"]
