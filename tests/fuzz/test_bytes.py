"""Odd bytes on the socket do no harm. The full form runs with the soak."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from service.api.timeouts import Timeouts
from tests.e2e.conftest import start_service, upstream
from tests.fuzz.raw import HOST, IMAGES, KEY, SHORT, damaged, send, start
from tests.support.client import Service, StartService
from tests.support.upstream import FakeUpstream
from tests.support.wire import heads

__all__ = ["start_service", "upstream"]

SEEDS = range(6)
EACH = 25
HEADERS = [
    "Origin",
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "X-Forwarded-For",
    "X-Request-Id",
    "Last-Event-ID",
    "Cookie",
]
FRAGMENTS = [
    '"',
    "W/",
    "*",
    ",",
    " ",
    "bytes",
    "=",
    "-",
    "0",
    "9" * 30,
    "0" * 32,
    "\\",
    "\u00e9",
    "\x7f",
    "[",
    "]",
    "::",
    ".",
]


@pytest.fixture
async def service(upstream: FakeUpstream, start_service: StartService, monkeypatch: pytest.MonkeyPatch) -> Service:
    """An impatient service with everything on, and an order."""
    monkeypatch.setattr("service.api.parts.SILENCE_SECONDS", SHORT.body)
    return await start(upstream, start_service)


@pytest.fixture
async def patient(upstream: FakeUpstream, start_service: StartService) -> Service:
    """The same for requests that are whole: nothing is to be given up, however busy the machine."""
    return await start(upstream, start_service, Timeouts())


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test when anything was logged as an error, or with a traceback."""
    with caplog.at_level(logging.INFO):
        yield
    noise = [record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert noise == []


@pytest.fixture
async def alive(service: Service) -> AsyncIterator[None]:
    """Fails the test when the service does not serve afterwards."""
    yield
    assert (await service.download(headers=KEY)).status == 200


@pytest.mark.usefixtures("quiet", "alive")
@pytest.mark.parametrize("seed", SEEDS)
async def test_damaged_requests_do_no_harm(service: Service, seed: int) -> None:
    """No 500, no traceback, no connection that hangs; and the next caller is served."""
    chance = random.Random(seed)

    received = await asyncio.gather(*(send(service, damaged(chance)) for _ in range(EACH)))

    assert [one for one in received if 500 in heads(one)] == []


@pytest.mark.usefixtures("quiet", "alive")
@pytest.mark.parametrize("name", ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"])
async def test_odd_preflights_do_no_harm(service: Service, name: str) -> None:
    """What is no text is refused: it can be neither allowed nor repeated."""
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    lines = b"".join(f"{key}: {value}\r\n".encode() for key, value in asked.items() if key != name)

    received = await send(
        service,
        b"OPTIONS /health HTTP/1.1\r\nHost: x\r\nX-API-Key: key\r\n" + lines + name.encode() + b": \xff\r\n\r\n",
    )

    assert heads(received) == [403]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", HEADERS)
async def test_odd_headers_do_no_harm(patient: Service, name: str) -> None:
    """Whatever stands in them, on an order and on an archive, the answer is one of HTTP's."""
    archive = (await patient.download(headers=KEY)).headers["X-Archive-Id"]
    chance = random.Random(name)
    values = ["".join(chance.choices(FRAGMENTS, k=chance.randint(0, 6))) for _ in range(40)]

    sent = [
        f"GET {path} HTTP/1.1\r\n{HOST}Connection: close\r\n{name}: {value}\r\n\r\n".encode("utf-8", "surrogateescape")
        for value in values
        for path in (f"/v1/archives/{archive}", IMAGES)
    ]

    received = await asyncio.gather(*(send(patient, one) for one in sent))

    statuses = [status for one in received for status in heads(one[:15])]
    assert len(statuses) == len(received)
    assert set(statuses) <= {200, 206, 304, 400, 412, 416}
    assert (await patient.download(headers=KEY)).status == 200
