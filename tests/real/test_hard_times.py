"""Hard times: huge orders, crowds that wait, a full disk. Memory is bounded, and everybody else is answered."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from tests.support import jobs
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.process import ServiceProcess
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

MIB = 1 << 20
MAX_MEMORY = 200 * MIB
UNFINISHED = order(["a", photo("b", status="processing")], status="processing", is_processing=True)


@pytest.fixture
async def process(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """A service as an operator runs it."""
    settings = {
        "AUTOENHANCE_API_KEY": "key-of-the-account-5c02",
        "AUTOENHANCE_API_BASE": upstream.url,
        "RATE_LIMIT": "off",
    }
    async with ServiceProcess(tmp_path / "data", **settings) as process:
        yield process


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """For requests that take a while."""
    async with ClientSession(timeout=ClientTimeout(total=100)) as session:
        yield session


def order_ids(count: int) -> list[str]:
    """So many ids of orders."""
    return [f"0b9f7c1e-4a57-4d6e-9d51-{number:012x}" for number in range(count)]


def large_document(order_id: str, count: int) -> bytes:
    """An order of so many images, each with all the fields that Autoenhance sends and some more."""
    images = [
        photo(
            f"{order_id[-3:]}{number:033d}",
            f"DSC_{number:05d} living room from the kitchen.jpg",
            order_id=order_id,
            enhance_type="property",
            vertical_correction=True,
            lens_correction=True,
            sky_replacement=True,
            cloud_type="CLEAR",
            status_reason=None,
            updated_at=f"2026-03-02T09:15:04.{number:06d}",
            metadata={"exif": {"camera": "a camera", "number": number}},
        )
        for number in range(count)
    ]
    return json.dumps(order(images, order_id=order_id)).encode()


class TestMemory:
    @pytest.mark.parametrize("path", ["/v1/orders/{}", "/v1/orders/{}/images"], ids=["overview", "download"])
    async def test_huge_orders_leave_little_behind(
        self, upstream: FakeUpstream, process: ServiceProcess, session: ClientSession, path: str
    ) -> None:
        """Six of 8,000 images, by twos: overviews are answered, downloads refused; it stays below 200 MB."""
        ids, at_once = order_ids(6), 2

        async def answer(request: web.Request) -> web.StreamResponse:
            body = await asyncio.to_thread(large_document, request.match_info["id"], 8_000)
            return web.Response(body=body, content_type="application/json")

        upstream.orders |= dict.fromkeys(ids, answer)

        async def ask(order_id: str) -> tuple[int, int]:
            async with session.get(process.url + path.format(order_id)) as response:
                document = await response.json(content_type=None)
            return response.status, document.get("total") or document.get("images")

        found = []
        for start in range(0, len(ids), at_once):
            found += await asyncio.gather(*(ask(order_id) for order_id in ids[start : start + at_once]))

        status = 413 if path.endswith("images") else 200
        assert found == [(status, 8_000)] * 6
        assert process.peak_memory < MAX_MEMORY

    @pytest.mark.parametrize("entry", ["{}", "1", '{"id":"x"}', "[]", "null"])
    async def test_while_a_huge_document_is_read_others_are_answered(
        self, upstream: FakeUpstream, process: ServiceProcess, session: ClientSession, entry: str
    ) -> None:
        """900,000 entries: probes are answered all along, and so is an order that is known."""
        text = '{"images":[' + ",".join([entry] * 900_000) + "]}"

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text, content_type="application/json")

        upstream.orders |= {ORDER: answer, OTHER_ORDER: order(["b"], order_id=OTHER_ORDER)}
        upstream.images["b"] = jpeg(2)
        async with session.get(f"{process.url}/v1/orders/{OTHER_ORDER}/images") as response:
            known = await response.read()

        async def overview() -> int:
            async with session.get(f"{process.url}/v1/orders/{ORDER}") as response:
                await response.read()
                return response.status

        running = asyncio.create_task(overview())
        await upstream.until(lambda: upstream.calls(ORDER) > 0)
        answered = 0
        while not running.done():
            async with session.get(f"{process.url}/livez") as response:
                assert response.status == 200
            async with session.get(f"{process.url}/v1/orders/{OTHER_ORDER}/images") as response:
                assert await response.read() == known
            answered += 1

        assert await running in (200, 404, 502, 504)  # 504: a slow machine has not read it in an order's time
        assert answered >= 3
        assert process.peak_memory < MAX_MEMORY + 2 * len(text)


class TestCrowd:
    """Many who wait for one order."""

    async def test_jobs_that_wait_look_no_more_often_than_one(self, upstream: FakeUpstream, service: Service) -> None:
        """150 of them, with one deadline and with many: as many looks as one job takes, and the two at its ends."""
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        upstream.orders |= {ORDER: UNFINISHED, OTHER_ORDER: UNFINISHED | {"order_id": OTHER_ORDER}}
        alone = await jobs.submit(service, OTHER_ORDER, wait="true", wait_timeout="600")
        crowd = [
            await jobs.submit(service, wait="true", wait_timeout=str(600 + 10 * (number % 15))) for number in range(150)
        ]
        await upstream.until(lambda: upstream.calls(OTHER_ORDER) >= 4)
        looks = upstream.calls(ORDER), upstream.calls(OTHER_ORDER)
        upstream.orders[ORDER] = order(["a", "b"])
        ended = await asyncio.gather(*(jobs.ended(service, job) for job in crowd))
        await service.ask(f"/v1/jobs/{alone['job_id']}", method="DELETE")

        assert looks[0] <= looks[1] + 2
        assert {job["status"] for job in ended} == {"complete"}
        assert {job["downloaded"] for job in ended} == {2}
        assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)

    async def test_downloads_that_wait_look_no_more_often_than_one(
        self, upstream: FakeUpstream, service: Service
    ) -> None:
        """The same for callers who stay."""
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        upstream.orders |= {ORDER: UNFINISHED, OTHER_ORDER: UNFINISHED | {"order_id": OTHER_ORDER}}
        alone = asyncio.create_task(service.download(OTHER_ORDER, wait="true", wait_timeout="600"))
        crowd = [
            asyncio.create_task(service.download(wait="true", wait_timeout=str(600 + 10 * (number % 15))))
            for number in range(60)
        ]
        await upstream.until(lambda: upstream.calls(OTHER_ORDER) >= 4)
        looks = upstream.calls(ORDER), upstream.calls(OTHER_ORDER)
        upstream.orders |= {ORDER: order(["a", "b"]), OTHER_ORDER: order(["a", "b"], order_id=OTHER_ORDER)}
        answers = await asyncio.gather(*crowd, alone)

        assert looks[0] <= looks[1] + 2
        assert all(answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)} for answer in answers)
        assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)

    @pytest.mark.parametrize("first", ["600", "1"])
    @pytest.mark.parametrize("as_job", [False, True], ids=["download", "job"])
    async def test_who_joins_waits_as_long_as_he_asked(
        self, upstream: FakeUpstream, service: Service, first: str, *, as_job: bool
    ) -> None:
        """One second or ten minutes, whoever came first: the short one ends by itself, the long one gets all."""
        second = "1" if first == "600" else "600"
        upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
        upstream.orders[ORDER] = UNFINISHED

        async def wait(seconds: str) -> int:
            if as_job:
                job = await jobs.ended(service, await jobs.submit(service, wait="true", wait_timeout=seconds))
                return int(job["downloaded"])
            return len((await service.download(wait="true", wait_timeout=seconds)).images)

        waiting = {seconds: asyncio.create_task(wait(seconds)) for seconds in (first, second)}
        async with asyncio.timeout(TIMEOUT):
            short = await waiting["1"]
        was_waiting = not waiting["600"].done()
        upstream.orders[ORDER] = order(["a", "b"])
        async with asyncio.timeout(TIMEOUT):
            long = await waiting["600"]

        assert (short, was_waiting, long) == (1, True, 2)
        assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


class TestSmall:
    """What is small and counts."""

    async def test_the_data_is_its_owners(
        self, upstream: FakeUpstream, start_service: StartService, tmp_path: Path
    ) -> None:
        """Nobody else on the machine can read the folder that is made for it, or the catalogue."""
        folder = tmp_path / "new" / "data"
        service = await start_service(data_dir=folder)
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = jpeg(1)
        assert (await service.download()).status == 200

        modes = await asyncio.to_thread(
            lambda: {str(path): path.stat().st_mode & 0o007 for path in (folder, *folder.glob("*.sqlite3*"))}
        )

        assert len(modes) >= 2
        assert set(modes.values()) == {0}

    @pytest.mark.parametrize("status", ["error", "expired"])
    async def test_autoenhances_reason_reaches_its_owner(
        self, upstream: FakeUpstream, start_service: StartService, status: str
    ) -> None:
        """In overview, report, archive, job and `strict`: as one line of text, and no advice that contradicts it."""
        service = await start_service()
        said = "Daily limit of 500 enhancements reached\r\n<b>tomorrow</b> " + "x" * 400
        upstream.orders[ORDER] = order(["a", photo("b", status=status, status_reason=said)])
        upstream.images["a"] = jpeg(1)

        overview = await service.ask(f"/v1/orders/{ORDER}")
        answer = await service.download()
        report = await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")
        strict = await service.download(on_failure="strict")
        job = await jobs.ended(service, await jobs.submit(service))

        wanted = "Daily limit of 500 enhancements reached <b>tomorrow</b>"
        documents = [overview.document, strict.problem, job, report.document]
        texts = [document["failures"][0]["reason"] for document in documents] + [answer.report]
        assert len(texts) == 5
        assert [text for text in texts if wanted not in text] == []
        assert not any("x" * 200 in text or "Process it again" in text for text in texts)
