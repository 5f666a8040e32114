"""One service, every fault that upstream can have, our key and upstream's words in each: what gets out, and where."""

import asyncio
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from tests.support.client import TIMEOUT
from tests.support.collector import Collector
from tests.support.process import ServiceProcess
from tests.support.samples import jpeg, order, photo
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream, Handler, Script

KEY = "aK7-Qw93xZ-mmP4r-0Lt8v-Jd62s-Yb5"
HALF = len(KEY) // 2
PIECES = (KEY, KEY[:HALF], KEY[HALF:])
WHAT_IT_SAYS = f"{UPSTREAM_WORDS} {' '.join(PIECES)}"
JSON_TYPE = "application/json"


@dataclass
class Seen:
    """Everything that left the service in the run."""

    answers: dict[str, str] = field(default_factory=dict)
    """What callers got, headers and all, by what they asked for."""
    log: str = ""
    traces: bytes = b""
    assets: str = ""
    """What was sent to other hosts than the API."""
    codes: set[str] = field(default_factory=set)
    """Reasons met, to see that the matrix is one."""


def says(status: int, *, body: str | bytes = WHAT_IT_SAYS, reason: str = UPSTREAM_WORDS, **headers: str) -> Handler:
    """An answer that speaks wherever HTTP lets it: body, reason, and a header."""
    lines = {"X-Message": WHAT_IT_SAYS} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body if isinstance(body, bytes) else body.encode()

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=raw, reason=reason, headers=lines)

    return answer


async def _breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"ETag": f'"{UPSTREAM_WORDS}{KEY}"', "Content-Type": "image/jpeg"})
    response.content_length = 5_000
    await response.prepare(request)
    await response.write(jpeg())
    assert request.transport is not None
    request.transport.close()
    return response


async def _hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def image_faults(assets_url: str) -> dict[str, Script]:
    """One image for each fault."""
    statuses = (201, 202, 206, 304, 400, 401, 402, 403, 404, 409, 410, 416, 418, 422, 500, 502, 503, 504)
    faults: dict[str, Script] = {f"status-{status}": says(status) for status in statuses}
    locations = {
        "nowhere": "",
        "no-host": "http://[" + UPSTREAM_WORDS,
        "no-scheme": f"ftp://{UPSTREAM_WORDS}/{KEY}",
        "closed": f"http://127.0.0.1:1/image?{UPSTREAM_WORDS}={KEY}",
        "with-password": f"http://{UPSTREAM_WORDS}:{KEY}@127.0.0.1/",
        "unknown-asset": f"{assets_url}/assets/elsewhere?hop=1&{UPSTREAM_WORDS}",
    }
    faults |= {f"redirect-{name}": says(302, Location=location) for name, location in locations.items()}
    return faults | {
        "html": says(200, Content_Type="text/html"),
        "odd-type": says(200, Content_Type=f"{UPSTREAM_WORDS}/{KEY}"),
        "no-image": says(200, Content_Type="image/jpeg"),
        "too-many": says(429, Retry_After=WHAT_IT_SAYS),
        "odd-range": says(206, Content_Range=WHAT_IT_SAYS),
        "odd-coding": says(404, Content_Encoding="gzip"),
        "breaks-off": _breaks_off,
        "hangs-up": _hangs_up,
    }


def order_faults() -> dict[str, Script]:
    """One order for each fault."""
    faults: dict[str, Script] = {
        f"order-{status}": says(status) for status in (202, 302, 400, 401, 402, 403, 404, 410, 422, 429, 500, 503)
    }
    bodies = {
        "no-json": WHAT_IT_SAYS,
        "a-string": json.dumps(WHAT_IT_SAYS),
        "odd-images": json.dumps({"images": WHAT_IT_SAYS}),
        "odd-image": json.dumps({"images": [WHAT_IT_SAYS]}),
        "deleted": json.dumps(order(["a"], is_deleted=True, status_reason=WHAT_IT_SAYS)),
    }
    faults |= {f"order-{name}": says(200, body=body, Content_Type=JSON_TYPE) for name, body in bodies.items()}
    # The reason of an image is its owner's to read; what it must not hold is the key.
    failed = [photo(f"{status}-{n}", status=status, status_reason=" ".join(PIECES)) for n, status in enumerate(STATES)]
    return faults | {"order-reasons": order(failed, status_reason=WHAT_IT_SAYS)}


STATES = ("error", "expired", "waiting", "processing", "unheard-of")


def order_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


