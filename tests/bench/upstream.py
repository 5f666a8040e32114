"""nginx in Autoenhance's place: orders as files, and images behind one redirect to a storage of another origin."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from tests.support import samples
from tests.support.loopback import free_port, serving

PROGRAM = "nginx"

_START_SECONDS = 20.0
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{api};
        root {folder};
        default_type application/json;
        location ~ ^/v3/images/([^/]+)/enhanced$ {{ return 302 http://127.0.0.1:{assets}/assets/$1; }}
    }}
    server {{
        listen 127.0.0.1:{assets};
        root {folder};
        default_type image/jpeg;
    }}
    server {{
        listen 127.0.0.1:{slow};
        root {folder};
        default_type image/jpeg;
        limit_rate {rate};
        sendfile_max_chunk 256k;
    }}
}}
"""


@dataclass(frozen=True)
class BenchOrder:
    """An order that upstream has: how many images, and how many bytes they have together."""

    order_id: str
    images: int
    size: int

    @property
    def path(self) -> str:
        """Where the service and its rival have the order's images."""
        return f"/v1/orders/{self.order_id}/images"


class Upstream:
    """A running nginx. Each order is made once, with images that no other order has."""

    def __init__(self, folder: Path, pid: int, api: str, *, slow_api: str, assets: str) -> None:
        self.folder = folder
        """What is in it is gone afterwards; room for the data of others."""
        self.pid = pid
        self.api = api
        """Address of the API, answered at once and as fast as loopback goes."""
        self.slow_api = slow_api
        """The same orders, with latency at the API and a rate per link at the storage."""
        self._assets = assets
        self._orders: dict[tuple[int, int, int], BenchOrder] = {}

    def order(self, images: int, size: int, number: int = 0) -> BenchOrder:
        """The order of `images` images of `size` bytes each; `number` tells several of one kind apart."""
        key = images, size, number
        if key not in self._orders:
            self._orders[key] = self._add_order(images, size)
        return self._orders[key]

    def finished_file(self, size: int) -> str:
        """The address of a file of `size` bytes, as a download that was made before."""
        file = self.folder / "assets" / f"finished-{size}"
        if not file.exists():
            file.write_bytes(os.urandom(size))
        return f"{self._assets}/assets/{file.name}"

    def _add_order(self, images: int, size: int) -> BenchOrder:
        order = BenchOrder(str(uuid4()), images, images * size)
        photos = [samples.photo(str(uuid4()), f"photo {number:05d}.jpg") for number in range(images)]
        body = _photo(size)
        for photo in photos:
            # Each photo differs from all others: the service keeps equal content once.
            content = body.replace(bytes(32), photo["image_id"].replace("-", "").encode(), 1)
            (self.folder / "assets" / photo["image_id"]).write_bytes(content)
        document = samples.order(photos, order_id=order.order_id)
        (self.folder / "v3" / "orders" / order.order_id).write_text(json.dumps(document))
        return order


def _photo(size: int) -> bytes:
    """A JPEG by its structure: header, one scan of noise with 32 zero bytes in front, end marker."""
    application = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    head = b"\xff\xd8" + application + scan + bytes(32)
    noise = os.urandom(size).replace(b"\xff", b"\xff\x00")[: size - len(head) - 3]
    return head + noise + b"\x00\xff\xd9"  # the zero ends a pair that may have been cut


@asynccontextmanager
async def open_upstream(folder: Path, *, latency: float = 0.25, rate: int = 40_000_000) -> AsyncIterator[Upstream]:
    """Run nginx for the length of the block, with all its files in `folder`.

    `latency` is in seconds per call of the slow API, `rate` in bytes per second and link.
    """
    program = shutil.which(PROGRAM)
    assert program is not None, f"{PROGRAM} is not installed"
    (folder / "assets").mkdir()
    (folder / "v3" / "orders").mkdir(parents=True)
    ports = {name: free_port() for name in ("api", "assets", "slow")}
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, rate=rate, **ports))
    process = await asyncio.create_subprocess_exec(
        program, "-e", f"{folder}/error.log", "-c", str(configuration), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_open(ports["slow"])
        async with _slow_api(folder, addresses["slow"], latency) as slow:
            yield Upstream(
                folder, process.pid, f"{addresses['api']}/v3", slow_api=f"{slow}/v3", assets=addresses["assets"]
            )
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def _slow_api(folder: Path, assets: str, latency: float) -> AsyncIterator[str]:
    """What nginx cannot do: answer late."""

    async def order(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(latency)
        file = folder / "v3" / "orders" / request.match_info["order_id"]
        return web.FileResponse(file, headers={"Content-Type": "application/json"})

    async def image(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(latency)
        return web.Response(status=302, headers={"Location": f"{assets}/assets/{request.match_info['image_id']}"})

    async with serving(
        web.get("/v3/orders/{order_id}", order), web.get("/v3/images/{image_id}/enhanced", image)
    ) as address:
        yield address


async def _until_open(port: int) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
