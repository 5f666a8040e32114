"""How long the way of one cold download is: from its handler to the request for its image, and back to the socket.

The service runs tasks: a handler begins a build, which begins a fetch, which begins a download that others may join.
The way from the handler to the upstream request is therefore not one stack. Here every task remembers the stack on
which it was created, and a way is a task's own stack, then that of its creator, up to the handler. Only frames
of `service/` count; the middlewares in front of the handler do not.

Modules are counted where they are on such a way at the moments that matter: a request to Autoenhance, work handed over
to the database, bytes handed over to the connection. The way ends there, in aiohttp or in `service/database.py`: they
are not counted. Neither are leaves, which are called for a value and return before anything of this happens: a settings
class, a parser, a plan, a metric, a retry's pause, a slot.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from aiohttp import ClientSession, web

from service.database import Database
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

SERVICE = Path(__file__).parent.parent.parent / "service"
HANDLER = "api/downloads.py:download"
# Of the task that sends the request alone; and over all tasks, to the handler, which is not one of them.
TASK_FRAMES = 6
FRAMES = 12
MODULES = 14


def own_frames(frame: FrameType | None) -> list[str]:
    """The frames of ours on this stack, the innermost first: `archives/build.py:run`."""
    found = []
    while frame is not None:
        if (name := own_name(frame.f_code)) is not None:
            found.append(name)
        frame = frame.f_back
    return found


def own_name(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return f"{path.relative_to(SERVICE)}:{code.co_name}" if path.is_relative_to(SERVICE) else None


@dataclass
class Ways:
    """The ways that were seen, by the moment at which they were."""

    seen: dict[str, list[list[str]]] = field(default_factory=dict)
    stacks: dict[str, list[list[str]]] = field(default_factory=dict)
    """The part of each way that is the stack of the task itself."""
    _created: dict[int, list[str]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def note(self, moment: str) -> None:
        """Something that matters happens now; kept if the handler is at the other end of the way to it."""
        task = asyncio.current_task()
        stack = own_frames(sys._getframe(1))
        way = stack + self._created.get(id(task), [])
        if HANDLER in way and not stack[0].startswith(
            "database.py:"
        ):  # it is asked in two ways, one of them by the other
            self.stacks.setdefault(moment, []).append(stack)
            self.seen.setdefault(moment, []).append(way[: way.index(HANDLER)])

    def create_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task factory: the new task continues the way of whoever creates it."""
        task = asyncio.Task(work, loop=loop, **options)
        way = own_frames(sys._getframe(1)) + self._created.get(id(asyncio.current_task(loop)), [])
        self._created[id(task)] = way
        self._tasks.append(task)  # else another one could get its id
        return task

    def modules(self) -> set[str]:
        """The files on any of these ways, the handler's included."""
        on_the_way = {frame.split(":")[0] for ways in self.seen.values() for way in ways for frame in way}
        return on_the_way | {HANDLER.split(":")[0]}


@pytest.fixture
async def ways(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ways]:
    """Notes every request to Autoenhance, every work for the database, and every write to the caller."""
    ways = Ways()

    def watch(owner: Any, name: str, moment: Callable[..., str]) -> None:
        really = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            ways.note(moment(*args))
            return really(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    watch(ClientSession, "_request", lambda _, method, url, *rest: "image" if "/images/" in str(url) else "order")
    watch(Database, "run", lambda *_: "database")
    watch(Database, "give", lambda *_: "database")
    watch(web.StreamResponse, "write", lambda *_: "socket")
    loop = asyncio.get_running_loop()
    watch(loop, "sendfile", lambda *_: "socket")
    loop.set_task_factory(ways.create_task)
    yield ways
    loop.set_task_factory(None)


async def cold_download(service: Service, upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(size=2 << 20)
    async with service.request(f"/v1/orders/{ORDER}/images") as response:
        assert response.status == 200
        assert jpeg(size=2 << 20) in await response.read()


async def test_few_frames_lie_between_the_handler_and_the_upstream_request(
    start_service: StartService, upstream: FakeUpstream, ways: Ways
) -> None:
    """In the task that sends it, and counted over all tasks on the way."""
    service = await start_service()
    await cold_download(service, upstream)

    (stack,), (way,) = ways.stacks["image"], ways.seen["image"]
    print(f"{len(stack)} frames of the task, {len(way)} in all:", *reversed(way), sep="\n  ")
    assert 0 < len(stack) <= TASK_FRAMES
    assert len(way) <= FRAMES


async def test_few_modules_are_on_the_way(start_service: StartService, upstream: FakeUpstream, ways: Ways) -> None:
    """At the moments that matter, each of which was seen."""
    service = await start_service()
    await cold_download(service, upstream)

    modules = ways.modules()
    print(f"{len(modules)} modules:", *sorted(modules), sep="\n  ")
    assert ways.seen.keys() == {"order", "image", "database", "socket"}
    assert len(modules) <= MODULES
