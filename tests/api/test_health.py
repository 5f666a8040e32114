"""What probes and operators are told. No service runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import health
from service.api.caller import CALLER, Caller
from service.api.keys import IMAGES, LIFECYCLE, METRICS, SETTINGS, SPENDING, STATS
from service.api.lifecycle import Lifecycle
from service.api.route import EVERY_ROLE, Who
from service.api.routes import ROUTES
from service.settings import Settings
from service.telemetry.metrics import Circuit, Metrics, Shared
from tests.support.handled import document_of

PROBES = ("/health", "/version", "/livez", "/readyz", "/metrics")
SHARING: dict[str, Any] = {"shared_url": "redis://redis/0", "store_url": "s3://bucket"}


def asked(
    *,
    is_ready: bool = True,
    is_usable: bool = True,
    spent: int | None = 0,
    limit: int | None = None,
    caller: Caller | None = None,
    metrics: Metrics | None = None,
    **settings: Any,
) -> web.Request:
    app = web.Application()

    async def usable() -> bool:
        return is_usable

    async def spent_today() -> int | None:
        return spent

    app[SETTINGS] = Settings(_env_file=None, **settings)
    app[LIFECYCLE], app[METRICS] = Lifecycle(is_ready), metrics or Metrics()
    app[IMAGES] = cast(Any, SimpleNamespace(is_usable=usable))
    app[SPENDING] = cast(Any, SimpleNamespace(limit=limit, spent=spent_today))
    app[STATS] = cast(Any, SimpleNamespace(snapshot=lambda: {"uptime_seconds": 1}, recent_errors=lambda: ["an error"]))
    request = make_mocked_request("GET", "/", app=app)
    request[CALLER] = caller or Caller()
    return request


@pytest.mark.parametrize(
    ("is_ready", "is_usable", "status"),
    [(True, True, 200), (False, True, 503), (True, False, 503), (False, False, 503)],
)
async def test_traffic_is_taken_while_ready_and_able_to_store(is_ready: bool, is_usable: bool, status: int) -> None:
    """The process lives all the same, and says what is the matter."""
    request = asked(is_ready=is_ready, is_usable=is_usable)

    assert (await health.readyz(request)).status == status
    assert (await health.livez(request)).status == 200
    assert document_of(await health.health(request))["store"] == ("ok" if is_usable else "unusable")


@pytest.mark.parametrize(
    ("limit", "spent", "left"), [(None, 5, None), (10, None, None), (10, 4, 6), (10, 10, 0), (10, 12, 0), (0, 0, 0)]
)
async def test_administrators_are_told_of_credits(limit: int | None, spent: int | None, left: int | None) -> None:
    """Never of fewer than none: the limit may be lower than it was. Others are told neither that nor of errors."""
    administrator = Caller(is_administrator=True)

    told = document_of(await health.stats(asked(limit=limit, spent=spent, caller=administrator)))
    others = document_of(await health.stats(asked(limit=limit, spent=spent)))

    assert told["credits"] == {"spent_today": spent, "limit": limit, "left": left}
    assert told["recent_errors"] == ["an error"]
    assert others == {"uptime_seconds": 1, "limits": {"max_concurrent_downloads": 5, "max_images_per_order": 100}}


@pytest.mark.parametrize(("redis", "s3"), [(1, 0), (0, 1), (1, 1)])
async def test_the_health_document_says_how_the_parts_stand(redis: int, s3: int) -> None:
    """Each circuit, and each part that instances share."""
    metrics = Metrics()
    metrics.declare_shared()
    metrics.shared_up.labels(Shared.REDIS).set(redis)
    metrics.shared_up.labels(Shared.S3).set(s3)
    for circuit, state in zip(Circuit, (2, 1, 0, 0), strict=False):
        metrics.breaker_state.labels(circuit).set(state)

    found = document_of(await health.health(asked(metrics=metrics, **SHARING)))

    words = {0: "unavailable", 1: "ok"}
    assert (found["redis"], found["s3"], found["api_key_configured"]) == (words[redis], words[s3], False)
    assert [found["circuits"][circuit] for circuit in Circuit][:2] == ["open", "half-open"]
    assert document_of(await health.health(asked(autoenhance_api_key="key")))["api_key_configured"]


async def test_metrics_are_told_in_the_form_that_is_asked_for() -> None:
    """A cache between keeps the forms apart."""
    request = asked()
    open_metrics = request.clone(headers={"Accept": "application/openmetrics-text;version=1.0.0"})

    answers = [await health.metrics(each) for each in (request, open_metrics)]

    assert [answer.headers["Content-Type"].partition(";")[0] for answer in answers] == [
        "text/plain",
        "application/openmetrics-text",
    ]
    assert {answer.headers["Vary"] for answer in answers} == {"Accept"}


@pytest.mark.parametrize("accept", ["text/plain;version=a", "application/openmetrics-text;version=x.y", ";;,"])
async def test_a_form_that_nobody_knows_is_the_usual_one(accept: str) -> None:
    """Whatever a scraper says."""
    answer = await health.metrics(asked().clone(headers={"Accept": accept}))

    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", PROBES)
def test_probes_are_asked_of_every_instance(path: str) -> None:
    """Without a key, a trace, or a line in the log."""
    (probe,) = (route for route in ROUTES if route.path == path)

    assert (probe.who, probe.traced, probe.routine, probe.roles) == (Who.OPEN, False, True, EVERY_ROLE)


def test_what_is_no_probe_is_traced_and_asked_of_those_who_answer() -> None:
    """All of it."""
    others = [route for route in ROUTES if route.path not in PROBES]

    assert {route.traced for route in others} == {True}
    assert {route.path.partition("{")[0] for route in others if route.routine} == {"/web/", "/docs/files/"}
    assert not any("worker" in route.roles for route in others)
