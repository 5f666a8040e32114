"""How the application is wired, and how what runs beside it begins and ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import getcoroutinelocals
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from limits import parse
from pydantic import SecretStr

from service.api import aliases, auth, base_path, delivery_page, limits, middleware, origins
from service.api.guesses import GUESSES
from service.api.keys import (
    ARCHIVES,
    IMAGES,
    JOBS,
    LIFECYCLE,
    LIMITERS,
    METRICS,
    ORDERS,
    SETTINGS,
    SPENDING,
    TIMEOUTS,
    TRACES,
    WEBHOOK_EVENTS,
)
from service.api.limits import Counts, LocalWindow
from service.api.middleware import trace
from service.api.order_requests import OrderRequests
from service.app import LARGEST_BODY, autoenhance, check, components, create_app, drain, open_jobs, presets, running
from service.cluster.cluster import Cluster
from service.jobs.engine import Work
from service.settings import InvalidSettings, Settings
from service.single_flight import SingleFlight
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

    def test_every_answer_is_completed_in_this_order(self) -> None:
        """What all carry first; addresses lead below the path before a successor, which is told as it is, is added."""
        assert list(create_app(settings()).on_response_prepare)[:5] == [
            middleware.add_headers,
            limits.add_headers,
            base_path.complete_headers,
            aliases.add_headers,
            delivery_page.add_headers,
        ]

    def test_callers_and_guesses_are_counted_together_where_instances_share(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In one window, which is closed at the end; questions are counted by each instance."""
        window = LocalWindow()

        async def close(_: object) -> None: ...

        monkeypatch.setattr(window, "close", close, raising=False)
        monkeypatch.setattr("service.cluster.cluster.window", lambda _: window)
        app = create_app(settings())

        counted = {what: limiter._window is window for what, limiter in app[LIMITERS].items()}
        assert counted == {what: what is not Counts.QUESTIONS for what in Counts}
        assert app[GUESSES]._window is window
        assert close in app.on_cleanup

    def test_a_rendition_that_cannot_be_used_is_named(self) -> None:
        """Before anything starts."""
        wrong = settings(renditions={"print": {"max_width": 0}})

        for ask in (presets, check, create_app):
            with pytest.raises(InvalidSettings, match="RENDITIONS"):
                ask(wrong)

    def test_a_rendition_that_the_api_version_does_not_have_is_named(self) -> None:
        """Rather than refused to every caller. Without a version only Autoenhance knows."""
        fine = {"sharp": {"format": "avif"}}
        presets(settings(renditions=fine, autoenhance_api_version=None))

        with pytest.raises(InvalidSettings, match="RENDITIONS: sharp: avif needs AUTOENHANCE_API_VERSION="):
            presets(settings(renditions=fine, autoenhance_api_version="2025-05-05"))

    async def test_a_stop_is_told_to_all_who_wait(self) -> None:
        """No more traffic is wanted, and streams end."""
        app = create_app(settings())
        app[LIFECYCLE].is_ready = True

        await drain(app)

        assert (app[LIFECYCLE].is_ready, app[LIFECYCLE].stopping.is_set()) == (False, True)
        assert drain in app.on_shutdown


class TestComponents:
    """`components`."""

    async def test_what_operators_set_reaches_the_parts(self, tmp_path: Path) -> None:
        """Each its own; only then traffic is taken, and after that nothing is left behind."""
        app = create_app(
            settings(
                data_dir=tmp_path,
                autoenhance_api_base="http://127.0.0.1:9/v3",
                order_freshness=11,
                archive_ttl=12,
                resume_grace=13,
                read_ahead_bytes=14,
                download_concurrency=15,
                max_images_per_order=16,
                max_image_bytes=17,
                max_credits_per_day=18,
                store_max_bytes=19,
                auto_batch=True,
            )
        )
        async with asynccontextmanager(components)(app):
            archives, jobs = app[ARCHIVES], app[JOBS]
            context, is_ready = archives._context, app[LIFECYCLE].is_ready
            found = (
                app[ORDERS]._freshness,
                archives.catalogue._ttl,
                archives._grace,
                archives._window,
                context.fetcher._slots.limit,
                context.planner.max_images,
                app[IMAGES]._max_image_bytes,
                app[SPENDING].limit,
                app[IMAGES]._budget.limit,
            )
            coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
            begun = {getcoroutinelocals(one).get("name", one.__qualname__) for one in coroutines}

        assert found == (11, 12, 13, 14, 15, 16, 17, 18, 19)
        assert (jobs._ttl, app[WEBHOOK_EVENTS]._auto_batch, is_ready) == (12, True, True)
        assert {"sweep archives", "release builds", "Jobs.run", "watch_loop"} <= begun
        assert app[SPENDING] is context.fetcher._spending

    async def test_what_is_under_way_ends_with_them(self, tmp_path: Path) -> None:
        """Calls, downloads and what a webhook began: nothing is left behind."""
        app = create_app(settings(data_dir=tmp_path, autoenhance_api_base="http://127.0.0.1:9/v3"))
        async with asynccontextmanager(components)(app):
            flights: list[SingleFlight[Any]] = [
                app[ORDERS]._calls,
                app[WEBHOOK_EVENTS]._batching,
                app[ARCHIVES]._context.fetcher._flights,
            ]
            waiting = [
                asyncio.create_task(one.join("x", asyncio.Event().wait, "test", may_stop=lambda: True))
                for one in flights
            ]
            await yield_to_loop()

        await asyncio.wait(waiting, timeout=TIMEOUT)
        await yield_to_loop()
        assert asyncio.all_tasks() == {asyncio.current_task()}


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
    """All but those that only answer. Receivers are in public, unless operators allow others."""
    ran: list[Work] = []

    class Engine:
        async def run(self, work: Work) -> None:
            ran.append(work)
            await asyncio.Event().wait()

        async def counts(self) -> dict[str, int]:
            return dict.fromkeys(("queued", "processing"), 0)

    async def open_engine(*_: object) -> Engine:
        return Engine()

    allowed: list[bool] = []

    @asynccontextmanager
    async def open_session(*, allow_private: bool, trace_configs: object) -> AsyncIterator[None]:
        allowed.append(allow_private)
        yield

    monkeypatch.setattr("service.cluster.cluster.open_engine", open_engine)
    monkeypatch.setattr("service.app.open_receiver_session", open_session)
    app = web.Application()
    given = {"role": role, "callback_allow_private": runs}
    app[SETTINGS], app[METRICS], app[TRACES] = settings().model_copy(update=given), Metrics(), Traces()
    app[IMAGES] = cast(Any, None)
    async with asyncio.timeout(TIMEOUT), AsyncExitStack() as stack:
        await open_jobs(stack, app, cast(Any, None), cast(Any, None), cast(Any, None))
        await yield_to_loop()

        assert bool(ran) is runs
        assert allowed == [runs]
