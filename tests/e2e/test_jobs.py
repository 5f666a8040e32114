"""Background jobs: accepted, followed, downloaded, cancelled."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest
from blockbuster import BlockBuster

from service.api.new_job import NewJob
from service.archives.catalogue import Catalogue
from service.problems import ArchiveGone
from tests.support.client import TIMEOUT, Service, StartService
from tests.support.jobs import Document, ended, events, post, status, submit
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

UNKNOWN = "0123456789abcdef0123456789abcdef"
BUSY = order(["a", photo("b", status="processing")], is_processing=True)


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2, size=3_000)}


async def test_a_job_is_accepted_built_and_downloaded(upstream: FakeUpstream, service: Service) -> None:
    """202 with its address; the same ZIP as a download's, by range too; nothing is fetched a second time."""
    answer = await post(service)
    accepted = answer.document
    job = await ended(service, accepted)
    path = f"/v1/jobs/{accepted['job_id']}/download"
    whole = await service.ask(path)
    part = await service.ask(path, headers={"Range": "bytes=100-199"})
    head = await service.ask(path, method="HEAD")
    looked_at = await service.ask(answer.headers["Location"], method="HEAD")
    direct = await service.download()

    assert answer.status == 202
    assert answer.headers["Location"] == accepted["links"]["self"] == f"/v1/jobs/{accepted['job_id']}"
    assert (job["status"], job["total"], job["downloaded"], job["failed"]) == ("complete", 2, 2, 0)
    assert job["bytes"] == 5_000
    assert whole.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2, size=3_000)}
    assert (part.status, part.body) == (206, whole.body[100:200])
    assert (direct.body, direct.headers["ETag"]) == (whole.body, f'"{job["archive_id"]}"')
    for name in ("ETag", "X-Archive-Id", "X-Total-Images", "X-Downloaded", "X-Failed", "Content-Disposition", "Link"):
        assert whole.headers[name] == direct.headers[name] == head.headers[name]
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(whole.body)))
    assert (looked_at.status, looked_at.body) == (200, b"")
    assert upstream.image_calls == 2


async def test_the_document_tells_everything(upstream: FakeUpstream, service: Service) -> None:
    """Times, links, counts, and each failure."""
    upstream.images["b"] = 404

    job = await ended(service, await submit(service))

    assert job == await status(service, job)
    assert set(job) == {
        *("job_id", "order_id", "status", "total", "downloaded", "failed", "bytes", "failures", "archive_id"),
        *("error", "created_at", "started_at", "finished_at", "expires_at", "retry_at", "callback", "delivery"),
        *("links", "order_ids", "orders"),
    }
    assert (job["order_id"], job["order_ids"]) == (ORDER, [ORDER])
    assert (job["downloaded"], job["failed"]) == (1, 1)
    assert [(failure["image_id"], failure["code"]) for failure in job["failures"]] == [("b", "image_not_found")]
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]
    for link in job["links"].values():
        assert (await service.ask(link, headers={"Last-Event-ID": "0"})).status == 200


async def test_while_it_is_built_it_says_how_far_it_is(upstream: FakeUpstream, service: Service) -> None:
    """Processing, one of two here; nothing to download yet: 409."""
    gate = upstream.hold("b")
    job = await submit(service)
    async with events(service, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 1:
                break

    now = await status(service, job)
    early = await service.ask(f"/v1/jobs/{job['job_id']}/download")
    gate.set()

    assert (now["status"], now["downloaded"], now["total"]) == ("processing", 1, 2)
    assert now["links"]["download"] is None
    assert (early.status, early.problem["code"]) == (409, "job_unfinished")
    assert "Retry-After" in early.headers
    assert (await ended(service, job))["status"] == "complete"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (404, "order_not_found"),
        (order([]), "order_empty"),
        (401, "upstream_unauthorized"),
        (order([f"i{n}" for n in range(101)]), "too_many_images"),
    ],
)
async def test_an_order_that_cannot_be_had_is_the_jobs_error(
    upstream: FakeUpstream, service: Service, script: int, code: str
) -> None:
    """It is accepted, since nothing is known yet; then its error says the same as a download's problem."""
    upstream.orders[ORDER] = script

    job = await ended(service, await submit(service))
    answer = await service.ask(f"/v1/jobs/{job['job_id']}/download")

    assert (job["status"], job["error"]["code"]) == ("error", code)
    assert job["error"]["detail"]
    assert (answer.status, answer.problem["code"], answer.problem["error"]) == (422, "job_failed", job["error"])


