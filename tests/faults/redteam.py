"""What hostile callers and hard times try: `python -m tests.faults.redteam [NAME ...]`.

Each attack has a service of its own, a process as an operator runs it, in front of a scripted upstream. All along
`/livez` is asked from another process; at the end it is said how slow that was, and how much memory was used.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

from tests.faults.findings import Findings
from tests.faults.scene import members
from tests.support.process import CHECKOUT, ServiceProcess
from tests.support.samples import jpeg, order, photo
from tests.support.tools import missing, require_tool
from tests.support.upstream import FakeUpstream

MAX_MEMORY = 200
"""Megabytes."""
MOST_LIVEZ = 100.0
"""Milliseconds."""
ADMIN, CALLER = "token-of-the-administrator-77aa", "key-of-the-first-caller-91c4"
_A_SECOND = 20
"""Requests that a caller may make, where the clock is put back and forth."""
_FILES = 1024
_TIMEOUT = 120.0
# Asks again and again on a connection of its own each time, until its input ends; prints what it saw.
_PROBE = """
import http.client, json, sys, threading, time
host, stop, slowest, answered, failed = sys.argv[1], threading.Event(), 0.0, 0, 0
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.wait(0.02):
    started = time.perf_counter()
    try:
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", "/livez")
        failed += connection.getresponse().status != 200
        connection.close()
    except OSError:
        failed += 1
    slowest, answered = max(slowest, time.perf_counter() - started), answered + 1
print(json.dumps([slowest * 1000, answered, failed]))
"""
# As a module that Python imports at its start: looking up these names takes its time.
_SLOW_NAMES = """
import socket, time
right = socket.getaddrinfo
def slow(host, *args, **kwargs):
    if str(host).endswith(".slow.test"):
        time.sleep(15)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")
    return right(host, *args, **kwargs)
socket.getaddrinfo = slow
"""


@dataclass
class Target:
    """The service under attack, and its upstream."""

    upstream: FakeUpstream
    service: ServiceProcess
    session: ClientSession
    findings: Findings
    folder: Path
    _orders: int = field(default=0)

    def add_order(self, count: int, size: int = 2_000, **fields: Any) -> str:
        """An order of so many images; returns its id."""
        self._orders += 1
        order_id = f"0b9f7c1e-4a57-4d6e-9d51-{self._orders:012x}"
        ids = [f"{self._orders}-{number}" for number in range(count)]
        self.upstream.orders[order_id] = order(ids, order_id=order_id) | fields
        self.upstream.images |= {image_id: jpeg(self._orders * 1000 + n, size) for n, image_id in enumerate(ids)}
        return order_id

    async def ask(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body of one answer."""
        async with self.session.request(
            method, self.service.url + path, headers={"X-API-Key": CALLER} | headers
        ) as response:
            return response.status, await response.read()

    async def is_whole(self, order_id: str) -> bool:
        """Whether a download of the order ends with all its images."""
        document = self.upstream.orders[order_id]
        assert isinstance(document, dict)
        status, body = await self.ask(f"/v1/orders/{order_id}/images?preview=false")
        wanted = {f"{image['image_id']}.jpg": self.upstream.images[image["image_id"]] for image in document["images"]}
        return status == 200 and members(body) == wanted


Attack = Callable[[Target], Awaitable[None]]


@asynccontextmanager
async def _probed(target: Target, most_ms: float) -> AsyncIterator[None]:
    """Ask for `/livez` within the block, and note what came of it."""
    pipe = asyncio.subprocess.PIPE
    host = urlsplit(target.service.url).netloc
    probe = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROBE, host, stdin=pipe, stdout=pipe)
    try:
        yield
    finally:
        out, _ = await probe.communicate(b"")
    slowest, answered, failed = json.loads(out)
    findings = target.findings
    findings.figure("/livez was asked", answered, passed=answered > 0)
    findings.equal("/livez is 200", failed, 0)
    findings.at_most("slowest answer of /livez, ms", round(slowest, 1), most_ms)


