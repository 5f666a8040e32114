"""Odd bytes on the socket: seeded, so that a failure can be had again."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from service.api.patience import Patience
from service.api.session import COOKIE
from tests.api.wire import heads, wire
from tests.e2e.client import Service, StartService
from tests.e2e.conftest import start_service, upstream
from tests.fakes.samples import ORDER, jpeg, order
from tests.fakes.upstream import FakeUpstream

__all__ = ["start_service", "upstream"]

SEEDS = range(6)
EACH = 25
# Long enough for 80 callers at once on a busy machine.
SHORT = Patience(head=1, body=0.5, idle=0.5, unread=0.1)

KEY = {"X-API-Key": "key"}
IMAGES = f"/v1/orders/{ORDER}/images"
HOST = "Host: x\r\nX-API-Key: key\r\n"
FORM = '--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nxx\r\n--b--\r\n'
REQUESTS = [
    f"GET {IMAGES}?format=png&quality=80&image=a HTTP/1.1\r\n{HOST}Range: bytes=0-9\r\n\r\n",
    f"GET {IMAGES}?image=a&expires=9999999999&signature={'0' * 64} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"HEAD {IMAGES} HTTP/1.1\r\n{HOST}X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n\r\n",
    f"GET /v1/orders/{ORDER} HTTP/1.1\r\n{HOST}X-Request-Id: abcdefgh\r\nCookie: {COOKIE}=1.2\r\n\r\n",
    f"POST /v1/orders/{ORDER}/jobs HTTP/1.1\r\n{HOST}Idempotency-Key: one\r\nContent-Length: 0\r\n\r\n",
    f'POST /v1/ask HTTP/1.1\r\n{HOST}Content-Length: 20\r\n\r\n{{"question": "why?"}}',
    f'POST /v1/links HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"pat\r\n0\r\n\r\n',
    f"GET /v1/jobs/{'0' * 32}/events HTTP/1.0\r\n{HOST}Last-Event-ID: 3\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}Accept-Encoding: gzip\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    f"POST /v1/orders HTTP/1.1\r\n{HOST}X-Admin-Token: token\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    f"Content-Length: {len(FORM)}\r\n\r\n{FORM}",
    "OPTIONS /health HTTP/1.1\r\nHost: x\r\nOrigin: https://page.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
]
ODD = [
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b";",
    b"%",
    b"%00",
    b"%ff",
    b"?",
    b"#",
    b"..",
    b"\t",
    b"A" * 9000,
]
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
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    return await start_service(
        patience=SHORT,
        service_api_key="key",
        admin_token="token",
        allowed_origins="https://page.example,*",
        trusted_proxies="127.0.0.1",
    )


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


def damaged(chance: random.Random) -> bytes:
    """A request, or two, with some of its bytes lost, doubled, replaced or joined by odd ones."""
    data = "".join(chance.choices(REQUESTS, k=chance.choice((1, 1, 2)))).encode()
    changes: list[Callable[[bytes, int], bytes]] = [
        lambda data, place: data[:place] + data[place + chance.randint(1, 9) :],
        lambda data, place: data[:place] + data[place : place + 9] + data[place:],
        lambda data, place: data[:place] + chance.randbytes(chance.randint(1, 9)) + data[place + 1 :],
        lambda data, place: data[:place] + chance.choice(ODD) + data[place:],
        lambda data, place: data[:place],
    ]
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(changes)(data, chance.randrange(len(data) + 1))
    return data


@pytest.mark.usefixtures("quiet", "alive")
@pytest.mark.parametrize("seed", SEEDS)
async def test_damaged_requests_do_no_harm(service: Service, seed: int) -> None:
    """No 500, no traceback, no connection that hangs; and the next caller is served."""
    chance = random.Random(seed)

    received = await asyncio.gather(*(_send(service, damaged(chance)) for _ in range(EACH)))

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

    received = await _send(
        service,
        b"OPTIONS /health HTTP/1.1\r\nHost: x\r\nX-API-Key: key\r\n" + lines + name.encode() + b": \xff\r\n\r\n",
    )

    assert heads(received) == [403]


@pytest.mark.usefixtures("quiet", "alive")
@pytest.mark.parametrize("name", HEADERS)
async def test_odd_headers_do_no_harm(service: Service, name: str) -> None:
    """Whatever stands in them, on an order and on an archive, the answer is one of HTTP's."""
    archive = (await service.download(headers=KEY)).headers["X-Archive-Id"]
    chance = random.Random(name)
    values = ["".join(chance.choices(FRAGMENTS, k=chance.randint(0, 6))) for _ in range(40)]

    sent = [
        f"GET {path} HTTP/1.1\r\n{HOST}Connection: close\r\n{name}: {value}\r\n\r\n".encode("utf-8", "surrogateescape")
        for value in values
        for path in (f"/v1/archives/{archive}", IMAGES)
    ]

    received = await asyncio.gather(*(_send(service, one) for one in sent))

    statuses = [status for one in received for status in heads(one[:15])]
    assert len(statuses) == len(received)
    assert set(statuses) <= {200, 206, 304, 400, 412, 416}


async def _send(service: Service, data: bytes) -> bytes:
    async with wire(service) as caller:
        await caller.send(data)
        try:
            return await caller.end()
        except TimeoutError:
            raise AssertionError(f"the connection hangs after {data[:2000]!r}") from None
