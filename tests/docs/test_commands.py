"""Every command, and every program, in the docs does what they say."""

import argparse
import asyncio
import base64
import re
import socket
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.commands.completion import actions_of
from service.commands.download import add_download
from service.commands.jobs import add_jobs
from service.commands.share import add_share
from service.commands.show import add_report, add_show
from service.commands.upload import add_upload
from service.samples import PHOTOS
from service.sandbox import ImageSpec, Sandbox
from tests.support.doc_blocks import ADDRESS, PAGES, RECEIVER, ROOT, STORAGE, Block, blocks, command_line, environment
from tests.support.loopback import free_port
from tests.support.process import ServiceProcess
from tests.support.samples import jpeg

SECOND_ORDER = "a7c40d53-2f0e-4d2b-8c61-5b1e9f3a7d20"
"""Where the docs speak of several."""
TOKEN = "token-of-the-administrator-4b0a"
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
WITH_BLOCKS = [page for page in PAGES if any(blocks(page))]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """The service as an operator runs it, before a sandbox with the orders that the docs speak of."""
    async with Sandbox() as sandbox:
        sample = sandbox.control.add_sample_order()
        again = [ImageSpec(photo=image.name) for image in sample.images]
        sandbox.control.add_order(again, name="Mill Road", order_id=SECOND_ORDER)
        async with ServiceProcess(
            tmp_path / "data",
            AUTOENHANCE_API_BASE=sandbox.api_base,
            AUTOENHANCE_API_KEY=sandbox.api_key,
            ADMIN_TOKEN=TOKEN,
            RATE_LIMIT="off",
            STORE_MAX_BYTES=str(64 << 20),
            CALLBACK_SECRET=SECRET,
            CALLBACK_ALLOW_PRIVATE="true",
        ) as running:
            yield running


def test_every_flag_is_explained() -> None:
    """Of the commands that ask a service, on the page about them, by its short or long form."""
    page = (ROOT / "service" / "docs" / "command-line.md").read_text()
    parser = argparse.ArgumentParser(add_help=False)
    commands = parser.add_subparsers()
    for add in (add_download, add_jobs, add_report, add_share, add_show, add_upload):
        add(commands)
    flags = [action.option_strings for action in actions_of(parser) if action.option_strings and action.dest != "help"]

    missing = [forms for forms in flags if not any(re.search(rf"`[^`]*{form}\b", page) for form in forms)]
    assert len(flags) > 30
    assert missing == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.name)
async def test_the_commands_of_a_page_work(page: Path, service: ServiceProcess, tmp_path: Path) -> None:
    """In the sequence in which a reader would run them; a ZIP that they leave behind is whole."""
    folder = tmp_path / "reader"
    folder.mkdir()
    command_line(tmp_path)
    for name in ("kitchen.jpg", "bath.jpg"):
        (folder / name).write_bytes(jpeg())
    variables = environment(
        tmp_path, SERVICE_URL=service.url, ADMIN_TOKEN=TOKEN, AUTOENHANCE_BATCH_KEY="any", CALLBACK_SECRET=SECRET
    )

    places = {ADDRESS: service.url, RECEIVER: str(free_port()), STORAGE: str(free_port())}
    shell: list[str] = []
    receivers: list[asyncio.Task[str]] = []
    for block in blocks(page):
        if block.resumes:  # tried by a test of its own, where connections break
            continue
        prepare(block, folder)
        run = block.run(folder, variables, places, shell)
        if "handle_request()" in block.text:
            receivers.append(asyncio.create_task(run))
            await taken(int(places[RECEIVER if RECEIVER in block.text else STORAGE]))
        else:
            await run
        interrupt(block, folder)
        shell += block.assignments

    for receiver in receivers:
        assert "complete" in await receiver
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            folders = Counter(name.rpartition("/")[0] for name in archive.namelist() if name[0] != "_")
            if path.name in ("orders.zip", "together.zip"):
                assert len(folders) == 2
            if path.name == "delivery.zip":
                assert set(folders) == {"mls", "originals", "print"}
            assert set(folders.values()) == {len(list(PHOTOS.glob("*.jpg")))}
            assert archive.testzip() is None


def prepare(block: Block, folder: Path) -> None:
    """`curl -J` does not write over the file of an earlier command."""
    if "-fOJ" in block.text:
        for path in folder.glob("*.zip"):
            path.unlink()


def interrupt(block: Block, folder: Path) -> None:
    """The connection broke where the next command goes on."""
    if "-D headers.txt" in block.text:
        truncate(folder / "house.zip")


def truncate(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


async def taken(port: int) -> None:
    """Wait until a program that was started listens. It is not called, as it takes a single call."""
    async with asyncio.timeout(20):
        while True:
            try:
                socket.create_server(("127.0.0.1", port), reuse_port=False).close()
            except OSError:
                return
            await asyncio.sleep(0.05)
