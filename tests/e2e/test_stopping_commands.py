"""What a command leaves behind that SIGTERM stops, or the end of its terminal."""

import asyncio
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.process import clean_environment
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.tools import require_tool
from tests.support.upstream import FakeUpstream

_KEY = "key-of-a-caller-0"
_IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "service", *sys.argv[1:]])
"""


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """One that lists its caller's jobs."""
    return await start_service(service_api_key=_KEY)


@pytest.fixture(autouse=True)
def orders(upstream: FakeUpstream) -> None:
    """Two, of which one image never comes."""
    upstream.orders |= {ORDER: order(["a", "b"]), OTHER_ORDER: order(["a"])}
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    upstream.hold("b")


@asynccontextmanager
async def command(*arguments: str, folder: Path, ignored: str = "PIPE", errors: int = PIPE) -> AsyncIterator[Process]:
    """A command that runs, with `temporary` for its temporary files; killed if it still does at the end.

    It ignores one signal: by itself the one that Python does.
    """
    (folder / "temporary").mkdir()
    process = await asyncio.create_subprocess_exec(
        *(require_tool("env"), "--default-signal", f"--ignore-signal={ignored}", sys.executable, *arguments),
        cwd=folder,
        env=clean_environment(TMPDIR=str(folder / "temporary"), TERM="xterm", AUTOENHANCE_BATCH_KEY=_KEY),
        stdout=PIPE,
        stderr=errors,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def download(service: Service, *arguments: str) -> tuple[str, ...]:
    return ("-m", "service", "download", ORDER, *arguments, "--url", service.url)


async def jobs(service: Service) -> list[str]:
    """The state of each."""
    found = await service.ask("/v1/jobs", headers={"X-API-Key": _KEY})
    return [job["status"] for job in found.document["items"]]


async def test_no_temporary_file_stays(upstream: FakeUpstream, service: Service, tmp_path: Path) -> None:
    """Of a ZIP that was to go to standard output."""
    async with command(*download(service, "-o", "-"), folder=tmp_path) as process:
        await upstream.until(lambda: upstream.calls("b") > 0)
        process.terminate()
        output, errors = await process.communicate()

    assert (process.returncode, output) == (143, b""), errors
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_the_job_of_several_orders_is_cancelled(upstream: FakeUpstream, service: Service, tmp_path: Path) -> None:
    """It buys nothing more."""
    async with command(*download(service, OTHER_ORDER, "--together"), folder=tmp_path) as process:
        await upstream.until(lambda: upstream.calls("b") > 0)
        process.terminate()
        _, errors = await process.communicate()

    assert process.returncode == 143, errors
    assert await jobs(service) == ["cancelled"]


async def test_the_job_is_cancelled_too_when_its_terminal_is_closed(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """Although nothing can be said any more."""
    shown, terminal = pty.openpty()
    arguments = ("-c", _IN_A_TERMINAL, *download(service, OTHER_ORDER, "--together")[2:])
    async with command(*arguments, folder=tmp_path, errors=terminal) as process:
        os.close(terminal)
        await upstream.until(lambda: upstream.calls("b") > 0)
        os.close(shown)
        await process.communicate()

    assert process.returncode == 129
    assert await jobs(service) == ["cancelled"]


async def test_a_command_that_is_to_outlive_its_terminal_does(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """Who starts it with `nohup` has it ignore SIGHUP."""
    async with command(*download(service, "-o", "house.zip"), folder=tmp_path, ignored="HUP") as process:
        await upstream.until(lambda: upstream.calls("b") > 0)
        process.send_signal(signal.SIGHUP)
        process.terminate()
        await process.communicate()

    assert process.returncode == 143


async def test_the_demo_leaves_nothing_running_and_nothing_behind(tmp_path: Path) -> None:
    """Of its services and of its data."""
    async with command("-m", "service", "demo", "-o", "out", folder=tmp_path) as process:
        assert process.stdout is not None
        await process.stdout.readuntil(b"A sample order was created")
        process.terminate()
        _, errors = await process.communicate()

    assert (process.returncode, errors) == (143, b"")
    assert list((tmp_path / "temporary").iterdir()) == []