async def test_without_a_single_image_the_job_fails(upstream: FakeUpstream, service: Service) -> None:
    """The document and the refused download name each image and why."""
    upstream.images |= {"a": 404, "b": 404}

    job = await ended(service, await submit(service))
    answer = await service.ask(f"/v1/jobs/{job['job_id']}/download")

    assert (job["status"], job["error"]["code"], job["failed"]) == ("error", "no_images", 2)
    assert answer.status == 422
    assert answer.failures == {"a": "image_not_found", "b": "image_not_found"}
    assert answer.problem["detail"].startswith("None of the images could be downloaded. `error`")


async def test_strict_fails_on_any_missing_image(upstream: FakeUpstream, service: Service) -> None:
    """`on_failure=strict`: one missing image is the job's error."""
    upstream.images["b"] = 404

    job = await ended(service, await submit(service, on_failure="strict"))

    assert (job["status"], job["error"]["code"], job["downloaded"]) == ("error", "images_missing", 1)


@pytest.mark.parametrize(
    ("order_id", "query", "code"),
    [
        ("not-a-uuid", {}, "invalid_order_id"),
        (ORDER, {"format": "gif"}, "invalid_parameter"),
        (ORDER, {"colour": "blue"}, "invalid_parameter"),
        (ORDER, {"callback_url": "https://example.com/"}, "invalid_parameter"),
    ],
)
async def test_what_is_wrong_by_itself_is_said_at_once(
    upstream: FakeUpstream, service: Service, order_id: str, query: dict[str, str], code: str
) -> None:
    """400 without a call upstream; a callback without a secret to sign it is wrong too."""
    answer = await service.ask(f"/v1/orders/{order_id}/jobs", method="POST", params=query)

    assert (answer.status, answer.problem["code"]) == (400, code)
    assert not upstream.received


async def create(service: Service, body: object, **query: str) -> tuple[int, Document]:
    """Ask for a job with a JSON body; status and document."""
    url = f"{service.url}/v1/orders/{ORDER}/jobs"
    async with service.session.post(url, params=query, json=body) as response:
        found = await response.json(content_type=None)
        assert isinstance(found, dict)
        return response.status, found


async def test_options_may_come_as_a_body(upstream: FakeUpstream, service: Service) -> None:
    """Hundreds of image ids fit there; it is the same job as by a query."""
    wanted = [f"{number:036x}" for number in range(600)]
    upstream.orders[ORDER] = order([*wanted[:2], "a"])
    refused, problem = await create(service, {"image": wanted})
    status_, accepted = await create(service, {"image": ["a"]}, preview="false")

    job = await ended(service, accepted)
    download = await service.ask(f"/v1/jobs/{job['job_id']}/download")

    assert (refused, (await ended(service, problem))["error"]["code"]) == (202, "unknown_image")
    assert (status_, job["status"]) == (202, "complete")
    assert set(download.members) == {"a.jpg"}
    assert upstream.received[-1].query["preview"] == "false"


@pytest.mark.parametrize(
    ("body", "query", "named"),
    [
        ({"quality": 0}, {}, "quality"),
        ({"colour": "blue"}, {}, "colour"),
        ({"quality": 80}, {"quality": "80"}, "quality"),
        ({"callback_url": "https://example.com/"}, {}, "callback_url"),
    ],
)
async def test_a_body_is_read_as_strictly(
    upstream: FakeUpstream, service: Service, body: object, query: dict[str, str], named: str
) -> None:
    """400 that names the member, also when the query says it too."""
    status_, problem = await create(service, body, **query)

    assert (status_, problem["parameter"]) == (400, named)
    assert not upstream.received


_NUMBERS: dict[str, object] = {
    "quality": 80,
    "max_width": 100,
    "scale": 0.5,
    "part": 1,
    "wait_timeout": 5,
    "max_credits": 0,
}
_TRUTHS = ("preview", "dev_mode", "wait", "refresh")


