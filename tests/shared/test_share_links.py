"""Share links at several instances: made at one, opened at another, revoked at a third."""

import time

import pytest
from obstore.store import MemoryStore

from service.api.share_links import ShareLink, link_id_of, new_token
from service.cluster.objects import Objects
from service.cluster.share_links import ClusterShareLinks
from service.telemetry.metrics import Metrics
from tests.support.client import StartService
from tests.support.redis_server import RedisServer
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream


async def test_a_link_is_one_for_all_instances(
    upstream: FakeUpstream, start_member: StartService, redis: RedisServer, long_timeouts: None
) -> None:
    """Also while Redis is away: what is kept is in S3 alone."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()
    first, second, third = [await start_member() for _ in range(3)]
    made = await send(first, "POST", "/v1/links", {"path": f"/v1/orders/{ORDER}/images", "expires_in": 3600})
    page = str(made.document["page"])

    opened = await second.ask(f"{page}/images/a")
    redis.kill()
    without_redis = await third.ask(page)
    revoked = await third.ask(f"/v1/links/{made.document['link_id']}", method="DELETE")
    after = [(await member.ask(page)).status for member in (first, second, third)]

    assert (opened.status, opened.body) == (200, jpeg())
    assert (without_redis.status, revoked.status, after) == (200, 204, [404, 404, 404])


async def test_a_link_whose_record_is_written_twice_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a storage that has lost its first answer to each write, so that its client wrote once more."""
    objects = Objects(MemoryStore(), Metrics())
    write = objects.write

    async def write_twice(name: str, body: bytes, tag: str | None = None) -> str:
        await write(name, body, tag)
        return await write(name, body, tag)

    monkeypatch.setattr(objects, "write", write_twice)
    links, token, now = ClusterShareLinks(objects), new_token(), time.time()
    link = ShareLink(
        link_id=link_id_of(token) or "",
        token=token,
        maker="studio",
        order_id=ORDER,
        order_name=None,
        query="",
        images=(),
        created=now,
        expires=now + 3600,
    )

    await links.add(link)
    opened, listed = await links.get(link.link_id), await links.find("studio", "", 9)
    await links.revoke(link)

    assert (opened, listed, await links.get(link.link_id)) == (link, [link], None)
