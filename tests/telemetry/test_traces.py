"""Traces as a collector gets them: one per request, from the order to the last byte of the archive."""

import asyncio
import base64
from collections import Counter

import pytest
from yarl import URL

from tests.support.client import Service, StartService
from tests.support.collector import Collector
from tests.support.jobs import Receiver, all_events, submit
from tests.support.loopback import free_port
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.services import API_KEY
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream, Reply

DOWNLOAD = "GET /v1/orders/{order_id}/images"
CALLBACK_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def service(start_service: StartService, collector: Collector) -> Service:
    """A service that sends its spans to the collector, for callers with a key."""
    return await start_service(otel_exporter_otlp_endpoint=collector.url, service_api_key="key-of-a-caller-11d0")


KEY = {"X-API-Key": "key-of-a-caller-11d0"}


async def test_a_download_is_one_trace(upstream: FakeUpstream, service: Service, collector: Collector) -> None:
    """Request, order, archive, stream, and each image with each of its attempts hang together, bodies included."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images = {"a": jpeg(1), "b": [500, Reply(body=jpeg(2), cut_after=500), jpeg(2)], "c": 404}
    upstream.hops = {"a": 2}

    answer = await service.download(headers=KEY)
    await service.stop()

    assert answer.status == 200
    assert len({span.trace_id for span in collector.spans}) == 1
    assert [span.name for span in collector.spans if not span.parent_id] == [DOWNLOAD]
    paths = Counter(" > ".join(collector.path(span)) for span in collector.spans)
    assert paths == {
        DOWNLOAD: 1,
        f"{DOWNLOAD} > order": 1,
        f"{DOWNLOAD} > order > attempt": 1,
        f"{DOWNLOAD} > order > attempt > GET": 1,
        f"{DOWNLOAD} > archive": 1,
        f"{DOWNLOAD} > archive > image": 3,
        f"{DOWNLOAD} > archive > image > attempt": 5,
        f"{DOWNLOAD} > archive > image > attempt > GET": 7,
        f"{DOWNLOAD} > stream": 1,
    }
    images = {span.attributes["image.id"]: span for span in collector.named("image")}
    attempts = sorted(collector.children(images["b"]), key=lambda span: span.attributes["attempt"])
    assert [(span.is_failed, span.attributes.get("error.type")) for span in attempts] == [
        (True, "upstream_error"),
        (True, "truncated"),
        (False, None),
    ]
    assert images["b"].attributes == {"image.id": "b", "image.bytes": 2_000, "image.attempts": 3}
    assert (images["c"].is_failed, images["c"].attributes["error.type"]) == (True, "image_not_found")


async def test_each_call_of_an_attempt_is_a_client_span(
    upstream: FakeUpstream, service: Service, collector: Collector
) -> None:
    """One per redirect, by the instrumentation, with the route at the API and only the origin elsewhere."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(), "b": 404}
    upstream.hops = {"a": 2}

    await service.download(headers=KEY)
    await service.stop()

    first, second = sorted(collector.named("image"), key=lambda span: str(span.attributes["image.id"]))
    (good,), (bad,) = collector.children(first), collector.children(second)
    calls, (refused,) = collector.children(good), collector.children(bad)
    assert {call.kind for call in calls} == {"CLIENT"}
    assert [call.attributes for call in calls] == [
        {"http.method": "GET", "http.url": url, "http.status_code": status}
        for url, status in (
            (f"{upstream.url}/images/{{id}}/enhanced", 302),
            (upstream.assets_url, 302),
            (upstream.assets_url, 200),
        )
    ]
    assert (refused.is_failed, refused.attributes["http.status_code"]) == (True, 404)
    assert (bad.is_failed, bad.attributes["error.type"], bad.description) == (
        True,
        "image_not_found",
        "image_not_found",
    )


async def test_a_span_of_an_attempt_covers_the_body(
    upstream: FakeUpstream, service: Service, collector: Collector
) -> None:
    """It lasts until the image is in, or has broken off."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = [Reply(body=jpeg(size=300_000), cut_after=200_000)] * 9

    await service.download(headers=KEY)
    await service.stop()

    (image,) = collector.named("image")
    attempts = collector.children(image)
    assert len(attempts) > 1
    assert {attempt.attributes["error.type"] for attempt in attempts} == {"truncated"}
    calls = [call for attempt in attempts for call in collector.children(attempt)]
    assert len(calls) == len(attempts)
    assert {(call.attributes["http.status_code"], call.is_failed) for call in calls} == {(200, False)}


async def test_a_request_tells_what_came_of_it(upstream: FakeUpstream, service: Service, collector: Collector) -> None:
    """Status and outcome are attributes; an error of ours or upstream's marks the span, a caller's does not."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    upstream.orders[OTHER_ORDER] = 500

    good = await service.download(headers=KEY | {"X-Request-Id": "given-by-the-caller"})
    bad = await service.download(OTHER_ORDER, headers=KEY)
    wrong = await service.download("no-uuid", headers=KEY)
    await service.stop()

    spans = {span.attributes["request.id"]: span for span in collector.named(DOWNLOAD)}
    assert good.headers["X-Request-Id"] == "given-by-the-caller"
    first, second, third = (
        spans["given-by-the-caller"],
        spans[bad.problem["request_id"]],
        spans[wrong.problem["request_id"]],
    )
    assert [(span.attributes["http.status_code"], span.is_failed) for span in (first, second, third)] == [
        (200, False),
        (502, True),
        (400, False),
    ]
    (stream,) = collector.named("stream")
    assert stream.attributes["stream.outcome"] == "sent"
    assert stream.attributes["stream.bytes"] == len(good.body)
    (archive,) = collector.named("archive")
    assert archive.attributes["archive.outcome"] == "success"
    assert archive.attributes["archive.id"] == good.headers["X-Archive-Id"]


