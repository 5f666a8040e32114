"""Starting services for tests."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web_app
from pydantic_settings import BaseSettings

from service.api.connections import listening
from service.api.keys import TIMEOUTS
from service.api.timeouts import Timeouts
from service.app import create_app
from service.settings import Settings
from tests.support.client import Service, StartService
from tests.support.process import ServiceProcess

API_KEY = "key-of-the-account-5c02"


class _Given(Settings):
    """Nothing but what a test gives: reading the environment would be a tenth of what a start costs."""

    def __init__(self, **values: Any) -> None:
        super(BaseSettings, self).__init__(**values)


@asynccontextmanager
async def service_factory(upstream_url: str, folder: Path) -> AsyncIterator[StartService]:
    """A factory for services in this process; each has a data directory of its own unless told. All stop at the end.

    Where the environment names a `CHECKOUT`, they are its services, each in a process of its own.
    """
    number = itertools.count()
    async with AsyncExitStack() as running:

        async def start(**settings: object) -> Service:
            # A breaker that never opens: a test about failing images must not be about the breaker.
            values: dict[str, Any] = {
                "autoenhance_api_key": API_KEY,
                "autoenhance_api_base": upstream_url,
                "data_dir": folder / f"data-{next(number)}",
                "breaker_failures": 1_000,
                "rate_limit": None,
                "store_max_bytes": 64 << 20,
            }
            if os.environ.get("CHECKOUT"):
                return await _start_elsewhere(running, values | settings)
            timeouts = settings.pop("timeouts", Timeouts())
            assert isinstance(timeouts, Timeouts)
            app = create_app(_Given(**(values | settings)))
            app[TIMEOUTS] = timeouts
            served = await running.enter_async_context(AsyncExitStack())
            (url,) = await served.enter_async_context(listening(app, "127.0.0.1", 0, drain_seconds=1))
            session = await running.enter_async_context(ClientSession(timeout=ClientTimeout(total=60)))
            return Service(url, session, served.aclose)

        yield start
    # It remembers a thousand handlers, and would keep the application of each, long stopped, in everybody's way.
    web_app._cached_build_middleware.cache_clear()


async def _start_elsewhere(running: AsyncExitStack, settings: dict[str, Any]) -> Service:
    """The service of another checkout."""
    if "timeouts" in settings:
        pytest.skip("only a service in this process has other timeouts")
    data_dir = settings.pop("data_dir")
    environment = {
        name.upper(): "off" if name == "rate_limit" and value is None else str(value)
        for name, value in settings.items()
        if value is not None or name == "rate_limit"
    }
    served = await running.enter_async_context(AsyncExitStack())
    process = await served.enter_async_context(ServiceProcess(data_dir, **environment))
    session = await running.enter_async_context(ClientSession(timeout=ClientTimeout(total=60)))
    return Service(process.url, session, served.aclose)
