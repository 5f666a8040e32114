"""`serve`, `demo`, and the help: what a stranger meets first."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import zipfile
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import urljoin

import pytest
from aiohttp import ClientSession, web

from service.commands import sandbox as sandbox_command
from service.commands.serve import spare_collector
from service.sandbox import Sandbox
from tests.support.command_line import run
from tests.support.loopback import free_port, serving
from tests.support.process import CHECKOUT, ServiceProcess, clean_environment

COMMANDS = (
    "serve",
    "sandbox",
    "demo",
    "download",
    "show",
    "jobs",
    "report",
    "share",
    "upload",
    "config",
    "completion",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("AUTOENHANCE_API_BASE", "api.autoenhance.ai"),
        ("AUTOENHANCE_API_BASE", "ftp://x"),
        ("DOWNLOAD_CONCURRENCY", "0"),
        ("IMAGE_TIMEOUT", "-1"),
        ("RATE_LIMIT", "often"),
        ("TRUSTED_PROXIES", "everyone"),
        ("STORE_MAX_BYTES", "big"),
        ("CALLBACK_SECRET", "not-in-this-form"),
        ("CALLBACK_SECRET", "whsec_dG9vIHNob3J0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "chatty"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    tmp_path: Path, name: str, value: str
) -> None:
    """No traceback, and exit code 2."""
    ended = await run("serve", folder=tmp_path, **{name: value})

    assert ended.code == 2
    assert ended.errors.count("\n") == 1
    assert f"{name}: must " in ended.errors


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_PROPAGATORS", "pigeon"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"), ("OTEL_BSP_MAX_QUEUE_SIZE", "1")],
)
async def test_a_wrong_setting_of_the_tracing_library_stops_the_start_with_one_line(
    tmp_path: Path, name: str, value: str
) -> None:
    """Whether the library finds it when it is loaded or when it is used; in its own words."""
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}

    ended = await run("serve", "--port", "0", folder=tmp_path, **{name: value}, **collector)

    assert ended.code == 2
    assert ended.errors.count("\n") == 1
    assert ended.errors.startswith("autoenhance-batch: OTEL_*: ")


async def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    """A line each, with what is allowed."""
    ended = await run("serve", folder=tmp_path, PORT="70000", BREAKER_RESET="0", LOG_FORMAT="xml", AUTO_BATCH="perhaps")

    assert ended.code == 2
    assert ended.errors.splitlines() == [
        "autoenhance-batch: PORT: must be a whole number from 0 to 65535",
        "autoenhance-batch: BREAKER_RESET: must be a number of more than 0",
        "autoenhance-batch: AUTO_BATCH: must be true or false",
        "autoenhance-batch: LOG_FORMAT: must be console or json",
    ]


async def test_a_wrong_setting_is_not_repeated(tmp_path: Path) -> None:
    """It may be a secret that was put in the wrong place."""
    ended = await run("serve", folder=tmp_path, PORT="whsec_c2VjcmV0")

    assert "whsec" not in ended.errors + ended.output


async def test_a_data_directory_has_one_service_at_a_time(tmp_path: Path) -> None:
    """The second one says so and ends."""
    async with ServiceProcess(tmp_path):
        ended = await run("serve", "--port", "0", "--data-dir", str(tmp_path), folder=tmp_path)

    assert ended.code == 1
    assert "in use by another process" in ended.errors
    assert "Traceback" not in ended.errors


async def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    """Which one, and what to do; of the sandbox too."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        serve = await run("serve", "--port", str(port), folder=tmp_path)
        sandbox = await run("sandbox", "--port", str(port), folder=tmp_path)

    assert (serve.code, sandbox.code) == (1, 1)
    for said in (serve.errors.splitlines()[-1], sandbox.errors.splitlines()[-1]):
        assert re.search(rf"Port {port}.* is in use by another program.*--port", said)
    assert "Traceback" not in serve.errors + sandbox.errors


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid", "no..host"])
async def test_an_address_of_another_machine_is_said_in_one_line(tmp_path: Path, host: str) -> None:
    """`HOST` may name only addresses of this machine."""
    ended = await run("serve", "--host", host, folder=tmp_path)

    assert ended.code == 1
    assert f"This machine has no address {host}" in ended.errors
    assert "Traceback" not in ended.errors


async def test_a_data_directory_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    """It names the setting."""
    ended = await run("serve", "--port", "0", folder=tmp_path, DATA_DIR="/dev/null/x")

    assert ended.code == 1
    assert "DATA_DIR: " in ended.errors
    assert ended.errors.count("\n") == 1