async def test_a_request_is_told_by_its_route(service: Service, collector: Collector) -> None:
    """Not by its path: an archive's id, or a link's token, opens what it names."""
    await service.ask("/v1/archives/5ec12e7", headers=KEY)
    await service.stop()

    (root,) = collector.spans
    assert root.name == "GET /v1/archives/{archive_id}"
    assert set(root.attributes) == {"http.method", "http.route", "http.status_code", "request.id"}
    assert b"5ec12e7" not in b"".join(collector.raw)


async def test_without_an_id_of_the_callers_the_request_id_is_the_traces(
    service: Service, collector: Collector
) -> None:
    """What a person reports from a problem document finds the trace at once."""
    answer = await service.download("no-uuid", headers=KEY)
    await service.stop()

    (root,) = collector.named(DOWNLOAD)
    assert answer.problem["request_id"] == answer.headers["X-Request-Id"] == root.trace_id


async def test_an_incoming_traceparent_is_continued_and_sent_on(
    upstream: FakeUpstream, service: Service, collector: Collector
) -> None:
    """The caller's trace goes through us to upstream; the caller's baggage stays here."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    parent = "00f067aa0ba902b7"

    headers = KEY | {"traceparent": f"00-{TRACE_ID}-{parent}-01", "baggage": "person=someone"}
    answer = await service.download(headers=headers)
    await service.stop()

    (root,) = collector.named(DOWNLOAD)
    assert (root.trace_id, root.parent_id, root.kind) == (TRACE_ID, parent, "SERVER")
    assert answer.headers["X-Request-Id"] == TRACE_ID
    clients = {span.span_id for span in collector.spans if span.kind == "CLIENT"}
    sent = [request.headers["traceparent"].split("-") for request in upstream.received]
    assert {parts[1] for parts in sent} == {TRACE_ID}
    assert {parts[2] for parts in sent} == clients
    assert not any("baggage" in request.headers for request in upstream.received)


async def test_a_callers_decision_not_to_record_is_kept(service: Service, collector: Collector) -> None:
    """`traceparent` with the flag 00: nothing is sent to the collector."""
    await service.download("no-uuid", headers=KEY | {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-00"})
    await service.download("no-uuid", headers=KEY)
    await service.stop()

    assert [span.trace_id == TRACE_ID for span in collector.spans] == [False]


async def test_no_secret_leaves_in_a_span(upstream: FakeUpstream, service: Service, collector: Collector) -> None:
    """No key, no path or query of a signed address, none of upstream's words: not in names, attributes, or events."""
    upstream.orders[ORDER] = order(["a", "b", "c", "d"])
    nowhere = Reply(status=302, headers={"Location": "http://localhost:1/asset?X-Amz-Signature=5ec12e7"})
    upstream.images = {"a": jpeg(), "b": 400, "c": nowhere, "d": Reply(status=302, headers={"Location": "http://["})}
    upstream.hops = {"a": 1}

    await service.ask(f"/v1/orders/{ORDER}/images?token=5ec12e7&api_key={API_KEY}", headers=KEY)
    await service.download(headers=KEY, quality="50")
    await service.stop()

    assert len(collector.named("attempt")) >= 4
    assert [span.events for span in collector.spans if span.events] == []
    sent = b"".join(collector.raw)
    for secret in (API_KEY, KEY["X-API-Key"], "5ec12e7", "Signature", "quality", "hop=", "asset", UPSTREAM_WORDS):
        assert secret.encode() not in sent, secret


