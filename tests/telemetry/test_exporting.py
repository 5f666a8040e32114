"""What client spans tell of the calls they are of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientError, ClientSession
from yarl import URL

from service.telemetry.exporting import export_traces, url_filter
from tests.support.collector import Collector

API = "https://api.autoenhance.ai/v3"
ID = "6f0c3a52-9a43-4c0e-8f6e-1d7f4f1f6d5e"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{API}/orders/{ID}", f"{API}/orders/{{id}}"),
        (f"{API}/orders/", f"{API}/orders"),
        (f"{API}/orders?status=done", f"{API}/orders"),
        (f"{API}/images", f"{API}/images"),
        (f"{API}/images/a%2Fb/enhanced?preview=true", f"{API}/images/{{id}}/enhanced"),
        (f"{API}/images/{ID}/original", f"{API}/images/{{id}}/original"),
        (f"{API}/images/{ID}/unheard-of", "https://api.autoenhance.ai"),
        (f"{API}/imagesque/{ID}", "https://api.autoenhance.ai"),
        (f"{API}0/images/{ID}", "https://api.autoenhance.ai"),
        ("https://api.autoenhance.ai/s/5ec12e7", "https://api.autoenhance.ai"),
        (f"https://api.autoenhance.ai:444/v3/orders/{ID}", "https://api.autoenhance.ai:444"),
        (f"https://storage.example/v3/orders/{ID}?X-Amz-Signature=5ec12e7", "https://storage.example"),
        ("https://me:5ec12e7@hooks.example/services/5ec12e7#5ec12e7", "https://hooks.example"),
    ],
)
def test_an_address_is_told_by_origin_and_route(url: str, shown: str) -> None:
    """Ids, secrets in paths, queries and users are not."""
    assert url_filter(URL(API))(URL(url, encoded=True)) == shown


def test_an_api_at_the_root_has_routes_too() -> None:
    """As a sandbox may have."""
    filtered = url_filter(URL("http://localhost:1"))

    assert filtered(URL("http://localhost:1/orders/5")) == "http://localhost:1/orders/{id}"
    assert filtered(URL("http://localhost:1/assets/5")) == "http://localhost:1"


async def test_the_message_of_an_exception_is_not_told(collector: Collector) -> None:
    """aiohttp's hold the address, with all that is secret in it; the class says enough."""
    async with (
        no_http() as url,
        export_traces(f"{collector.url}/v1/traces", URL(API)) as traces,
        ClientSession(trace_configs=traces.client) as session,
    ):
        with pytest.raises(ClientError, match="5ec12e7"):
            await session.get(f"{url}/a.jpg?X-Amz-Signature=5ec12e7")

    (span,) = collector.spans
    assert (span.is_failed, span.description, span.events) == (True, "ClientResponseError", [])
    assert b"5ec12e7" not in b"".join(collector.raw)


@asynccontextmanager
async def no_http() -> AsyncIterator[str]:
    """A server that answers with something else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"what?\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
