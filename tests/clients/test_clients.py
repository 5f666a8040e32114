"""What others make of `/openapi.json`: a linter finds nothing; generated clients compile strictly and are enough."""

import asyncio
import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import start_service, upstream
from tests.support.client import Service, StartService
from tests.support.doc_blocks import ADDRESS, ROOT
from tests.support.process import end_of
from tests.support.samples import ORDER, jpeg, order
from tests.support.tools import missing, require_tool
from tests.support.upstream import FakeUpstream

__all__ = ["start_service", "upstream"]

HERE = Path(__file__).parent
GUIDE = ROOT / "service" / "docs" / "recipes.md"
KEY = "key-of-a-caller-0"
_TIMEOUT = 100
_OFFLINE = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
# What the generator itself writes around each client is not judged, only what it makes of our document.
_MYPY = "[mypy]\nstrict = true\n[mypy-batch_client.client]\nignore_errors = true\n"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def service(upstream: FakeUpstream, start_service: StartService) -> Service:
    """With a key, and an order of two images."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    return await start_service(service_api_key=KEY)


@pytest.fixture
async def document(service: Service, tmp_path: Path) -> Path:
    """What the service says of itself, as a file."""
    path = tmp_path / "openapi.json"
    path.write_bytes((await service.ask("/openapi.json")).body)
    return path


async def run(*command: str | Path, folder: Path) -> str:
    """What a program prints. Fails the test when it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            **_OFFLINE,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await end_of(process, _TIMEOUT)
    assert process.returncode == 0, output.decode(errors="replace")
    return output.decode()


def example(service: Service, language: str) -> str:
    """The program in the guide, for this service, its key and its order."""
    (found,) = re.finditer(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    program = found[1]
    for written, real in ((ADDRESS, service.url), ("your-key", KEY), ("6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11", ORDER)):
        assert written in program
        program = program.replace(written, real)
    return program


async def assert_flow(output: str, folder: Path) -> None:
    """What the flow printed is true, and its ZIPs are whole."""
    assert json.loads(output.splitlines()[-1]) == {
        "total": 2,
        "names": ["a.jpg", "b.jpg"],
        "status": "complete",
        "outcomes": ["downloaded", "downloaded"],
        "unknown": "order_not_found",
    }
    for name in ("download.zip", "job.zip"):
        assert_whole(folder / name)


def assert_whole(path: Path) -> None:
    """Both images are in it, as they were sent."""
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}


async def test_a_python_client(service: Service, document: Path, tmp_path: Path) -> None:
    """openapi-python-client makes it without a warning, and mypy finds nothing in it, or in a program that uses it."""
    generator = Path(sys.executable).with_name("openapi-python-client")
    config = HERE / "openapi-python-client.yml"
    (tmp_path / "mypy.ini").write_text(_MYPY)
    await asyncio.to_thread(shutil.copy, HERE / "flow.py", tmp_path)

    command = ["generate", "--meta", "none", "--fail-on-warning", "--output-path", "batch_client"]
    await run(generator, *command, "--path", document, "--config", config, folder=tmp_path)
    await asyncio.to_thread((tmp_path / "example.py").write_text, example(service, "py"))
    judged = ["batch_client", "flow.py", "example.py"]
    await run(sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *judged, folder=tmp_path)
    output = await run(sys.executable, "flow.py", service.url, KEY, ORDER, ".", folder=tmp_path)
    await run(sys.executable, "example.py", folder=tmp_path)

    await assert_flow(output, tmp_path)
    assert_whole(tmp_path / "house.zip")


async def test_the_document_is_lint_free(document: Path, tmp_path: Path) -> None:
    """Redocly's linter says nothing about it."""
    linter = HERE / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"
    if not linter.exists():
        missing("node_modules (npm ci in tests/clients)")

    await run(require_tool("node"), linter, "lint", document, "--config", HERE / "redocly.yaml", folder=tmp_path)


async def test_a_typescript_client(service: Service, document: Path, tmp_path: Path) -> None:
    """openapi-typescript makes its types, and the compiler finds nothing in a program that uses them."""
    node, modules = require_tool("node"), HERE / "node_modules"
    if not modules.is_dir():
        missing("node_modules (npm ci in tests/clients)")
    for name in ("flow.ts", "tsconfig.json", "package.json"):
        await asyncio.to_thread(shutil.copy, HERE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)

    await run(node, modules / "openapi-typescript" / "bin" / "cli.js", document, "-o", "schema.d.ts", folder=tmp_path)
    await asyncio.to_thread((tmp_path / "example.ts").write_text, example(service, "ts"))
    await run(node, modules / "typescript" / "bin" / "tsc", "-p", ".", folder=tmp_path)
    output = await run(node, "out/flow.js", service.url, KEY, ORDER, tmp_path, folder=tmp_path)
    await run(node, "out/example.js", folder=tmp_path)

    await assert_flow(output, tmp_path)
    assert_whole(tmp_path / "house.zip")
