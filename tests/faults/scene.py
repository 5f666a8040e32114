"""A sandbox in this process, the service as a process of its own, and what checks ask of the two."""

import asyncio
import io
import re
import shutil
import sqlite3
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from blake3 import blake3
from multidict import CIMultiDictProxy

from service.sandbox import ImageSpec, Rendition, Sandbox, SandboxConfig
from service.sandbox.state import Order
from tests.faults.proxy import FaultProxy
from tests.support.process import ServiceProcess

QUERY = {"preview": "false"}
FULL_SIZE = Rendition(preview=False)
TIMEOUT = 90.0
"""Seconds after which a check gives up; nothing is expected to take that long."""


@dataclass(frozen=True)
class Answer:
    """One whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Scene:
    """The parties of a check. Archives are asked for in full size, so that every image costs a credit."""

    def __init__(self, sandbox: Sandbox, service: ServiceProcess, session: ClientSession, data_dir: Path) -> None:
        self.control = sandbox.control
        self.service = service
        self.session = session
        self.data_dir = data_dir

    def add_order(self, images: Sequence[ImageSpec]) -> Order:
        """An order of these images at the sandbox."""
        return self.control.add_order(images)

    def expected(self, order: Order) -> dict[str, bytes]:
        """What the archive of an order must hold: content by name."""
        return {image.name: self.control.expected(image.image_id, FULL_SIZE) for image in order.images}

    def digests(self, order: Order) -> dict[str, str]:
        """Image ids by the name that their content has in the store."""
        return {
            blake3(self.control.expected(image.image_id, FULL_SIZE)).hexdigest(): image.image_id
            for image in order.images
        }

    def moment(self) -> int:
        """Now, as a position in the sandbox's log."""
        return len(self.control.log)

    def fetched(self, since: int = 0) -> Counter[str]:
        """Requests for image bytes since a `moment`, by image id."""
        found = (entry.image_id for entry in self.control.log[since:] if entry.operation == "storage")
        return Counter(image_id for image_id in found if image_id is not None)

    def fetched_of(self, order: Order) -> Counter[str]:
        """Requests for the image bytes of an order, by image id."""
        ids = {image.image_id for image in order.images}
        return Counter({image_id: count for image_id, count in self.fetched().items() if image_id in ids})

    def deliveries(self, order: Order) -> list[int]:
        """How often each image of an order was sent whole by the sandbox."""
        return [self.control.counters.complete_downloads[image.image_id] for image in order.images]

    def bought(self, order: Order) -> int:
        """Credits spent on an order."""
        return sum(self.control.counters.purchases[image.image_id] for image in order.images)

    def order_path(self, order: Order) -> str:
        """The order's archive, to be asked for with `QUERY`."""
        return f"/v1/orders/{order.order_id}/images"

    async def ask(
        self, path: str, *, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request and read the whole answer."""
        async with self.session.get(self.service.url + path, params=query, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def download(self, order: Order) -> Answer:
        """Ask for an order's archive."""
        return await self.ask(self.order_path(order), query=QUERY)

    async def metric(self, series: str) -> float:
        """The value of one series as /metrics writes it."""
        text = (await self.ask("/metrics")).body.decode()
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        assert found is not None, series
        return float(found[1])


@asynccontextmanager
async def open_scene(folder: Path, upstream: FaultProxy | None = None, **settings: str) -> AsyncIterator[Scene]:
    """A running sandbox and service; `settings` are environment variables of the service.

    With `upstream`, the service reaches the sandbox's API through that proxy.
    """
    async with Sandbox(SandboxConfig(credits=1_000_000)) as sandbox:
        api = urlsplit(sandbox.api_base)
        if upstream is not None:
            upstream.target = f"http://{api.netloc}"
        environment = {
            "AUTOENHANCE_API_BASE": upstream.url + api.path if upstream else sandbox.api_base,
            "AUTOENHANCE_API_KEY": sandbox.api_key,
            "BREAKER_FAILURES": "100000",  # these checks are about other promises
            "RATE_LIMIT": "100000/second",
            "STORE_MAX_BYTES": str(4 << 30),
            **settings,
        }
        # Every request has a connection of its own, so that a fault of a connection strikes one request.
        connector = TCPConnector(force_close=True, limit=0)
        async with (
            ServiceProcess(folder, **environment) as service,
            ClientSession(connector=connector, timeout=ClientTimeout(total=TIMEOUT)) as session,
        ):
            yield Scene(sandbox, service, session, folder)


async def eventually(look: Callable[[], Awaitable[float]], wanted: float) -> bool:
    """Look again and again until `wanted` is seen; False when that takes longer than `TIMEOUT`."""
    deadline = time.monotonic() + TIMEOUT
    while await look() != wanted:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def members(body: bytes) -> dict[str, bytes]:
    """A ZIP's members by name, checksums verified. Raises BadZipFile."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@dataclass(frozen=True)
class Records:
    """What the database of a data directory holds, read from a copy: also beside a dead or living service."""

    blobs: frozenset[str]
    """Digests that an image key leads to."""
    members: Mapping[str, frozenset[str]]
    """Names of the members, by archive id."""
    files: frozenset[str]
    """Digests that must be a file."""

    @classmethod
    def read(cls, data_dir: Path) -> "Records":
        """Copy the database with its log and read the copy: opening the original would repair it."""
        with tempfile.TemporaryDirectory() as folder:
            for path in data_dir.glob("batch.sqlite3*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, folder)
            with closing(sqlite3.connect(Path(folder) / "batch.sqlite3")) as connection:
                blobs = _rows(connection, "SELECT DISTINCT digest FROM images JOIN blobs USING (digest)")
                pairs = _rows(connection, "SELECT archive_id, name FROM members")
                files = _rows(connection, "SELECT digest FROM blobs")
        found: dict[str, set[str]] = {}
        for archive_id, name in pairs:
            found.setdefault(archive_id, set()).add(name)
        return cls(
            frozenset(row[0] for row in blobs),
            {key: frozenset(names) for key, names in found.items()},
            frozenset(row[0] for row in files),
        )


def _rows(connection: sqlite3.Connection, query: str) -> list[Any]:
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'members'").fetchone()
    return connection.execute(query).fetchall() if exists else []


def temporary_files(data_dir: Path) -> list[str]:
    """Unfinished downloads in the image store."""
    return [path.name for path in (data_dir / "images" / "incoming").glob("*")]


def stray_files(data_dir: Path) -> list[str]:
    """Files of the image store that no record knows."""
    known = Records.read(data_dir).files
    return [path.name for path in (data_dir / "images").glob("??/*") if path.name not in known]