# Attacks


async def open_connections(target: Target) -> None:
    """1,100 connections where 1,024 files may be open: silent, in the middle of a head, and after an answer."""
    loop = asyncio.get_running_loop()
    order_id = target.add_order(5)
    address = urlsplit(target.service.url)
    for sent in (b"", b"GET /v1/orders HTT", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"):
        with _Sockets() as sockets:
            for number in range(1_100):
                connection = sockets.new(f"127.0.1.{number % 20 + 1}")
                with suppress(ConnectionError):
                    await loop.sock_connect(connection, (address.hostname, address.port))
                    await loop.sock_sendall(connection, sent)
                if number % 50 == 0:  # faster than they are accepted, a caller would have to knock twice
                    await asyncio.sleep(0.05)
            target.findings.hold("with 1,100 connections open a download is whole", await target.is_whole(order_id))
    target.findings.at_most("files open", target.service.open_files.total(), _FILES - 100)
    target.findings.at_most("lines logged of 3,300 connections", len(target.service.log), 40)


class _Sockets:
    """Sockets of many addresses, closed together."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []

    def new(self, source: str) -> socket.socket:
        """One more."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((source, 0))
        self._open.append(connection)
        return connection

    def __enter__(self) -> "_Sockets":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open:
            connection.close()


async def huge_orders(target: Target) -> None:
    """Overviews and downloads of 8,000 images, four at a time, and documents of nothing but brackets and nulls."""
    known = target.add_order(3)
    await target.is_whole(known)
    large = _large_document(8_000)
    documents = [
        ("8,000 images", large, 200),
        ("900,000 empty records", '{"images":[' + ",".join(["{}"] * 900_000) + "]}", 200),
        ("900,000 times one image", '{"images":[' + ",".join(['{"id":"x"}'] * 900_000) + "]}", 502),
        ("900,000 nulls", '{"images":[' + ",".join(["null"] * 900_000) + "]}", 200),
        ("brackets", '{"images":' + "[" * 5_000_000, 502),
        ("a name of 4 MB", json.dumps({"images": [], "name": "x" * 4_000_000}), 404),
        ("a name of 15 MB", json.dumps({"images": [], "name": "x" * 15_000_000}), 502),
        ("an escaped name of 15 MB", '{"images":[],"name":"' + "\\u00e9" * 2_500_000 + '"}', 502),
        ("more than is read", '{"images":[' + ",".join(["{}"] * 7_000_000) + "]}", 502),
    ]
    for words, document, status in documents:
        ids = [target.add_order(0) for _ in range(12 if document is large else 4)]
        target.upstream.orders |= dict.fromkeys(ids, _sending(document.encode()))
        for path in ("/v1/orders/{}", "/v1/orders/{}/images"):
            for start in range(0, len(ids), 4):
                asked = [target.ask(path.format(order_id)) for order_id in ids[start : start + 4]]
                for found, _ in await asyncio.gather(*asked):
                    allowed = {status} if path.endswith("}") else {404, 413, 422, 502}
                    fair = found in allowed | {504}  # on a slow machine
                    target.findings.hold("a huge order is answered, or a clear error", fair, f"{words}: {found}")
        target.findings.hold("an order that is known is whole beside it", await target.is_whole(known), words)


def _large_document(count: int) -> str:
    images = [
        photo(
            f"{number:036d}",
            f"DSC_{number:05d} living room from the kitchen.jpg",
            enhance_type="property",
            vertical_correction=True,
            sky_replacement=True,
            updated_at=f"2026-03-02T09:15:04.{number:06d}",
            metadata={"exif": {"camera": "a camera", "number": number}},
        )
        for number in range(count)
    ]
    return json.dumps(order(images))


def _sending(body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    return answer


async def clock_steps(target: Target) -> None:
    """The wall clock is put back and forth by hours and days: nobody is locked out, nothing is bought again."""
    findings, upstream = target.findings, target.upstream
    kept = target.add_order(5)
    bought = await target.is_whole(kept)
    findings.hold("before the first step an order is whole", bought)
    # Just now a second's worth was used up: that is over in a second, wherever the clock is put.
    await asyncio.gather(*(_guess(target) for _ in range(2 * _A_SECOND)))
    for step in ("-2h", "+1d", "-1d", "+400d", "+0"):
        (target.folder / "clock").write_text(step)
        await asyncio.sleep(1.5)
        for _ in range(12):  # more than are allowed of wrong ones
            await _guess(target)
        status, _ = await target.ask("/v1/stats", **{"X-Admin-Token": ADMIN})
        findings.hold("the right administrator is never locked out", status == 200, f"{step}: {status}")
        findings.hold("a known order is whole", await target.is_whole(kept), step)
        findings.hold("a new order is whole", await target.is_whole(target.add_order(3)), step)
        findings.hold("a job ends", await _job_ends(target, target.add_order(2)), step)
    calls = [upstream.calls(image_id) for image_id in upstream.images]
    findings.equal("each image is fetched once", set(calls), {1})


async def _guess(target: Target) -> None:
    """Try a token."""
    await target.ask("/v1/stats", **{"X-Admin-Token": "wrong-token-of-nobody-0000"})


async def _job_ends(target: Target, order_id: str) -> bool:
    status, body = await target.ask(f"/v1/orders/{order_id}/jobs", method="POST")
    if status != 202:
        return False
    job_id = json.loads(body)["job_id"]
    async with asyncio.timeout(_TIMEOUT):
        while True:
            _, body = await target.ask(f"/v1/jobs/{job_id}")
            if json.loads(body)["status"] in ("complete", "error"):
                return bool(json.loads(body)["status"] == "complete")
            await asyncio.sleep(0.05)


async def no_descriptors(target: Target) -> None:
    """No file can be opened for a while, in the middle of downloads: nothing is lost, nothing is bought again."""
    findings, pid = target.findings, target.service.pid
    kept = [target.add_order(20, size=100_000) for _ in range(3)]
    for order_id in kept:
        findings.hold("before it an order is whole", await target.is_whole(order_id))
    lines = len(target.service.log)
    async with AsyncExitStack() as stack:
        held = [await _connected(target, stack) for _ in range(3)]
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = await asyncio.to_thread(lambda: {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()})
        lowest = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            for session, order_id in zip(held, kept, strict=True):
                with suppress(ClientError, TimeoutError):
                    url = f"{target.service.url}/v1/orders/{order_id}/images?preview=false"
                    async with asyncio.timeout(5), session.get(url, headers={"X-API-Key": CALLER}) as response:
                        findings.hold("meanwhile: an archive, an error or a cut", await _is_fair(response))
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    for order_id in kept:
        findings.hold("afterwards every order is whole", await target.is_whole(order_id))
    calls = {target.upstream.calls(image_id) for image_id in target.upstream.images}
    findings.equal("each image is fetched once", calls, {1})
    findings.at_most("lines logged meanwhile", len(target.service.log) - lines, 100)


async def _connected(target: Target, stack: AsyncExitStack) -> ClientSession:
    """A session with one connection, which is open."""
    session = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=1)))
    async with session.get(f"{target.service.url}/livez") as response:
        await response.read()
    return session


