"""The log of a running service: a line per request and per archive, in JSON, without secrets."""

import asyncio
import json
import logging
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import SecretStr

from service.settings import Settings
from service.telemetry.logs import configure_logs, get_logger
from service.telemetry.scrub import Scrubber
from tests.support.collector import Collector
from tests.support.process import ServiceProcess
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream, Reply

KEY = "key-of-the-account-3f9d"
ADMIN = "token-of-the-administrator"
SIGNED = "https://storage.example/a.jpg?X-Amz-Signature=5ec12e7&X-Amz-Expires=60"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """A caller."""
    async with ClientSession(timeout=ClientTimeout(total=30)) as caller:
        yield caller


def service(upstream: FakeUpstream, folder: Path, **settings: str) -> ServiceProcess:
    """The service as a process; its log is JSON."""
    return ServiceProcess(
        folder,
        AUTOENHANCE_API_BASE=upstream.url,
        AUTOENHANCE_API_KEY=KEY,
        ADMIN_TOKEN=ADMIN,
        OTEL_BSP_SCHEDULE_DELAY="50",
        **settings,
    )


def lines(process: ServiceProcess) -> list[dict[str, Any]]:
    """Every line, each of which is an object."""
    return [json.loads(line) for line in process.log]


async def test_a_request_and_an_archive_leave_a_line_each(
    upstream: FakeUpstream, collector: Collector, session: ClientSession, tmp_path: Path
) -> None:
    """With outcome, counts, bytes and times; both lead to the trace, and by the request's id to the answer."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images = {"a": jpeg(1), "b": 404, "c": jpeg(3)}

    async with service(upstream, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as process:
        async with session.get(f"{process.url}/v1/orders/{ORDER}/images") as response:
            body, request_id = await response.read(), response.headers["X-Request-Id"]
        assert await process.stop() == 0

    (request,) = [line for line in lines(process) if line["event"] == "request"]
    (archive,) = [line for line in lines(process) if line["event"] == "archive ended"]
    facts = ("route", "status", "outcome", "bytes", "images", "failed", "archive_id", "request_id")
    assert [request[name] for name in facts] == [
        "/v1/orders/{order_id}/images",
        200,
        "sent",
        len(body),
        3,
        1,
        archive["archive_id"],
        request_id,
    ]
    counts = ("outcome", "images", "downloaded", "failed", "bytes", "order_id", "request_id")
    assert [archive[name] for name in counts] == ["partial", 3, 2, 1, len(body), ORDER, request_id]
    assert 0 < archive["seconds"] <= request["seconds"] + 1
    assert {request["trace_id"], archive["trace_id"]} == {collector.spans[0].trace_id}


async def test_upstreams_words_are_in_the_log_and_nowhere_else(
    upstream: FakeUpstream, session: ClientSession, tmp_path: Path
) -> None:
    """Shortened, without our key, and without the secrets of signed addresses."""
    upstream.orders[ORDER] = order(["a", "b"])
    words = f"{UPSTREAM_WORDS} {KEY} see {SIGNED} or signature=5ec12e7 " + "and so on " * 1_000
    upstream.images = {"a": jpeg(1), "b": Reply(body=words.encode(), status=400)}

    async with service(upstream, tmp_path) as process:
        async with session.get(f"{process.url}/v1/orders/{ORDER}/images?quality=50") as response:
            body = await response.read()
        async with session.get(f"{process.url}/sentry-debug?token={KEY}", headers={"X-Admin-Token": ADMIN}) as answer:
            assert answer.status == 500
        await process.stop()

    assert UPSTREAM_WORDS.encode() not in body
    said = [line for line in lines(process) if UPSTREAM_WORDS in line.get("detail", "")]
    assert len(said) == 1
    assert len(said[0]["detail"]) < 400
    assert "https://storage.example/a.jpg?***" in said[0]["detail"]
    whole = "".join(process.log)
    assert "TestError" in whole
    for secret in (KEY, ADMIN, "5ec12e7", "quality"):
        assert secret not in whole, secret


async def test_a_client_that_leaves_is_distinguished(
    upstream: FakeUpstream, session: ClientSession, tmp_path: Path
) -> None:
    """The request's line says so, and how far it came."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(1, 40_000_000), "b": jpeg(2)}
    upstream.hold("b")

    async with service(upstream, tmp_path) as process:
        response = await session.get(f"{process.url}/v1/orders/{ORDER}/images")
        await response.content.readany()
        response.close()
        async with asyncio.timeout(20):
            while not (cut := [line for line in lines(process) if "outcome" in line and line["event"] == "request"]):
                async with session.get(f"{process.url}/livez") as other:
                    assert other.status == 200
        await process.stop(signal.SIGKILL)

    assert [line["outcome"] for line in cut] == ["client_left"], cut
    assert 0 < cut[0]["bytes"] < 40_000_000


