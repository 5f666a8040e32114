"""Orders of more photos than one archive may have: nothing about them is a dead end."""

import asyncio

import pytest

from tests.support import jobs
from tests.support.client import Service, StartService
from tests.support.orders import fill
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

COUNT, LIMIT = 250, 100
PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture(autouse=True)
def wanted(upstream: FakeUpstream) -> dict[str, object]:
    """What all parts together hold."""
    return dict(fill(upstream, COUNT, script=lambda number: jpeg(number, 500)))


@pytest.mark.parametrize("query", [{}, {"preview": "false"}, {"part": "2"}, {"image": "i7"}], ids=str)
async def test_the_overview_is_never_too_large(service: Service, query: dict[str, str]) -> None:
    """It says what there is, and how many parts it takes; whatever the options, nobody is left without the ids."""
    answer = await service.ask(f"/v1/orders/{ORDER}", params=query)

    listed = {"{}": COUNT, "{'part': '2'}": LIMIT, "{'image': 'i7'}": 1}.get(str(query), COUNT)
    parts = [(part["part"], part["images"]) for part in answer.document["parts"]]
    assert (answer.status, answer.document["truncated"]) == (200, False)
    assert parts == [(1, LIMIT), (2, LIMIT), (3, COUNT - 2 * LIMIT)]
    assert answer.document["total"] == len(answer.document["images"]) == listed
    assert len({image["file_name"] for image in answer.document["images"]}) == listed


async def test_the_parts_give_each_image_once(service: Service, wanted: dict[str, object]) -> None:
    """Downloads of all parts; the refusal of the whole leads there."""
    refused = await service.download()

    parts = [await service.download(part=str(number)) for number in (1, 2, 3)]
    beyond = await service.download(part="4")

    members = [part.members for part in parts]
    assert (refused.status, refused.problem["images"], refused.problem["limit"]) == (413, COUNT, LIMIT)
    assert "part=1" in refused.problem["detail"]
    assert [len(part) for part in members] == [LIMIT, LIMIT, COUNT - 2 * LIMIT]
    assert {**members[0], **members[1], **members[2]} == wanted
    assert (beyond.status, beyond.problem["parameter"]) == (400, "part")


async def test_the_overview_leads_to_each_part(service: Service) -> None:
    """With the options that it was asked with; what it lists itself says nothing of the parts."""
    query = {"format": "png", "image": "i7", "preview": "true"}

    overview = (await service.ask(f"/v1/orders/{ORDER}", params=query)).document
    answers = [await service.ask(part["link"]) for part in overview["parts"]]

    assert overview["parts"][1]["link"] == f"{PATH}?format=png&preview=true&part=2"
    assert [len(answer.members) for answer in answers] == [part["images"] for part in overview["parts"]]


async def test_an_order_that_fits_is_one_download(upstream: FakeUpstream, service: Service) -> None:
    """Which is that of the order."""
    upstream.orders[ORDER] = order(["i1", "i2"])

    (part,) = (await service.ask(f"/v1/orders/{ORDER}")).document["parts"]

    assert part == {"part": 1, "images": 2, "link": PATH}


async def test_the_parts_of_an_order_that_is_listed_otherwise_are_the_same(
    upstream: FakeUpstream, start_service: StartService, wanted: dict[str, object]
) -> None:
    """Parts are cut by date and id: the listing's sequence may change between two of them."""
    service = await start_service(order_freshness=0)
    dates = {f"i{number}": 1_772_442_904 + (number * 37) % COUNT for number in range(COUNT)}
    ids = list(dates)
    listings = [ids, list(reversed(ids)), ids[100:] + ids[:100]]
    upstream.orders[ORDER] = [order([photo(one, date_added=dates[one]) for one in listing]) for listing in listings]

    found: dict[str, bytes] = {}
    for number in (1, 2, 3):
        found |= (await service.download(part=str(number))).members

    assert found == wanted


async def test_a_job_builds_a_part(service: Service) -> None:
    """And the job of the whole says what to do."""
    whole = await jobs.ended(service, await jobs.submit(service))
    part = await jobs.ended(service, await jobs.submit(service, part="3"))

    assert (whole["status"], whole["error"]["code"]) == ("error", "too_many_images")
    assert (part["status"], part["downloaded"]) == ("complete", COUNT - 2 * LIMIT)


async def test_too_many_ids_for_an_address_are_told_what_to_do(service: Service) -> None:
    """A request line that is too long is a problem like any, and names the ways out."""
    ids = [("image", f"{number:036d}") for number in range(300)]

    answer = await service.ask(PATH, params=ids)

    assert answer.status in (414, 431)
    assert answer.problem["code"]
    assert "fewer images" in answer.problem["detail"]


async def test_as_many_ids_as_an_archive_may_have_fit(service: Service, wanted: dict[str, object]) -> None:
    """By a body they always do; ids are as long as Autoenhance's."""
    ids = [f"i{number}" for number in range(LIMIT)]

    answer = await service.ask(PATH, params=[("image", image_id) for image_id in ids])

    assert answer.members == {f"{image_id}.jpg": wanted[f"{image_id}.jpg"] for image_id in ids}


async def test_images_beyond_ten_thousand_are_counted(upstream: FakeUpstream, service: Service) -> None:
    """An overview of 12,000 lists 10,000 of them, and the parts that can be had, and says so."""
    upstream.orders[ORDER] = order([f"i{number}" for number in range(12_000)])

    answer = await service.ask(f"/v1/orders/{ORDER}")

    assert (answer.status, answer.document["truncated"]) == (200, True)
    assert len(answer.document["images"]) == 100 * len(answer.document["parts"]) == 10_000


async def test_files_beyond_ten_thousand_are_counted(upstream: FakeUpstream, service: Service) -> None:
    """Of an order of 3,000 images in five renditions: all are in the counts, and the price; ten thousand are listed."""
    failed = [photo(f"x{number}", status="error") for number in range(10)]
    upstream.orders[ORDER] = order([*(f"i{number}" for number in range(2_990)), *failed])
    renditions = [("rendition", one) for one in ("print", "mls", "web", "x,quality=3", "y,quality=4")]

    answers = await asyncio.gather(
        *(service.ask(f"/v1/orders/{ORDER}", params=renditions) for _ in range(3)),
        service.ask(f"/v1/orders/{ORDER}", params=[("image", "i1")]),
    )

    for answer in answers[:3]:
        told = answer.document
        assert (answer.status, told["truncated"], len(told["images"])) == (200, True, 10_000)
        assert (told["total"], told["failed"], told["to_buy"]) == (15_000, 50, 2_990)
        assert len(told["failures"]) == 50
    assert (answers[3].document["total"], answers[3].document["truncated"]) == (1, False)
