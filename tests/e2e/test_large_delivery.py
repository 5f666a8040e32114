"""An order that is too large for one ZIP, whole in two requests."""

from datetime import UTC, datetime, timedelta

from tests.support.client import StartService
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

FIRST = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


async def test_an_order_of_130_photos_is_whole_in_two_requests(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Each photo is in one of them, in every rendition, under numbers that go on."""
    images = [f"i{number:03}" for number in range(1, 131)]
    records = [
        photo(image_id, "kitchen.jpg", date_added=(FIRST + timedelta(minutes=at)).isoformat())
        for at, image_id in enumerate(images)
    ]
    upstream.orders[ORDER] = order(records)
    upstream.images |= {image_id: jpeg(at, size=200) for at, image_id in enumerate(images)}
    service = await start_service()
    query = [("rendition", "x,quality=3"), ("rendition", "y,quality=4"), ("names", "{seq}_{image_id}")]

    first, second = [
        await service.ask(f"/v1/orders/{ORDER}/images", params=[*query, ("part", part)]) for part in ("1", "2")
    ]

    assert list(first.members)[:1] != list(second.members)[:1]
    assert sorted(first.members) == [f"{one}/{at:03}_i{at:03}.jpg" for one in "xy" for at in range(1, 101)]
    assert sorted(second.members) == [f"{one}/{at:03}_i{at:03}.jpg" for one in "xy" for at in range(101, 131)]
    assert (await service.ask(f"/v1/orders/{ORDER}/images", params=query)).status == 413
