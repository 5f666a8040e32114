"""Error reports and the issues read back, with a Sentry on loopback."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sentry import TOKEN, FakeSentry
from tests.support.services import API_KEY
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream

ADMIN = {"X-Admin-Token": "token-of-the-administrator"}
ISSUE = {
    "id": "4501",
    "title": "OSError: disk",
    "culprit": "service.images",
    "level": "error",
    "count": "12",
    "firstSeen": "2026-11-20T08:00:00Z",
    "lastSeen": "2026-11-24T09:30:00Z",
    "permalink": "https://sentry.io/organizations/harbour/issues/4501/",
}
SHOWN = {
    "id": "4501",
    "title": "OSError: disk",
    "culprit": "service.images",
    "level": "error",
    "count": 12,
    "first_seen": "2026-11-20T08:00:00Z",
    "last_seen": "2026-11-24T09:30:00Z",
    "link": "https://sentry.io/organizations/harbour/issues/4501/",
}


@pytest.fixture
async def service(start_service: StartService, sentry: FakeSentry) -> Service:
    """A service that reports to the fake, every trace included, and reads its issues back."""
    return await start_service(
        sentry_dsn=sentry.dsn,
        sentry_env="staging",
        sentry_traces_sample_rate=1,
        sentry_auth_token=TOKEN,
        sentry_org="harbour",
        sentry_project="batch",
        admin_token=ADMIN["X-Admin-Token"],
    )


async def test_an_error_nobody_handles_is_reported(service: Service, sentry: FakeSentry) -> None:
    """With its traceback, the environment, and the request by route and id; the caller gets a problem document."""
    answer = await service.ask("/sentry-debug", headers=ADMIN)
    await service.stop()

    assert (answer.status, answer.problem["code"]) == (500, "internal_error")
    (event,) = sentry.errors
    assert event["exception"]["values"][-1]["type"] == "TestError"
    assert event["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["environment"] == "staging"
    assert event["release"].startswith("autoenhance-batch@")
    assert event["tags"] == {
        "request_id": answer.problem["request_id"],
        "route": "/sentry-debug",
        "method": "GET",
    }
    assert event["request"] == {"method": "GET", "url": "/sentry-debug"}
    assert event["contexts"]["trace"]["trace_id"] == answer.problem["request_id"]


async def test_no_secret_is_reported(service: Service, sentry: FakeSentry) -> None:
    """Neither headers, cookies, tokens or queries, nor the values of variables, nor a key that an error quotes."""
    headers = ADMIN | {"Cookie": "session=5ec12e7", "Authorization": "Bearer 5ec12e7"}
    await service.ask(f"/sentry-debug?token=5ec12e7&key={API_KEY}", headers=headers)
    await service.stop()

    sent = json.dumps([sentry.errors, sentry.transactions])
    assert sentry.errors
    assert sentry.transactions
    for secret in ("5ec12e7", API_KEY, ADMIN["X-Admin-Token"], TOKEN, "Cookie", '"vars"'):
        assert secret not in sent, secret


async def test_what_is_expected_is_not_reported(upstream: FakeUpstream, service: Service, sentry: FakeSentry) -> None:
    """Failures of upstream and mistakes of callers are no errors of ours."""
    upstream.orders[ORDER] = 500

    await service.download("no-uuid")
    assert (await service.download()).status == 502
    await service.stop()

    assert sentry.errors == []


async def test_traces_go_there_too(upstream: FakeUpstream, service: Service, sentry: FakeSentry) -> None:
    """A transaction by the route's name, with the steps below it, and none of upstream's words."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(), "b": 404}

    await service.download()
    await service.stop()

    (transaction,) = [one for one in sentry.transactions if one["transaction"] == "GET /v1/orders/{order_id}/images"]
    assert {"order", "archive", "image", "http.client", "stream"} <= {span["op"] for span in transaction["spans"]}
    assert UPSTREAM_WORDS not in json.dumps(sentry.transactions)


