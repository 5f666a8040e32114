"""Whose jobs a request may see, and what there is to be had of them. No service runs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import job_list, jobs
from service.api.caller import CALLER, Caller
from service.api.job_list import _read_cursor
from service.api.keys import ARCHIVES, JOBS, LIFECYCLE, SETTINGS
from service.api.lifecycle import Lifecycle
from service.api.new_job import NewJob, NewJobOfSeveral
from service.archives.options import Options
from service.jobs.engine import JobFilter
from service.jobs.job import NO_PROGRESS, Job, Status
from service.problems import (
    InvalidParameter,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobUnfinished,
    PrefetchRefused,
    Problem,
)
from service.settings import ServiceKey, Settings
from service.upstream.models import Rendition
from tests.jobs.conformance.work import ended, request
from tests.support.handled import document_of
from tests.support.samples import ORDER

ONE, TWO = (Caller(ServiceKey(name, SecretStr(f"key-of-caller-{name}"))) for name in ("one", "two"))
ADMINISTRATOR = Caller(is_administrator=True)
CALLERS = {
    "one": ONE,
    "two": TWO,
    "administrator": ADMINISTRATOR,
    "a link of one": replace(ONE, by_link=True),
    "a link of an administrator": Caller(by_link=True),
}

ERROR = {"code": "c", "title": "t", "detail": "d"}
LONG_AGO = 1_000.0


class Known:
    """Jobs that are known, and what was asked of them."""

    def __init__(self, *known: Job) -> None:
        self.known = known
        self.found: list[tuple[JobFilter, int]] = []
        self.submitted: list[dict[str, Any]] = []

    async def get(self, job_id: str) -> Job:
        for job in self.known:
            if job.id == job_id:
                return job
        raise JobNotFound

    async def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        self.found.append((wanted, limit))
        return list(self.known[:limit])

    async def document(self, job: Job) -> dict[str, Any]:
        return job.document({**NO_PROGRESS, "total": 7, "downloaded": 3})

    async def documents(self, found: list[Job]) -> list[dict[str, Any]]:
        return [job.document() for job in found]

    async def submit(self, order_id: object, options: Options, **more: Any) -> tuple[Job, bool]:
        self.submitted.append({"order_id": order_id, **more})
        return self.known[0], len(self.submitted) == 1

    def events(self, job_id: str, after: int) -> tuple[str, int]:
        return job_id, after


def asked(
    known: Known, caller: Caller | None = None, path: str = "/", *, keys: bool = True, **headers: str
) -> web.Request:
    """A request for the first job that is known."""
    app = web.Application()
    app[SETTINGS] = Settings(
        _env_file=None,
        service_api_key="one:key-of-caller-one,two:key-of-caller-two" if keys else "",
        autoenhance_api_key=SecretStr("key"),
        base_path="/batch",
    )
    app[JOBS], app[LIFECYCLE] = cast(Any, known), Lifecycle()

    async def by_id(archive_id: str, *, begin: bool) -> str:
        return f"archive {archive_id}" if begin else f"look at archive {archive_id}"

    async def renditions_of(_: str) -> dict[str, Rendition]:
        return {"": Rendition(preview=False)}

    app[ARCHIVES] = cast(Any, SimpleNamespace(by_id=by_id, renditions_of=renditions_of))
    job_id = known.known[0].id if known.known else "0" * 32
    found = make_mocked_request(
        "GET",
        path,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        app=app,
        match_info={"job_id": job_id, "order_id": ORDER},
    )
    found[CALLER] = caller or Caller()
    return found


@pytest.mark.parametrize(
    ("owner", "seen_by"),
    [
        ("caller:one", {"one", "administrator", "a link of one", "a link of an administrator"}),
        ("administrator", {"administrator", "a link of an administrator"}),
        (None, {*CALLERS}),
    ],
)
async def test_a_job_is_its_owners(owner: str | None, seen_by: set[str]) -> None:
    """And administrators', by their links too; to others it is as if there were none. One made without keys is
    everybody's."""
    job = Job.new(request(owner=owner))
    seen = set()
    for name, caller in CALLERS.items():
        try:
            assert await jobs._job(asked(Known(job), caller)) == job
        except JobNotFound:
            continue
        seen.add(name)

    assert seen == seen_by
    assert await jobs._job(asked(Known(job), keys=False)) == job