async def test_a_download_that_is_cut_has_failed(
    upstream: FakeUpstream, session: ClientSession, tmp_path: Path
) -> None:
    """It began with a 200, and counts as what cut it: in the log by its code, and in the requests that failed."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images = {"a": jpeg(1, 200_000), "b": jpeg(2, 200_000)}
    gate = upstream.hold("b")

    async with service(upstream, tmp_path, STORE_MAX_BYTES="300000") as process:
        async with session.get(f"{process.url}/v1/orders/{ORDER}/images") as response:
            assert response.status == 200
            await response.content.readany()
            gate.set()
            with pytest.raises(ClientError):
                await response.read()
        async with session.get(f"{process.url}/metrics") as answer:
            metrics = await answer.text()
        await process.stop()

    (request,) = [line for line in lines(process) if line["event"] == "request"]  # and none of /metrics
    assert [request[name] for name in ("status", "outcome", "code")] == [503, "cut", "store_full"]
    route = "/v1/orders/{order_id}/images"
    assert f'batch_http_requests_total{{method="GET",route="{route}",status="503"}} 1.0' in metrics
    assert f'route="{route}",status="200"' not in metrics


async def test_a_refused_request_tells_its_code(upstream: FakeUpstream, session: ClientSession, tmp_path: Path) -> None:
    """One line, no error, with the code that the caller was given."""
    async with service(upstream, tmp_path) as process:
        async with session.get(f"{process.url}/v1/orders/{ORDER}/images?quality=1000") as response:
            code = (await response.json())["code"]
        await process.stop()

    (request,) = [line for line in lines(process) if line["event"] == "request"]
    assert [request[name] for name in ("status", "code", "level")] == [400, code, "info"]


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("the key is sesame-3f, twice: sesame-3f", "the key is ***, twice: ***"),
        ("sesame-3f-longer", "***"),
        (f"get {SIGNED} now", "get https://storage.example/a.jpg?*** now"),
        ('{"url": "http://a/b?c=d"}', '{"url": "http://a/b?***"}'),
        ("X-Amz-Signature=abc&x=1", "X-Amz-Signature=***&x=1"),
        ("token=abc", "token=***"),
        ("What? Nothing.", "What? Nothing."),
        ("monkey=banana", "monkey=banana"),
    ],
)
def test_secrets_are_taken_out_of_a_text(text: str, scrubbed: str) -> None:
    """Those that are known, and those that signed addresses carry; the rest stays."""
    assert Scrubber(["sesame-3f", "sesame-3f-longer", "", "abc"])(text) == scrubbed


@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: json.dumps(json.loads(json.dumps([secret]))),
        lambda secret: f"https://me:{quote(secret, safe='')}@host.example/",
        lambda secret: f"/path/{quote(secret)}",
        lambda secret: f"a={quote_plus(secret)}",
    ],
)
@pytest.mark.parametrize("secret", ["plain-3f", 'quo"te\\back', "schlüssel 5/6", 'schlü"ssel', "it's, two\nlines"])
def test_a_secret_is_taken_out_however_it_is_written(secret: str, write: Callable[[str], str]) -> None:
    """In a message, in JSON of either kind, in an address, in a Python literal: nothing of it stays."""
    given = Scrubber(["other-secret", secret])(write(secret))

    assert "***" in given
    rest = given.replace("***", "")
    assert not any(part in rest for part in ("plain", "quo", "back", "schl", "5", "it", "two", "lines"))


def test_every_one_of_several_secrets_is_taken_out(tmp_path: Path) -> None:
    """Settings that hold one, and those that hold a list of them."""
    settings = Settings(
        data_dir=tmp_path,
        autoenhance_api_key=SecretStr("upstream-key-1"),
        service_api_key="caller-key-22222,caller-key-33333",
        admin_token=SecretStr("admin-token-44444"),
    )
    scrub = Scrubber(settings.secrets())

    for secret in ("upstream-key-1", "caller-key-22222", "caller-key-33333", "admin-token-44444"):
        assert scrub(f"<{secret}>") == "<***>"


def test_secrets_are_taken_out_of_documents() -> None:
    """At any depth, in names too; what is no text stays."""
    given = {
        "a": ["x sesame", {"b": "sesame"}, ("sesame",), {"sesame"}, b"sesame"],
        "sesame": {"sesame"},
        "n": 1,
        "none": None,
    }

    assert Scrubber(["sesame"]).document(given) == {
        "a": ["x ***", {"b": "***"}, ["***"], ["***"], "***"],
        "***": ["***"],
        "n": 1,
        "none": None,
    }


async def test_what_python_warns_of_is_a_line_like_any_other(
    upstream: FakeUpstream, session: ClientSession, tmp_path: Path
) -> None:
    """A form may make a library warn, in the words of whoever sent it: with the time, and without secrets."""
    form = f"--b\r\nContent-Disposition: form-data; name=\"files\"; filename*=odd''%FF{KEY}\r\n\r\nx\r\n--b--\r\n"
    headers = {"X-Admin-Token": ADMIN, "Content-Type": "multipart/form-data; boundary=b"}
    async with service(upstream, tmp_path) as process:
        async with session.post(f"{process.url}/v1/orders", data=form.encode(), headers=headers) as response:
            assert response.status == 400
        assert await process.stop() == 0

    (warning,) = (line for line in lines(process) if line["logger"] == "py.warnings")
    assert "filename*=odd" in warning["event"]
    assert KEY not in warning["event"]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_files_of_the_page_are_logged_for_who_asks(
    upstream: FakeUpstream, session: ClientSession, tmp_path: Path, level: str
) -> None:
    """A page view is one line, not one for each of its style sheets and scripts; one that is missing is told."""
    async with service(upstream, tmp_path, LOG_LEVEL=level) as process:
        async with session.get(f"{process.url}/") as response:
            files = sorted(set(re.findall(r"/web/[0-9a-f]{16}/[^\"]+", await response.text())))
        for path in [*files, "/version", files[0] + ".no", "/docs/guide"]:
            async with session.get(process.url + path):
                pass
        assert await process.stop() == 0

    told = [line["path"] for line in lines(process) if line["event"] == "request"]
    assert len(files) > 1
    everything = ["/", *files, "/version", files[0] + ".no", "/docs/guide"]
    few = ["/", files[0] + ".no", "/docs/guide"]
    assert [path for path in told if path in everything] == (everything if level == "DEBUG" else few)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The logger of everything, which is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers = handlers
    root.setLevel(level)


def test_no_text_of_others_controls_a_terminal(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a message or a value of an event, nor an error in a traceback; that keeps its lines."""
    configure_logs("console", "INFO")

    error = ValueError("error\x1b[31m\nits second line")
    logging.getLogger("library").error("message\x1b[2J", exc_info=error)
    get_logger("ours").info("request", path="/path\x1b[1A\u202e")

    log = capsys.readouterr().err
    assert r"message\x1b[2J" in log
    assert r"path=/path\x1b[1A\u202e" in log
    assert "\n" + r"ValueError: error\x1b[31m" + "\nits second line\n" in log
    assert not any(each in log for each in "\x1b\u202e")
