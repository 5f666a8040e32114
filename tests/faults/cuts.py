"""A failed archive looks failed to every client: curl, aiohttp, raw HTTP/1.0, and through nginx."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientError

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.curl import curl
from tests.faults.decay import file_of
from tests.faults.findings import Findings
from tests.faults.nginx import nginx
from tests.faults.scene import QUERY, Scene, eventually, members, open_scene

_LARGE = 24 << 20
"""More than the buffers between service and client hold."""
DIRECT, OLD_PROXY, PROXY = "the service itself", "through nginx with HTTP/1.0", "through nginx with HTTP/1.1"
_ALL = dict.fromkeys((DIRECT, OLD_PROXY, PROXY), ("--http1.0", "--http1.1"))
_ROOM = 8 << 20
"""Of the store: the first image of an order goes in, the second does not."""


async def notice_cuts(folder: Path, *, rounds: int, versions: Mapping[str, Sequence[str]] = _ALL) -> Findings:
    """Builds that run out of room after their first bytes, and archives that lose an image, to callers who speak these
    versions of HTTP to each way."""
    findings = Findings()
    async with open_scene(folder / "full", STORE_MAX_BYTES=str(_ROOM)) as scene, _ways(scene) as ways:
        cuts = [await _fail_builds(findings, scene, ways) for _ in range(rounds)]
        findings.hold("some builds failed after their first bytes", any(cuts), cuts)
    async with open_scene(folder / "losing") as scene, _ways(scene) as ways:
        cuts = [await _lose_images(findings, scene, ways, versions) for _ in range(rounds)]
        findings.hold("some images were lost before they were sent", any(cuts), cuts)
    return findings


@asynccontextmanager
async def _ways(scene: Scene) -> AsyncIterator[dict[str, str]]:
    """Where the service is reached: directly, and through proxies."""
    url = scene.service.url
    async with nginx(url, "1.0") as old, nginx(url, "1.1") as new:
        yield {DIRECT: url, OLD_PROXY: old, PROXY: new}


async def _fail_builds(findings: Findings, scene: Scene, ways: dict[str, str]) -> int:
    """No client may see a 200 that ends well. Returns how many were cut."""
    cuts = 0
    for what, base in ways.items():
        path = _failing_order(scene)
        code, status = await curl("-o", "/dev/null", "-w", "%{http_code}", f"{base}{path}?preview=false")
        findings.hold(f"curl sees that a build failed: {what}", code != 0 or status == "503", f"{code}, {status}")
        path = _failing_order(scene)
        how = await _read(scene, base + path)
        findings.hold(f"aiohttp sees that a build failed: {what}", how in ("cut", "503"), how)
        cuts += (code != 0) + (how == "cut")
    path = _failing_order(scene)
    code, status = await curl("--http1.0", "-o", "/dev/null", "-w", "%{http_code}", f"{scene.service.url}{path}")
    findings.equal("HTTP/1.0 is answered 503, for nothing was sent", (code, status), (0, "503"))
    return cuts


def _failing_order(scene: Scene) -> str:
    # Each fits, all of them do not; the last ones come when the first is being read.
    specs = [ImageSpec(size=_ROOM // 5), *[ImageSpec(size=_ROOM // 5, latency=0.3)] * 6]
    return scene.order_path(scene.add_order(specs))


async def _lose_images(
    findings: Findings, scene: Scene, ways: dict[str, str], versions: Mapping[str, Sequence[str]]
) -> int:
    """The archive is whole, but its last image loses half of its bytes while the first is sent. Returns the cuts."""
    cuts = 0
    for what, base in ways.items():
        for version in versions[what]:
            order = scene.add_order([ImageSpec(size=_LARGE), ImageSpec(size=_LARGE + 1)])
            whole = await scene.download(order)
            url = f"{base}/v1/archives/{whole.headers['X-Archive-Id']}"
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "archive.zip"
                reading = asyncio.create_task(curl(version, "--limit-rate", "16M", "-o", str(file), url))
                await eventually(lambda: _has_begun(file), True)  # noqa: B023  # awaited at once
                await asyncio.to_thread(_damage_last, scene, order, whole.body)
                code, _ = await reading
                got = await asyncio.to_thread(file.read_bytes)
            # On a busy machine all may have gone out before that: then the archive is a true one.
            told = code != 0 or got == whole.body
            cuts += code != 0
            findings.hold(f"curl sees that an image was lost: {what}", told, f"{version}, {len(got)} bytes")
            again = await scene.ask(f"/v1/archives/{whole.headers['X-Archive-Id']}")
            findings.hold("and the archive is mended for the next", members(again.body) == scene.expected(order))
    return cuts


async def _has_begun(file: Path) -> bool:
    return await asyncio.to_thread(lambda: file.exists() and file.stat().st_size > 0)


def _damage_last(scene: Scene, order: Order, whole: bytes) -> None:
    last = max(order.images, key=lambda image: whole.index(image.name.encode()))
    # Not merely unlinked: the service keeps files open that it has just written.
    os.truncate(file_of(scene, last.image_id), _LARGE // 2)


async def _read(scene: Scene, url: str) -> str:
    """How aiohttp's client sees an answer end."""
    try:
        async with scene.session.get(url, params=QUERY) as response:
            await response.read()
    except (ClientError, ConnectionError):
        return "cut"
    return "whole" if response.status == 200 else str(response.status)
