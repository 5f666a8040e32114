"""Real download managers at an order's URL: none of them ends well with a broken ZIP, and none is left without one."""

import asyncio
import io
import time
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.orders import fill
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.tools import require_tool
from tests.support.upstream import FakeUpstream

COUNT = 12
SIZE = 400_000
"""Of an image: with so many, aria2 splits the archive into pieces of a MiB."""
QUIET = ("--no-conf=true", "--console-log-level=error", "--summary-interval=0", "--allow-overwrite=true")
TRIES = ("--max-tries=2", "--retry-wait=1")

TOOLS: dict[str, tuple[str, ...]] = {
    "wget -c": ("wget", "-q", "--tries=2", "-c", "-O", "order.zip"),
    "aria2c -c": ("aria2c", *QUIET, *TRIES, "-c", "-o", "order.zip"),
    "aria2c -x8": ("aria2c", *QUIET, *TRIES, "-c", "-x8", "-s8", "-k1M", "-o", "order.zip"),
    "curl -C -": ("curl", "-s", "-S", "-f", "-C", "-", "-o", "order.zip"),
    "curl -C - without -f": ("curl", "-s", "-S", "-C", "-", "-o", "order.zip"),
}


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it left."""

    code: int
    file: bytes
    words: str

    @property
    def members(self) -> dict[str, bytes] | None:
        """Of the ZIP that it left; None when that is broken."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.file)) as archive:
                return {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, EOFError):
            return None


class Manager:
    """One program with its folder, at one URL."""

    def __init__(self, command: tuple[str, ...], folder: Path, url: str) -> None:
        self._command = (require_tool(command[0]), *command[1:], url)
        self._folder = folder
        self.file = folder / "order.zip"

    async def run(self) -> Ended:
        """Run it to its end."""
        process = await self.start()
        try:
            async with asyncio.timeout(2 * TIMEOUT):
                out, error = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        body = await asyncio.to_thread(lambda: self.file.read_bytes() if self.file.exists() else b"")
        return Ended(process.returncode, body, (out + error).decode(errors="replace"))

    async def start(self) -> asyncio.subprocess.Process:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*self._command, cwd=self._folder, stdout=pipe, stderr=pipe)

    async def again(self) -> Ended:
        """As a person does where it ended badly: the advice is to delete what there is and to download again."""
        ended = await self.run()
        if ended.code != 0:
            await asyncio.to_thread(self._clear)
            ended = await self.run()
        return ended

    def wait_for_bytes(self, least: int) -> None:
        """Block until so many are in the file."""
        while not self.file.exists() or self.file.stat().st_size < least:
            time.sleep(0.02)

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()


Start: TypeAlias = Callable[[Service, str], Manager]


@pytest.fixture(params=list(TOOLS.values()), ids=list(TOOLS))
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """A download manager, to be pointed at a query of the order's URL."""
    folder = tmp_path / "downloads"
    folder.mkdir()

    def start(service: Service, query: str = "") -> Manager:
        return Manager(request.param, folder, f"{service.url}/v1/orders/{ORDER}/images{query}")

    return start


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """It looks at the order for every request."""
    return await start_service(order_freshness=0)


@pytest.fixture(autouse=True)
def wanted(upstream: FakeUpstream) -> dict[str, object]:
    """The order as it is at first."""
    return dict(fill(upstream, COUNT, script=lambda number: jpeg(number, SIZE)))


QUERIES = [
    "",
    "?delivery=complete",
    "?on_failure=strict",
    "?wait=true",
    "?quality=80&" + "&".join(f"image=i{number}" for number in range(COUNT)),
]
SHORT = [query[:20] for query in QUERIES]


@pytest.mark.parametrize("query", QUERIES, ids=SHORT)
async def test_the_first_download_is_right(
    service: Service, manager: Start, wanted: dict[str, object], query: str
) -> None:
    """Of an archive that is built meanwhile, and of one that is there."""
    first = await manager(service, query).again()
    second = await manager(service, query).again()

    assert (first.code, first.members) == (0, wanted), first.words
    assert (second.code, second.members) == (0, wanted), second.words


@pytest.mark.parametrize(
    ("query", "kept"), [*((query, 1_000_000) for query in QUERIES), ("", -1)], ids=[*SHORT, "all but a byte"]
)
async def test_without_a_change_it_ends_with_the_right_zip(
    upstream: FakeUpstream, service: Service, manager: Start, wanted: dict[str, object], query: str, kept: int
) -> None:
    """A part of the archive is there: it is resumed, and the archive's URL is asked for nothing else."""
    whole = await service.ask(f"/v1/orders/{ORDER}/images{query}")
    one = manager(service, query)
    await asyncio.to_thread(one.file.write_bytes, whole.body[:kept])

    ended = await one.run()

    assert (ended.code, ended.members) == (0, wanted), ended.words
    assert upstream.image_calls == COUNT


Change: TypeAlias = Callable[[FakeUpstream, Service], Awaitable[None]]


async def _another_image(upstream: FakeUpstream, _: Service) -> None:
    fill(upstream, COUNT + 1, script=lambda number: jpeg(number, SIZE))


async def _fewer_images(upstream: FakeUpstream, _: Service) -> None:
    fill(upstream, COUNT - 2, script=lambda number: jpeg(number, SIZE))


async def _made_anew(upstream: FakeUpstream, _: Service) -> None:
    """As long as before, other pictures: only the bytes tell."""
    ids = [f"i{number}" for number in range(COUNT)]
    upstream.orders[ORDER] = order([photo(image_id, updated_at="2027-01-01T00:00:00") for image_id in ids])
    upstream.images |= {image_id: jpeg(100 + number, SIZE) for number, image_id in enumerate(ids)}