def test_all_numbers_and_truth_values_are_tried_below() -> None:
    """Every one that a job has."""
    kinds = {name: {field.annotation, *get_args(field.annotation)} for name, field in NewJob.model_fields.items()}

    assert {name for name, kind in kinds.items() if kind & {int, float}} == set(_NUMBERS)
    assert {name for name, kind in kinds.items() if bool in kind} == set(_TRUTHS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, wrong) for name, right in _NUMBERS.items() for wrong in (True, False, str(right), [right], "")),
        *((name, wrong) for name in _TRUTHS for wrong in (0, 1, 1.0, "true", "no", [True], None)),
    ],
)
async def test_in_a_body_each_value_is_of_its_kind(
    upstream: FakeUpstream, service: Service, name: str, value: object
) -> None:
    """`true` is no number, 1 no truth value, and a text neither: what is meant is not guessed where it may cost."""
    status_, problem = await create(service, {name: value})

    assert (status_, problem["parameter"]) == (400, name)
    assert problem["detail"]
    assert not upstream.received


@pytest.mark.parametrize(("name", "value"), [*_NUMBERS.items(), *((name, True) for name in _TRUTHS)])
async def test_in_a_body_values_of_their_kind_are_taken(service: Service, name: str, value: object) -> None:
    """As JSON has them."""
    assert (await create(service, {name: value}))[0] == 202


@pytest.mark.parametrize("several", [["print", "web,quality=70"], []], ids=str)
async def test_in_a_body_lists_are_lists(service: Service, several: list[str]) -> None:
    """Of texts that say what they do in a query."""
    body = {"rendition": several, "include": ["manifest"], "names": "{seq}", "image": ["a"]}

    status_, accepted = await create(service, body)

    assert (status_, (await ended(service, accepted))["status"]) == (202, "complete")


async def test_a_body_that_is_no_object_is_refused(service: Service) -> None:
    """400."""
    assert [(await create(service, body))[0] for body in ("x", 3, True)] == [400] * 3


async def test_without_a_key_of_ours_no_job_is_accepted(start_service: StartService) -> None:
    """503, as for a download."""
    service = await start_service(autoenhance_api_key=None)

    assert (await post(service)).problem["code"] == "not_configured"


async def test_jobs_count_against_the_rate_limit(start_service: StartService) -> None:
    """Creating does; looking, following and downloading do not."""
    service = await start_service(rate_limit="1/minute")
    job = await submit(service)
    await ended(service, job)

    assert (await service.ask(f"/v1/jobs/{job['job_id']}/download")).status == 200
    assert (await post(service)).status == 429


@pytest.mark.parametrize("job_id", [UNKNOWN, "x", UNKNOWN.upper(), "..%2f..%2fetc"])
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/download")])
async def test_an_unknown_job_is_a_404(service: Service, job_id: str, method: str, tail: str) -> None:
    """Whatever is asked of it."""
    answer = await service.ask(f"/v1/jobs/{job_id}{tail}", method=method)

    assert (answer.status, answer.problem["code"]) == (404, "job_not_found")


async def test_the_first_generations_paths_are_the_same(service: Service) -> None:
    """Create, look, download."""
    created = (await service.ask(f"/orders/{ORDER}/jobs", method="POST")).document
    await ended(service, created)

    assert (await service.ask(f"/jobs/{created['job_id']}")).document["status"] == "complete"
    assert (await service.ask(f"/jobs/{created['job_id']}/download")).status == 200


