"""The least that a download can cost in aiohttp: the same bytes passed through, with no ZIP and no store.

python -m tests.bench.pass_through API    prints its address, then serves until it is stopped
"""

import asyncio
import sys

from aiohttp import ClientSession, web

_API = web.AppKey("api", str)
_SESSION = web.AppKey("session", ClientSession)


async def download(request: web.Request) -> web.StreamResponse:
    """An order's images, one after the other."""
    api, session = request.app[_API], request.app[_SESSION]
    async with session.get(f"{api}/orders/{request.match_info['order_id']}") as answer:
        document = await answer.json()
    response = web.StreamResponse()
    await response.prepare(request)
    for image in document["images"]:
        async with session.get(f"{api}/images/{image['image_id']}/enhanced?preview=true&format=jpeg") as answer:
            answer.raise_for_status()
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
    await response.write_eof()
    return response


async def serve(api: str) -> None:
    """Answer `/v1/orders/{order_id}/images` on a free port of 127.0.0.1, with orders and images from `api`."""
    async with ClientSession() as session:
        app = web.Application()
        app[_API], app[_SESSION] = api, session
        app.router.add_get("/v1/orders/{order_id}/images", download)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
