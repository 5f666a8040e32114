"""What the OpenAPI document allows, and what it forbids, sent to a real service in front of the sandbox."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from service.sandbox import Sandbox, SandboxConfig
from tests.fakes.samples import jpeg
from tests.process import ServiceProcess

KEY, TOKEN, SECRET = "key-of-a-caller", "token-of-the-administrator", "secret-of-the-webhook"

CONFIG = """
headers = {{ X-API-Key = "{key}", X-Admin-Token = "{token}", Authentication = "{secret}" }}
request-timeout = 60.0

[parameters]
order_id = "{order}"
image = ["{image}"]

[checks]
not_a_server_error.enabled = false  # a 503 may be right; that none is a 500 is in the log
positive_data_acceptance.enabled = false  # what may be said may still be refused: a tag that is not the archive's
unsupported_method.enabled = false  # `GET /v1/orders/sample` is an order called sample, which is no id
allow_header_conformance.enabled = false
ignored_auth.enabled = false  # tests/api has that, for every operation
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "408", "413", "415", "422", "431"]
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """An Autoenhance API that enhances at once."""
    async with Sandbox(SandboxConfig(image_delay=0)) as running:
        yield running


async def new_order(sandbox: Sandbox) -> tuple[str, str]:
    """Make an order of one image; its id and that of the image."""
    async with ClientSession(headers={"x-api-key": sandbox.api_key}, raise_for_status=True) as session:
        async with session.post(f"{sandbox.api_base}/orders/", json={"name": "12 Harbour Lane"}) as response:
            order: str = (await response.json())["order_id"]
        made = {"order_id": order, "image_name": "kitchen.jpg"}
        async with session.post(f"{sandbox.api_base}/images/", json=made) as response:
            image = await response.json()
    async with ClientSession(raise_for_status=True) as session:
        headers = {"Content-Type": "application/octet-stream"}
        await session.put(image["upload_url"], data=jpeg(), headers=headers)
    return order, str(image["image_id"])


async def test_the_service_is_what_its_document_says(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every answer is a described one, in status, type, headers and shape; none is a 500, and nothing is unhandled."""
    order, image = await new_order(sandbox)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(key=KEY, token=TOKEN, secret=SECRET, order=order, image=image))
    settings = {
        "AUTOENHANCE_API_BASE": sandbox.api_base,
        "AUTOENHANCE_API_KEY": sandbox.api_key,
        "AUTOENHANCE_WEBHOOK_SECRET": SECRET,
        "SERVICE_API_KEY": KEY,
        "ADMIN_TOKEN": TOKEN,
        "RATE_LIMIT": "off",
    }

    async with ServiceProcess(tmp_path / "data", **settings) as service:
        report = await run_schemathesis(config, service.url, "--phases=examples,coverage,fuzzing", "--max-examples=2")

    assert report.splitlines()[-1] == "0", report[-6000:]
    requests = [line for line in map(_parsed, service.log) if line.get("event") == "request"]
    assert len(requests) > 300
    assert [line for line in requests if line["status"] == 500] == []
    assert [line for line in service.log if "Traceback" in line or '"exception"' in line] == []


async def run_schemathesis(config: Path, url: str, *options: str) -> str:
    """Its report, and on the last line its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run", f"{url}/openapi.json"),
        *("--exclude-path=/sentry-debug", "--exclude-deprecated", "--seed=20", "--continue-on-failure", "--no-color"),
        *options,
        cwd=config.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return f"{printed.decode(errors='replace')}\n{process.returncode}"


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
