"""Nobody holds a connection by sending slowly, or nothing."""

import pytest

from service.api.timeouts import Timeouts
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream
from tests.support.wire import heads, wire

SHORT, LONG = 0.3, 3600.0
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
ASK = b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
DRIP = 0.05


@pytest.fixture
async def impatient(start_service: StartService) -> Service:
    """A service that waits for nothing but bodies and further requests."""
    return await start_service(timeouts=Timeouts(head=SHORT, body=LONG, idle=LONG))


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /health HTTP/1.1\r\n", HEALTH[:-2], b"\r\n\r\n"])
async def test_half_a_head_is_not_waited_for(impatient: Service, sent: bytes) -> None:
    """The connection is reset; nothing is answered, since nothing was asked."""
    async with wire(impatient) as caller:
        await caller.send(sent)

        assert heads(await caller.end()) == []


async def test_a_dripped_head_is_not_waited_for(impatient: Service) -> None:
    """Each byte is no new beginning."""
    async with wire(impatient) as caller:
        assert heads(await caller.drip(HEALTH * 10, DRIP)) == []


async def test_a_head_in_time_has_all_the_time_for_its_answer(upstream: FakeUpstream, impatient: Service) -> None:
    """The clock stops with the head: a download may take longer than a head."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    async with wire(impatient) as caller, wire(impatient) as silent:
        await caller.send(HEALTH)
        first = await caller.answer()
        await silent.end()  # by now the head would be too late

        await caller.send(HEALTH)

        assert [first[0], (await caller.answer())[0]] == [200, 200]


@pytest.fixture
async def hasty(start_service: StartService) -> Service:
    """A service that waits for first requests, but not for what follows."""
    return await start_service(timeouts=Timeouts(head=LONG, body=LONG, idle=SHORT))


async def test_an_idle_connection_is_closed(hasty: Service) -> None:
    """After an answer, when nothing more is asked."""
    async with wire(hasty) as caller:
        await caller.send(HEALTH)

        assert heads(await caller.end()) == [200]


async def test_a_dripped_second_head_is_not_waited_for(hasty: Service) -> None:
    """A connection that was good once is no licence."""
    async with wire(hasty) as caller:
        await caller.send(HEALTH)
        await caller.answer()

        assert heads(await caller.drip(HEALTH * 10, DRIP)) == []


@pytest.fixture
async def curt(start_service: StartService) -> Service:
    """A service that does not wait for bodies."""
    return await start_service(
        timeouts=Timeouts(head=LONG, body=SHORT, idle=LONG, unread=SHORT),
        autoenhance_webhook_secret="secret",
        admin_token="token",
    )


LENGTH, CHUNKED = b"Content-Length: 60000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nea60\r\n"


@pytest.mark.parametrize(
    ("head", "framing"),
    [
        (ASK, LENGTH),
        (ASK, CHUNKED),
        (b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\n", LENGTH),
        (b"POST /v1/links HTTP/1.1\r\nHost: localhost\r\n", LENGTH),
        (b"POST /v1/webhooks/autoenhance HTTP/1.1\r\nHost: localhost\r\nAuthentication: secret\r\n", LENGTH),
        (f"POST /v1/orders/{ORDER}/jobs HTTP/1.1\r\nHost: localhost\r\n".encode(), LENGTH),
    ],
)
async def test_a_dripped_body_is_not_waited_for(curt: Service, head: bytes, framing: bytes) -> None:
    """408, and the connection ends soon after, although more keeps coming."""
    async with wire(curt) as caller:
        await caller.send(head + framing)

        received = await caller.drip(b" " * 1000, DRIP)

    assert heads(received) == [408]
    assert b"upload_timeout" in received


async def test_a_body_that_nobody_wants_is_not_waited_for(curt: Service) -> None:
    """A download with a body that never comes is answered, and the connection ends soon after."""
    async with wire(curt) as caller:
        await caller.send(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")

        assert heads(await caller.drip(b" " * 1000, DRIP)) == [200]


async def test_slow_callers_do_not_keep_others_waiting(impatient: Service) -> None:
    """With a hundred of them hanging on, the next caller is served."""
    async with wire(impatient) as first:
        await first.send(b"GET /")
        others = [wire(impatient) for _ in range(100)]
        for other in others:
            slow = await other.__aenter__()
            await slow.send(b"GET /hea")

        answer = await impatient.ask("/health")

        for other in others:
            await other.__aexit__(None, None, None)
    assert answer.status == 200