async def _renamed(upstream: FakeUpstream, _: Service) -> None:
    upstream.orders[ORDER] = order([photo(f"i{number}", f"n{number}.jpg") for number in range(COUNT)])


async def _turned_round(upstream: FakeUpstream, _: Service) -> None:
    upstream.orders[ORDER] = order([f"i{number}" for number in reversed(range(COUNT))])


CHANGES: dict[str, Change] = {
    "another image": _another_image,
    "fewer images": _fewer_images,
    "made anew": _made_anew,
    "renamed": _renamed,
    "turned round": _turned_round,
}


PART, ALL = 1_000_000, None
# What is held of the archive of before, and whether others have the one of now: each with each where only the bytes
# tell, every pair with some other change too.
HELD: dict[str, list[tuple[int | None, bool]]] = {
    "another image": [(PART, False), (ALL, True)],
    "fewer images": [(PART, True), (ALL, False)],
    "made anew": [(PART, False), (PART, True), (ALL, False), (ALL, True)],
    "renamed": [(PART, False), (ALL, True)],
    "turned round": [(PART, True), (ALL, False)],
}


@pytest.mark.parametrize(
    ("change", "kept", "others"),
    [
        pytest.param(
            change, kept, others, id=f"{name}-{kept or 'all'}-{'downloaded by others' if others else 'unseen'}"
        )
        for name, change in CHANGES.items()
        for kept, others in HELD[name]
    ],
)
async def test_after_a_change_no_broken_zip_is_called_done(
    upstream: FakeUpstream, service: Service, manager: Start, change: Change, kept: int | None, *, others: bool
) -> None:
    """A part of the archive of before is there: whoever ends well has a whole archive, of then or of now."""
    before = await service.download()
    one = manager(service, "")
    await asyncio.to_thread(one.file.write_bytes, before.body[:kept])
    await change(upstream, service)
    if others:
        await service.download()

    ended = await one.run()
    restarted = await one.again()
    now = await service.download()

    assert ended.code != 0 or ended.members in (before.members, now.members), ended.words
    assert restarted.code == 0
    assert restarted.members in (before.members, now.members), restarted.words


@pytest.mark.parametrize("query", QUERIES, ids=SHORT)
async def test_neither_with_other_options(upstream: FakeUpstream, service: Service, manager: Start, query: str) -> None:
    """The same for each option set: another rendition, `strict`, `complete`, a wait, a subset."""
    path = f"/v1/orders/{ORDER}/images{query}"
    before = await service.ask(path)
    one = manager(service, query)
    await asyncio.to_thread(one.file.write_bytes, before.body[:1_000_000])
    await _made_anew(upstream, service)

    ended = await one.run()
    now = await service.ask(path)

    assert ended.code != 0 or ended.members in (before.members, now.members), ended.words


async def test_neither_after_a_failure_was_mended(upstream: FakeUpstream, service: Service, manager: Start) -> None:
    """The first archive lacked an image and had a report: the next one is another."""
    right = upstream.images["i3"]
    upstream.images["i3"] = 404
    before = await service.download()
    one = manager(service, "")
    await asyncio.to_thread(one.file.write_bytes, before.body[:1_000_000])
    upstream.images["i3"] = right

    ended = await one.run()
    restarted = await one.again()

    assert ended.code != 0 or ended.members in (before.members, restarted.members), ended.words
    assert restarted.code == 0
    assert restarted.members is not None


async def test_neither_where_nothing_is_known(
    upstream: FakeUpstream, start_service: StartService, manager: Start, wanted: dict[str, object]
) -> None:
    """A service that has lost its data does not complete what another one began."""
    elsewhere = await start_service()
    await _made_anew(upstream, elsewhere)
    before = await elsewhere.download()
    service = await start_service()
    fill(upstream, COUNT, script=lambda number: jpeg(number, SIZE))
    one = manager(service, "")
    await asyncio.to_thread(one.file.write_bytes, before.body[:1_000_000])

    ended = await one.run()
    restarted = await one.again()

    assert ended.code != 0 or ended.members == wanted, ended.words
    assert (restarted.code, restarted.members) == (0, wanted)


async def test_a_manager_that_was_killed_in_a_build_goes_on(
    upstream: FakeUpstream, service: Service, manager: Start, wanted: dict[str, object]
) -> None:
    """It has the first images of an archive that is still being built; started again, it ends with all of it."""
    gate = upstream.hold(f"i{COUNT - 1}")
    one = manager(service, "")
    process = await one.start()
    async with asyncio.timeout(TIMEOUT):
        await asyncio.to_thread(one.wait_for_bytes, SIZE)
    process.kill()
    await process.communicate()

    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    gate.set()
    first = await running
    ended = first if first.code == 0 else await one.again()

    assert first.code != 0 or first.members == wanted, first.words
    assert (ended.code, ended.members) == (0, wanted), ended.words
    assert upstream.image_calls == COUNT


async def test_a_hundred_images(upstream: FakeUpstream, service: Service, manager: Start) -> None:
    """As many as an order may have, in pieces."""
    wanted = fill(upstream, 100, script=lambda number: jpeg(number, 60_000))
    whole = await service.download()
    one = manager(service, "")
    await asyncio.to_thread(one.file.write_bytes, whole.body[:2_000_000])

    first = await one.run()
    ended = first if first.code == 0 else await one.again()

    assert first.code != 0 or first.members == wanted, first.words
    assert (ended.code, ended.members) == (0, wanted), ended.words
