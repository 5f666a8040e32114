"""When upstream is in trouble: circuits open and retries end."""

import asyncio

import pytest
from aiohttp import web

from service.problems import UpstreamError, UpstreamTimeout
from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream.answers import UpstreamFailure
from service.upstream.models import Original
from tests.support.samples import ORDER, jpeg, order
from tests.support.transport import MemoryBody, Parts, download, failure, in_attempts, missing, open_client
from tests.support.upstream import FakeUpstream, Reply


class TestCircuits:
    async def test_a_rest_that_ends_too_soon_is_the_assets_fault(self, upstream: FakeUpstream) -> None:
        """The body came from there, so that circuit counts it."""
        short = Reply(
            body=jpeg()[700:1_000], status=206, headers={"Content-Range": "bytes 700-999/2000", "ETag": '"v1"'}
        )
        upstream.hops["a"] = 1
        upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), short]

        async with open_client(upstream.url, attempts=2, failures=1) as parts:
            outcome = await missing(parts)

            opened = {circuit: breaker.is_open for circuit, breaker in parts.breakers.items()}

        assert outcome == (Reason.TRUNCATED, 2)
        assert opened == {Circuit.API: False, Circuit.ASSETS: True}

    async def test_failing_assets_open_their_circuit_only(self, upstream: FakeUpstream) -> None:
        """Orders can still be asked for; images say why they are missing."""
        upstream.orders[ORDER] = order(["a", "b"])
        upstream.images |= {"a": 500, "b": 500, "c": jpeg()}
        upstream.hops |= {"a": 1, "b": 1, "c": 1}

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            outcomes = [await missing(parts, image_id) for image_id in ("a", "b", "c")]
            document = await parts.client.order(ORDER)

        assert outcomes == [(Reason.UPSTREAM_ERROR, 1), (Reason.UPSTREAM_ERROR, 1), (Reason.BREAKER_OPEN, 0)]
        assert upstream.requests("c") == []  # asking the API for it could buy what cannot be delivered
        assert len(document.images) == 2

    async def test_all_originals_count_as_one(self, upstream: FakeUpstream) -> None:
        """That they fail keeps nobody from enhanced images."""
        upstream.originals |= {"a": 500, "b": 500, "c": 500}
        upstream.images["a"] = jpeg()

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            for image_id in ("a", "b", "c"):
                fetched = parts.client.image(image_id, Original(), MemoryBody())
                with pytest.raises(UpstreamFailure):
                    await in_attempts(parts, fetched)
            extension, _ = await download(parts)

        assert extension == "jpg"

    @pytest.mark.parametrize(("begun", "is_open"), [(b"", True), (b"{", False)], ids=["nothing came", "it had begun"])
    async def test_a_document_that_had_begun_and_took_too_long_opens_no_circuit(
        self, upstream: FakeUpstream, begun: bytes, is_open: bool
    ) -> None:
        """It may have waited here for its turn."""

        async def stall(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(begun)
            await asyncio.Event().wait()
            return response

        upstream.orders[ORDER] = stall
        async with open_client(upstream.url, seconds=0.5, failures=1) as parts:
            with pytest.raises(UpstreamTimeout):
                await parts.client.order(ORDER)

            assert parts.breakers[Circuit.API].is_open is is_open

    async def test_an_open_circuit_ends_the_retries(self, upstream: FakeUpstream) -> None:
        """While calls are paused, a failure is final at once."""
        upstream.images["a"] = 503
        async with open_client(upstream.url, failures=1) as parts:

            async def trip(_: web.Request) -> web.StreamResponse:
                parts.breakers[Circuit.API].admit().finish(failure())
                return web.Response(status=503)

            upstream.images["a"] = trip
            outcome = await missing(parts)

        assert outcome == (Reason.UPSTREAM_ERROR, 1)

    async def test_a_circuit_that_opens_during_a_wait_ends_the_retries_too(
        self, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Open means no traffic, also for an operation that was admitted before."""
        upstream.images["a"] = [503, jpeg()]
        async with open_client(upstream.url, failures=1) as parts:
            sleep = asyncio.sleep

            async def trip_meanwhile(seconds: float) -> None:
                if upstream.calls("a") and not parts.breakers[Circuit.API].is_open:
                    parts.breakers[Circuit.API].admit().finish(failure())
                await sleep(0)

            monkeypatch.setattr(asyncio, "sleep", trip_meanwhile)
            outcome = await missing(parts)

        assert outcome == (Reason.BREAKER_OPEN, 1)
        assert upstream.calls("a") == 1

    async def test_one_broken_image_opens_nothing(self, upstream: FakeUpstream) -> None:
        """However often it is asked for."""
        upstream.images["a"] = 500

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            outcomes = [await missing(parts) for _ in range(5)]

        assert outcomes == [(Reason.UPSTREAM_ERROR, 1)] * 5

    async def test_one_broken_order_opens_nothing(self, upstream: FakeUpstream) -> None:
        """Its document may be broken for good; a second one that is broken too speaks against the API."""
        upstream.orders |= {"one": 500, "two": 500}

        async with open_client(upstream.url, attempts=1, failures=2) as parts:
            opened = []
            for order_id in ("one", "one", "two"):
                with pytest.raises(UpstreamError):
                    await parts.client.order(order_id)
                opened.append(parts.breakers[Circuit.API].is_open)

        assert opened == [False, False, True]

    async def test_retries_have_a_budget(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Twenty, and a tenth of the calls: an outage is not answered with three times the traffic."""
        upstream.images |= {f"i{number}": 503 for number in range(60)}

        for image_id in list(upstream.images):
            await missing(parts, image_id)

        assert 85 <= upstream.image_calls <= 90
        assert parts.sample("batch_upstream_retries_total", reason="upstream_error") == upstream.image_calls - 60
