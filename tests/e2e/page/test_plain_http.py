"""The page over plain HTTP, not on the loopback: there browsers do not say where a request comes from."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.sandbox import Sandbox
from tests.support.client import StartService
from tests.support.visitor import Visitor, launch

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY, HOST = "key-of-a-caller", "batch.example"
_LOADED = (
    "() => new Promise((done) => { const at = document.images[0]; at.onload = at.onerror = done; at.src = at.alt; })"
)


async def test_another_port_of_the_host_buys_nothing_with_a_session(start_site: StartService, sandbox: Sandbox) -> None:
    """It shows a full-size photo, and the browser sends the cookie along. Our own page may: it says that it is it."""
    order = sandbox.control.add_sample_order()
    service = await start_site(service_api_key=KEY)
    ours = service.url.replace("127.0.0.1", HOST)
    images = f"/v1/orders/{order.order_id}/images"
    photo = f"{ours}{images}/{order.images[0].image_id}?preview=false"

    async def foreign(request: web.Request) -> web.Response:
        policy = {"Referrer-Policy": request.query["policy"]}
        return web.Response(text=f'<img alt="{photo}">', content_type="text/html", headers=policy)

    app = web.Application()
    app.router.add_get("/", foreign)
    async with TestServer(app) as other, launch(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as browser:
        visitor = await Visitor.arrive(browser, ours)
        await visitor.open()
        login = {"method": "POST", "body": f'{{"key": "{KEY}"}}', "headers": {"Content-Type": "application/json"}}
        signed_in = await visitor.page.evaluate("(login) => fetch('/v1/session', login).then((a) => a.status)", login)

        for policy in ("no-referrer", "unsafe-url"):
            await visitor.page.goto(f"http://{HOST}:{other.port}/?policy={policy}")
            await visitor.page.evaluate(_LOADED)
        metrics = (await service.ask("/metrics")).text
        stolen = sandbox.control.counters.purchases.total()
        await visitor.open()
        bought = await visitor.page.evaluate("(photo) => fetch(photo).then((answer) => answer.status)", photo)
        async with visitor.page.expect_download() as saved:
            save = "(path) => import('/web/0/api.js').then((api) => api.save(path))"
            await visitor.page.evaluate(save, f"{images}?preview=false")
        download = await saved.value
        await download.path()  # once it is all there
        await visitor.context.close()

    assert signed_in == 200
    # The first one came with the session and said nothing of its page; the second one said which it was.
    for status in (403, 401):
        route = 'route="/v1/orders/{order_id}/images/{image_id}"'
        assert f'batch_http_requests_total{{method="GET",{route},status="{status}"}} 1.0' in metrics
    assert stolen == 0
    assert bought == 200
    assert download.suggested_filename.endswith(".zip")
    assert sandbox.control.counters.purchases.total() == len(order.images)
