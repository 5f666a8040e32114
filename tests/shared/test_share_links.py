"""Share links at several instances: made at one, opened at another, revoked at a third."""

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
