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
# Without a marker in it.
_NOISE = os.urandom(1 << 20).replace(b"\xff", b"\xfe")
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
        location /copied/ {{ alias {folder}/assets/; sendfile off; }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder};
        default_type application/json;
        location ~ ^/v3/images/([^/]+)/enhanced$ {{ return 302 https://127.0.0.1:{tls_assets}/assets/$1; }}
    }}
    server {{
        listen 127.0.0.1:{tls_assets} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder};
        default_type image/jpeg;
    }}
    server {{
        listen 127.0.0.1:{slow};
        root {folder};
        default_type image/jpeg;
        limit_rate {rate};
        sendfile_max_chunk 256k;
        location /assets/ {{ auth_request /late; }}
        location = /late {{ internal; proxy_pass http://127.0.0.1:{late}/late; }}
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


@dataclass(frozen=True)
class Speed:
    """How slow the slow API is: seconds before an answer of the API and one of the storage, and bytes per second and
    link."""

    latency: float = 0.15
    storage_latency: float = 0.1
    rate: int = 40_000_000

    def seconds(self, size: int) -> float:
        """What one image of `size` bytes takes on a link of its own."""
        return self.latency + self.storage_latency + size / self.rate


class Upstream:
    """A running nginx. Each order is made once, with images that no other order has."""

    def __init__(
        self, folder: Path, pid: int, api: str, *, tls_api: str, slow_api: str, assets: str, speed: Speed
    ) -> None:
        self.folder = folder
        """What is in it is gone afterwards; room for the data of others."""
        self.pid = pid
        self.api = api
        """Address of the API, answered at once and as fast as loopback goes."""
        self.tls_api = tls_api
        """The same by TLS; who sets `trust` in its environment takes its certificate for good."""
        self.trust = {"SSL_CERT_FILE": str(folder / "certificate.pem")}
        self.slow_api = slow_api
        """The same orders, at this speed."""
        self.speed = speed
        self._assets = assets
        self._orders: dict[tuple[int, int, int], BenchOrder] = {}

    def order(self, images: int, size: int, number: int = 0) -> BenchOrder:
        """The order of `images` images of `size` bytes each; `number` tells several of one kind apart."""
        key = images, size, number
        if key not in self._orders:
            self._orders[key] = self._add_order(images, size)
        return self._orders[key]

    def finished_file(self, size: int, *, folder: str = "assets") -> str:
        """The address of a file of `size` bytes, as a download that was made before; in the folder `copied` nginx sends
        it as it does unless told otherwise: without sendfile."""
        file = self.folder / "assets" / f"finished-{size}"
        if not file.exists():
            _write_photo(file, uuid4().hex, size)
        return f"{self._assets}/{folder}/{file.name}"

    def _add_order(self, images: int, size: int) -> BenchOrder:
        order = BenchOrder(str(uuid4()), images, images * size)
        photos = [samples.photo(str(uuid4()), f"photo {number:05d}.jpg") for number in range(images)]
        for photo in photos:
            _write_photo(self.folder / "assets" / photo["image_id"], photo["image_id"].replace("-", ""), size)
        document = samples.order(photos, order_id=order.order_id)
        (self.folder / "v3" / "orders" / order.order_id).write_text(json.dumps(document))
        return order


def _write_photo(file: Path, mark: str, size: int) -> None:
    """A JPEG by its structure: header, one scan that begins with `mark` and goes on with noise, end marker.

    So each differs from all others: the service keeps equal content once.
    """
    application = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    head, end = b"\xff\xd8" + application + scan + mark.encode(), b"\x00\xff\xd9"
    with file.open("wb") as photo:
        photo.write(head)
        left = size - len(head) - len(end)
        while left:
            left -= photo.write(_NOISE[:left])
        photo.write(end)


@asynccontextmanager
async def open_upstream(folder: Path, speed: Speed = Speed()) -> AsyncIterator[Upstream]:
    """Run nginx for the length of the block, with all its files in `folder`."""
    program = shutil.which(PROGRAM)
    assert program is not None, f"{PROGRAM} is not installed"
    await _spread(folder)
    (folder / "assets").mkdir()
    (folder / "v3" / "orders").mkdir(parents=True)
    await _make_certificate(folder)
    ports = {name: free_port() for name in ("api", "assets", "tls", "tls_assets", "slow")}
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    configuration = folder / "nginx.conf"
    async with _slow_answers(folder, addresses["slow"], speed) as slow:
        ports["late"] = int(slow.rpartition(":")[2])
        configuration.write_text(_CONFIGURATION.format(folder=folder, rate=speed.rate, **ports))
        process = await asyncio.create_subprocess_exec(
            program, "-e", f"{folder}/error.log", "-c", str(configuration), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await _until_open(ports["slow"])
            yield Upstream(
                folder,
                process.pid,
                f"{addresses['api']}/v3",
                tls_api=f"https://127.0.0.1:{ports['tls']}/v3",
                slow_api=f"{slow}/v3",
                assets=addresses["assets"],
                speed=speed,
            )
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _spread(folder: Path) -> None:
    """Have ext4 place each folder in here by itself, far from where files were deleted in the last minutes.

    Beside those it takes up to ten times as long to create a file. No other file system has this flag, or needs it.
    """
    with suppress(FileNotFoundError):
        process = await asyncio.create_subprocess_exec("chattr", "+T", str(folder), stderr=asyncio.subprocess.DEVNULL)
        await process.wait()


async def _make_certificate(folder: Path) -> None:
    """For 127.0.0.1, by itself, for a day."""
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{folder}/key.pem")
    openssl = await asyncio.create_subprocess_exec(
        "openssl",
        "req",
        "-x509",
        *key,
        "-out",
        f"{folder}/certificate.pem",
        *subject,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await openssl.wait() == 0, "openssl made no certificate"


@asynccontextmanager
async def _slow_answers(folder: Path, assets: str, speed: Speed) -> AsyncIterator[str]:
    """What nginx cannot do: answer late. It asks `/late` before it sends an image."""

    async def order(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(speed.latency)
        file = folder / "v3" / "orders" / request.match_info["order_id"]
        return web.FileResponse(file, headers={"Content-Type": "application/json"})

    async def image(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(speed.latency)
        return web.Response(status=302, headers={"Location": f"{assets}/assets/{request.match_info['image_id']}"})

    async def late(_: web.Request) -> web.Response:
        await asyncio.sleep(speed.storage_latency)
        return web.Response(status=204)

    async with serving(
        web.get("/v3/orders/{order_id}", order),
        web.get("/v3/images/{image_id}/enhanced", image),
        web.get("/late", late),
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