async def test_a_storage_that_refuses_us_is_not_told_as_a_wrong_setting(tmp_path: Path) -> None:
    """Its exit code is another one, after which the unit for systemd starts the service again."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403)

    async with serving(web.route("*", "/{path:.*}", refuse)) as url:
        login = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        shared = {"SHARED_URL": f"redis://127.0.0.1:{free_port()}/0", "STORE_URL": "s3://batch/archives"}
        ended = await run("serve", "--port", "0", folder=tmp_path, AWS_ENDPOINT_URL=url, **login, **shared)

    assert (ended.code, "STORE_URL: this storage refuses us" in ended.errors) == (1, True)


async def test_settings_are_read_from_a_file_too(tmp_path: Path) -> None:
    """`.env`, when present; the environment wins."""
    (tmp_path / ".env").write_text("LOG_LEVEL=chatty\n")

    named = await run("serve", folder=tmp_path)

    assert named.code == 2
    assert "LOG_LEVEL" in named.errors


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    """`--help` teaches, and the top level lists the command."""
    top = await run("--help", folder=tmp_path)
    own = await run(command, "--help", folder=tmp_path)

    assert (top.code, own.code) == (0, 0)
    assert command in top.output
    assert "usage:" in own.output


async def test_a_demo_that_can_keep_no_zip_says_how_it_could(tmp_path: Path) -> None:
    """Before it starts anything."""
    (tmp_path / "out").write_text("a file")

    ended = await run("demo", "-o", "out/demo", folder=tmp_path)

    assert (ended.code, ended.output) == (1, "")
    assert ended.errors == (
        "autoenhance-batch: out/demo: Not a directory. Choose another folder for the ZIP with --output.\n"
    )


async def test_the_demo_ends_with_a_zip_of_real_pictures(tmp_path: Path) -> None:
    """And says where it is."""
    from PIL import Image

    ended = await run("demo", "-o", str(tmp_path / "out"), folder=tmp_path)

    assert ended.code == 0, ended.errors
    (path,) = (tmp_path / "out").glob("*.zip")
    assert str(path.name) in ended.output
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) >= 6
        for name in archive.namelist():
            with archive.open(name) as member, Image.open(member) as picture:
                picture.load()


async def test_a_demo_that_is_kept_leaves_the_page_open(tmp_path: Path) -> None:
    """Until it is stopped; its order and the administrator's token are told."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "demo", "--keep", "-o", str(tmp_path)),
        env=clean_environment(PYTHONPATH=str(CHECKOUT)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60), ClientSession() as session:
        told = (await process.stdout.readuntil(b"Ctrl-C ends it.")).decode()
        (page,) = re.findall(r"http://127\.0\.0\.1:\d+/\?order=[0-9a-f-]{36}", told)
        (token,) = re.findall(r"sign in there with: (\S+)", told)
        async with session.get(page) as response:
            assert (response.status, response.content_type) == (HTTPStatus.OK, "text/html")
        async with session.get(urljoin(page, "/v1/orders"), headers={"X-Admin-Token": token}) as response:
            assert response.status == HTTPStatus.OK
        process.terminate()
        assert await process.wait() == 0


_FULL = """
import errno, io, os, sys
from service.__main__ import main
class Full(io.TextIOWrapper):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
sys.stdout = Full(os.fdopen(1, "wb", closefd=False))
sys.exit(main(["config", "example"]))
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            (sys.executable, "-c", _FULL),
            (1, "autoenhance-batch: The output could not be written: No space left on device.\n"),
        ),
        (("sh", "-c", 'exec "$0" -m service config example >&-', sys.executable), (0, "")),
    ],
    ids=["full", "closed"],
)
def test_an_output_that_takes_nothing_is_no_traceback(program: tuple[str, ...], expected: tuple[int, str]) -> None:
    """A disk that is full says so; an output that was closed is not wanted."""
    ended = subprocess.run(program, capture_output=True, text=True, check=False, env=clean_environment())

    assert (ended.returncode, ended.stderr) == expected


def test_the_module_and_the_command_are_the_same(tmp_path: Path) -> None:
    """`python -m service --version`."""
    ended = subprocess.run(
        [sys.executable, "-m", "service", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )

    assert ended.stdout.strip()


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("colour=red", "--set: unknown setting: colour"),
        ("image_delay=soon", "--set: image_delay: "),
        ("not_ready=418", "--set: not_ready: "),
        ("image_delay", "is not NAME=VALUE"),
    ],
)
async def test_a_wrong_setting_of_the_sandbox_is_named(tmp_path: Path, assignment: str, problem: str) -> None:
    """Exit code 2, no traceback."""
    ended = await run("sandbox", "--set", assignment, folder=tmp_path)

    assert ended.code == 2
    assert problem in ended.errors
    assert "Traceback" not in ended.errors


async def test_a_sandbox_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """SIGTERM, as a container's engine sends it: exit code 0, no word of an error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "sandbox", "--port", "0", "--asset-port", "0"),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            assert process.stdout is not None
            await process.stdout.readuntil(b"Then download the sample order:")
            process.terminate()
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_sandbox_without_pillow_says_what_it_cannot_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_there: bool
) -> None:
    """Else its photos would be taken for enhanced ones, and its previews for full-size ones."""
    monkeypatch.setattr(sandbox_command, "find_spec", lambda _: object() if is_there else None)

    sandbox_command._announce(cast(Sandbox, SimpleNamespace(api_base="http://127.0.0.1:1/v3", api_key="key")))

    assert ("Pillow is not installed" in capsys.readouterr().out) is not is_there


def test_what_is_there_at_the_start_is_not_looked_through_again() -> None:
    """By the garbage collector, which holds the service up meanwhile."""
    gc.unfreeze()  # the tests do the same once they are collected

    spare_collector()

    assert gc.get_freeze_count() > 10_000
