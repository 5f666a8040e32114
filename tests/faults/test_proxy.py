"""The fault proxy does what the checks rely on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.faults.proxy import FaultProxy, Trouble

_BODY = bytes(range(256)) * 1000
_TIMEOUT = 10.0


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy before a server that sends `_BODY`."""

    async def send(_: web.Request) -> web.Response:
        return web.Response(body=_BODY)

    app = web.Application()
    app.add_routes([web.get("/", send)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with FaultProxy(f"http://127.0.0.1:{runner.addresses[0][1]}") as proxy:
        yield proxy
    await runner.cleanup()


async def _read(proxy: FaultProxy) -> tuple[bytes, bool]:
    """What a client gets, and whether the connection was reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
    received = b""
    try:
        async with asyncio.timeout(_TIMEOUT):
            while block := await reader.read(65536):
                received += block
    except ConnectionResetError:
        return received, True
    finally:
        writer.close()
    return received, False


@pytest.mark.parametrize("trouble", [Trouble(), Trouble(latency=0.01, drip=10_000_000)])
async def test_without_a_cut_everything_arrives(proxy: FaultProxy, trouble: Trouble) -> None:
    """Late and in drips, but whole."""
    proxy.troubles.append(trouble)

    received, was_reset = await _read(proxy)

    assert received.endswith(_BODY)
    assert not was_reset


@pytest.mark.parametrize("count", [0, 1, 100, 200_000])
async def test_a_cut_comes_after_so_many_bytes(proxy: FaultProxy, count: int) -> None:
    """Exactly as many bytes arrive, then a reset."""
    proxy.troubles.append(Trouble(cut_after=count))

    received, was_reset = await _read(proxy)

    assert (len(received), was_reset, proxy.cuts) == (count, True, 1)


async def test_a_black_hole_never_answers(proxy: FaultProxy) -> None:
    """The connection stands and nothing comes."""
    proxy.troubles.append(Trouble(black_hole=True))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await _read(proxy)
