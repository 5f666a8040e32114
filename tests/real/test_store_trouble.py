"""Trouble with stored images costs nobody the images: what cannot be opened just now is neither deleted nor bought."""

import asyncio
import builtins
import errno
import io
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from tests.support.client import TIMEOUT, Answer, StartService
from tests.support.orders import fill
from tests.support.process import ServiceProcess
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

COUNT = 10
BUY: dict[str, Any] = {"preview": "false"}


@contextmanager
def unreadable(folder: Path, code: int) -> Iterator[None]:
    """Within the block no stored image can be opened: the system answers with this error."""
    right_open, right_os_open = io.open, os.open

    def is_stored(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).parent.parent == folder

    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        if is_stored(path):
            raise OSError(code, os.strerror(code), str(path))
        return right_open(path, *args, **kwargs)

    def refuse_os(path: Any, *args: Any, **kwargs: Any) -> Any:
        if is_stored(path):
            raise OSError(code, os.strerror(code), str(path))
        return right_os_open(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", refuse)
        patch.setattr(builtins, "open", refuse)
        patch.setattr(os, "open", refuse_os)
        yield


def touch_all(folder: Path) -> None:
    """Make every stored image look changed, so that it is read again before it is believed."""
    for path in folder.glob("??/*"):
        os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("touched", [False, True], ids=["as they were", "to be checked again"])
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES, errno.ESTALE])
async def test_an_image_that_cannot_be_opened_is_not_damaged(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path, code: int, *, touched: bool
) -> None:
    """An error or a cut as long as it lasts, nothing is asked for again, and afterwards the same archive is there."""
    data_dir = tmp_path / "kept"
    wanted = fill(upstream, COUNT)
    first = await start_service(data_dir=data_dir)
    held = await first.download(preview="false")
    await first.stop()
    service = await start_service(data_dir=data_dir, order_freshness=0)
    folder = data_dir / "images"
    if touched:
        await asyncio.to_thread(touch_all, folder)

    with unreadable(folder, code):
        for path in (f"/v1/orders/{ORDER}/images", f"/v1/archives/{held.headers['X-Archive-Id']}"):
            with suppress(ClientError):
                during = await service.ask(path, params=BUY if "orders" in path else None)
                assert during.status >= 500
    after = await service.download(preview="false")

    assert (after.members, after.headers["ETag"]) == (wanted, held.headers["ETag"])
    assert upstream.image_calls == COUNT
    assert len(list(folder.glob("??/*"))) == COUNT


@asynccontextmanager
async def without_descriptors(process: ServiceProcess) -> AsyncIterator[None]:
    """Within the block the process can open no file: it has as many as it may have."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    folder = Path(f"/proc/{process.pid}/fd")
    numbers = await asyncio.to_thread(lambda: {int(entry.name) for entry in folder.iterdir()})
    free = next(number for number in range(len(numbers) + 1) if number not in numbers)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("touched", [False, True], ids=["as they were", "to be checked again"])
async def test_without_descriptors_nothing_is_deleted(upstream: FakeUpstream, tmp_path: Path, *, touched: bool) -> None:
    """A process that has no file left to open, asked on a connection that it has: as above, without any trick."""
    wanted = fill(upstream, COUNT)
    settings = {
        "AUTOENHANCE_API_KEY": "key-of-the-account-5c02",
        "AUTOENHANCE_API_BASE": upstream.url,
        "RATE_LIMIT": "off",
    }
    data_dir = tmp_path / "kept"
    path = f"/v1/orders/{ORDER}/images"
    timeout = ClientTimeout(total=TIMEOUT)

    async def download(process: ServiceProcess) -> Answer:
        async with (
            ClientSession(timeout=timeout) as session,
            session.get(process.url + path, params=BUY) as response,
        ):
            return Answer(response.status, response.headers, await response.read())

    async with ServiceProcess(data_dir, **settings) as process:
        held = await download(process)
    if touched:
        await asyncio.to_thread(touch_all, data_dir / "images")

    connector = TCPConnector(limit=1)
    async with ServiceProcess(data_dir, **settings) as process, ClientSession(connector=connector) as session:
        async with session.get(f"{process.url}/livez") as response:
            await response.read()
        async with without_descriptors(process):
            with suppress(ClientError, TimeoutError):
                async with asyncio.timeout(5), session.get(process.url + path, params=BUY) as response:
                    assert await response.read() != held.body
        after = await download(process)

    assert (after.members, after.headers["ETag"]) == (wanted, held.headers["ETag"])
    assert upstream.image_calls == COUNT


async def endless(request: web.Request) -> web.StreamResponse:
    """A JPEG that begins and never ends."""
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    piece = jpeg(9, size=1 << 20)[:-2]
    await response.write(piece)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(piece[100:])
    return response


async def test_an_endless_image_fails_alone(upstream: FakeUpstream, start_service: StartService) -> None:
    """It has a quarter of the store and no more: the others of its order are delivered, and no bought image goes."""
    service = await start_service(store_max_bytes=16 << 20)
    bought = fill(upstream, COUNT, script=lambda number: jpeg(number, size=1_000_000))
    kept = await service.download(preview="false")
    upstream.orders[OTHER_ORDER] = order(["x", "endless", "y"], order_id=OTHER_ORDER)
    upstream.images |= {"x": jpeg(51), "endless": endless, "y": jpeg(52)}

    answer = await service.download(OTHER_ORDER, preview="false")
    again = await service.download(preview="false")

    assert answer.images == {"x.jpg": jpeg(51), "y.jpg": jpeg(52)}
    assert "too_large" in answer.report
    assert (again.members, again.headers["ETag"]) == (bought, kept.headers["ETag"])
    assert upstream.calls("endless") == 1
    assert sum(upstream.calls(f"i{number}") for number in range(COUNT)) == COUNT
