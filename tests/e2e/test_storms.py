"""A bad day upstream: what fails fails quickly, the others are served, and little is sent in vain."""

import asyncio
import itertools
import re
from collections.abc import Callable

import pytest
from aiohttp import web

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream, Handler, Reply, Script

THIRD_ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be003"
LATENCY = 0.02


def fill(
    upstream: FakeUpstream, order_id: str, prefix: str, count: int, script: Callable[[int], Script] = jpeg
) -> list[str]:
    """An order of so many images: by default each its own JPEG, else what `script` makes of its number."""
    ids = [f"{prefix}{number}" for number in range(count)]
    upstream.orders[order_id] = order(ids)
    upstream.images |= {image_id: script(number) for number, image_id in enumerate(ids)}
    return ids


def slowly(number: int) -> Handler:
    """An image that takes as long as a quick upstream would."""

    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(LATENCY)
        return web.Response(body=jpeg(number), content_type="image/jpeg")

    return answer


def missing(answer: Answer) -> dict[str, str]:
    """Code by image id, as the report in the ZIP tells it."""
    return dict(re.findall(r"image id: (\S+)\s+reason: +(\w+):", answer.report))


async def metric(service: Service, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", (await service.ask("/metrics")).body.decode(), re.MULTILINE)
    assert found is not None, series
    return float(found[1])


async def until(service: Service, series: str, least: float) -> None:
    """Wait until a series has come so far."""
    async with asyncio.timeout(TIMEOUT):
        while await metric(service, series) < least:
            pass


class TestBreaker:
    async def test_opened_in_the_middle_it_ends_the_build_with_what_is_in(
        self, upstream: FakeUpstream, start_service: StartService
    ) -> None:
        """Five failures, and the rest is not asked for: delivered is what came before, and each image says why."""
        service = await start_service(upstream_attempts=1, breaker_failures=5)
        ids = fill(upstream, ORDER, "i", 60, lambda number: jpeg(number) if number < 10 else 503)
        gates = [upstream.hold(image_id) for image_id in ids[10:]]
        downloading = asyncio.create_task(service.download())
        await until(service, 'batch_images_total{outcome="downloaded"}', 10)  # a success begins the row anew
        for gate in gates:
            gate.set()

        answer = await downloading

        codes = missing(answer)
        refused = [image_id for image_id in ids if codes.get(image_id) == "breaker_open"]
        failed = [image_id for image_id in ids if codes.get(image_id) == "upstream_error"]
        assert answer.status == 200
        assert answer.images == {f"i{number}.jpg": jpeg(number) for number in range(10)}
        assert 5 <= len(failed) <= 9  # those under way together with the fifth
        assert len(failed) + len(refused) == 50
        assert [upstream.calls(image_id) for image_id in refused] == [0] * len(refused)

    async def test_who_is_refused_waits_for_no_slot(self, upstream: FakeUpstream, start_service: StartService) -> None:
        """The only slot is held by a slow download; an image that may not be asked for fails without it."""
        service = await start_service(upstream_attempts=1, breaker_failures=1, download_concurrency=1)
        fill(upstream, ORDER, "slow", 1)
        fill(upstream, OTHER_ORDER, "i", 20)
        upstream.orders[THIRD_ORDER] = 500
        gate = upstream.hold("slow0")
        await service.ask(f"/v1/orders/{OTHER_ORDER}")  # its document is fresh from now on
        slow = asyncio.create_task(service.download(ORDER))
        await upstream.until(lambda: upstream.calls("slow0") == 1)
        await service.download(THIRD_ORDER)

        async with asyncio.timeout(TIMEOUT):
            answer = await service.download(OTHER_ORDER)
        gate.set()

        assert (answer.status, answer.problem["code"]) == (503, "breaker_open")
        assert upstream.calls("i0") == 0
        assert (await slow).images == {"slow0.jpg": jpeg(0)}

    async def test_after_the_rest_one_call_tries_for_all(
        self, upstream: FakeUpstream, start_service: StartService
    ) -> None:
        """Of ten orders asked for at once one reaches upstream; nine hear to come back, and after it all is well."""
        service = await start_service(upstream_attempts=1, breaker_failures=1, breaker_reset=0.5)
        ids = [f"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be1{number:02}" for number in range(10)]
        upstream.orders[THIRD_ORDER] = 500
        for order_id in ids:
            fill(upstream, order_id, f"{order_id[-2:]}-", 1)
        gates = [upstream.hold(order_id) for order_id in ids]
        await service.download(THIRD_ORDER)
        await asyncio.sleep(0.5)  # the rest: upstream is left alone for at least as long

        asked = [asyncio.create_task(service.download(order_id)) for order_id in ids]
        for refused in itertools.islice(asyncio.as_completed(asked, timeout=TIMEOUT), 9):
            await refused
        tried = sum(upstream.calls(order_id) for order_id in ids)
        for gate in gates:
            gate.set()
        answers = await asyncio.gather(*asked)
        again = [await service.download(order_id) for order_id in ids]

        assert tried == 1
        assert sorted(answer.status for answer in answers) == [200] + [503] * 9
        assert {answer.headers["Retry-After"] for answer in answers if answer.status == 503} == {"1"}
        assert [answer.status for answer in again] == [200] * 10

    async def test_while_assets_rest_nothing_is_bought(
        self, upstream: FakeUpstream, start_service: StartService
    ) -> None:
        """The API would sell what the assets cannot deliver, so it is not asked either."""
        service = await start_service(upstream_attempts=1, breaker_failures=1)
        fill(upstream, ORDER, "a", 1, lambda _: 500)
        fill(upstream, OTHER_ORDER, "b", 3)
        upstream.hops |= {"a0": 1, "b0": 1, "b1": 1, "b2": 1}
        await service.download(ORDER, preview="false")

        answer = await service.download(OTHER_ORDER, preview="false")

        assert (answer.status, answer.problem["code"]) == (503, "breaker_open")
        assert [upstream.calls(image_id) for image_id in ("b0", "b1", "b2")] == [0, 0, 0]


class TestFairness:
    async def test_a_small_order_is_not_stuck_behind_a_large_one(
        self, upstream: FakeUpstream, service: Service
    ) -> None:
        """Started in the middle of 100 images, three are fetched in turn with them and done long before."""
        large = fill(upstream, ORDER, "large", 100, slowly)
        fill(upstream, OTHER_ORDER, "small", 3, slowly)
        crowd = asyncio.create_task(service.download(ORDER))
        await upstream.until(lambda: sum(upstream.calls(image_id) for image_id in large) >= 10)
        answer = await service.download(OTHER_ORDER)
        asked_by_then = sum(upstream.calls(image_id) for image_id in large)
        whole = await crowd

        names = [request.path.split("/")[3] for request in upstream.received if "/images/" in request.path]
        first, last = names.index("small0"), names.index("small2")
        between = [name for name in names[first:last] if name.startswith("large")]
        assert len(answer.images) == 3
        assert len(between) <= 4  # one of the large order's in each turn
        assert asked_by_then < 60
        assert len(whole.images) == 100


class TestPace:
    async def test_with_429s_the_limit_falls_and_returns(self, upstream: FakeUpstream, service: Service) -> None:
        """As the metric shows it while images arrive; every image is delivered in the end."""
        limits: list[float] = []

        def script(number: int) -> list[Script]:
            async def answer(_: web.Request) -> web.StreamResponse:
                limits.append(await metric(service, "batch_download_concurrency_limit"))
                return web.Response(body=jpeg(number), content_type="image/jpeg")

            refusal = Reply(status=429, headers={"Retry-After": "1"})
            return [refusal, answer] if 30 <= number < 35 else [answer]

        fill(upstream, ORDER, "i", 60, script)

        answer = await service.download()

        assert len(answer.images) == 60
        assert limits[0] == 5
        assert min(limits) < 5
        assert await metric(service, "batch_download_concurrency_limit") == 5


class TestStorm:
    @pytest.mark.parametrize("breaker_failures", [1_000_000, 5])
    async def test_retries_never_become_the_load(
        self, upstream: FakeUpstream, start_service: StartService, breaker_failures: int
    ) -> None:
        """Two orders of 100 images, every answer 503: hardly more is sent than asked for, with a breaker far less."""
        service = await start_service(breaker_failures=breaker_failures)
        fill(upstream, ORDER, "a", 100, lambda _: 503)
        fill(upstream, OTHER_ORDER, "b", 100, lambda _: 503)

        answers = await asyncio.gather(service.download(ORDER), service.download(OTHER_ORDER))

        sent = len(upstream.received)
        asked = len({request.path for request in upstream.received})
        # With a breaker: 503 for an order that has met nothing but the open circuit.
        assert {answer.status for answer in answers} <= ({422, 503} if breaker_failures == 5 else {422})
        assert sent - asked <= 20 + 0.1 * sent + 1
        if breaker_failures == 5:
            assert asked < 100
        else:
            assert asked == 202


class TestMoney:
    async def test_without_credit_nothing_more_is_asked_for(self, upstream: FakeUpstream, service: Service) -> None:
        """A 402 ends the buying: four that were under way are delivered, those in line are not even asked for."""
        ids = fill(upstream, ORDER, "i", 20)
        upstream.images["i4"] = 402
        gates = [upstream.hold(image_id) for image_id in ids[:5]]
        download = asyncio.create_task(service.download(preview="false"))
        await upstream.until(lambda: upstream.in_flight == 5)

        gates[4].set()
        await until(service, 'batch_image_failures_total{reason="no_credit"}', 16)
        for gate in gates[:4]:
            gate.set()
        answer = await download

        assert answer.images == {f"i{number}.jpg": jpeg(number) for number in range(4)}
        assert missing(answer) == dict.fromkeys(ids[4:], "no_credit")
        assert [upstream.calls(image_id) for image_id in ids[5:]] == [0] * 15

    async def test_what_is_bought_is_delivered_without_credit(
        self, upstream: FakeUpstream, start_service: StartService
    ) -> None:
        """After a 402 images that were bought before are still fetched: that is free."""
        service = await start_service(download_concurrency=1)
        fill(upstream, ORDER, "i", 6, lambda number: 402 if number == 0 else jpeg(number))
        upstream.orders[ORDER] = order([photo(f"i{number}", downloaded=number in (2, 5)) for number in range(6)])

        answer = await service.download(preview="false")

        assert answer.images == {f"i{number}.jpg": jpeg(number) for number in (2, 5)}
        assert missing(answer) == dict.fromkeys(["i0", "i1", "i3", "i4"], "no_credit")
        assert [upstream.calls(f"i{number}") for number in range(6)] == [1, 0, 1, 0, 0, 1]

    async def test_the_next_archive_buys_again(self, upstream: FakeUpstream, service: Service) -> None:
        """The account may have been topped up; what was bought is not bought twice."""
        fill(upstream, ORDER, "i", 3)
        upstream.images["i1"] = [402, jpeg(1)]
        await service.download(preview="false")

        answer = await service.download(preview="false")

        assert len(answer.images) == 3
        assert max(upstream.calls(f"i{number}") for number in (0, 2)) == 1

    async def test_a_402_to_a_preview_stops_nothing(self, upstream: FakeUpstream, service: Service) -> None:
        """Nothing was to be bought, so it is that image's own trouble."""
        fill(upstream, ORDER, "i", 20, lambda number: 402 if number == 0 else jpeg(number))

        answer = await service.download()

        assert missing(answer) == {"i0": "no_credit"}
