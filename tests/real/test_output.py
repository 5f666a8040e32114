"""`download -o`: what is no file is written to, and never replaced by one."""

import asyncio
import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.client import TIMEOUT, Service
from tests.support.command_line import Outcome, run
from tests.support.orders import fill
from tests.support.process import CHECKOUT, clean_environment
from tests.support.samples import ORDER, jpeg
from tests.support.upstream import FakeUpstream


@pytest.fixture(autouse=True)
def wanted(upstream: FakeUpstream) -> dict[str, object]:
    """An order of two images, of more than a pipe holds."""
    return dict(fill(upstream, 2, script=lambda number: jpeg(number, 100_000)))


async def download(service: Service, folder: Path, place: str) -> Outcome:
    return await run("download", ORDER, "--url", service.url, "-o", place, folder=folder)


def images_in(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("exists", [True, False])
async def test_a_symbolic_link_stays(service: Service, tmp_path: Path, wanted: object, *, exists: bool) -> None:
    """What it leads to is written, whether or not it is there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    target = tmp_path / "elsewhere.zip"
    if exists:
        target.write_bytes(b"an older file")
    (folder / "house.zip").symlink_to(target)

    ended = await download(service, folder, "house.zip")

    assert ended.code == 0, ended.errors
    assert (folder / "house.zip").is_symlink()
    assert images_in(target.read_bytes()) == wanted


async def test_a_fifo_stays_and_its_reader_gets_all(service: Service, tmp_path: Path, wanted: object) -> None:
    """The whole ZIP, and then the end."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = await asyncio.create_subprocess_exec("cat", str(fifo), stdout=asyncio.subprocess.PIPE)
    try:
        ended = await download(service, tmp_path, "pipe")
        is_fifo = stat.S_ISFIFO(fifo.lstat().st_mode)
        async with asyncio.timeout(TIMEOUT if is_fifo else 1):
            received, _ = await reader.communicate()
    finally:
        if reader.returncode is None:
            reader.kill()

    assert ended.code == 0, ended.errors
    assert is_fifo
    assert images_in(received) == wanted


async def test_a_dash_is_standard_output(service: Service, tmp_path: Path, wanted: object) -> None:
    """The ZIP and nothing else; no file is made."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "download", ORDER, "--url", service.url, "-o", "-"),
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(CHECKOUT)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()

    assert process.returncode == 0, errors
    assert images_in(output) == wanted
    assert await asyncio.to_thread(os.listdir, tmp_path) in ([], ["data-0"])
