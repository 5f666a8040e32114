"""Every expression of every dashboard and rule, asked of a real Prometheus that scrapes the real service under load."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from service.sandbox import ImageSpec
from tests.faults.scene import Scene, open_scene
from tests.support.collector import Collector
from tests.support.doc_blocks import ROOT
from tests.support.prometheus import FOLDER, JOB, Prometheus, run_prometheus

SCRAPES = 6
VARIABLES = {
    "$job": JOB,
    "$instance": ".*",
    "$__rate_interval": "10s",
    "$__range": "1m",
    "$__interval_ms": "15000",
    "$__interval": "15s",
}
REFUSED = 'increase(batch_upstream_requests_total{operation="order", status="401"}[1m]) > 0'
_SHARED = "batch_shared_up"  # which one instance by itself does not have
SPEC = ImageSpec(size=40_000)


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression of every query of every dashboard."""
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].partition(" or on () ")[0]  # what is shown while there is nothing
                yield f"{path.stem}: {panel['title']}", filled(expression)


def annotations() -> Iterator[tuple[str, str]]:
    """Name and expression of every annotation; the first release that is scraped is one."""
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        for annotation in json.loads(path.read_text())["annotations"]["list"]:
            yield f"{path.stem}: {annotation['name']}", filled(annotation["expr"])


def filled(expression: str) -> str:
    """With values in place of Grafana's variables."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def recordings() -> Iterator[tuple[str, str]]:
    """Every recorded series, by its name."""
    for group in yaml.safe_load((FOLDER / "rules" / "recording.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["record"], rule["record"]


def conditions() -> Iterator[tuple[str, str]]:
    """Every alert as a yes or no: comparisons filter when they are false, and `bool` makes them answer 0 instead.

    A test has no yesterday and no half hour, so that `offset` is left out, and steps of minutes are of seconds.
    """
    for group in yaml.safe_load((FOLDER / "rules" / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            expression = re.sub(
                r" (>|<|==) ", r" \1 bool ", re.sub(" offset 1[dh]", "", rule["expr"]).replace(":1m]", ":1s]")
            )
            yield rule["alert"], expression


@pytest.mark.timeout(180)
async def test_every_expression_has_data(tmp_path: Path, collector: Collector) -> None:
    """Under a good load no alert stirs; once things go wrong too, no panel is empty, and no rule asks for nothing."""
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    async with (
        open_scene(tmp_path / "service", None, **traced) as scene,
        run_prometheus(scene.service.url, tmp_path) as prometheus,
    ):
        async with load(scene):
            await prometheus.until(f'count_over_time(up{{job="{JOB}"}}[1m]) >= {SCRAPES}')
            groups = (await prometheus.get("rules"))["groups"]
        async with load(scene, faults=True):
            await prometheus.until(REFUSED)
            empty = [found async for found in _empty(prometheus)]
            marks = {name: await prometheus.query(expression) for name, expression in annotations()}
        exemplars = await _exemplars(prometheus)

    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}
    stirred = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] != "inactive"}
    assert stirred <= {"BatchSaturated"}  # which is true of a machine that is busy with other tests
    assert empty == []
    assert {name.partition(": ")[2] for name in marks} == {"Restarts", "Releases"}
    assert exemplars & {span.trace_id for span in collector.spans}


async def _empty(prometheus: Prometheus) -> AsyncIterator[str]:
    for name, expression in [*panels(), *recordings(), *conditions()]:
        if _SHARED not in expression and all(map(math.isnan, await prometheus.query(expression))):
            yield f"{name}: {expression}"


@asynccontextmanager
async def load(scene: Scene, *, faults: bool = False) -> AsyncIterator[None]:
    """Callers for the length of the block: new orders, repeated ones, jobs; with `faults`, what goes wrong too."""

    async def call() -> None:
        while True:
            order = scene.add_order([SPEC, SPEC, SPEC])
            assert (await scene.download(order)).status == 200
            assert (await scene.download(order)).status == 200
            job = scene.add_order([SPEC])
            async with scene.session.post(f"{scene.service.url}/v1/orders/{job.order_id}/jobs") as response:
                assert response.status == 202
            if faults:
                await _go_wrong(scene)

    callers = [asyncio.create_task(call()) for _ in range(2)]
    try:
        yield
    finally:
        for caller in callers:
            caller.cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []


async def _go_wrong(scene: Scene) -> None:
    """An image that fails, one that is tried again, an order that upstream never gives, a key that it refuses."""
    order = scene.add_order([SPEC, SPEC, SPEC])
    scene.control.add_fault("status", image_id=order.images[0].image_id, status=400, times=None)
    scene.control.add_fault("status", image_id=order.images[1].image_id, status=503)
    await scene.download(order)
    for status in (500, 401):
        broken = scene.add_order([SPEC])
        scene.control.add_fault("status", order_id=broken.order_id, operation="get_order", status=status, times=None)
        await scene.download(broken)


async def _exemplars(prometheus: Prometheus) -> set[str]:
    found = await prometheus.get(
        "query_exemplars", query="batch_archive_first_byte_seconds_bucket", start="0", end="9999999999"
    )
    return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
