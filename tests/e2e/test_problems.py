"""Every error is a problem document, says nothing that is not ours to say, and is as guarded as any answer."""

import json

import pytest

from tests.support.client import Answer, Service
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.services import API_KEY
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream, Reply, Script

DOWNLOAD = f"/v1/orders/{ORDER}/images"
ERRORS = [
    ("GET", "/v1/orders/x/images", 400),
    ("GET", f"{DOWNLOAD}?quality=91", 400),
    ("GET", DOWNLOAD, 404),
    ("GET", "/v1/archives/nothing-here", 404),
    ("GET", "/v1/archives/nothing-here/report", 404),
    ("GET", "/nowhere", 404),
    ("GET", "/v1/nowhere/%00/x", 404),
    ("POST", DOWNLOAD, 405),
    ("DELETE", DOWNLOAD, 405),
    ("PUT", "/health", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), ERRORS)
async def test_an_error_is_a_problem_document(service: Service, method: str, path: str, status: int) -> None:
    """RFC 9457, with our code and the request's id."""
    answer = await service.ask(path, method=method)

    problem = answer.problem
    assert answer.status == status
    assert problem["status"] == status
    assert problem.keys() >= {"type", "title", "status", "detail", "code", "request_id"}
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "detail", "code"))
    assert isinstance(problem["request_id"], str)
    assert problem["request_id"]


async def test_request_ids_differ(service: Service) -> None:
    """A request id names one request."""
    ids = {(await service.ask("/nowhere")).problem["request_id"] for _ in range(3)}

    assert len(ids) == 3


async def test_the_type_leads_to_an_explanation(service: Service) -> None:
    """It is an address of this service, and the page there has a row for the error."""
    path, _, place = (await service.ask("/nowhere")).problem["type"].partition("#")

    page = await service.ask(path)
    if page.status == 302:
        page = await service.ask(page.headers["Location"])
    assert page.status == 200
    assert f'id="{place}"' in page.text


async def test_a_wrong_method_names_the_right_ones(service: Service) -> None:
    """405 comes with `Allow`."""
    answer = await service.ask(DOWNLOAD, method="DELETE")

    assert "GET" in answer.headers["Allow"]


def _assert_guarded(answer: Answer) -> None:
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"]
    assert answer.headers["Permissions-Policy"]


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method, path, _ in ERRORS]
    + [("GET", "/health"), ("HEAD", "/health"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")],
)
async def test_every_answer_carries_the_security_headers(service: Service, method: str, path: str) -> None:
    """Errors and probes alike."""
    _assert_guarded(await service.ask(path, method=method))


async def test_downloads_carry_the_security_headers(upstream: FakeUpstream, service: Service) -> None:
    """Streamed, repeated, as a part, not modified, and HEAD."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    streamed = await service.download()
    archive, tag = f"/v1/archives/{streamed.headers['X-Archive-Id']}", streamed.headers["ETag"]

    answers = [
        streamed,
        await service.download(),
        await service.head(),
        await service.ask(archive, headers={"Range": "bytes=0-9"}),
        await service.ask(archive, headers={"Range": "bytes=999999-"}),
        await service.ask(archive, headers={"If-None-Match": tag}),
    ]

    assert [answer.status for answer in answers] == [200, 200, 200, 206, 416, 304]
    for answer in answers:
        _assert_guarded(answer)


@pytest.mark.parametrize(
    "script",
    [
        401,
        404,
        422,
        500,
        f"<html>{UPSTREAM_WORDS}</html>",
        Reply(body=f'{{"images": "{UPSTREAM_WORDS}"}}'.encode(), content_type="application/json"),
        Reply(status=503, headers={"Retry-After": UPSTREAM_WORDS}),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_upstreams_words_about_an_order_stay_inside(
    upstream: FakeUpstream, service: Service, script: Script
) -> None:
    """Neither its error body nor the key that it echoes is passed on."""
    upstream.orders[ORDER] = script

    answer = await service.download()

    assert answer.status >= 400
    assert UPSTREAM_WORDS not in answer.text
    assert API_KEY not in answer.text


async def test_upstreams_words_about_images_stay_inside(upstream: FakeUpstream, service: Service) -> None:
    """Error bodies are not in the report, not in the report resource, not in a 422."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.orders[OTHER_ORDER] = order(["b", "c"], order_id=OTHER_ORDER)
    upstream.images |= {"a": jpeg(), "b": 403, "c": f"<html>{UPSTREAM_WORDS}</html>"}

    partial = await service.download()
    report = await service.ask(f"/v1/archives/{partial.headers['X-Archive-Id']}/report")
    nothing = await service.download(OTHER_ORDER)

    assert [partial.status, report.status, nothing.status] == [200, 200, 422]
    for answer in (partial, report, nothing):
        assert UPSTREAM_WORDS not in answer.text
        assert API_KEY not in answer.text


async def test_the_reason_in_an_images_record_reaches_its_owner(upstream: FakeUpstream, service: Service) -> None:
    """It is part of the order's document: report, report resource and overview say it, on one line and bounded."""
    reason = "Daily limit reached\n" + "x" * 500
    upstream.orders[ORDER] = order(["a", photo("d", status="error", status_reason=reason)])
    upstream.images |= {"a": jpeg()}

    partial = await service.download()
    report = await service.ask(f"/v1/archives/{partial.headers['X-Archive-Id']}/report")
    overview = await service.ask(f"/v1/orders/{ORDER}")

    said = [json.loads(answer.body)["failures"][0]["reason"] for answer in (report, overview)]
    assert [text.count("Daily limit reached") for text in said] == [1, 1]
    assert all("\n" not in text and len(text) < 300 and "Process it again" not in text for text in said)
    assert "Daily limit reached" in partial.report


async def test_the_key_is_in_no_public_document(service: Service) -> None:
    """Health, metrics and errors know nothing of it."""
    answers = [await service.ask(path) for path in ("/health", "/metrics", "/readyz", "/nowhere", DOWNLOAD)]

    assert all(API_KEY not in answer.text for answer in answers)
