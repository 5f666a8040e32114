"""The two servers of a sandbox: the API, and on a second port the asset server with the storage."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from . import assets, brackets, downloads, images, orders
from .config import SandboxConfig
from .context import CONTEXT, Context
from .control import Control
from .endpoint import Handler, endpoint
from .errors import ApiError
from .faults import FaultScript
from .limits import Limits
from .links import Links
from .log import RequestLog
from .rendering import Renderer
from .state import State
from .webhooks import Webhooks

ROUTES: tuple[tuple[str, str, str, Handler, bool], ...] = (
    # method, path, operation, handler, needs the key
    ("POST", "/orders", "create_order", orders.create, True),
    ("GET", "/orders", "list_orders", orders.list_orders, True),
    ("GET", "/orders/{order_id}", "get_order", orders.read, False),
    ("PATCH", "/orders/{order_id}", "update_order", orders.update, True),
    ("DELETE", "/orders/{order_id}", "delete_order", orders.delete, True),
    ("GET", "/orders/{order_id}/brackets", "order_brackets", orders.brackets, False),
    ("POST", "/orders/{order_id}/process", "process_order", brackets.merge, True),
    ("POST", "/orders/{order_id}/merge", "merge_order", brackets.merge, True),
    ("POST", "/brackets", "create_bracket", brackets.create, True),
    ("GET", "/brackets/{bracket_id}", "get_bracket", brackets.read, True),
    ("DELETE", "/brackets/{bracket_id}", "delete_bracket", brackets.delete, True),
    ("POST", "/images", "create_image", images.create, True),
    ("GET", "/images/{image_id}", "get_image", images.read, False),
    ("DELETE", "/images/{image_id}", "delete_image", images.delete, True),
    ("POST", "/images/{image_id}/process", "process_image", images.process, True),
    ("PATCH", "/images/{image_id}/process", "process_image", images.process, True),
    ("POST", "/images/{image_id}/report", "report_image", images.report, True),
    ("GET", "/images/{image_id}/enhanced", "enhanced", downloads.enhanced, True),
    ("GET", "/images/{image_id}/original", "original", downloads.original, True),
    ("GET", "/images/{image_id}/preview", "preview", downloads.older_preview(watermark=False), False),
    ("GET", "/images/{image_id}/watermark", "watermark", downloads.older_preview(watermark=True), False),
)
COLLECTIONS = frozenset({"/orders", "/images", "/brackets"})
ASSET_ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "/assets/{image_id}/{kind:enhanced|original}", "asset", assets.asset),
    ("PUT", "/bucket/uploads/{image_id}", "upload", assets.upload),
    ("GET", "/bucket/{image_id}/{kind:enhanced|original}", "storage", assets.storage),
    ("GET", "/loop", "asset", assets.loop),
)


def create_api(context: Context) -> web.Application:
    """The API's host."""
    app = web.Application(middlewares=[_json_errors])
    app[CONTEXT] = context
    for method, path, operation, handler, keyed in ROUTES:
        served = endpoint(operation, handler, keyed=keyed)
        app.router.add_route(method, f"/v3{path}", served)
        if path in COLLECTIONS:
            app.router.add_route(method, f"/v3{path}/", served)
    return app


def create_assets(context: Context) -> web.Application:
    """The host that downloads are redirected to, and the storage."""
    app = web.Application()
    app[CONTEXT] = context
    app.on_response_prepare.append(assets.drop_content_type)
    for method, path, operation, handler in ASSET_ROUTES:
        app.router.add_route(method, path, endpoint(operation, handler, keyed=False))
    return app


@web.middleware
async def _json_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Unknown paths and methods get an error document too."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:
        return ApiError(error.status, error.reason).response()


class Sandbox:
    """A stand-in for the Autoenhance API v3 in the running loop: `async with Sandbox() as sandbox`."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        self.config = config or SandboxConfig()
        self._runners: list[web.AppRunner] = []
        self._context: Context | None = None
        self._control: Control | None = None
        self._base = ""

    @property
    def api_base(self) -> str:
        """Base URL of the API, with `/v3` and without a slash at the end."""
        return f"{self._base}/v3"

    @property
    def asset_base(self) -> str:
        """Base URL of the host that downloads are redirected to."""
        return self._running().links.asset_base

    @property
    def api_key(self) -> str:
        """The first of the keys that the API takes."""
        return self.config.api_keys[0]

    @property
    def control(self) -> Control:
        """What tests script the sandbox with; raises RuntimeError before the start."""
        if self._control is None:
            raise RuntimeError("the sandbox is not running")
        return self._control

    async def __aenter__(self) -> Self:
        state = State(self.config)
        state.uploads = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="sandbox-"))
        await asyncio.to_thread(state.find_photos)
        log = RequestLog(self.config.log_size)
        context = Context(
            state=state,
            log=log,
            faults=FaultScript(),
            limits=Limits(state),
            links=Links(),
            renderer=Renderer(state),
            webhooks=Webhooks(state, log),
        )
        self._context, self._control = context, Control(context)
        try:
            await self._listen(context)
        except BaseException:
            await self.__aexit__()
            raise
        context.webhooks.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        context = self._running()
        context.closing.set()
        await context.webhooks.stop()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        await context.renderer.stop()
        await asyncio.to_thread(shutil.rmtree, context.state.uploads, ignore_errors=True)

    async def _listen(self, context: Context) -> None:
        config = self.config
        asset_port = await self._serve(create_assets(context), config.asset_port)
        api_port = await self._serve(create_api(context), config.port)
        context.links.asset_base = f"http://{config.asset_host}:{asset_port}"
        context.links.storage_base = f"http://{config.storage_host}:{asset_port}"
        self._base = f"http://{config.public_host or config.host}:{api_port}"

    async def _serve(self, app: web.Application, port: int) -> int:
        options: dict[str, Any] = {} if self.config.access_log else {"access_log": None}
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, **options)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, self.config.host, port).start()
        return int(runner.addresses[0][1])

    def _running(self) -> Context:
        if self._context is None:
            raise RuntimeError("the sandbox is not running")
        return self._context


async def serve_sandbox(
    config: SandboxConfig, *, ready: Callable[[Sandbox], None] | None = None, sample_order: bool = True
) -> None:
    """Run a sandbox until cancelled; `ready` is called once it listens and holds its sample order."""
    async with Sandbox(config) as sandbox:
        if sample_order:
            sandbox.control.add_sample_order()
        if ready is not None:
            ready(sandbox)
        await asyncio.Event().wait()
