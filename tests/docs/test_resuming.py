"""The recipes that resume: whole files, wherever the connection broke; and callbacks that nobody signed."""

import asyncio
import hashlib
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from service.samples import PHOTOS
from service.sandbox import Sandbox
from tests.docs.test_commands import SECRET, taken
from tests.support.cutting import Cut, cutting
from tests.support.doc_blocks import ADDRESS, RECEIVER, ROOT, Block, blocks, environment
from tests.support.loopback import free_port
from tests.support.process import ServiceProcess

pytestmark = pytest.mark.timeout(300)

RECIPES = list(blocks(ROOT / "service" / "docs" / "recipes.md"))
PROGRAMS = [block for block in RECIPES if block.resumes]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """Before a sandbox with the sample order, of which nothing is stored."""
    async with Sandbox() as sandbox:
        sandbox.control.add_sample_order()
        async with ServiceProcess(
            tmp_path / "data",
            AUTOENHANCE_API_BASE=sandbox.api_base,
            AUTOENHANCE_API_KEY=sandbox.api_key,
            STORE_MAX_BYTES=str(64 << 20),
        ) as running:
            yield running


def is_whole(path: Path) -> bool:
    """Whether a ZIP has every photo, undamaged."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None and len(archive.namelist()) == len(list(PHOTOS.glob("*.jpg")))


def test_each_language_has_a_program_that_resumes() -> None:
    """Two of Python, for either library."""
    assert sorted(block.language for block in PROGRAMS) == ["go", "javascript", "php", "python", "python"]


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda block: block.language)
async def test_a_program_resumes(program: Block, cut: Cut, service: ServiceProcess, tmp_path: Path) -> None:
    """Given a connection that breaks once, halfway or after the last byte, its file is whole."""
    async with cutting(urlsplit(service.url).port or 0, cut) as (proxy, url):
        await program.run(tmp_path, environment(tmp_path), {ADDRESS: url})

    assert proxy.cuts == 1
    assert proxy.connections > 1
    assert is_whole(tmp_path / "house.zip")


async def test_the_command_that_resumes_leaves_a_complete_file_as_it_is(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """Run once more when nothing is left, it succeeds; for an archive that is gone it fails, and spoils nothing."""
    begin, resume = (
        next(block for block in RECIPES if word in block.text and "headers.txt" in block.text)
        for word in ("-D headers.txt", "-C -")
    )
    places = {ADDRESS: service.url}
    await begin.run(tmp_path, environment(tmp_path), places)
    path = tmp_path / "house.zip"
    whole = path.read_bytes()

    await resume.run(tmp_path, environment(tmp_path), places)
    assert path.read_bytes() == whole

    path.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "headers.txt").write_text("X-Archive-Id: 00000000000000000000000000000000\r\n")
    with pytest.raises(AssertionError, match="Cannot resume"):
        await resume.run(tmp_path, environment(tmp_path), places)
    assert path.read_bytes() == whole[: len(whole) // 2]


async def test_the_receiver_refuses_what_is_not_signed(tmp_path: Path) -> None:
    """A call with a signature that somebody made up is a 401, and its body is not believed."""
    (receiver,) = [block for block in RECIPES if "webhook-signature" in block.text]
    port = free_port()
    run = receiver.run(tmp_path, environment(tmp_path, CALLBACK_SECRET=SECRET), {RECEIVER: str(port)})
    receiving = asyncio.create_task(run)
    await taken(port)

    forged = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1800000000",
        "webhook-signature": f"v1,{hashlib.sha256().hexdigest()}",
    }
    async with (
        ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/done", headers=forged, data=b'{"type": "job.complete"}') as response,
    ):
        assert response.status == 401

    assert "complete" not in (await receiving).splitlines()[-1]
