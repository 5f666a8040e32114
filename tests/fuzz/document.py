"""What the OpenAPI document allows, and what it forbids, sent to a real service in front of the sandbox."""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from service.sandbox import Sandbox, SandboxConfig
from tests.support.process import ServiceProcess
from tests.support.samples import jpeg

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

[[operations]]
include-name = ["POST /v1/orders", "POST /v1/orders/sample"]
[operations.checks]
negative_data_rejection.enabled = false  # a key that was used before has its answer again, whatever comes with it
"""


@dataclass(frozen=True)
class Run:
    """What one run of schemathesis found."""

    report: str
    code: int
    """0: every answer was a described one, in status, type, headers and shape."""
    statuses: Counter[object]
    """Of the answers, as the service logged them."""
    tracebacks: list[str]


async def fuzz_document(folder: Path, *, examples: int, seed: int = 20) -> Run:
    """Fuzz every operation with up to so many examples, besides those that the schemas' bounds give."""
    async with Sandbox(SandboxConfig(image_delay=0)) as sandbox:
        order, image = await _new_order(sandbox)
        config = folder / "schemathesis.toml"
        text = CONFIG.format(key=KEY, token=TOKEN, secret=SECRET, order=order, image=image)
        await asyncio.to_thread(config.write_text, text)
        settings = {
            "AUTOENHANCE_API_BASE": sandbox.api_base,
            "AUTOENHANCE_API_KEY": sandbox.api_key,
            "AUTOENHANCE_WEBHOOK_SECRET": SECRET,
            "SERVICE_API_KEY": KEY,
            "ADMIN_TOKEN": TOKEN,
            "RATE_LIMIT": "off",
        }
        async with ServiceProcess(folder / "data", **settings) as service:
            report, code = await _run_schemathesis(config, service.url, examples, seed)
    answered = [line for line in map(_parsed, service.log) if line.get("event") == "request"]
    tracebacks = [line for line in service.log if "Traceback" in line or '"exception"' in line]
    return Run(report, code, Counter(line["status"] for line in answered), tracebacks)


async def _new_order(sandbox: Sandbox) -> tuple[str, str]:
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


async def _run_schemathesis(config: Path, url: str, examples: int, seed: int) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run", f"{url}/openapi.json"),
        *("--exclude-path=/sentry-debug", "--exclude-deprecated", "--continue-on-failure", "--no-color"),
        *("--phases=examples,coverage,fuzzing", f"--max-examples={examples}", f"--seed={seed}"),
        cwd=config.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return printed.decode(errors="replace"), process.returncode or 0


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