class Run:
    """Asks the service for everything."""

    def __init__(self, service: ServiceProcess, session: ClientSession, seen: Seen) -> None:
        self._service = service
        self._session = session
        self._seen = seen

    async def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        """Keep what comes; the JSON in it, if any."""
        async with self._session.request(method, self._service.url + path) as response:
            body = await response.read()
            self._seen.answers[f"{method} {path}"] = f"{dict(response.headers)} {body.decode(errors='replace')}"
            document = json.loads(body) if "json" in response.content_type else {}
        if "X-Archive-Id" in response.headers:
            await self.ask(f"/v1/archives/{response.headers['X-Archive-Id']}/report")
        self._seen.codes |= {failure["code"] for failure in document.get("failures", [])} | {document.get("code", "")}
        return document

    async def download(self, name: str) -> None:
        """An order as an archive, and its overview."""
        path = f"/v1/orders/{order_id(name)}"
        await self.ask(f"{path}/images?preview=false")
        await self.ask(path)

    async def order_job(self, name: str) -> None:
        """The same as a job."""
        path = f"/v1/orders/{order_id(name)}"
        job = (await self.ask(f"{path}/jobs?preview=false", "POST")).get("job_id")
        async with asyncio.timeout(TIMEOUT):
            while job and (await self.ask(f"/v1/jobs/{job}"))["status"] in ("queued", "processing"):
                await self.ask("/livez")


async def run(folder: Path) -> Seen:
    """The whole matrix against one service, which logs all it can and sends its traces."""
    seen = Seen()
    async with FakeUpstream() as upstream, Collector() as collector:
        images = image_faults(upstream.assets_url)
        upstream.images |= images | {"good": jpeg()}
        upstream.orders |= {order_id(name): order([name]) for name in images}
        upstream.orders |= {order_id("all"): order(["good", *images])}
        orders = order_faults()
        upstream.orders |= {order_id(name): script for name, script in orders.items()}
        async with (
            ServiceProcess(
                folder,
                AUTOENHANCE_API_BASE=upstream.url,
                AUTOENHANCE_API_KEY=KEY,
                LOG_LEVEL="DEBUG",
                BREAKER_FAILURES="100000",
                RATE_LIMIT="100000/second",
                UPSTREAM_ATTEMPTS="2",
                IMAGE_TIMEOUT="10",
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
                OTEL_BSP_SCHEDULE_DELAY="50",
            ) as service,
            ClientSession(timeout=ClientTimeout(total=60)) as session,
        ):
            caller = Run(service, session, seen)
            await asyncio.gather(*(caller.download(name) for name in ("all", *images, *orders)))
            jobs = {"all", "no-image", "hangs-up", *orders} - {"order-429"}  # that one is put off, for as long as it is
            await asyncio.gather(*(caller.order_job(name) for name in jobs))
            for path in ("/v1/stats", "/metrics", "/health", "/v1/errors"):
                await caller.ask(path)
            await service.stop()
        seen.log = "".join(service.log)
        seen.traces = b"".join(collector.raw)
        seen.assets = " ".join(str(request) for request in upstream.received if request.server == "assets")
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run for all tests."""
    return asyncio.run(run(tmp_path_factory.mktemp("data")))


def found(needles: Iterable[str], hay: str) -> list[str]:
    """Which of these are in it, with what stands around them."""
    return [hay[max(0, hay.index(needle) - 200) :][:300] for needle in needles if needle in hay]


def test_the_matrix_is_one(seen: Seen) -> None:
    """Nearly every way for an image and an order to fail was met, and the log and the traces speak of it."""
    wanted = {
        "not_ready", "not_uploaded", "enhancement_failed", "expired", "image_not_found", "no_credit", "refused",
        "rejected", "rate_limited", "upstream_error", "unreachable", "truncated", "not_an_image", "bad_redirect",
        "order_not_found", "upstream_unauthorized", "upstream_busy",
    }  # fmt: skip
    assert wanted <= seen.codes
    assert len(seen.answers) > 120
    assert UPSTREAM_WORDS in seen.log
    assert b"attempt" in seen.traces


def test_no_caller_hears_upstreams_words(seen: Seen) -> None:
    """Neither in a body nor in a header: problem documents, reports, archives, overviews, jobs, stats."""
    heard = {asked: found([UPSTREAM_WORDS], answer) for asked, answer in seen.answers.items()}

    assert {asked: words for asked, words in heard.items() if words} == {}


def test_the_key_is_nowhere(seen: Seen) -> None:
    """Nor half of it: in no answer, not in the log at its most talkative, not in the traces, not at another host."""
    places = {**seen.answers, "log": seen.log, "traces": seen.traces.decode("latin-1"), "assets": seen.assets}
    leaks = {place: found(PIECES, text) for place, text in places.items()}

    assert {place: pieces for place, pieces in leaks.items() if pieces} == {}


def test_traces_hold_none_of_upstreams_words(seen: Seen) -> None:
    """They go to a third party. Addresses are in them, without their queries."""
    assert found([UPSTREAM_WORDS], seen.traces.decode("latin-1")) == []