async def _is_fair(response: ClientResponse) -> bool:
    body = await response.read()
    return response.status >= 500 or (response.status == 200 and bool(members(body)))


async def slow_names(target: Target) -> None:
    """Images and callbacks at names that nobody answers for: known and other orders are served meanwhile."""
    findings = target.findings
    known = target.add_order(5)
    findings.hold("before it an order is whole", await target.is_whole(known))
    slow = target.add_order(20)
    document = target.upstream.orders[slow]
    assert isinstance(document, dict)
    for number, image in enumerate(document["images"]):
        target.upstream.images[image["image_id"]] = _leading_to(f"http://n{number}.slow.test/x.jpg")
    waiting = asyncio.create_task(target.ask(f"/v1/orders/{slow}/images"))
    for number in range(20):
        await target.ask(f"/v1/orders/{known}/jobs?callback_url=https://c{number}.slow.test/hook", method="POST")
    for _ in range(5):
        findings.hold("a known order is whole meanwhile", await target.is_whole(known))
        findings.hold("another order is whole meanwhile", await target.is_whole(target.add_order(3)))
    status, _ = await waiting
    findings.hold("the slow one ends with an error", status in (422, 503), status)


def _leading_to(url: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(url)

    return answer


class _FewFiles(ServiceProcess):
    """It cannot raise its limit."""

    below = ("prlimit", f"--nofile={_FILES}:{_FILES}")


def _faked_clock(folder: Path) -> dict[str, str]:
    """Settings with which a process reads the time from a file. The monotonic clock stays right."""
    require_tool("faketime")
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        missing("libfaketime")
    (folder / "clock").write_text("+0")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else waits for Python's own lock end at once, and threads starve
        "RATE_LIMIT": f"{_A_SECOND}/second",
    }


