"""Every expression of dashboards and rules, asked of a real Prometheus that scrapes the real service under load."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientError, ClientSession

from grafana.make import DASHBOARDS, FOLDER
from service.sandbox import ImageSpec
from tests.faults.scene import Scene, open_scene
from tests.tools import require_tool

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
JOB = "autoenhance-batch"
_PATIENCE = 60
_SCRAPES = 6
_INTERVAL = "20s"
_METRIC = re.compile(r"\b(?:batch_[a-z_0-9]+|process_[a-z_0-9]+|job(?:_instance)?:[a-z_:0-9]+)")


def expressions() -> Iterator[tuple[str, str]]:
    """What the panels ask for, with the variables as a viewer would have them."""
    for name in DASHBOARDS:
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", _INTERVAL).replace("$job", JOB)
                yield f"{panel['title']}: {target['legendFormat']}", expression


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


class Prometheus:
    """A running Prometheus, to be asked."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self._url = url
        self._session = session

    async def ask(self, expression: str) -> list[Any]:
        """The result of an instant query. Raises AssertionError when it is no expression."""
        async with self._session.get(f"{self._url}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", (expression, answer)
        result: list[Any] = answer["data"]["result"]
        return result

    async def until(self, expression: str) -> None:
        """Wait until an expression has a result."""
        for _ in range(_PATIENCE * 5):
            try:
                if await self.ask(expression):
                    return
            except (ClientError, ConnectionError):
                pass
            await asyncio.sleep(0.2)
        raise AssertionError(f"nothing for {expression}")


@asynccontextmanager
async def prometheus(folder: Path, service_url: str, port: int) -> AsyncIterator[Prometheus]:
    """Prometheus with our rules, scraping one service every half second."""
    await asyncio.to_thread(_configure, folder, service_url)
    process = await asyncio.create_subprocess_exec(
        require_tool("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with ClientSession() as session:
            yield Prometheus(f"http://127.0.0.1:{port}", session)
    finally:
        process.kill()
        await process.wait()


def _configure(folder: Path, service_url: str) -> None:
    shutil.copytree(DEPLOY / "rules", folder / "rules")
    scrape = {"job_name": JOB, "static_configs": [{"targets": [service_url.removeprefix("http://")]}]}
    seconds = {"scrape_interval": "500ms", "evaluation_interval": "500ms", "external_labels": {"batch_url": "http://x"}}
    document = {"global": seconds, "rule_files": ["rules/*.yml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))


async def load(scene: Scene, rounds: int) -> None:
    """What callers do: whole orders, parts of them, repeats, unknown orders, jobs."""
    for _ in range(rounds):
        order = scene.add_order([ImageSpec(size=40_000) for _ in range(4)])
        await scene.download(order)
        await scene.download(order)
        await scene.ask(scene.order_path(order))
        await scene.ask("/v1/orders/5a3d0c1e-0000-4000-8000-0000000000ff/images")
        async with scene.session.post(f"{scene.service.url}/v1/orders/{order.order_id}/jobs") as response:
            await response.read()


@pytest.mark.timeout(180)
async def test_every_expression_has_an_answer(tmp_path: Path, unused_tcp_port: int) -> None:
    """Each panel shows something while there is traffic, and what each rule stands on exists."""
    (tmp_path / "prometheus").mkdir()
    async with (
        open_scene(tmp_path / "service") as scene,
        prometheus(tmp_path / "prometheus", scene.service.url, unused_tcp_port) as server,
    ):
        await server.until(f'up{{job="{JOB}"}} == 1')
        for _ in range(_SCRAPES):
            await load(scene, 2)
        await server.until(f'count_over_time(up{{job="{JOB}"}}[1m]) > {_SCRAPES}')
        await server.until(f'job:batch_request_errors:ratio_rate5m{{job="{JOB}"}}')

        silent = [title for title, expression in expressions() if not await server.ask(expression)]
        for rule in rules():
            await server.ask(rule["expr"])  # an alert's is empty until its fault occurs: see the tests of the rules
        unknown = [
            (rule.get("alert") or rule["record"], metric)
            for rule in rules()
            for metric in _METRIC.findall(rule["expr"])
            if not await server.ask(f'last_over_time({metric}{{job="{JOB}"}}[5m])')
        ]

    assert silent == []
    assert unknown == []
