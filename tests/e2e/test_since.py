"""Only what is new since an archive: what that holds unchanged is left out."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.client import Answer, Service, StartService
from tests.support.jobs import ended, submit
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo, png, webp
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture
async def service(upstream: FakeUpstream, start_service: StartService) -> Service:
    """It looks at the order for every request."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": jpeg(3)}
    return await start_service(order_freshness=0)


def archive_of(answer: Answer) -> str:
    return answer.headers["X-Archive-Id"]


async def test_only_what_is_new_is_in_the_zip(upstream: FakeUpstream, service: Service) -> None:
    """An image that was added, one that was made anew; under the names of the whole."""
    first = await service.download(names="{seq}")
    upstream.orders[ORDER] = order([photo("c", "new.jpg"), "a", photo("b", enhance_type="warm")])

    later = await service.download(names="{seq}", since=archive_of(first))

    assert later.members == {"01.jpg": jpeg(3), "03.jpg": jpeg(2)}
    assert later.headers["X-Total-Images"] == "2"
    assert [upstream.calls(image_id) for image_id in "abc"] == [1, 2, 1]


async def test_equal_names_are_those_of_the_whole(upstream: FakeUpstream, service: Service) -> None:
    """Files of both archives lie side by side, and none is written over."""
    upstream.orders[ORDER] = order([photo("a", "kitchen.jpg")])
    first = await service.download()
    upstream.orders[ORDER] = order([photo("a", "kitchen.jpg"), photo("b", "kitchen.jpg")])

    later = await service.download(since=archive_of(first))

    assert (list(first.members), list(later.members)) == (["kitchen.jpg"], ["kitchen_1.jpg"])


async def test_nothing_new_is_a_204(upstream: FakeUpstream, service: Service) -> None:
    """For HEAD too; the overview says that nothing would be in it, and a job ends so."""
    first = await service.download()
    query = {"since": archive_of(first)}

    answers = [await service.download(since=archive_of(first)), await service.ask(PATH, method="HEAD", params=query)]
    overview = (await service.ask(f"/v1/orders/{ORDER}", params=query)).document
    job = await ended(service, await submit(service, since=archive_of(first)))

    assert [(answer.status, answer.body) for answer in answers] == [(204, b"")] * 2
    assert (overview["total"], overview["images"]) == (0, [])
    assert (job["status"], job["error"]["code"]) == ("error", "nothing_new")
    assert upstream.image_calls == 2


async def test_head_counts_what_is_new(upstream: FakeUpstream, service: Service) -> None:
    """In each rendition: as many as the download has then; nothing is begun, or made anew."""
    first = await service.ask(PATH, params=[("rendition", "web")])
    upstream.orders[ORDER] = order(["a", "b", "c"])
    query = [("rendition", "web"), ("rendition", "x,quality=3"), ("since", archive_of(first)), ("refresh", "true")]
    calls = upstream.image_calls

    head = await service.ask(PATH, method="HEAD", params=query)

    assert (head.status, head.headers["X-Total-Images"]) == (200, "4")
    assert upstream.image_calls == calls
    later = await service.ask(PATH, params=query[:3])
    assert later.headers["X-Total-Images"] == str(len(later.members)) == "4"


async def test_it_goes_rendition_by_rendition(upstream: FakeUpstream, service: Service) -> None:
    """What is held in one is new in another; so are originals."""
    upstream.originals |= {"a": png(1), "b": png(2)}
    upstream.images |= {"a": webp(1), "b": webp(2)}
    first = await service.ask(PATH, params=[("format", "webp")])

    query = [("rendition", "web"), ("rendition", "x,quality=3"), ("include", "original"), ("since", archive_of(first))]
    later = await service.ask(PATH, params=query)

    assert sorted(later.members) == ["originals/a.png", "originals/b.png", "x/a.webp", "x/b.webp"]


async def test_what_failed_there_is_new(upstream: FakeUpstream, service: Service) -> None:
    """It was never delivered."""
    upstream.images["b"] = 404
    first = await service.download()
    upstream.images["b"] = jpeg(2)

    later = await service.download(since=archive_of(first))

    assert list(later.members) == ["b.jpg"]


async def test_it_is_an_archive_of_its_own(upstream: FakeUpstream, service: Service) -> None:
    """A repeat is the same bytes, resumed at any of them; and it can be gone on from."""
    first = await service.download()
    upstream.orders[ORDER] = order(["a", "b", "c"])
    second = await service.download(since=archive_of(first))
    again = await service.download(since=archive_of(first))
    headers = {"Range": "bytes=100-", "If-Range": second.headers["ETag"]}
    part = await service.download(since=archive_of(first), headers=headers)
    upstream.orders[ORDER] = order(["c", photo("b", enhance_type="warm")])

    third = await service.download(since=archive_of(second))

    assert again.headers["ETag"] == second.headers["ETag"]
    assert (part.status, part.body) == (206, second.body[100:])
    assert list(third.members) == ["b.jpg"]


async def test_images_that_are_waited_for_are_new(upstream: FakeUpstream, service: Service) -> None:
    """The order is looked at again and again meanwhile; what was left out stays out."""
    first = await service.download()
    busy = order(["a", "b", photo("c", status="processing")], is_processing=True)
    upstream.orders[ORDER] = [*([upstream.orders[ORDER]] * upstream.calls(ORDER)), busy, busy, order(["a", "b", "c"])]

    later = await service.download(since=archive_of(first), wait="true")

    assert later.members == {"c.jpg": jpeg(3)}


async def test_it_is_remembered_for_thirty_days(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """Long after the archive is gone, and over restarts."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)
    data = tmp_path / "data"
    service = await start_service(data_dir=data)
    first = await service.download()
    await service.stop()
    with closing(sqlite3.connect(data / "batch.sqlite3")) as connection:
        connection.execute("DELETE FROM archives")
        connection.commit()

    service = await start_service(data_dir=data)

    assert (await service.download(since=archive_of(first))).status == 204
    assert (await service.ask(f"/v1/archives/{archive_of(first)}")).status == 404
    with closing(sqlite3.connect(data / "batch.sqlite3")) as connection:
        (settled,) = connection.execute("SELECT settled FROM held").fetchone()
    assert settled == pytest.approx(time.time(), abs=600)


async def test_an_archive_of_an_earlier_version_will_do(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """While it is here: such versions did not note what their archives held."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)
    data = tmp_path / "data"
    service = await start_service(data_dir=data)
    first = await service.download()
    await service.stop()
    with closing(sqlite3.connect(data / "batch.sqlite3")) as connection:
        connection.execute("DELETE FROM held")
        connection.execute("UPDATE results SET line = json_remove(line, '$.key', '$.blake3')")
        connection.commit()

    service = await start_service(data_dir=data)

    assert (await service.download(since=archive_of(first))).status == 204


async def test_what_cannot_be_gone_on_from_is_refused(upstream: FakeUpstream, service: Service) -> None:
    """What is no id, an archive of another order or of none, and a part of an order beside it."""
    upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
    other = await service.download(OTHER_ORDER)
    first = await service.download()

    answers = [
        await service.download(since="latest"),
        await service.download(since=archive_of(other)),
        await service.download(since="0" * 32),
        await service.download(since=archive_of(first), part="1"),
    ]

    assert [(answer.status, answer.problem["parameter"]) for answer in answers] == [(400, "since")] * 4
