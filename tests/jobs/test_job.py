"""A job as plain data: what callers see of it, what is kept of it, and what is due when."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from service.jobs import signing
from service.jobs.engine import JobFilter
from service.jobs.job import (
    NO_PROGRESS,
    Callback,
    CallbackState,
    Delivery,
    DeliveryState,
    Job,
    JobRequest,
    Status,
    moment,
)
from service.jobs.receivers import as_given
from tests.jobs.conformance.work import ORDER, OTHER_ORDER

REQUEST = JobRequest(
    id="1" * 32,
    order_id=ORDER,
    options={"quality": 80},
    callback_url="https://receiver.example/",
    deliver_to="https://storage.example/",
    created=1_000.0,
    trace="t",
    owner="caller:a",
    base_path="/batch",
)
SUMMARY = {"total": 3, "downloaded": 2, "failed": 1, "bytes": 9, "failures": [{"image_id": "i"}], "orders": []}
FULL = Job(
    request=REQUEST,
    status=Status.COMPLETE,
    archive_id="a1",
    summary=SUMMARY,
    error=None,
    crashes=2,
    reached=3,
    retry_at=1_001.0,
    retrying_since=1_002.0,
    started=1_003.0,
    finished=1_004.0625,
    expires=1_005.0,
    callback=Callback(state=CallbackState.PENDING, attempts=2, last_status=500, next_at=1_006.0),
    delivery=Delivery(status=DeliveryState.FAILED, attempts=3, error="timeout"),
)
SEVERAL = replace(REQUEST, order_id=None, order_ids=(ORDER, OTHER_ORDER))


@pytest.mark.parametrize("job", [FULL, Job.new(REQUEST), Job(request=SEVERAL, error={"code": "c"})])
def test_what_is_kept_is_the_job(job: Job) -> None:
    """Request, callback and delivery are kept beside it."""
    callback, delivery = (one.dump() if one else None for one in (job.callback, job.delivery))

    assert Job.load(job.request.dump(), job.dump(), callback, delivery) == job
    assert not {"request", "callback", "delivery"} & {*json.loads(job.dump())}


def test_a_new_job_tells_and_delivers_where_it_was_asked_to() -> None:
    """Else there is nothing to attempt."""
    new, silent = Job.new(REQUEST), Job.new(replace(REQUEST, callback_url=None, deliver_to=None))

    assert (new.callback, new.delivery) == (Callback(), Delivery())
    assert (silent.callback, silent.delivery) == (None, None)


def test_what_callers_see() -> None:
    """Every moment in UTC, to the millisecond; nothing of where it is delivered, or for whom."""
    assert FULL.document(base_path="/batch") == {
        "job_id": "1" * 32,
        "order_id": ORDER,
        "order_ids": [ORDER],
        "status": "complete",
        **SUMMARY,
        "archive_id": "a1",
        "error": None,
        "created_at": "1970-01-01T00:16:40.000+00:00",
        "started_at": "1970-01-01T00:16:43.000+00:00",
        "finished_at": "1970-01-01T00:16:44.062+00:00",
        "expires_at": "1970-01-01T00:16:45.000+00:00",
        "retry_at": "1970-01-01T00:16:41.000+00:00",
        "callback": {
            "state": "pending",
            "attempts": 2,
            "last_status": 500,
            "last_error": None,
            "next_at": "1970-01-01T00:16:46.000+00:00",
        },
        "delivery": {"status": "failed", "attempts": 3, "error": "timeout", "next_at": None},
        "links": {
            "self": f"/batch/v1/jobs/{'1' * 32}",
            "events": f"/batch/v1/jobs/{'1' * 32}/events",
            "download": f"/batch/v1/jobs/{'1' * 32}/download",
            "archive": "/batch/v1/archives/a1",
            "report": "/batch/v1/archives/a1/report",
        },
    }
    assert moment(None) is None


@pytest.mark.parametrize("status", sorted({*Status} - {Status.COMPLETE}))
def test_only_what_is_complete_can_be_downloaded(status: Status) -> None:
    """Its archive, as far as it is known, all the same."""
    links = replace(FULL, status=status).document()["links"]

    assert (links["download"], links["archive"]) == (None, "/v1/archives/a1")


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        (Status.PROCESSING, ("pending", None)),
        (Status.COMPLETE, ("pending", None)),
        (Status.ERROR, ("failed", "job_failed")),
        (Status.CANCELLED, ("failed", "job_cancelled")),
    ],
)
def test_nothing_is_delivered_without_a_zip(status: Status, delivery: tuple[str, str | None]) -> None:
    """Who waits for the delivery of a job is told that there will be none, with the code of its download."""
    told = replace(Job.new(REQUEST), status=status).document()["delivery"]

    assert (told["status"], told["error"]) == delivery


def test_a_job_of_several_orders_without_an_archive() -> None:
    """It names them all, an only one as any job does, and leads nowhere yet."""
    document = Job.new(SEVERAL).document()
    alone = Job.new(replace(SEVERAL, order_ids=(ORDER,))).document()

    assert (document["order_id"], document["order_ids"]) == (None, [ORDER, OTHER_ORDER])
    assert (alone["order_id"], alone["order_ids"]) == (ORDER, [ORDER])
    assert (document["links"]["archive"], document["links"]["report"]) == (None, None)
    assert {name: document[name] for name in NO_PROGRESS} == NO_PROGRESS


def test_whose_progress_is_told() -> None:
    """Its own once it has ended, whatever the archive is now; what an earlier version did not count is nothing."""
    progress = {**SUMMARY, "downloaded": 1}

    assert FULL.document(progress)["downloaded"] == 2
    assert replace(FULL, summary=None).document(progress)["downloaded"] == 1
    assert replace(FULL, summary={"total": 5}).document()["orders"] == []


PENDING, ENDED = Callback(next_at=50.0), Callback(state=CallbackState.DELIVERED)
SENT = Delivery(status=DeliveryState.DELIVERED)


@pytest.mark.parametrize(
    ("status", "callback", "delivery", "due"),
    [
        (Status.COMPLETE, None, None, None),
        (Status.COMPLETE, Callback(), None, 0.0),
        (Status.COMPLETE, PENDING, None, 50.0),
        (Status.ERROR, PENDING, None, 50.0),
        (Status.CANCELLED, PENDING, None, 50.0),
        (Status.PROCESSING, PENDING, Delivery(), None),
        (Status.QUEUED, PENDING, None, None),
        (Status.COMPLETE, ENDED, None, None),
        (Status.COMPLETE, PENDING, Delivery(), 0.0),
        (Status.COMPLETE, PENDING, Delivery(next_at=70.0), 70.0),
        (Status.COMPLETE, None, Delivery(next_at=70.0), 70.0),
        (Status.COMPLETE, PENDING, SENT, 50.0),
        (Status.COMPLETE, ENDED, SENT, None),
        (Status.ERROR, PENDING, Delivery(), 50.0),
        (Status.ERROR, None, Delivery(), None),
    ],
)
def test_what_is_due_next(
    status: Status, callback: Callback | None, delivery: Delivery | None, due: float | None
) -> None:
    """A delivery first, and only of what is complete; then the callback, which tells of it."""
    job = Job(request=REQUEST, status=status, callback=callback, delivery=delivery)

    assert job.follow_up_due == due
    assert job.callback_is_pending is (due is not None and not job.delivery_is_pending)
    assert job.delivery_is_pending is (due is not None and delivery is not None and due == (delivery.next_at or 0.0))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"id": "2" * 32, "created": 7.0, "trace": None, "owner": None, "base_path": ""}, True),
        ({"order_id": OTHER_ORDER}, False),
        ({"order_id": None, "order_ids": (ORDER,)}, False),
        ({"options": {"quality": 81}}, False),
        ({"callback_url": None}, False),
        ({"deliver_to": None}, False),
    ],
)
def test_what_makes_two_requests_the_same(changes: dict[str, Any], same: bool) -> None:
    """All that is asked for; not who asks, when, and by which address."""
    assert REQUEST.is_same_as(replace(REQUEST, **changes)) is same


@pytest.mark.parametrize(("expires", "expired"), [(None, False), (-60.0, True), (60.0, False)])
def test_when_a_result_is_no_longer_kept(expires: float | None, expired: bool) -> None:
    """A job that has no end yet has none to expire."""
    assert replace(FULL, expires=expires and time.time() + expires).is_expired is expired


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (JobFilter(), True),
        (JobFilter(owner="caller:a"), True),
        (JobFilter(owner="caller:b"), False),
        (JobFilter(status=Status.COMPLETE), True),
        (JobFilter(status=Status.ERROR), False),
        (JobFilter(order_id=OTHER_ORDER), True),
        (JobFilter(order_id="another"), False),
        (JobFilter(before=(1_000.0, "2")), True),
        (JobFilter(before=(1_000.0, "1" * 32)), False),
        (JobFilter(before=(999.0, "2")), False),
        (JobFilter(owner="caller:a", status=Status.ERROR), False),
    ],
)
def test_which_jobs_are_listed(wanted: JobFilter, fits: bool) -> None:
    """Those that meet every condition; of one moment, by their ids."""
    assert wanted.fits(replace(FULL, request=SEVERAL)) is fits


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """One for each key, over id, time and body."""
    found = signing.headers("msg_1", 1_700_000_000, b'{"a": 1}', [b"k" * 24, b"l" * 24])

    assert found == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": (
            "v1,sX/oHFumOIvCxhyFMHjAtLHcUB+79M4HnsV9R6cTS7Y= v1,BNIPVSQl8BFdxHMLzQesXKogXLxWbzWO9geR+AvpEk8="
        ),
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://a.example/b%2Fc?d=%7e&e=f%20g", "https://a.example/b%2Fc?d=%7e&e=f%20g"),
        ("https://a.example/b c?ä", "https://a.example/b%20c?%C3%A4"),
    ],
)
def test_an_address_is_called_as_it_was_given(given: str, sent: str) -> None:
    """A signature may cover every byte of it; what no request line can hold is encoded."""
    assert str(as_given(given)) == sent