def _slow_lookups(folder: Path) -> dict[str, str]:
    """Settings with which some names take long to look up."""
    (folder / "sitecustomize.py").write_text(_SLOW_NAMES)
    paths = os.pathsep.join([str(folder), str(CHECKOUT)])
    return {"PYTHONPATH": paths, "IMAGE_TIMEOUT": "3", "CALLBACK_ALLOW_PRIVATE": "true"}


ATTACKS: Mapping[str, Attack] = {
    "connections": open_connections,
    "orders": huge_orders,
    "clock": clock_steps,
    "descriptors": no_descriptors,
    "names": slow_names,
}
_SETTINGS: Mapping[str, Callable[[Path], dict[str, str]]] = {"clock": _faked_clock, "names": _slow_lookups}


async def attack(folder: Path, name: str, *, most_ms: float = MOST_LIVEZ) -> Findings:
    """One attack. `/livez` may take `most_ms`."""
    findings = Findings()
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    settings = {
        "AUTOENHANCE_API_KEY": "key-of-the-account-5c02",
        "SERVICE_API_KEY": CALLER,
        "ADMIN_TOKEN": ADMIN,
        "RATE_LIMIT": "100000/second",
        "BREAKER_FAILURES": "100000",
        **(_SETTINGS[name](folder) if name in _SETTINGS else {}),
    }
    start = _FewFiles if name == "connections" else ServiceProcess
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))  # the other ends are in this process
    try:
        async with (
            FakeUpstream() as upstream,
            start(folder / "data", AUTOENHANCE_API_BASE=upstream.url, **settings) as service,
            ClientSession(timeout=ClientTimeout(total=_TIMEOUT)) as session,
        ):
            target = Target(upstream, service, session, findings, folder)
            async with _probed(target, most_ms):
                await ATTACKS[name](target)
            findings.at_most("peak memory, MB", round(service.peak_memory / 1e6, 1), MAX_MEMORY)
            errors = [line for line in service.log if "Traceback" in line or '"level": "error"' in line]
            findings.at_most("errors in the log", len(errors), 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return findings


async def attack_all(folder: Path) -> Findings:
    """All attacks, one after the other."""
    together = Findings()
    for name in ATTACKS:
        together.add(await attack(folder / name, name), name)
    return together


def main(arguments: list[str]) -> int:
    """Run the attacks that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.redteam", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ATTACKS)}; all if left out")
    names = parser.parse_args(arguments).names or list(ATTACKS)
    if unknown := [name for name in names if name not in ATTACKS]:
        parser.error(f"no such attack: {', '.join(unknown)}")
    passed = True
    for name in names:
        print(f"{name}: {ATTACKS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory(prefix="redteam-") as folder:
            findings = asyncio.run(attack(Path(folder), name))
        findings.print()
        passed = passed and findings.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
