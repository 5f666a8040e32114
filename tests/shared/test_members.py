"""Instances that share a Redis too: jobs, limits and hints belong to all of them."""

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.archives.catalogue import Catalogue
from service.cluster.job_records import JobRecords
from service.disk import OutOfSpace
from service.jobs.job import Job
from service.problems import StoreFull
from service.settings import InvalidSettings, Settings
from tests.api.conftest import FIRST, TOKEN
from tests.api.test_guessing import SECRET, WAYS
from tests.support.client import Answer, Service, StartService
from tests.support.redis_server import RedisServer
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

IMAGES = {"a": jpeg(1, 300_000), "b": jpeg(2, 200_000)}
FINAL = ("complete", "error", "cancelled")
_TIMEOUT = 30
_TRIES, _PAUSE = 100, 0.1


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images."""
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES


async def create(service: Service, order_id: str = ORDER) -> Answer:
    return await service.ask(f"/v1/orders/{order_id}/jobs", method="POST")


async def ended(service: Service, job_id: str) -> dict[str, Any]:
    """The job's document once it has ended; while Redis is away it is asked for again."""
    status = 503
    async with asyncio.timeout(_TIMEOUT):
        while status == 503:
            async with service.request(f"/v1/jobs/{job_id}/events") as events:
                status = events.status
                async for line in events.content:
                    if line.startswith(b"data: ") and (document := json.loads(line[6:]))["status"] in FINAL:
                        assert isinstance(document, dict)
                        return document
            await asyncio.sleep(_PAUSE)
    raise AssertionError("the events ended before the job")


async def accepted(service: Service) -> Answer:
    """The answer to a new job, once jobs can be had again."""
    for _ in range(_TRIES):
        answer = await create(service)
        if answer.status != 503:
            return answer
        await asyncio.sleep(_PAUSE)
    raise AssertionError("jobs were not to be had again")


async def test_a_job_belongs_to_all_instances(upstream: FakeUpstream, start_member: StartService) -> None:
    """Created at one, followed at another, its result downloaded from a third: the same bytes."""
    first, second, third = await start_member(role="web"), await start_member(), await start_member(role="web")

    job_id = json.loads((await create(first)).body)["job_id"]
    document = await ended(third, job_id)
    downloads = [await service.ask(f"/v1/jobs/{job_id}/download") for service in (first, second, third)]

    assert document["status"] == "complete"
    assert {answer.status for answer in downloads} == {200}
    assert {answer.body for answer in downloads} == {downloads[0].body}
    assert downloads[0].images == {"a.jpg": IMAGES["a"], "b.jpg": IMAGES["b"]}
    assert upstream.image_calls == len(IMAGES)


async def test_progress_is_told_by_every_instance(upstream: FakeUpstream, start_member: StartService) -> None:
    """Also to who only looks now and then, at one that does not build the archive."""
    worker, other = await start_member(), await start_member(role="web")
    gates = [upstream.hold(name) for name in IMAGES]
    job_id = json.loads((await create(worker)).body)["job_id"]
    await upstream.until(lambda: upstream.calls("b") == 1)

    async def downloaded() -> int:
        return int(json.loads((await other.ask(f"/v1/jobs/{job_id}")).body)["downloaded"])

    counts = [await downloaded()]
    gates[0].set()
    async with asyncio.timeout(_TIMEOUT):
        while counts[-1] == 0:
            await asyncio.sleep(_PAUSE)
            counts.append(await downloaded())
    gates[1].set()

    assert (counts[0], counts[-1]) == (0, 1)
    assert (await ended(other, job_id))["downloaded"] == 2


