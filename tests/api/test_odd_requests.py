"""What is too large, too long, or no HTTP: a clean answer, no traceback, and the next caller is served."""

import gzip
import json
import logging

import pytest

from tests.support.client import Service, StartService
from tests.support.wire import heads, wire

POST = b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service that is open to everybody."""
    return await start_service(admin_token="token")


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n"

ODD = {
    "no request": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an odd method": (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no version": (b"GET /health\r\nHost: x\r\n\r\n", None),
    "an odd version": (b"GET / HTTP/7.9.1\r\nHost: x\r\n\r\n", 400),
    "NUL in the address": (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "NUL in a header": (HEALTH + b"X: a\x00b\r\n\r\n", 400),
    "a header without a name": (HEALTH + b": x\r\n\r\n", 400),
    "a header without a colon": (HEALTH + b"nonsense\r\n\r\n", 400),
    "a header name with a space": (HEALTH + b"X Y: z\r\n\r\n", 400),
    "two lengths": (HEALTH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length and chunks": (HEALTH + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a negative length": (HEALTH + b"Content-Length: -1\r\n\r\n", 400),
    "a long address": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "a long header": (HEALTH + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "a long header name": (HEALTH + b"a" * 9000 + b": x\r\n\r\n", 431),
    "many headers": (HEALTH + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n", 400),
    "a broken chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a long body": (POST + b"Content-Length: 70000\r\n\r\n" + b" " * 70000, 413),
    "a long body in chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n11170\r\n" + b" " * 70000 + b"\r\n0\r\n\r\n",
        413,
    ),
    "a method that nobody knows": (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method that we do not know": (b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "an odd expectation": (HEALTH + b"Expect: a miracle\r\n\r\n", 200),
    "an odd expectation of nothing": (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n", 404),
    "an odd expectation of another method": (b"PUT /health HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n", 405),
    "an absolute address": (b"GET http://example.com/nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "an odd encoding": (
        POST + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "broken gzip": (POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 400),
    "no UTF-8": (b"GET /\xff\xfe/%ff%fe?%ff=\xff HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "no UTF-8 in headers": (HEALTH + b"X-API-Key: \xff\xfe\r\nCookie: \xff=\xfe\r\nX-Request-Id: \xff\r\n\r\n", None),
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_request_gets_a_clean_answer(
    service: Service, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A problem document, guarded as every answer; no word about the program, and no traceback in the log."""
    sent, status = ODD[name]
    with caplog.at_level(logging.INFO):
        async with wire(service) as caller:
            await caller.send(sent)
            code, head, body = await caller.answer()

    assert code < 500
    assert status in (None, code)
    if code >= 400:
        assert json.loads(body)["status"] == code
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"X-Frame-Options: DENY" in head
    assert b"X-Request-Id: " in head
    assert b"aiohttp" not in head + body
    assert b"Python/" not in head + body
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert (await service.ask("/health")).status == 200


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"POST /v1/ask HTTP/1.1", [100, 400]),
        (b"POST /nowhere HTTP/1.1", [100, 404]),
        (b"PUT /health HTTP/1.1", [100, 405]),
        (b"POST /v1/ask HTTP/1.0", [400]),
    ],
)
async def test_who_waits_to_be_told_to_go_on_is_told(
    service: Service, request_line: bytes, expected: list[int]
) -> None:
    """Wherever it asks; of HTTP 1.0 nobody would understand it."""
    async with wire(service) as caller:
        await caller.send(request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\nExpect: 100-Continue\r\n")
        await caller.send(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

        assert heads(await caller.end()) == expected


async def test_whoever_speaks_no_http_is_hung_up_on(service: Service) -> None:
    """After the answer nothing more is read: what follows nonsense is nonsense."""
    async with wire(service) as caller:
        await caller.send(b"nonsense\r\n\r\n" + HEALTH + b"\r\n")

        assert heads(await caller.end()) == [400]


async def test_a_huge_body_is_not_read(service: Service) -> None:
    """It is refused by its length, and the connection is not kept for the rest."""
    async with wire(service) as caller:
        await caller.send(POST + b"Content-Length: 99999999999\r\n\r\n" + b" " * 200_000)
        code, _, body = await caller.answer()

        assert (code, json.loads(body)["code"]) == (413, "payload_too_large")


async def test_nothing_that_is_sent_is_unpacked(service: Service) -> None:
    """Neither a body that is asked for, which is refused, nor one that nobody needs, which is read past."""
    packed = gzip.compress(json.dumps({"question": "Why was my ZIP partial?"}).encode())
    question = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with wire(service) as caller:
        await caller.send(POST + question)
        code, _, body = await caller.answer()
        await caller.send(HEALTH + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nbroken" + HEALTH + b"\r\n")
        codes = [(await caller.answer())[0] for _ in range(2)]

    assert code == 400
    assert json.loads(body)["detail"].startswith("The body is compressed, which is not supported.")
    assert codes == [200, 200]


async def test_a_compressed_form_is_told_as_one(service: Service) -> None:
    """As any other compressed body is."""
    packed = gzip.compress(b"--x--\r\n")
    head = b"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Admin-Token: token\r\n"
    form = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    async with wire(service) as caller:
        await caller.send(head + form % (len(packed), packed))
        code, _, body = await caller.answer()

    assert code == 400
    assert json.loads(body)["detail"].startswith("The body is compressed, which is not supported.")


@pytest.mark.parametrize("path", [b"/v1/orders", b"/health"])
async def test_no_trailer_is_a_header_of_the_next_request(service: Service, path: bytes) -> None:
    """That may be another caller's: proxies share connections. So it has to come by another one."""
    trailer = b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Admin-Token: token\r\n\r\n"
    async with wire(service) as caller:
        await caller.send(b"GET %b HTTP/1.1\r\nHost: x\r\n" % path + trailer)
        _, head, _ = await caller.answer()
        await caller.send(b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n")

        assert b"\r\nConnection: close" in head
        assert await caller.end() == b""


async def test_no_answer_tells_which_programs_run_here(service: Service) -> None:
    """Not even the good ones."""
    for path in ("/health", "/", "/nowhere", "/metrics"):
        assert (await service.ask(path)).headers["Server"] == "autoenhance-batch"
