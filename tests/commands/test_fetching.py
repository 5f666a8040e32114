"""How one archive is fetched: how long the service may take, and what is waited out."""

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from blockbuster import BlockBuster
from rich.console import Console

from service.commands import client, fetching
from service.commands.client import Interrupted, Service
from service.commands.display import Display
from service.commands.fetching import Fetched, fetch
from service.commands.partial import Partial
from service.commands.request import Request
from service.commands.talk import Talk
from tests.support.loopback import serving
from tests.support.samples import ORDER, jpeg
from tests.support.transport import TIMEOUT

ARCHIVE = "a" * 32

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def may_block(loop_guard: BlockBuster) -> Iterator[None]:
    """A command has its loop for itself."""
    loop_guard.deactivate()
    yield
    loop_guard.activate()


def zipped() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.jpg", jpeg())
    return written.getvalue()


CONTENT = zipped()


async def send(request: web.Request, *, pause: float = 0.0, before: int = 0) -> web.StreamResponse:
    """The archive, or what is wanted of it; a pause behind so many bytes of it, or in front of all."""
    first = request.http_range.start or 0
    if not before:
        await asyncio.sleep(pause)
    response = web.StreamResponse(status=206 if first else 200, headers={"X-Archive-Id": ARCHIVE})
    await response.prepare(request)
    if before:
        await response.write(CONTENT[first:before])
        first = max(first, before)
        await asyncio.sleep(pause)
    await response.write(CONTENT[first:])
    return response


async def fetched(folder: Path, handle: Handler, **query: Any) -> Fetched:
    """An archive of a service that answers so."""
    async with asyncio.timeout(TIMEOUT), serving(web.get("/{path:.*}", handle)) as url:
        request = Request(Service(url), ORDER, query)
        part = Partial(folder / "house.zip.part", request.identity)
        quiet = Console(quiet=True)
        with Display(quiet, visible=False) as display:
            found = await fetch(request, part, display, Talk(quiet))
    assert part.path.read_bytes() == CONTENT
    return found


class _Clock:
    """Time that passes only where it is slept through."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """The clock of what is fetched."""
    clock = _Clock()
    monkeypatch.setattr(fetching, "time", clock)
    monkeypatch.setattr(fetching, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
    return clock


@pytest.mark.parametrize("before", [0, 40])
@pytest.mark.parametrize(
    ("query", "connections"),
    [({"wait": True, "wait_timeout": 5.0}, 1), ({"on_failure": "strict"}, 1), ({}, 2)],
    ids=["wait", "strict", "neither"],
)
async def test_silence_is_no_stall_while_the_service_waits_for_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: dict[str, Any], connections: int, before: int
) -> None:
    """As long as it was asked to; with --strict only before the first byte, for then everything is there."""
    monkeypatch.setattr(client, "STALL_SECONDS", 0.2)
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await send(request, pause=0.6 if asked == 1 else 0.0, before=before if asked == 1 else 0)

    await fetched(tmp_path, handle, **query)

    assert asked == (2 if before and "on_failure" in query else connections)


def building() -> web.Response:
    return web.json_response({"code": "still_building", "detail": "d"}, status=503, headers={"Retry-After": "5"})


async def test_an_archive_that_is_still_built_is_waited_for(tmp_path: Path, clock: _Clock) -> None:
    """As long as the service was asked to wait for images, however often a broken download is taken up meanwhile."""
    answers = 12

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers -= 1
        return building() if answers else await send(request)

    await fetched(tmp_path, handle, wait=True, wait_timeout=60.0)

    assert clock.now == 11 * 5


@pytest.mark.parametrize(("wait", "times"), [({}, 5), ({"wait": True, "wait_timeout": 60.0}, 12 + 5)])
async def test_an_archive_that_is_built_for_ever_is_given_up(
    tmp_path: Path, clock: _Clock, wait: dict[str, Any], times: int
) -> None:
    """After the wait that was asked for, and as often as a connection that breaks."""
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return building()

    with pytest.raises(Interrupted, match="still being built"):
        await fetched(tmp_path, handle, **wait)

    assert asked == times
