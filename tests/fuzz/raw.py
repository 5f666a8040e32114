"""Requests in odd bytes, and a service to send them to."""

import random
from collections.abc import Callable

from service.api.session import COOKIE
from service.api.timeouts import Timeouts
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream
from tests.support.wire import wire

SHORT = Timeouts(head=1, body=0.5, idle=0.5, unread=0.1)

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


async def start(upstream: FakeUpstream, start_service: StartService, timeouts: Timeouts = SHORT) -> Service:
    """A service with everything on, impatient unless told otherwise, and an order."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    return await start_service(
        timeouts=timeouts,
        service_api_key="key",
        admin_token="token",
        allowed_origins="https://page.example,*",
        trusted_proxies="127.0.0.1",
    )


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


async def send(service: Service, data: bytes) -> bytes:
    """Everything that is answered until the service hangs up. Raises AssertionError when it does not."""
    async with wire(service) as caller:
        await caller.send(data)
        try:
            return await caller.end()
        except TimeoutError:
            raise AssertionError(f"the connection hangs after {data[:2000]!r}") from None
