"""Many readers who take very little at a time: memory stays flat, and a fast reader is not slowed."""

import asyncio
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from service.sandbox import ImageSpec
from tests.faults.curl import throughput
from tests.faults.findings import Findings
from tests.faults.scene import TIMEOUT, Scene, open_scene

_RATE = 64_000
_PIECE = 16_000
_RECEIVE_BUFFER = 32 * 1024
_IMAGE = 16 << 20
_IMAGES = 6
_MAX_GROWTH = 30 << 20
_LEAST_SHARE = 0.5
_FAST_TRIES = 5


async def hold_slow_readers(folder: Path, *, readers: int, seconds: float, judge_speed: bool = True) -> Findings:
    """So many slow readers of large archives, for so long, and fast ones beside them."""
    findings = Findings()
    async with open_scene(folder) as scene:
        orders = [scene.add_order([ImageSpec(size=_IMAGE)] * _IMAGES) for _ in range(2)]
        urls = [f"{scene.service.url}{scene.order_path(order)}?preview=false" for order in orders]
        for url in urls:
            await throughput(url)
        alone = await _best(urls[0])
        before = scene.service.memory
        running = [asyncio.create_task(read_slowly(urls[at % 2], seconds)) for at in range(readers)]
        try:
            await asyncio.sleep(min(3.0, seconds / 2))
            beside = await _best(urls[0])
            most = await _watch_memory(scene, running)
        finally:
            taken = await asyncio.gather(*running)
        health = await scene.ask("/livez")
    grown = (most - before) / (1 << 20)
    rates = f"{min(taken) / seconds / 1000:.0f} to {max(taken) / seconds / 1000:.0f} kB/s"
    findings.figure(f"slow readers, each at {_RATE // 1000} kB/s for {seconds:.0f} s", f"{readers}, {rates}")
    findings.hold("every slow reader is served all the time", min(taken) > 0, taken)
    findings.figure("memory grown, MiB", f"{grown:.1f}", passed=most - before < _MAX_GROWTH)
    speeds = f"{beside / 1e6:.0f}, {alone / 1e6:.0f}"
    fast = not judge_speed or beside >= _LEAST_SHARE * alone
    findings.figure("a fast reader beside them, and alone, MB/s", speeds, passed=fast)
    findings.equal("the service lives", health.status, 200)
    return findings


async def _best(url: str) -> float:
    """Bytes per second, the best of some tries: the machine has other things to do."""
    return max([(await throughput(url))[0] for _ in range(_FAST_TRIES)])


async def _watch_memory(scene: Scene, running: list[asyncio.Task[int]]) -> int:
    """The most that was seen while they read."""
    most = 0
    while not all(task.done() for task in running):
        most = max(most, scene.service.memory)
        await asyncio.wait(running, timeout=0.25)
    return most


async def read_slowly(url: str, seconds: float) -> int:
    """Take `_RATE` bytes per second, with a small window so that the kernel cannot hide it; how many there were."""
    address = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    taken, started = 0, time.monotonic()
    with connection:
        async with asyncio.timeout(seconds + TIMEOUT):
            await loop.sock_connect(connection, (address.hostname, address.port))
            request = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
            await loop.sock_sendall(connection, request.encode())
            while time.monotonic() < started + seconds:
                block = await loop.sock_recv(connection, _PIECE)
                assert block, "the connection was closed"
                taken += len(block)
                await asyncio.sleep(max(0.0, started + taken / _RATE - time.monotonic()))
    return taken