async def test_the_share_of_traces_is_a_setting(start_service: StartService, sentry: FakeSentry) -> None:
    """0 sends none."""
    service = await start_service(sentry_dsn=sentry.dsn, sentry_traces_sample_rate=0)

    await service.download("no-uuid")
    await service.stop()

    assert sentry.transactions == []


async def test_the_test_error_is_for_administrators(service: Service, sentry: FakeSentry) -> None:
    """Others get 403, and nothing is reported."""
    answer = await service.ask("/sentry-debug")
    await service.stop()

    assert (answer.status, answer.problem["code"]) == (403, "administrators_only")
    assert sentry.errors == []


@pytest.mark.parametrize("path", ["/v1/errors", "/api/sentry/issues"])
async def test_recent_issues_are_read_back(service: Service, sentry: FakeSentry, path: str) -> None:
    """With the token, under our own names."""
    sentry.answer = [ISSUE]

    answer = await service.ask(path, headers=ADMIN)

    assert (answer.status, json.loads(answer.body)) == (200, {"issues": [SHOWN]})
    assert sentry.asked == [f"Bearer {TOKEN}"]


async def test_issues_are_for_administrators(service: Service, sentry: FakeSentry) -> None:
    """Others get 403, and Sentry is not asked."""
    answer = await service.ask("/v1/errors")

    assert (answer.status, answer.problem["code"]) == (403, "administrators_only")
    assert sentry.asked == []


async def test_sentry_is_asked_once_for_many(service: Service, sentry: FakeSentry) -> None:
    """Callers at the same time share one call, and those of the next minute its answer."""
    sentry.answer, sentry.gate = [ISSUE], asyncio.Event()

    first = [asyncio.create_task(service.ask("/v1/errors", headers=ADMIN)) for _ in range(5)]
    await sentry.until(lambda: bool(sentry.asked))
    sentry.gate.set()
    answers = [*await asyncio.gather(*first), await service.ask("/v1/errors", headers=ADMIN)]

    assert [answer.status for answer in answers] == [200] * 6
    assert len(sentry.asked) == 1


@pytest.mark.parametrize(
    "given",
    [403, 500, "no json", "{}", "null", "[" * 100_000, json.dumps(["x" * (2 << 20)])],
    ids=["refused", "broken", "no json", "no list", "null", "deep", "huge"],
)
async def test_whatever_sentry_says_is_a_problem_document(
    service: Service, sentry: FakeSentry, given: int | str
) -> None:
    """502, without Sentry's words; asking again at once does not pass the impatience on."""
    sentry.answer = given

    answers = [await service.ask("/v1/errors", headers=ADMIN) for _ in range(2)]

    assert [(one.status, one.problem["code"]) for one in answers] == [(502, "errors_unavailable")] * 2
    assert all("words of Sentry" not in one.text for one in answers)
    assert len(sentry.asked) == 1


async def test_an_issue_of_another_shape_is_shown_as_far_as_it_goes(service: Service, sentry: FakeSentry) -> None:
    """Missing fields and other kinds are null; what is no object is left out; a link that is no link too."""
    odd: list[Any] = [{"id": 7, "title": ["?"], "count": None, "permalink": "javascript:alert(1)"}, "x", None, 3]
    sentry.answer = [*odd, *[ISSUE] * 100]

    issues = json.loads((await service.ask("/v1/errors", headers=ADMIN)).body)["issues"]

    assert issues[0] == dict.fromkeys(SHOWN) | {"id": "7"}
    assert issues[1] == SHOWN
    assert len(issues) <= 25


async def test_without_a_project_that_is_said(start_service: StartService) -> None:
    """503 for the administrator; no Sentry is needed for a service to run."""
    service = await start_service(admin_token=ADMIN["X-Admin-Token"])

    answer: Answer = await service.ask("/v1/errors", headers=ADMIN)

    assert (answer.status, answer.problem["code"]) == (503, "errors_not_configured")
    assert (await service.ask("/sentry-debug", headers=ADMIN)).status == 500
