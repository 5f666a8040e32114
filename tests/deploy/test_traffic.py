"""What makes the traffic of the demonstration."""

import asyncio

from deploy.compose.traffic import ask


async def test_a_download_that_broke_off_is_told() -> None:
    """A body without its end is not the end of the traffic: `docker compose restart service` may leave one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/")

    assert status == 0