async def test_equal_jobs_and_downloads_share_one_build(upstream: FakeUpstream, service: Service) -> None:
    """Ten jobs and a download at once: one archive, each image fetched once."""
    gate = upstream.hold("b")
    submitted = await asyncio.gather(*(submit(service) for _ in range(10)))
    reading = asyncio.create_task(service.download())
    await upstream.until(lambda: upstream.calls("b") == 1)
    gate.set()
    jobs = await asyncio.gather(*(ended(service, job) for job in submitted))
    direct = await reading

    assert len({job["job_id"] for job in jobs}) == 10
    assert {job["archive_id"] for job in jobs} == {direct.headers["X-Archive-Id"]}
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_cancelling_one_of_two_leaves_the_other(upstream: FakeUpstream, service: Service) -> None:
    """Only the cancelled job's own demand goes."""
    gate = upstream.hold("b")
    first, second = await submit(service), await submit(service)
    await upstream.until(lambda: upstream.calls("b") == 1)

    cancelled = (await service.ask(f"/v1/jobs/{first['job_id']}", method="DELETE")).document
    gate.set()
    other = await ended(service, second)
    gone = await service.ask(f"/v1/jobs/{first['job_id']}/download")

    assert cancelled["status"] == "cancelled"
    assert (await status(service, first))["status"] == "cancelled"
    assert (other["status"], other["downloaded"]) == ("complete", 2)
    assert (gone.status, gone.problem["code"]) == (410, "job_cancelled")


async def test_cancelling_the_only_one_stops_fetching(upstream: FakeUpstream, start_service: StartService) -> None:
    """What was under way is finished and kept; nothing new is begun, and nothing more is bought."""
    service = await start_service(download_concurrency=1, resume_grace=0)
    gate = upstream.hold("a")
    job = await submit(service)
    await upstream.until(lambda: upstream.calls("a") == 1)

    await service.ask(f"/v1/jobs/{job['job_id']}", method="DELETE")
    gate.set()
    later = await service.download(image="a")

    assert set(later.members) == {"a.jpg"}
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 0)


async def test_cancelling_what_has_ended_changes_nothing(service: Service) -> None:
    """The answer is the job as it ended, and its ZIP stays."""
    job = await ended(service, await submit(service))

    answer = await service.ask(f"/v1/jobs/{job['job_id']}", method="DELETE")

    assert (answer.status, answer.document) == (200, job)
    assert (await service.ask(f"/v1/jobs/{job['job_id']}/download")).status == 200


async def test_a_repeated_request_says_that_it_is_one(service: Service) -> None:
    """By a header, which the first one does not have."""
    path, headers = f"/v1/orders/{ORDER}/jobs", {"Idempotency-Key": "once"}

    answers = [await service.ask(path, method="POST", headers=headers) for _ in range(2)]

    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]


async def test_the_same_key_is_the_same_job(upstream: FakeUpstream, service: Service) -> None:
    """A repeated POST starts nothing, also when the job has ended; the query may be written differently."""
    first = await submit(service, headers={"Idempotency-Key": "once"}, quality="80")
    await ended(service, first)
    again = await submit(service, headers={"Idempotency-Key": "once"}, quality="80", preview="true")

    assert again["job_id"] == first["job_id"]
    assert upstream.image_calls == 2


@pytest.mark.parametrize(("order_id", "query"), [(ORDER, {"quality": "10"}), (OTHER_ORDER, {})])
async def test_the_same_key_with_another_request_is_refused(
    service: Service, order_id: str, query: dict[str, str]
) -> None:
    """422, so that nobody takes one job for another."""
    await submit(service, headers={"Idempotency-Key": "once"})

    path, headers = f"/v1/orders/{order_id}/jobs", {"Idempotency-Key": "once"}
    answer = await service.ask(path, method="POST", params=query, headers=headers)

    assert (answer.status, answer.problem["code"]) == (422, "idempotency_key_reused")


async def test_keys_of_callers_do_not_meet(start_service: StartService) -> None:
    """Two callers that happen to choose the same key have a job each."""
    service = await start_service(service_api_key="one,two")
    jobs = [
        await submit(service, headers={"Idempotency-Key": "once", "X-API-Key": caller}) for caller in ("one", "two")
    ]

    assert jobs[0]["job_id"] != jobs[1]["job_id"]


@pytest.mark.parametrize("key", ["", " ", "k" * 256, "schlüssel"])
async def test_a_key_that_cannot_be_used_is_named(service: Service, key: str) -> None:
    """400 that names the header."""
    answer = await post(service, headers={"Idempotency-Key": key})

    assert (answer.status, answer.problem["parameter"]) == (400, "Idempotency-Key")


