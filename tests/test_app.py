"""How the application is wired, and how what runs beside it begins and ends."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from aiohttp import web
from limits import parse
from pydantic import SecretStr

from service.api import auth, middleware, origins
from service.api.keys import IMAGES, LIFECYCLE, LIMITERS, METRICS, SETTINGS, TIMEOUTS, TRACES
from service.api.limits import Counts
from service.api.middleware import trace
from service.api.order_requests import OrderRequests
from service.app import LARGEST_BODY, autoenhance, check, create_app, drain, open_jobs, presets, running
from service.cluster.cluster import Cluster
from service.jobs.engine import Work
from service.settings import InvalidSettings, Settings
from service.telemetry.metrics import Circuit, Metrics
from service.telemetry.traces import Traces
from tests.support.transport import TIMEOUT, yield_to_loop

ALONE = Cluster(order_requests=cast(OrderRequests, None))


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


class TestApplication:
    """`create_app`."""

    def test_every_request_passes_all_that_judges_it(self) -> None:
        """A trace around all, then the log; what turns errors into answers around what raises them."""
        assert list(create_app(settings()).middlewares)[:5] == [
            trace,
            middleware.observe,
            middleware.handle_errors,
            auth.require_caller,
            origins.refuse_foreign,
        ]

    def test_what_operators_set_counts(self) -> None:
        """The limits of callers, and how long one may stop reading."""
        app = create_app(settings(send_timeout=7, rate_limit="3/minute"))

        assert app[TIMEOUTS].send == 7
        assert app[LIMITERS][Counts.DOWNLOADS]._limit == parse("3/minute")
        assert app._client_max_size == LARGEST_BODY == 64 * 1024
        assert not app[LIFECYCLE].is_ready

    def test_a_rendition_that_cannot_be_used_is_named(self) -> None:
        """Before anything starts."""
        wrong = settings(renditions={"print": {"max_width": 0}})

        for ask in (presets, check, create_app):
            with pytest.raises(InvalidSettings, match="RENDITIONS"):
                ask(wrong)

    async def test_a_stop_is_told_to_all_who_wait(self) -> None:
        """No more traffic is wanted, and streams end."""
        app = create_app(settings())
        app[LIFECYCLE].is_ready = True

        await drain(app)

        assert (app[LIFECYCLE].is_ready, app[LIFECYCLE].stopping.is_set()) == (False, True)
        assert drain in app.on_shutdown


class TestRunning:
    """`running`."""

    async def test_work_ends_with_its_block(self) -> None:
        """It has tidied up by then."""
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append("tidy")

        async with running(work()):
            await yield_to_loop()
            assert ended == []

        assert ended == ["tidy"]

    async def test_work_that_breaks_is_told_and_nothing_else_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        """The service goes on without it."""

        async def work() -> None:
            raise KeyError("broken")

        block = running(work())
        await block.__aenter__()
        await yield_to_loop()
        assert "background task failed" in caplog.text

        with pytest.raises(KeyError, match="broken"):
            await block.__aexit__(None, None, None)

    async def test_work_that_is_stopped_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is logged."""
        async with running(asyncio.sleep(3_600)):
            await yield_to_loop()

        assert caplog.text == ""


class TestUpstream:
    """`autoenhance`."""

    async def test_it_is_asked_as_operators_set(self) -> None:
        """With their key, version, patience and attempts; each circuit opens as they say."""
        given = settings(
            autoenhance_api_base="https://api.example/v3/",
            autoenhance_api_key=SecretStr("key-of-the-account"),
            autoenhance_api_version="2026-10-01",
            upstream_attempts=7,
            image_timeout=33,
            breaker_failures=2,
            breaker_reset=44,
        )

        async with autoenhance(given, Metrics(), [], ALONE) as client:
            transport = client._transport
            assert transport._api_headers == {"x-api-key": "key-of-the-account", "x-api-version": "2026-10-01"}
            assert str(client._base) == "https://api.example/v3"
            assert (client._policy.attempts, client._image_seconds) == (7, 33)
            assert set(client._breakers) == set(Circuit)
            for breaker in client._breakers.values():
                assert (breaker._state.fail_max, breaker._reset) == (2, 44)
            sessions = transport._session, transport._fresh
            assert [session.connector is not None and session.connector.force_close for session in sessions] == [
                False,
                True,
            ]

        assert all(session.closed for session in sessions)

    async def test_a_proxy_that_is_none_is_a_wrong_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Told by its name."""
        monkeypatch.setenv("https_proxy", "socks5://proxy.example:1")

        with pytest.raises(InvalidSettings, match="HTTPS_PROXY"):
            async with autoenhance(settings(), Metrics(), [], ALONE):
                pass


@pytest.mark.parametrize(("role", "runs"), [("all", True), ("worker", True), ("web", False)])
async def test_which_instances_run_jobs(monkeypatch: pytest.MonkeyPatch, role: str, runs: bool) -> None:
    """All but those that only answer."""
    ran: list[Work] = []

    class Engine:
        async def run(self, work: Work) -> None:
            ran.append(work)
            await asyncio.Event().wait()

        async def counts(self) -> dict[str, int]:
            return dict.fromkeys(("queued", "processing"), 0)

    async def open_engine(*_: object) -> Engine:
        return Engine()

    monkeypatch.setattr("service.cluster.cluster.open_engine", open_engine)
    app = web.Application()
    app[SETTINGS], app[METRICS], app[TRACES] = settings().model_copy(update={"role": role}), Metrics(), Traces()
    app[IMAGES] = cast(Any, None)
    async with asyncio.timeout(TIMEOUT), AsyncExitStack() as stack:
        await open_jobs(stack, app, cast(Any, None), cast(Any, None), cast(Any, None))
        await yield_to_loop()

        assert bool(ran) is runs
