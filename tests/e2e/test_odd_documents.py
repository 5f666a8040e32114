"""Order documents that say odd things in valid JSON: every image is delivered or named as missing."""

from tests.support.client import Service
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream


async def test_half_a_surrogate_pair_breaks_nothing(upstream: FakeUpstream, service: Service) -> None:
    """In a name it is replaced; in an id it makes an image that cannot be asked for, and the report says so."""
    odd = photo("odd\ud800", "odd\udfff.jpg")
    upstream.orders[ORDER] = order([photo("a", "kitchen\ud83d.jpg"), odd], name="12 Harbour\ud800 Lane")
    upstream.images["a"] = jpeg(1)

    answer = await service.download()

    assert (answer.status, list(answer.images.values())) == (200, [jpeg(1)])
    assert "image id: unidentified-2" in answer.report
    assert upstream.image_calls == 1


async def test_a_null_under_the_newer_name_leaves_the_older_one(upstream: FakeUpstream, service: Service) -> None:
    """A record with `image_id: null` and an `id` is the image of that id."""
    upstream.orders[ORDER] = order([photo("a") | {"image_id": None, "image_name": None, "id": "a", "name": "x.jpg"}])
    upstream.images["a"] = jpeg(1)

    answer = await service.download()

    assert answer.members == {"x.jpg": jpeg(1)}