async def test_a_job_is_the_one_who_asked_for_its() -> None:
    """By the caller's name; an administrator's without a key is the administrators'."""
    owners = [jobs.owner_of(asked(Known(), caller)) for caller in (ONE, TWO, ADMINISTRATOR)]

    assert owners == ["caller:one", "caller:two", "administrator"]
    assert jobs.owner_of(asked(Known(), ADMINISTRATOR, keys=False)) is None


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda job: job, JobUnfinished),
        (lambda job: replace(job, status=Status.PROCESSING, archive_id="a"), JobUnfinished),
        (lambda job: replace(ended(job, expires=LONG_AGO), archive_id="a"), JobExpired),
        (lambda job: replace(ended(job, Status.ERROR), error=ERROR), JobFailed),
        (lambda job: replace(ended(job, Status.CANCELLED), archive_id="a"), JobCancelled),
        (lambda job: replace(ended(job, Status.ERROR, expires=LONG_AGO), error=ERROR), JobFailed),
        (lambda job: replace(ended(job, Status.CANCELLED, expires=LONG_AGO), archive_id="a"), JobCancelled),
    ],
)
async def test_why_there_is_nothing_to_download(make: Callable[[Job], Job], problem: type[Problem]) -> None:
    """Each by a problem of its own, however late; who is too early is told when to come again, and how far it is."""
    job = make(Job.new(request()))

    with pytest.raises(problem) as refused:
        await jobs._result(asked(Known(job)))

    if problem is JobUnfinished:
        assert refused.value.headers["Retry-After"] == "2"
        assert "3 of 7 images" in str(refused.value)


async def test_what_is_complete_can_be_downloaded() -> None:
    """For as long as it is kept."""
    job = replace(ended(Job.new(request())), archive_id="a")

    assert str(await jobs._result(asked(Known(job)))) == "archive a"


async def test_who_asks_about_the_zip_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what was removed of it since."""
    monkeypatch.setattr(jobs, "head_of", lambda _, archive: archive)
    job = replace(ended(Job.new(request())), archive_id="a")

    assert str(await jobs.describe(asked(Known(job)))) == "look at archive a"


async def test_a_browser_that_fetches_ahead_buys_nothing() -> None:
    """What was removed of the ZIP since would be fetched again."""
    job = replace(ended(Job.new(request())), archive_id="a")

    with pytest.raises(PrefetchRefused):
        await jobs.download(asked(Known(job), Sec_Purpose="prefetch"))


@pytest.mark.parametrize(
    ("last", "after"),
    [
        ("", 0),
        ("3", 3),
        ("4", None),
        ("5", 5),
        ("-1", 0),
        ("3x", 0),
        ("\u0663", 0),
        ("1" * 9, int("1" * 9)),
        ("1" * 10, 0),
    ],
)
async def test_a_stream_goes_on_after_the_last_event_that_was_heard(
    monkeypatch: pytest.MonkeyPatch, last: str, after: int | None
) -> None:
    """Given a job that ended with three outcomes: who has heard of its end is told not to come again.

    Who has heard of more outcomes before they were lost has not heard of the end.
    """
    sent: list[Any] = []

    async def send(_: web.Request, events: Any, stopping: asyncio.Event) -> web.StreamResponse:
        assert not stopping.is_set()
        sent.append(events)
        return web.Response()

    monkeypatch.setattr(jobs, "send_events", send)
    job = replace(ended(Job.new(request())), summary={**NO_PROGRESS, "downloaded": 2, "failed": 1})

    answer = await jobs.events(asked(Known(job), Last_Event_ID=last))

    assert (answer.status, sent) == ((204, []) if after is None else (200, [(job.id, after)]))


async def test_a_job_is_accepted_for_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """With where it is reached; who asks again is told so, and a job of several orders is another one."""
    counted: list[web.Request] = []

    async def count(found: web.Request) -> None:
        counted.append(found)

    monkeypatch.setattr(jobs, "count", count)
    known = Known(Job.new(request()))

    async def spec(*_: object) -> NewJobOfSeveral:
        return NewJobOfSeveral.model_validate({"callback_url": "c", "deliver_to": "d", "order_ids": [ORDER]})

    monkeypatch.setattr(jobs, "read_new_job", spec)
    monkeypatch.setattr(jobs, "read_job_of_several", spec)
    answers = [
        await handler(asked(known, ONE, Idempotency_Key="k"))
        for handler in (jobs.create, jobs.create, jobs.create_of_several)
    ]

    first, again, several = known.submitted
    assert (
        first
        == again
        == {
            "order_id": ORDER,
            "callback_url": "c",
            "deliver_to": "d",
            "key": first["key"],
            "owner": "caller:one",
            "base_path": "/batch",
        }
    )
    assert several == {**first, "order_id": (ORDER,), "key": several["key"]}
    assert several["key"] not in (first["key"], None)
    assert [answer.status for answer in answers] == [202] * 3
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert answers[0].headers["Location"] == f"/v1/jobs/{known.known[0].id}"
    assert answers[0].headers["Retry-After"] == "2"
    assert len(counted) == 3


async def test_a_job_that_cannot_be_counts_against_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its format needs another version of the API."""
    counted: list[web.Request] = []

    async def count(found: web.Request) -> None:
        counted.append(found)

    async def spec(*_: object) -> NewJob:
        return NewJob(format="avif")

    monkeypatch.setattr(jobs, "count", count)
    monkeypatch.setattr(jobs, "read_new_job", spec)
    known = Known()
    with pytest.raises(InvalidParameter):
        await jobs.create(asked(known, ONE))

    assert (counted, known.submitted) == ([], [])


