"""Other ways to hand out an order's images, each as short as it can be, to compare the service with.

python -m tests.bench.rivals NAME API    prints its address, then serves until it is stopped
"""

import asyncio
import io
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web
from zipstream import ZIP_STORED, ZipStream

from tests.support.process import clean_environment

_API = web.AppKey("api", str)
_SESSION = web.AppKey("session", ClientSession)
_AT_ONCE = 5  # DOWNLOAD_CONCURRENCY's default


async def _images(request: web.Request) -> list[tuple[str, str]]:
    """The name and the address of each image of the order."""
    api = request.app[_API]
    async with request.app[_SESSION].get(f"{api}/orders/{request.match_info['order_id']}") as answer:
        document: dict[str, Any] = await answer.json()
    return [
        (image["image_name"], f"{api}/images/{image['image_id']}/enhanced?preview=true&format=jpeg")
        for image in document["images"]
    ]


async def pass_through(request: web.Request) -> web.StreamResponse:
    """The same bytes one after the other: no ZIP, no check, no store. The least that aiohttp can do it for."""
    images = await _images(request)
    response = web.StreamResponse()
    await response.prepare(request)
    for _, url in images:
        async with request.app[_SESSION].get(url) as answer:
            answer.raise_for_status()
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
    await response.write_eof()
    return response


async def one_by_one(request: web.Request) -> web.StreamResponse:
    """A streamed ZIP, each image fetched when its turn comes, as most open ZIP streamers do it."""
    images = await _images(request)
    response = web.StreamResponse()
    await response.prepare(request)
    archive = ZipStream(compress_type=ZIP_STORED)
    for name, url in images:
        async with request.app[_SESSION].get(url) as answer:
            answer.raise_for_status()
            archive.add(await answer.read(), name)
        for chunk in archive.all_files():
            await response.write(chunk)
    for chunk in archive.finalize():
        await response.write(chunk)
    await response.write_eof()
    return response


async def buffered(request: web.Request) -> web.StreamResponse:
    """Five images at a time into memory, then the whole ZIP in one answer."""
    images, slots, archive = await _images(request), asyncio.Semaphore(_AT_ONCE), io.BytesIO()

    async def fetch(url: str) -> bytes:
        async with slots, request.app[_SESSION].get(url) as answer:
            answer.raise_for_status()
            return await answer.read()

    contents = await asyncio.gather(*(fetch(url) for _, url in images))
    with zipfile.ZipFile(archive, "w") as file:
        for (name, _), content in zip(images, contents, strict=True):
            file.writestr(name, content)
    return web.Response(body=archive.getvalue())


RIVALS: Mapping[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "pass-through": pass_through,
    "one by one": one_by_one,
    "buffered": buffered,
}


async def serve(name: str, api: str) -> None:
    """Answer `/v1/orders/{order_id}/images` on a free port of 127.0.0.1, with orders and images from `api`."""
    async with ClientSession() as session:
        app = web.Application()
        app[_API], app[_SESSION] = api, session
        app.router.add_get("/v1/orders/{order_id}/images", RIVALS[name])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(name: str, api: str, **environment: str) -> AsyncIterator[tuple[int, str]]:
    """A rival in a process of its own; gives its process id and address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, name, api, env=clean_environment(**environment), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.pid, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
