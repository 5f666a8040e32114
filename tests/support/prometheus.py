"""A real Prometheus, configured as deploy/prometheus is, but scraping one service every second."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from aiohttp import ClientSession

from tests.support.doc_blocks import ROOT
from tests.support.loopback import free_port, until_ready
from tests.support.tools import require_tool

JOB = "autoenhance-batch"
FOLDER = ROOT / "deploy" / "prometheus"
TIMEOUT = 60


@dataclass(frozen=True)
class Prometheus:
    """Asks its query API."""

    url: str
    session: ClientSession

    async def query(self, expression: str) -> list[float]:
        """The values of an instant vector or a scalar, now. A wrong expression fails the test."""
        async with self.session.post(f"{self.url}/api/v1/query", data={"query": expression}) as response:
            document = await response.json()
        assert document["status"] == "success", (expression, document)
        found = document["data"]
        pairs = [found["result"]] if found["resultType"] == "scalar" else [one["value"] for one in found["result"]]
        return [float(value) for _, value in pairs]

    async def get(self, path: str, **params: str) -> Any:
        """Another answer of its API."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as response:
            return (await response.json())["data"]

    async def until(self, expression: str) -> None:
        """Wait until an expression gives anything. Raises `TimeoutError`."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                if await self.query(expression):
                    return
                await asyncio.sleep(0.2)


@asynccontextmanager
async def run_prometheus(service_url: str, folder: Path) -> AsyncIterator[Prometheus]:
    """Run it for the length of the block; data and configuration are in `folder`."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    del config["scrape_configs"][0]["dns_sd_configs"]
    async with run_configured(config, [service_url], folder) as running:
        yield running


@asynccontextmanager
async def run_configured(config: dict[str, Any], urls: Sequence[str], folder: Path) -> AsyncIterator[Prometheus]:
    """The same with a configuration that has one scrape: of these services, every second."""
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / pattern) for pattern in config["rule_files"]]
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [urlsplit(url).netloc for url in urls]}]
    await asyncio.to_thread((folder / "prometheus.yml").write_text, yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        require_tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--enable-feature=exemplar-storage",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with ClientSession() as session:
            await until_ready(session, f"{url}/-/ready")
            yield Prometheus(url, session)
    finally:
        process.terminate()
        await process.wait()
