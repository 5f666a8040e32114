"""The service behind nginx, with the lines that the guide to operating gives."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from service.sandbox import Sandbox, SandboxConfig
from tests.api import conftest as api
from tests.api.test_session import is_administrator, signed_in
from tests.e2e.uploads.orders import ADMIN, TOKEN, form, make
from tests.faults.nginx import location_of_the_guide, nginx
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.tools import require_tool
from tests.support.upstream import FakeUpstream

_LONGEST_WAIT = 3600


@pytest.fixture
async def start_behind(start_service: StartService) -> AsyncIterator[StartService]:
    """A factory for services that are reached through an nginx, which they trust."""
    require_tool("nginx")
    async with AsyncExitStack() as stack:

        async def start(**settings: object) -> Service:
            service = await start_service(trusted_proxies="127.0.0.1", **settings)
            return Service(await stack.enter_async_context(nginx(service.url)), service.session, service.stop)

        yield start


async def test_callers_behind_it_are_distinguished(upstream: FakeUpstream, start_behind: StartService) -> None:
    """Each has its own limit."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    service = await start_behind(rate_limit="1/minute")

    statuses = [await _status_for(service, caller) for caller in ("127.0.0.2", "127.0.0.3", "127.0.0.2")]

    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "//metrics", "/batch/metrics"])
async def test_metrics_are_kept_from_the_public(start_behind: StartService, path: str) -> None:
    """As the guide asks, however the path is written; the page is there."""
    service = await start_behind(base_path="/batch")

    statuses = []
    for asked in (path, "/batch/"):
        async with service.session.get(URL(service.url + asked, encoded=True)) as response:
            statuses.append(response.status)

    assert statuses == [404, 200]


async def _status_for(service: Service, address: str) -> int:
    async with ClientSession(connector=TCPConnector(local_addr=(address, 0))) as session:
        return (await Service(service.url, session, service.stop).download()).status


async def test_files_as_large_as_the_service_takes_get_through(start_behind: StartService) -> None:
    """What is too large is said by the service."""
    async with Sandbox(SandboxConfig(image_delay=0)) as sandbox:
        service = await start_behind(
            autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key, admin_token=TOKEN
        )
        large, too_large = (jpeg() + os.urandom(size << 20) for size in (4, 21))

        made = await make(service, form(("a.jpg", large), ("b.jpg", large)), ADMIN)
        refused = await make(service, form(("c.jpg", too_large)), ADMIN)

    assert made.outcomes == {"a.jpg": "uploaded", "b.jpg": "uploaded"}
    assert refused.document["code"] == "file_too_large"


async def test_the_page_s_own_requests_are_its_own(start_behind: StartService) -> None:
    """A browser of old, which says no more than the page's origin, is believed."""
    service = await start_behind(admin_token=api.TOKEN)

    browser = await signed_in(service)

    assert await is_administrator(service, browser | {"Origin": service.url})


def test_it_waits_as_long_as_a_caller_may() -> None:
    """With `wait` nothing is sent before the first image, an hour later perhaps."""
    found = re.search(r"proxy_read_timeout (\d+)s;", location_of_the_guide())

    assert found is not None
    assert int(found.group(1)) > _LONGEST_WAIT
