"""Bytes leave as soon as they are there; an answer with a known length has exactly that length."""

import asyncio

from aiohttp import ClientResponse

from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


async def _read_until(response: ClientResponse, wanted: bytes) -> bytes:
    """The body up to and with `wanted`, perhaps a little more."""
    body = b""
    async with asyncio.timeout(TIMEOUT):
        while wanted not in body:
            chunk = await response.content.readany()
            assert chunk, "the body ended early"
            body += chunk
    return body


async def test_an_image_that_is_in_does_not_wait_for_a_slower_one(upstream: FakeUpstream, service: Service) -> None:
    """The second image of the order reaches the client while the first is still held upstream."""
    upstream.orders[ORDER] = order(["slow", "quick"])
    upstream.images |= {"slow": jpeg(1), "quick": jpeg(2, size=200_000)}
    gate = upstream.hold("slow")

    async with service.request(PATH) as response:
        body = await _read_until(response, upstream.images["quick"])  # type: ignore[arg-type]
        gate.set()
        body += await response.read()
        answer = Answer(response.status, response.headers, body)

    assert answer.status == 200
    assert answer.members == {"slow.jpg": jpeg(1), "quick.jpg": jpeg(2, size=200_000)}


async def test_at_most_five_images_are_fetched_at_once(upstream: FakeUpstream, service: Service) -> None:
    """Each image that is let go makes room for one more, never for two."""
    names = [f"i{number}" for number in range(9)]
    upstream.orders[ORDER] = order(names)
    upstream.images |= {name: jpeg(seed) for seed, name in enumerate(names)}
    gates = {name: upstream.hold(name) for name in names}

    download = asyncio.create_task(service.download())
    await upstream.until(lambda: upstream.in_flight == 5)
    for released, name in enumerate(_in_order_of_arrival(upstream), start=1):
        gates[name].set()
        await upstream.until(lambda: upstream.image_calls == min(9, 5 + released))  # noqa: B023  # awaited at once
        if released == 4:
            break
    for gate in gates.values():
        gate.set()
    answer = await download

    assert len(answer.members) == 9
    assert upstream.max_in_flight == 5


def _in_order_of_arrival(upstream: FakeUpstream) -> list[str]:
    return [request.path.split("/")[-2] for request in upstream.received if "/images/" in request.path]


async def test_the_limit_is_one_for_all_orders(upstream: FakeUpstream, start_service: StartService) -> None:
    """Two orders at once share the places; they do not get five each."""
    service = await start_service(download_concurrency=2)
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.orders[OTHER_ORDER] = order(["d", "e", "f"], order_id=OTHER_ORDER)
    upstream.images |= {name: jpeg(seed) for seed, name in enumerate("abcdef")}
    gates = [upstream.hold(name) for name in "abcdef"]

    downloads = [asyncio.create_task(service.download(order_id)) for order_id in (ORDER, OTHER_ORDER)]
    await upstream.until(lambda: upstream.in_flight == 2 and upstream.calls(OTHER_ORDER) == 1)
    for gate in gates:
        gate.set()
    answers = await asyncio.gather(*downloads)

    assert [len(answer.members) for answer in answers] == [3, 3]
    assert upstream.max_in_flight == 2


async def test_an_http_1_0_client_gets_an_exact_length(upstream: FakeUpstream, service: Service) -> None:
    """Without chunks, only a length tells a whole archive from half of one."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.raw(f"GET {PATH} HTTP/1.0\nHost: x\n\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].split()[1] == "200"
    assert f"content-length: {len(body)}" in lines
    assert not any(line.startswith("transfer-encoding") for line in lines)
    assert body.startswith(b"PK\x03\x04")


async def test_head_fetches_no_image_and_has_no_body(upstream: FakeUpstream, service: Service) -> None:
    """HEAD tells what the order document tells, without a length, and starts no build."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.head()

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["X-Total-Images"] == "2"
    assert "Content-Length" not in answer.headers
    assert upstream.image_calls == 0


async def test_head_of_a_finished_archive_is_its_get_without_the_body(upstream: FakeUpstream, service: Service) -> None:
    """Once the archive is there, HEAD knows its length and its tag."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    whole = await service.download()

    answer = await service.head()

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(whole.body))
    assert answer.headers["ETag"] == whole.headers["ETag"]
    assert upstream.calls("a") == 1


async def test_head_of_an_unknown_order_has_the_status_of_get(service: Service) -> None:
    """404 without a body."""
    answer = await service.head()

    assert (answer.status, answer.body) == (404, b"")


async def test_a_connection_serves_on_after_head(upstream: FakeUpstream, service: Service) -> None:
    """No stray byte follows the head: the next answer on that connection is whole."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    answers = await service.raw(
        f"HEAD {PATH} HTTP/1.1\nHost: x\n\nGET /health HTTP/1.1\nHost: x\nConnection: close\n\n"
    )

    first, _, rest = answers.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")
    assert b"api_key_configured" in rest