@pytest.mark.parametrize("status", list(Status))
async def test_who_looks_at_a_job_that_has_not_ended_is_told_when_to_look_again(status: Status) -> None:
    """Not once it has."""
    answer = await jobs.status(asked(Known(replace(Job.new(request()), status=status))))

    assert ("Retry-After" in answer.headers) is (status in (Status.QUEUED, Status.PROCESSING))
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("caller", "owner"), [(ONE, "caller:one"), (ADMINISTRATOR, None), (replace(ONE, is_administrator=True), None)]
)
async def test_callers_list_their_own_jobs(caller: Caller, owner: str | None) -> None:
    """Administrators all; one more than is shown is looked for, to know whether there are more."""
    known = Known()

    await job_list.find(asked(known, caller, f"/?limit=7&status=error&order_id={ORDER.upper()}&cursor=1.5_{'a' * 32}"))

    assert known.found == [(JobFilter(owner, Status.ERROR, ORDER, (1.5, "a" * 32)), 8)]


@pytest.mark.parametrize(("limit", "shown", "has_more"), [(1, 1, True), (2, 2, False), (3, 2, False)])
async def test_a_page_names_the_next_one(limit: int, shown: int, has_more: bool) -> None:
    """By the last job that it has, to the moment; the last page names none."""
    known = Known(*(Job.new(replace(request(), created=1_700_000_000.1234567 + number)) for number in range(2)))
    answer = await job_list.find(asked(known, ADMINISTRATOR, f"/?limit={limit}"))

    page = document_of(answer)
    last = known.known[shown - 1]
    assert [item["job_id"] for item in page["items"]] == [job.id for job in known.known[:shown]]
    assert [item["links"]["self"] for item in page["items"]] == [
        f"/batch/v1/jobs/{job.id}" for job in known.known[:shown]
    ]
    assert (page["next_cursor"] is not None) is has_more
    if has_more:
        assert _read_cursor(page["next_cursor"]) == (last.request.created, last.id)


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "limit=0", "limit=201", "order_id=7", "cursor=x", "status=done", "owner=one", "cursor="],
)
async def test_a_list_that_is_asked_for_wrongly_is_refused(query: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InvalidParameter) as refused:
        await job_list.find(asked(Known(), ONE, f"/?{query}"))

    assert refused.value.extra["parameter"] == query.partition("=")[0]


async def test_a_list_that_is_asked_for_by_another_name_says_which_is_meant() -> None:
    """As every other query does."""
    with pytest.raises(InvalidParameter, match="perhaps you mean status"):
        await job_list.find(asked(Known(), ONE, "/?state=error"))
