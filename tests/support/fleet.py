"""Replicas as processes of their own behind haproxy, with Redis and S3 between them and a sandbox behind them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from service.sandbox import ImageSpec, Rendition, Sandbox, SandboxConfig
from service.sandbox.state import Order
from tests.faults.proxy import FaultProxy
from tests.support.loopback import free_port
from tests.support.process import ServiceProcess
from tests.support.redis_server import RedisServer
from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import shared_server
from tests.support.tools import require_tool

SERVED_BY = "X-Served-By"
TIMEOUT = 120.0
_CONFIG = """
defaults
    mode http
    timeout connect 2s
    timeout client 2m
    timeout server 2m
    # A replica that is late on a busy machine is not down; one that is down refuses connections, and another is tried.
    timeout check 5s
    option redispatch 1

frontend web
    bind 127.0.0.1:{port}
    default_backend replicas

backend replicas
    balance roundrobin
    option httpchk GET /readyz
    http-response set-header X-Served-By %s
"""


class Fleet:
    """The replicas, and the address of the balancer in front of them, which gives each request to the next."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox,
        session: ClientSession,
        environment: dict[str, str],
        redis: RedisServer,
        own: Sequence[dict[str, str]] = (),
        *,
        has_long_timeouts: bool = True,
    ) -> None:
        self.url = ""
        self.session = session
        self.redis = redis
        self.replicas: list[ServiceProcess] = []
        self._folder = folder
        self._sandbox = sandbox
        self._environment = environment
        self._own = own
        self._has_long_timeouts = has_long_timeouts
        self._ports: list[int] = []
        self._started = 0

    def add_order(self, images: Sequence[ImageSpec]) -> Order:
        """An order of these images at the sandbox."""
        return self._sandbox.control.add_order(images)

    def expected(self, order: Order) -> dict[str, bytes]:
        """What the archive of an order must hold."""
        rendition = Rendition(preview=False)
        return {image.name: self._sandbox.control.expected(image.image_id, rendition) for image in order.images}

    @property
    def images_fetched(self) -> int:
        """How often an image was requested from the sandbox, by any replica."""
        return self._sandbox.control.counters.requests["enhanced"]

    async def start(self, replicas: int) -> None:
        """Start them side by side."""
        self._ports = [free_port() for _ in range(replicas)]
        self.replicas = list(await asyncio.gather(*map(self._new, range(replicas))))

    async def replace(self, index: int) -> None:
        """Kill a replica (-9), and start another in its place, with an empty disk."""
        await self.replicas[index].kill()
        self.replicas[index] = await self._new(index)

    async def renew(self, index: int) -> int:
        """Tell a replica to stop, and start another in its place, with an empty disk; returns the exit code."""
        code = await self.replicas[index].stop()
        self.replicas[index] = await self._new(index)
        return code

    async def stop(self) -> None:
        """Let all of them end at once."""
        await asyncio.gather(*(replica.kill() for replica in self.replicas))

    @asynccontextmanager
    async def balancer(self) -> AsyncIterator[None]:
        """haproxy, once it has found every replica."""
        port, config = free_port(), self._folder / "haproxy.cfg"
        servers = [f"    server r{at} 127.0.0.1:{at} check inter 250ms fall 3 rise 1\n" for at in self._ports]
        await asyncio.to_thread(config.write_text, _CONFIG.format(port=port) + "".join(servers))
        haproxy = await asyncio.create_subprocess_exec(
            require_tool("haproxy"), "-db", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._find_all()
            yield
        finally:
            haproxy.kill()
            await haproxy.wait()

    async def _find_all(self) -> None:
        found: set[str] = set()
        while len(found) < len(self._ports):
            try:
                async with self.session.get(f"{self.url}/livez") as response:
                    found |= {response.headers[SERVED_BY]} if response.status == 200 else set()
            except ClientError:
                await asyncio.sleep(0.05)

    async def _new(self, index: int) -> ServiceProcess:
        self._started += 1
        data_dir = self._folder / f"replica-{self._started}"
        await asyncio.to_thread(data_dir.mkdir)
        own = self._own[index] if self._own else {}
        replica = ServiceProcess(data_dir, **(self._environment | own), PORT=str(self._ports[index]))
        if self._has_long_timeouts:
            replica.module = "tests.support.long_timeouts"
        await replica.start()
        return replica


@asynccontextmanager
async def open_fleet(
    folder: Path,
    replicas: int = 3,
    proxy: S3Proxy | None = None,
    *,
    ways: Sequence[tuple[S3Proxy, FaultProxy]] = (),
    has_long_timeouts: bool = True,
    is_balanced: bool = True,
    **settings: str,
) -> AsyncIterator[Fleet]:
    """Everything, running; `settings` are environment variables of the replicas, which reach S3 through `proxy`.

    With `ways`, each replica has a way to S3 and one to Redis of its own. One that `has_long_timeouts` takes
    nothing for lost because an answer is late. Unless `is_balanced`, there is no address but those of the replicas.
    """
    async with AsyncExitStack() as stack:
        redis, s3 = RedisServer(folder), await asyncio.to_thread(shared_server)
        stack.callback(redis.stop)
        await asyncio.to_thread(redis.start)
        sandbox = await stack.enter_async_context(Sandbox(SandboxConfig(credits=1_000_000)))
        if proxy is not None:
            proxy.target = s3.url
        for to_s3, to_redis in ways:
            to_s3.target, to_redis.target = s3.url, redis.url
        own = [
            {"AWS_ENDPOINT_URL": to_s3.url, "SHARED_URL": to_redis.url.replace("http://", "redis://")}
            for to_s3, to_redis in ways
        ]
        environment = {
            **s3.environment,
            "AWS_ENDPOINT_URL": proxy.url if proxy else s3.url,
            "STORE_URL": await asyncio.to_thread(s3.make_bucket),
            "SHARED_URL": redis.url,
            "AUTOENHANCE_API_BASE": sandbox.api_base,
            "AUTOENHANCE_API_KEY": sandbox.api_key,
            "RATE_LIMIT": "off",
            "STORE_MAX_BYTES": str(1 << 30),
            **settings,
        }
        connector = TCPConnector(force_close=True, limit=0)
        session = await stack.enter_async_context(
            ClientSession(connector=connector, timeout=ClientTimeout(total=TIMEOUT))
        )
        fleet = Fleet(folder, sandbox, session, environment, redis, own, has_long_timeouts=has_long_timeouts)
        stack.push_async_callback(fleet.stop)
        await fleet.start(replicas)
        if is_balanced:
            await stack.enter_async_context(fleet.balancer())
        yield fleet