async def test_a_callers_jobs_are_its_own(start_service: StartService) -> None:
    """Another caller gets 404, whatever it asks; an administrator sees, follows and cancels all."""
    service = await start_service(service_api_key="one,two", admin_token="root")
    job = await submit(service, headers={"X-API-Key": "one"})
    path = f"/v1/jobs/{job['job_id']}"
    asked = [("GET", ""), ("GET", "/events"), ("GET", "/download"), ("HEAD", "/download"), ("DELETE", "")]

    foreign = [
        (await service.ask(path + tail, method=method, headers={"X-API-Key": "two"})).status for method, tail in asked
    ]
    own = [
        (await service.ask(path + tail, method=method, headers={"X-API-Key": "one"})).status for method, tail in asked
    ]
    administrators = [
        (await service.ask(path + tail, method=method, headers={"X-Admin-Token": "root"})).status
        for method, tail in asked
    ]

    assert foreign == [404] * 5
    assert own == administrators == [200] * 5


async def listed(service: Service, headers: dict[str, str] | None = None, **query: str) -> Document:
    """A page of jobs."""
    answer = await service.ask("/v1/jobs", params=query, headers=headers)
    assert answer.status == 200, answer.body
    return answer.document


async def test_jobs_are_listed_page_by_page(start_service: StartService) -> None:
    """A caller's own, newest first, each as at its own address; filters narrow them, a cursor goes on."""
    service = await start_service(service_api_key="one,two", admin_token="root")
    one = {"X-API-Key": "one"}
    jobs = [await submit(service, each, headers=one) for each in (ORDER, ORDER, OTHER_ORDER)]
    await submit(service, headers={"X-API-Key": "two"})
    await service.ask(f"/v1/jobs/{jobs[2]['job_id']}", method="DELETE", headers=one)
    ids = [job["job_id"] for job in reversed(jobs)]

    whole = await listed(service, one)
    first = await listed(service, one, limit="2")
    second = await listed(service, one, limit="2", cursor=first["next_cursor"])
    of_order = await listed(service, one, order_id=ORDER.upper())
    everybody = await listed(service, {"X-Admin-Token": "root"})
    looked_at = (await service.ask(f"/v1/jobs/{ids[0]}", headers=one)).document

    assert [job["job_id"] for job in whole["items"]] == ids
    assert whole["next_cursor"] is second["next_cursor"] is None
    assert [job["job_id"] for job in (*first["items"], *second["items"])] == ids
    assert [job["job_id"] for job in of_order["items"]] == ids[1:]
    assert len(everybody["items"]) == 4
    assert whole["items"][0].keys() == looked_at.keys()


async def test_an_open_service_lists_for_administrators_alone(start_service: StartService) -> None:
    """Without keys nobody's jobs are anybody's own; who has the id may look."""
    service = await start_service(admin_token="root")
    job = await submit(service)

    assert (await service.ask("/v1/jobs")).status == 403
    assert [found["job_id"] for found in (await listed(service, {"X-Admin-Token": "root"}))["items"]] == [job["job_id"]]
    assert (await status(service, job))["job_id"] == job["job_id"]


@pytest.mark.parametrize(
    "query",
    [{"status": "x"}, {"order_id": "x"}, {"cursor": "x"}, {"limit": "0"}, {"limit": "201"}, {"colour": "blue"}],
)
async def test_a_filter_that_cannot_be_used_is_named(start_service: StartService, query: dict[str, str]) -> None:
    """400."""
    service = await start_service(service_api_key="one")

    answer = await service.ask("/v1/jobs", params=query, headers={"X-API-Key": "one"})

    assert (answer.status, answer.problem["parameter"]) == (400, next(iter(query)))


async def test_job_routes_need_the_callers_key(start_service: StartService) -> None:
    """Create, look, follow, download and cancel."""
    service = await start_service(service_api_key="secret")
    answers = [
        await post(service),
        await service.ask("/v1/jobs"),
        *[await service.ask(f"/v1/jobs/{UNKNOWN}{tail}") for tail in ("", "/events", "/download")],
        await service.ask(f"/v1/jobs/{UNKNOWN}", method="DELETE"),
    ]

    assert {answer.status for answer in answers} == {401}


