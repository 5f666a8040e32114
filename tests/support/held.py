"""An image that arrives when the test wants it to."""

import asyncio
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from service.sandbox import Sandbox
from service.sandbox.state import Image
from tests.support.samples import jpeg


class HeldImage:
    """Keeps whoever asks the sandbox for an image waiting, until `release`. Use with `async with`."""

    def __init__(self, sandbox: Sandbox, image: Image) -> None:
        self._sandbox = sandbox
        self._image = image
        self._released = asyncio.Event()
        app = web.Application()
        app.add_routes([web.get("/held", self._answer)])
        self._server = TestServer(app)

    def release(self) -> None:
        """Let it go out."""
        self._released.set()

    async def _answer(self, request: web.Request) -> web.Response:
        await self._released.wait()
        return web.Response(body=jpeg(), content_type="image/jpeg")

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        self._fault = self._sandbox.control.add_fault(
            "redirect_to",
            operation="download",
            image_id=self._image.image_id,
            location=str(self._server.make_url("/held")),
            times=None,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        self.release()
        self._sandbox.control.remove_fault(self._fault.fault_id)
        await self._server.close()
