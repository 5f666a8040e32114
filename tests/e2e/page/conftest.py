"""The service in front of a sandbox, and Chromium in front of the service.

Everything here runs in one event loop for all tests, so that Chromium starts once.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from service.sandbox import Sandbox, SandboxConfig, rendering
from tests.support.client import Service, StartService
from tests.support.services import service_factory
from tests.support.visitor import Visitor, launch

ADMIN_TOKEN = "token-of-the-operator"

Visit = Callable[..., Awaitable[Visitor]]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with launch() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def renderings() -> Iterator[None]:
    """The sample photos are the same in each test's sandbox: each rendering of one is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "render", functools.cache(rendering.render))
        yield


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """The upstream API; what is uploaded to it is finished half a second later."""
    async with Sandbox(SandboxConfig(image_delay=0.5)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def start_site(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[StartService]:
    """A factory for services in front of the sandbox."""
    async with service_factory(sandbox.api_base, tmp_path) as start:

        async def begin(**settings: object) -> Service:
            return await start(**{"autoenhance_api_key": sandbox.api_key, "admin_token": ADMIN_TOKEN, **settings})

        yield begin


@pytest_asyncio.fixture(loop_scope="session")
async def site(start_site: StartService) -> Service:
    """A service with default settings and an administrator."""
    return await start_site()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Service) -> AsyncIterator[Visit]:
    """Opens a tab; when the test is over, no tab may have complained or asked another host for anything."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end_held_requests)
        visitors: list[Visitor] = []

        async def arrive(service: Service = site, **options: object) -> Visitor:
            visitor = await Visitor.arrive(browser, service.url, **options)
            stack.push_async_callback(visitor.context.close)
            visitors.append(visitor)
            return visitor

        yield arrive
        assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]
        assert [visitor.strangers for visitor in visitors] == [set() for _ in visitors]


async def _end_held_requests() -> None:
    """Requests that a test has left without an answer wait for ever: later they would be an error in another test."""
    held = [task for task in asyncio.all_tasks() if "_on_route" in repr(task.get_coro())]
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
