"""The fake keeps its own promises, so that a failing test speaks about the service."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError, ClientSession, web

from tests.support.samples import ORDER, jpeg, order, png, webp
from tests.support.upstream import UPSTREAM_WORDS, FakeUpstream, Reply


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def test_orders_and_images_are_served_and_recorded(upstream: FakeUpstream, client: ClientSession) -> None:
    """A scripted order and image arrive as scripted, and every request is on record."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    async with client.get(f"{upstream.url}/orders/{ORDER}") as response:
        document = await response.json()
    async with client.get(f"{upstream.url}/images/a/enhanced?preview=true", headers={"x-api-key": "k"}) as response:
        body = await response.read()

    assert [image["image_id"] for image in document["images"]] == ["a"]
    assert (body, response.content_type) == (jpeg(), "image/jpeg")
    (request,) = upstream.requests("a")
    assert (request.query, request.headers["X-API-Key"]) == ({"preview": "true"}, "k")
    assert (upstream.calls(ORDER), upstream.calls("a"), upstream.image_calls) == (1, 1, 1)


async def test_a_list_answers_one_after_the_other_and_stays_at_its_last(
    upstream: FakeUpstream, client: ClientSession
) -> None:
    """Successive requests get successive answers."""

    async def teapot(_: web.Request) -> web.StreamResponse:
        return web.Response(status=418)

    upstream.images["a"] = [503, teapot, png()]

    statuses = []
    for _ in range(4):
        async with client.get(f"{upstream.url}/images/a/enhanced") as response:
            statuses.append(response.status)

    assert statuses == [503, 418, 200, 200]


async def test_an_error_body_carries_the_marker_and_the_key(upstream: FakeUpstream, client: ClientSession) -> None:
    """An error says what must never be passed on."""
    upstream.images["a"] = 500

    async with client.get(f"{upstream.url}/images/a/enhanced", headers={"x-api-key": "k-1"}) as response:
        text = await response.text()

    assert UPSTREAM_WORDS in text
    assert "k-1" in text


async def test_redirects_lead_to_another_host(upstream: FakeUpstream, client: ClientSession) -> None:
    """Three hops end at the image, all but the first request at the other host name."""
    upstream.images["a"] = webp()
    upstream.hops["a"] = 3

    async with client.get(f"{upstream.url}/images/a/enhanced") as response:
        body = await response.read()

    assert body == webp()
    assert response.url.host == "localhost"
    assert (len(upstream.requests("a")), len(upstream.requests("a", "assets"))) == (1, 3)


async def test_a_held_image_waits_for_its_gate(upstream: FakeUpstream, client: ClientSession) -> None:
    """Nothing is answered before the gate opens, and the counters show who waits."""
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    gates = [upstream.hold("a"), upstream.hold("b")]

    fetches = [asyncio.create_task(_fetch(client, f"{upstream.url}/images/{name}/enhanced")) for name in "ab"]
    await upstream.until(lambda: upstream.in_flight == 2)
    done_before = [fetch.done() for fetch in fetches]
    for gate in gates:
        gate.set()
    bodies = await asyncio.gather(*fetches)

    assert done_before == [False, False]
    assert bodies == [jpeg(1), jpeg(2)]
    assert (upstream.in_flight, upstream.max_in_flight) == (0, 2)


async def test_a_cut_body_is_seen_as_broken(upstream: FakeUpstream, client: ClientSession) -> None:
    """A truncated answer announces more than it sends."""
    upstream.images["a"] = Reply(body=jpeg(size=5_000), cut_after=100)

    async with client.get(f"{upstream.url}/images/a/enhanced") as response:
        announced = response.content_length
        with pytest.raises(ClientPayloadError):
            await response.read()

    assert announced == 5_000


async def test_the_rest_is_sent_to_who_holds_the_entity_tag(upstream: FakeUpstream, client: ClientSession) -> None:
    """`Range` with `If-Range` gets a 206 from that byte on; without the right tag, the whole."""
    upstream.images["a"] = Reply(body=jpeg(), etag='"v1"')

    answers = []
    for tag in ('"v1"', '"v2"'):
        headers = {"Range": "bytes=500-", "If-Range": tag}
        async with client.get(f"{upstream.url}/images/a/enhanced", headers=headers) as response:
            answers.append((response.status, await response.read()))

    assert answers == [(206, jpeg()[500:]), (200, jpeg())]


async def _fetch(client: ClientSession, url: str) -> bytes:
    async with client.get(url) as response:
        return await response.read()
