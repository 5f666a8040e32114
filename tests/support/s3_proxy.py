"""In front of an S3 server: passes everything on, or answers an error, or late, or never, or hangs up."""

import asyncio
import io
from typing import Self

from aiohttp import ClientSession, web
from yarl import URL

_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "date", "server"})


class S3Proxy:
    """Speaks to `target`, an http address. Use with `async with`."""

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.url = ""
        self.status: int | None = None
        """Answer this to everything."""
        self.seconds = 0.0
        """How late every answer is."""
        self.is_stopped = False
        """Hang up on everybody."""
        self.refused = 0
        """Requests that were answered with `status`."""
        self.requests: list[str] = []
        """Methods and paths, in the sequence in which they came."""
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._session = ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)  # answers may hang
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.Response:
        assert self._session is not None
        self.requests.append(f"{request.method} {request.path}")
        if self.is_stopped and request.transport is not None:
            request.transport.abort()
        body = await request.read()
        await asyncio.sleep(self.seconds)
        if self.status is not None:
            self.refused += 1
            return web.Response(status=self.status, text="<Error><Code>Refused</Code></Error>")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(self.target + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, data=io.BytesIO(body), headers=headers) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = response.headers.get("Content-Length", "0")
            return web.Response(status=response.status, headers=kept, body=await response.read() or None)