async def test_news_wakes_who_waits_at_another_instance(
    upstream: FakeUpstream, start_member: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autoenhance calls one instance; a download that waits at the other looks at once, not in an hour."""
    monkeypatch.setattr("service.orders.schedule._FIRST_INTERVAL", 3600.0)
    there = await start_member()
    here = await start_member(autoenhance_webhook_secret="s", role="web")
    upstream.orders[ORDER] = order(["a", photo("b", status="processing")], is_processing=True)
    waiting = asyncio.create_task(there.download(wait="true", wait_timeout="3600"))
    await upstream.until(lambda: upstream.calls("a") == 1)
    upstream.orders[ORDER] = order(IMAGES)

    news = json.dumps({"event": "image_processed", "image_id": "b", "order_id": ORDER, "error": False}).encode()
    url, headers = f"{here.url}/v1/webhooks/autoenhance", {"Authentication": "s"}
    async with asyncio.timeout(_TIMEOUT):
        while not waiting.done():  # the instances listen a moment after their start
            async with here.session.post(url, data=news, headers=headers) as response:
                assert response.status == 200
        answer = await waiting

    assert answer.images == {"a.jpg": IMAGES["a"], "b.jpg": IMAGES["b"]}


async def test_a_job_is_cancelled_from_anywhere(upstream: FakeUpstream, start_member: StartService) -> None:
    """The instance that runs it lets go of it."""
    worker, other = await start_member(), await start_member(role="web")
    gate = upstream.hold("a")
    job_id = json.loads((await create(worker)).body)["job_id"]
    await upstream.until(lambda: upstream.calls("a") == 1)

    answer = await other.ask(f"/v1/jobs/{job_id}", method="DELETE")
    gate.set()

    assert answer.status < 300
    assert (await ended(worker, job_id))["status"] == "cancelled"


async def test_equal_keys_at_different_instances_are_one_job(start_member: StartService) -> None:
    """`Idempotency-Key` counts for all."""
    first, second = await start_member(), await start_member(role="web")
    path, headers = f"/v1/orders/{ORDER}/jobs", {"Idempotency-Key": "once"}

    answers = await asyncio.gather(
        *(service.ask(path, method="POST", headers=headers) for service in (first, second) * 3)
    )

    assert len({json.loads(answer.body)["job_id"] for answer in answers}) == 1


async def test_callers_are_counted_together(start_member: StartService, long_timeouts: None) -> None:
    """Two instances give a caller no more than one would."""
    limit = Settings(_env_file=None, rate_limit="4/minute").rate_limit
    first, second = await start_member(rate_limit=limit), await start_member(rate_limit=limit)

    statuses = [(await service.download()).status for service in (first, second) * 4]

    assert statuses == [200] * 4 + [429] * 4


@pytest.mark.parametrize("way", WAYS)
async def test_wrong_secrets_are_counted_together(start_member: StartService, long_timeouts: None, way: str) -> None:
    """Two instances let an address guess no more often than one would: ten times a minute."""
    settings = {"service_api_key": FIRST, "admin_token": TOKEN, "autoenhance_webhook_secret": SECRET}
    services = [await start_member(**settings), await start_member(**settings)]
    guess, _, refused = WAYS[way]

    statuses = [(await guess(services[number % 2], f"guess-of-a-secret-{number}")).status for number in range(14)]

    assert statuses == [refused] * 10 + [429] * 4


async def test_without_redis_downloads_go_on_and_jobs_say_when_to_come_again(
    redis: RedisServer, start_member: StartService
) -> None:
    """Killed and started again, it is used again without a restart of ours."""
    service = await start_member(rate_limit=Settings(_env_file=None, rate_limit="50/minute").rate_limit)
    redis.kill()

    download, refused = await service.download(), await create(service)
    redis.start()
    job_id = json.loads((await accepted(service)).body)["job_id"]

    assert download.status == 200
    assert (refused.status, refused.problem["code"]) == (503, "jobs_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await ended(service, job_id))["status"] == "complete"


async def test_a_redis_that_hangs_holds_nobody_up(redis: RedisServer, start_member: StartService) -> None:
    """Downloads and probes are answered, jobs are refused, and all is well when it goes on."""
    service = await start_member(rate_limit=Settings(_env_file=None, rate_limit="50/minute").rate_limit)
    redis.freeze()

    try:
        async with asyncio.timeout(_TIMEOUT):
            answers = [await service.ask("/livez"), await service.download(), await create(service)]
    finally:
        redis.thaw()
    job_id = json.loads((await accepted(service)).body)["job_id"]

    assert [answer.status for answer in answers] == [200, 200, 503]
    assert (await ended(service, job_id))["status"] == "complete"


async def test_an_accepted_job_survives_a_restart_of_redis(
    upstream: FakeUpstream, redis: RedisServer, start_member: StartService
) -> None:
    """What it acknowledged it has on disk; the job is run when there is somebody to run it."""
    web = await start_member(role="web")
    job_id = json.loads((await create(web)).body)["job_id"]
    redis.kill()
    redis.start()

    await start_member()

    assert (await ended(web, job_id))["status"] == "complete"


async def test_what_one_instance_found_broken_the_others_leave_alone(
    upstream: FakeUpstream, start_member: StartService
) -> None:
    """A circuit that one has opened is opened by all, before they have met a failure of their own."""
    settings = {"breaker_failures": 1, "upstream_attempts": 1, "order_freshness": 0}
    first, second = await start_member(**settings), await start_member(**settings)
    upstream.orders[OTHER_ORDER] = 500
    await first.download(OTHER_ORDER)
    calls = upstream.calls(ORDER)

    async with asyncio.timeout(_TIMEOUT):
        while (answer := await second.ask(f"/v1/orders/{ORDER}")).status != 503:
            await asyncio.sleep(_PAUSE)
            calls = upstream.calls(ORDER)

    assert answer.problem["code"] == "breaker_open"
    assert upstream.calls(ORDER) == calls


@pytest.mark.parametrize(
    ("given", "named"),
    [({"shared_url": "redis://127.0.0.1/0"}, "STORE_URL"), ({"role": "worker"}, "SHARED_URL")],
)
def test_half_a_fleet_is_no_setting(given: dict[str, str], named: str) -> None:
    """Jobs without a storage for their results, or a worker without a queue, stop the start."""
    with pytest.raises(InvalidSettings, match=named):
        Settings.load(_env_file=None, **given)


def test_an_instance_that_stands_alone_needs_nothing_of_this(tmp_path: Path) -> None:
    """The default install has neither docket nor redis nor obstore."""
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('docket', 'redis', 'obstore'))\n"  # as if they were not installed
        "import service.app, service.commands.serve\n"
        "from service.settings import Settings\n"
        "print(len(service.app.create_app(Settings(_env_file=None)).router.routes()) > 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )

    assert ended.stdout == "True\n"


async def test_an_outage_in_the_middle_of_a_job_is_not_its_end(
    redis: RedisServer, start_member: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis hangs for longer than a call may take: the job waits for it, however long it has been tried already."""
    save = JobRecords.save
    hung: list[str] = []

    async def hang_once(records: JobRecords, job: Job) -> bool:
        if hung:
            return await save(records, job)
        hung.append(job.id)
        redis.freeze()
        try:
            return await save(records, job)
        finally:
            redis.thaw()

    monkeypatch.setattr("service.jobs.runner._RETRY_SECONDS", 0.0)
    monkeypatch.setattr(JobRecords, "save", hang_once)
    service = await start_member()

    job = await ended(service, json.loads((await create(service)).body)["job_id"])

    assert hung == [job["job_id"]]
    assert (job["status"], job["error"]) == ("complete", None)


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_full_database_puts_a_job_off(
    redis: RedisServer,
    start_service: StartService,
    start_member: StartService,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_shared: bool,
) -> None:
    """It is tried again, and comes to its end once there is room."""
    keep = Catalogue.keep
    refused: list[str] = []

    async def refuse_once(catalogue: Catalogue, archive_id: str, until: float) -> None:
        if refused:
            return await keep(catalogue, archive_id, until)
        refused.append(archive_id)
        raise OutOfSpace("SQLITE_FULL")

    monkeypatch.setattr("service.jobs.runner.StoreFull", partial(StoreFull, retry_after=_PAUSE))
    monkeypatch.setattr(Catalogue, "keep", refuse_once)
    service = await (start_member if is_shared else start_service)()

    job = await ended(service, json.loads((await create(service)).body)["job_id"])

    assert len(refused) == 1
    assert (job["status"], job["downloaded"]) == ("complete", 2)