async def test_a_callback_is_a_client_span_without_its_path(
    upstream: FakeUpstream, start_service: StartService, collector: Collector
) -> None:
    """Receivers put their secrets into paths and queries."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    service = await start_service(
        otel_exporter_otlp_endpoint=collector.url, callback_secret=CALLBACK_SECRET, callback_allow_private=True
    )

    async with Receiver() as receiver:
        await submit(service, callback_url=f"{receiver.url}/hook-5ec12e7?token=5ec12e7")
        await receiver.until(lambda: bool(receiver.received))
        await service.stop()

    (post,) = [span for span in collector.named("POST") if span.kind == "CLIENT"]
    assert post.attributes["http.url"] == str(URL(receiver.url).origin())
    for secret in ("5ec12e7", "hook"):
        assert secret.encode() not in b"".join(collector.raw), secret


async def test_a_job_is_a_trace_linked_to_the_request_that_created_it(
    upstream: FakeUpstream, service: Service, collector: Collector
) -> None:
    """The job's trace is its own, leads back to the request, and holds images and attempts."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(1), "b": jpeg(2)}
    service.session.headers.update(KEY)

    job = await submit(service)
    assert (await all_events(service, job))[-1].job["status"] == "complete"
    await service.stop()

    (created,) = collector.named("POST /v1/orders/{order_id}/jobs")
    (span,) = collector.named("job")
    assert span.links == [created.trace_id]
    assert span.trace_id != created.trace_id
    assert span.attributes["job.id"] == job["job_id"]
    paths = {" > ".join(collector.path(one)) for one in collector.spans if one.trace_id == span.trace_id}
    assert {"job > archive > image > attempt > GET", "job > order > attempt > GET"} <= paths
    assert len(collector.named("image", span.trace_id)) == 2


async def test_probes_and_metrics_are_not_traced(service: Service, collector: Collector) -> None:
    """What asks every few seconds would bury the rest."""
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        assert (await service.ask(path)).status == 200
    await service.download("no-uuid", headers=KEY)
    await service.stop()

    assert [span.name for span in collector.spans] == [DOWNLOAD]


async def test_the_standard_variables_are_respected(
    start_service: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, resource and headers are those of the environment."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "photos-batch")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours")
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)

    await service.download("no-uuid")
    await service.stop()

    assert collector.resource["service.name"] == "photos-batch"
    assert collector.resource["deployment.environment"] == "staging"
    assert collector.resource["service.version"]
    assert collector.headers[0]["x-tenant"] == "ours"


@pytest.mark.parametrize(("share", "fewest", "at_most"), [("0", 0, 0), ("0.1", 1, 60), ("1", 200, 200)])
async def test_a_share_of_the_traces_is_recorded(
    start_service: StartService,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    share: str,
    fewest: int,
    at_most: int,
) -> None:
    """As the standard variables say; of 200 at 10%, there is no chance of none or of 60."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)

    for _ in range(200):
        assert (await service.download("no-uuid")).status == 400
    await service.stop()

    assert fewest <= len(collector.named(DOWNLOAD)) <= at_most


async def test_a_trace_is_recorded_whole_or_not_at_all(
    upstream: FakeUpstream, start_service: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id: the first tenth of all ids is recorded, down to the client spans; upstream is told either way."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    upstream.orders = {ORDER: order(["a"]), OTHER_ORDER: order(["b"])}
    upstream.images = {"a": jpeg(1), "b": jpeg(2)}
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)
    recorded, left_out = (f"{'1' * 16}{start}{'0' * 15}" for start in "12")

    for trace_id, order_id in ((recorded, ORDER), (left_out, OTHER_ORDER)):
        await service.download(order_id, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
    await service.stop()

    assert {span.trace_id for span in collector.spans} == {recorded}
    assert len(collector.named("image")) == 1
    assert len(collector.named("GET")) == 2
    sent = Counter(request.headers["traceparent"].split("-")[1::2][0] for request in upstream.received)
    assert sent == {recorded: 2, left_out: 2}
    assert {request.headers["traceparent"][-2:] for request in upstream.requests("b")} == {"00"}


async def test_limits_are_those_of_the_environment(
    upstream: FakeUpstream, start_service: StartService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the length that an attribute may have."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "8")
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    service = await start_service(otel_exporter_otlp_endpoint=collector.url)

    await service.download()
    await service.stop()

    values = [value for span in collector.spans for value in span.attributes.values() if isinstance(value, str)]
    assert max(map(len, values)) == 8


async def test_without_an_endpoint_nothing_is_traced(upstream: FakeUpstream, start_service: StartService) -> None:
    """No `traceparent` is made up for upstream, and no thread waits for spans."""
    service = await start_service()
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    answer = await service.download()

    assert answer.status == 200
    assert not any("traceparent" in request.headers for request in upstream.received)


@pytest.mark.parametrize("kind", ["refuses", "never answers"])
async def test_a_dead_collector_holds_up_nothing(
    upstream: FakeUpstream, start_service: StartService, collector: Collector, kind: str
) -> None:
    """Requests are answered, and the shutdown ends: within seconds, while the exporter alone would wait for ten."""
    collector.gate = asyncio.Event()
    service = await start_service(
        otel_exporter_otlp_endpoint=collector.url if kind == "never answers" else f"http://127.0.0.1:{free_port()}"
    )
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    async with asyncio.timeout(9):
        answer = await service.download()
        if kind == "never answers":
            await collector.until(lambda: bool(collector.headers))
        await service.stop()

    assert answer.status == 200