async def test_a_waiting_job_fetches_images_as_they_become_ready(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is here while the other is in the making; then it looks again, and delivers both."""
    monkeypatch.setattr("service.orders.schedule._FIRST_INTERVAL", 0.05)
    upstream.orders[ORDER] = BUSY
    job = await submit(service, wait="true")
    async with asyncio.timeout(TIMEOUT), events(service, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 1:
                break
        upstream.orders[ORDER] = order(["a", "b"])
        rest = [later async for later in stream]

    assert (event.job["status"], event.job["total"]) == ("processing", 2)
    assert (rest[-1].job["status"], rest[-1].job["downloaded"]) == ("complete", 2)
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


async def test_a_waiting_job_has_its_time_once(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """A restart does not begin the waiting anew: its deadline is counted from when it was accepted."""
    upstream.orders[ORDER] = BUSY
    before = await start_service(data_dir=tmp_path / "kept")
    job = await submit(before, wait="true", wait_timeout="3600")
    await upstream.until(lambda: upstream.calls("a") == 1)
    await before.stop()
    with closing(sqlite3.connect(tmp_path / "kept" / "batch.sqlite3")) as database, database:
        database.execute("UPDATE job_records SET request = json_set(request, '$.created', 0.0)")

    after = await start_service(data_dir=tmp_path / "kept")
    done = await ended(after, job)

    assert (done["status"], done["downloaded"]) == ("complete", 1)


async def test_at_its_deadline_a_waiting_job_takes_what_is_there(upstream: FakeUpstream, service: Service) -> None:
    """As a download does."""
    upstream.orders[ORDER] = BUSY

    job = await ended(service, await submit(service, wait="true", wait_timeout="0.5"))

    assert (job["status"], job["downloaded"]) == ("complete", 1)
    assert [failure["code"] for failure in job["failures"]] == ["not_ready"]


async def test_many_waiting_jobs_keep_no_other_waiting(upstream: FakeUpstream, service: Service) -> None:
    """A hundred jobs wait for an order in the making; one for a finished order is built at once."""
    upstream.orders[OTHER_ORDER] = order([photo("c", status="processing")], is_processing=True)
    await asyncio.gather(*(submit(service, OTHER_ORDER, wait="true") for _ in range(100)))

    assert (await ended(service, await submit(service)))["status"] == "complete"


async def test_a_job_waits_for_an_open_breaker(upstream: FakeUpstream, start_service: StartService) -> None:
    """A rest that upstream is given does not fail the jobs that come meanwhile."""
    service = await start_service(breaker_failures=1, breaker_reset=0.5, upstream_attempts=1)
    upstream.orders[OTHER_ORDER] = 500
    failed = await ended(service, await submit(service, OTHER_ORDER))

    job = await ended(service, await submit(service))

    assert failed["error"]["code"] == "upstream_error"
    assert job["status"] == "complete"


async def test_what_a_job_waits_for_is_told(upstream: FakeUpstream, start_service: StartService) -> None:
    """Queued, with the moment when it is tried again: within a minute, whatever the breaker's rest is."""
    service = await start_service(breaker_failures=1, breaker_reset=3600, upstream_attempts=1)
    upstream.orders[OTHER_ORDER] = 500
    await ended(service, await submit(service, OTHER_ORDER))
    job = await submit(service)
    async with asyncio.timeout(TIMEOUT):
        while (now := await status(service, job))["retry_at"] is None:  # noqa: ASYNC110  # it is polled
            await asyncio.sleep(0.02)

    pause = datetime.fromisoformat(now["retry_at"]) - datetime.fromisoformat(now["started_at"])
    assert now["status"] == "queued"
    assert 0 < pause.total_seconds() <= 61
    assert (await service.ask(f"/v1/jobs/{job['job_id']}", method="DELETE")).status == 200


async def test_a_job_does_not_wait_for_ever(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it has been tried for long enough, what was in the way is its error."""
    monkeypatch.setattr("service.jobs.runner._RETRY_SECONDS", 0.0)
    service = await start_service(breaker_failures=1, upstream_attempts=1)
    upstream.orders[OTHER_ORDER] = 500
    await ended(service, await submit(service, OTHER_ORDER))

    job = await ended(service, await submit(service))

    assert (job["status"], job["error"]["code"], job["retry_at"]) == ("error", "breaker_open", None)


async def test_a_job_outlasts_the_loss_of_its_archive(
    upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that is dropped while a job wants it is asked for anew; what was fetched is not fetched again."""
    monkeypatch.setattr("service.jobs.runner._DEFAULT_PAUSE", 0.05)
    keep = Catalogue.keep
    lost: list[str] = []

    async def lose_once(catalogue: Catalogue, archive_id: str, until: float) -> None:
        if not lost:
            lost.append(archive_id)
            raise ArchiveGone
        await keep(catalogue, archive_id, until)

    monkeypatch.setattr(Catalogue, "keep", lose_once)

    job = await ended(service, await submit(service))

    assert len(lost) == 1
    assert (job["status"], job["downloaded"]) == ("complete", 2)
    assert upstream.image_calls == 2


async def test_results_expire_and_say_so(
    upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `ARCHIVE_TTL` the document is still there, and the download is gone: 410."""
    service = await start_service(archive_ttl=0.2)
    job = await ended(service, await submit(service))
    await asyncio.sleep(0.25)

    answer = await service.ask(f"/v1/jobs/{job['job_id']}/download")

    assert (answer.status, answer.problem["code"]) == (410, "job_expired")
    assert (await status(service, job))["expires_at"] == job["expires_at"]


async def test_a_result_outlives_the_archives_own_time(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """A job that found an archive shortly before its end keeps it for its own time; a new request does not find it."""
    service = await start_service(data_dir=tmp_path / "kept")
    first = await service.download()
    job = await ended(service, await submit(service))
    await service.stop()
    with closing(sqlite3.connect(tmp_path / "kept" / "batch.sqlite3")) as database, database:
        database.execute("UPDATE archives SET settled = settled - 4000")
    service = await start_service(data_dir=tmp_path / "kept")

    assert (await service.ask(f"/v1/jobs/{job['job_id']}/download")).body == first.body
    assert (await service.download()).headers["X-Archive-Id"] != job["archive_id"]
    assert upstream.image_calls == 2


async def test_results_of_jobs_are_not_evicted(upstream: FakeUpstream, start_service: StartService) -> None:
    """There is no room for both: the newcomer is refused, what a job promised stays."""
    service = await start_service(store_max_bytes=10_100)
    job = await ended(service, await submit(service))
    upstream.orders[OTHER_ORDER] = order(["c", "d", "e"])
    upstream.images |= {"c": jpeg(3), "d": jpeg(4), "e": jpeg(5)}

    refused = await service.download(OTHER_ORDER, delivery="complete")

    assert refused.status in (422, 503)
    assert (await service.ask(f"/v1/jobs/{job['job_id']}/download")).members.keys() == {"a.jpg", "b.jpg"}


async def test_a_job_goes_on_after_a_restart(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """It was in the middle: the next process takes it to its end, and no image is fetched twice."""
    gate = upstream.hold("b")
    before = await start_service(data_dir=tmp_path / "kept")
    job = await submit(before)
    async with events(before, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 1:
                break
    await before.stop()
    gate.set()

    after = await start_service(data_dir=tmp_path / "kept")
    done = await ended(after, job)

    assert (done["status"], done["downloaded"]) == ("complete", 2)
    assert done["archive_id"] == event.job["archive_id"]
    assert upstream.calls("a") == 1


async def test_jobs_are_counted(service: Service, loop_guard: BlockBuster) -> None:
    """Every open status and every outcome is there from the start; ended jobs are counted by outcome."""
    loop_guard.deactivate()  # the process's own figures are read from /proc

    async def metrics() -> str:
        return (await service.ask("/metrics")).body.decode()

    at_first = await metrics()
    await ended(service, await submit(service))
    later = await metrics()

    for state in ("queued", "processing"):
        assert f'batch_jobs_open{{status="{state}"}} 0.0' in at_first
    for outcome in ("complete", "error", "cancelled"):
        assert f'batch_jobs_total{{outcome="{outcome}"}} 0.0' in at_first
    assert 'batch_jobs_total{outcome="complete"} 1.0' in later
