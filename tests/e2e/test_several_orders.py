"""Several orders in one ZIP: a folder for each, and what keeps one of them out is in its report."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from service.sandbox.state import Order
from tests.support import jobs
from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.jobs import Document, ended
from tests.support.loopback import serving
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo, png, webp
from tests.support.upstream import FakeUpstream

THIRD = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be003"
UNKNOWN = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be00f"
ORDERS = (ORDER, OTHER_ORDER, THIRD)
SECRET = "whsec_YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcy4uLi4="


@pytest.fixture(autouse=True)
def three_orders(upstream: FakeUpstream) -> None:
    """Two of one name, and one whose name is a path."""
    upstream.orders |= {
        ORDER: order([photo("a", "kitchen.jpg"), photo("b", "kitchen.jpg")]),
        OTHER_ORDER: order([photo("c", "bath.jpg")], order_id=OTHER_ORDER, name="12 harbour lane"),
        THIRD: order([photo("d", "kitchen.jpg")], order_id=THIRD, name="../Mill: Road/ "),
    }
    upstream.images |= {image_id: jpeg(ord(image_id)) for image_id in "abcd"}


def mill_road(status: str) -> Document:
    """The third order, whose image is in this state."""
    return order([photo("d", status=status)], order_id=THIRD, name="Mill Road")


async def post(service: Service, order_ids: object = ORDERS, *, headers: Any = None, **options: Any) -> Answer:
    """Ask for a job of these orders, whatever the answer."""
    body = {"order_ids": order_ids, **options}
    async with service.session.post(f"{service.url}/v1/jobs", json=body, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


async def job_of(service: Service, order_ids: object = ORDERS, **options: Any) -> Document:
    """The job of these orders when it has ended."""
    answer = await post(service, order_ids, **options)
    assert answer.status == 202, answer.body
    return await ended(service, answer.document)


async def zip_of(service: Service, job: Document, **headers: str) -> Answer:
    """The job's ZIP."""
    return await service.ask(job["links"]["download"], headers=headers)


async def test_each_order_has_a_folder_named_by_it(service: Service) -> None:
    """Harmless and each once, also where case does not count; names within are those of an archive of its own."""
    job = await job_of(service)

    answer = await zip_of(service, job)

    assert answer.members == {
        "12 Harbour Lane/kitchen.jpg": jpeg(ord("a")),
        "12 Harbour Lane/kitchen_1.jpg": jpeg(ord("b")),
        "12 harbour lane_1/bath.jpg": jpeg(ord("c")),
        "Mill_ Road/kitchen.jpg": jpeg(ord("d")),
    }
    assert 'filename="12 Harbour Lane and 2 more.zip"' in answer.headers["Content-Disposition"]
    assert (job["status"], job["order_id"], job["order_ids"]) == ("complete", None, list(ORDERS))
    assert (job["total"], job["downloaded"], job["failed"]) == (4, 4, 0)
    assert [(one["order_id"], one["folder"], one["total"], one["downloaded"]) for one in job["orders"]] == [
        (ORDER, "12 Harbour Lane", 2, 2),
        (OTHER_ORDER, "12 harbour lane_1", 1, 1),
        (THIRD, "Mill_ Road", 1, 1),
    ]


async def test_within_its_folder_an_order_is_as_it_is_alone(upstream: FakeUpstream, service: Service) -> None:
    """Renditions, originals, numbers and manifest."""
    upstream.images |= {image_id: [webp(ord(image_id)), webp(ord(image_id))] for image_id in "abcd"}
    upstream.originals |= {image_id: png(ord(image_id)) for image_id in "abcd"}
    options = {"format": "webp", "names": "{seq}_{name}_{order}", "include": ["original", "manifest"]}
    query = [("format", "webp"), ("names", "{seq}_{name}_{order}"), ("include", "original"), ("include", "manifest")]

    whole = (await zip_of(service, await job_of(service, [ORDER, THIRD], **options))).members

    for order_id, folder in ((ORDER, "12 Harbour Lane"), (THIRD, "Mill_ Road")):
        alone = (await service.ask(f"/v1/orders/{order_id}/images", params=query)).members
        inside = {name.removeprefix(f"{folder}/"): body for name, body in whole.items() if name.startswith(folder)}
        assert inside == alone
        assert {"_manifest.json", f"originals/01_kitchen_{folder}.png"} <= set(alone)


async def test_the_report_resource_tells_the_orders_apart(service: Service) -> None:
    """Each line with its order and a link to the image; and each order with its counts."""
    job = await job_of(service)

    report = (await service.ask(job["links"]["report"])).document

    assert (report["order_id"], report["orders"]) == (None, job["orders"])
    assert [(line["order_id"], line["image_id"], line["name"]) for line in report["images"]] == [
        (ORDER, "a", "12 Harbour Lane/kitchen.jpg"),
        (ORDER, "b", "12 Harbour Lane/kitchen_1.jpg"),
        (OTHER_ORDER, "c", "12 harbour lane_1/bath.jpg"),
        (THIRD, "d", "Mill_ Road/kitchen.jpg"),
    ]
    assert f"/v1/orders/{THIRD}/images/d" in report["images"][3]["link"]
    assert (await service.ask(report["images"][3]["link"])).body == jpeg(ord("d"))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (404, "order_not_found"),
        (order([], order_id=OTHER_ORDER), "order_empty"),
        (500, "upstream_error"),
        (order([f"i{n}" for n in range(101)], order_id=OTHER_ORDER), "too_many_images"),
    ],
)
async def test_an_order_that_cannot_be_had_is_a_report_in_its_folder(
    upstream: FakeUpstream, service: Service, script: Any, code: str
) -> None:
    """The others are delivered; whatever is wrong with it, and also where the price was asked for."""
    upstream.orders[OTHER_ORDER] = script

    job = await job_of(service, include=["manifest"], max_credits=0)

    members = (await zip_of(service, job)).members
    folder = job["orders"][1]["folder"]
    assert sorted(members) == sorted(
        [
            *("12 Harbour Lane/kitchen.jpg", "12 Harbour Lane/kitchen_1.jpg", "12 Harbour Lane/_manifest.json"),
            *(f"{folder}/_download_report.txt", "Mill_ Road/kitchen.jpg", "Mill_ Road/_manifest.json"),
        ]
    )
    report = members[f"{folder}/_download_report.txt"].decode()
    assert f"Order: {OTHER_ORDER}" in report
    assert f"Reason: {code}: " in report
    assert (job["status"], job["orders"][1]["code"], job["orders"][0]["code"]) == ("complete", code, None)
    assert (await service.ask(job["links"]["report"])).document["status"] == "partial"


async def test_the_zip_is_named_by_an_order_that_is_in_it(upstream: FakeUpstream, service: Service) -> None:
    """Not by one that cannot be had."""
    upstream.orders[ORDER] = 404

    answer = await zip_of(service, await job_of(service))

    assert 'filename="12 harbour lane and 2 more.zip"' in answer.headers["Content-Disposition"]


async def test_images_that_fail_are_in_the_report_of_their_order(upstream: FakeUpstream, service: Service) -> None:
    """Also where nothing of an order is ready: then its folder holds the report alone."""
    upstream.images["a"] = 404
    upstream.orders[THIRD] = mill_road("processing")

    job = await job_of(service)

    answer = await zip_of(service, job)
    assert sorted(answer.members) == [
        "12 Harbour Lane/_download_report.txt",
        "12 Harbour Lane/kitchen_1.jpg",
        "12 harbour lane_1/bath.jpg",
        "Mill Road/_download_report.txt",
    ]
    assert "Images in this archive: 1 of 2" in answer.members["12 Harbour Lane/_download_report.txt"].decode()
    assert f"/v1/orders/{THIRD}/images?image=d" in answer.members["Mill Road/_download_report.txt"].decode()
    assert [(failure["order_id"], failure["image_id"], failure["code"]) for failure in job["failures"]] == [
        (ORDER, "a", "image_not_found"),
        (THIRD, "d", "not_ready"),
    ]


async def test_strict_asks_for_all_of_all(upstream: FakeUpstream, service: Service) -> None:
    """One order that is missing ends the job."""
    upstream.orders[OTHER_ORDER] = 404

    job = await job_of(service, on_failure="strict")

    assert (job["status"], job["error"]["code"], job["links"]["download"]) == ("error", "images_missing", None)
    assert OTHER_ORDER in job["error"]["detail"]


async def test_without_any_order_the_job_fails(service: Service) -> None:
    """And says why, order by order."""
    job = await job_of(service, [UNKNOWN, UNKNOWN.replace("f", "e")])

    assert (job["status"], job["error"]["code"], job["archive_id"]) == ("error", "no_orders", None)
    assert f"{UNKNOWN}: Autoenhance does not know this order" in job["error"]["detail"]


async def test_one_order_has_a_folder_too(service: Service) -> None:
    """Whoever sends a list gets folders, however long it is."""
    job = await job_of(service, [ORDER.upper()])

    assert (job["order_id"], job["order_ids"]) == (ORDER, [ORDER])
    assert list((await zip_of(service, job)).members) == [
        "12 Harbour Lane/kitchen.jpg",
        "12 Harbour Lane/kitchen_1.jpg",
    ]


async def test_equal_requests_are_one_archive(upstream: FakeUpstream, service: Service) -> None:
    """In whatever sequence; a repeat asks for no image. Other orders, or one of them alone, are another archive."""
    first = await job_of(service)
    asked = upstream.image_calls

    again, fewer = await job_of(service, ORDERS[::-1]), await job_of(service, ORDERS[:2])
    alone = await service.download()

    assert again["archive_id"] == first["archive_id"] != fewer["archive_id"]
    assert list(alone.members) == ["kitchen.jpg", "kitchen_1.jpg"]
    assert upstream.image_calls == asked


async def test_any_byte_can_be_resumed(service: Service) -> None:
    """By the job's address and the archive's, at every seam."""
    job = await job_of(service)
    whole = (await zip_of(service, job)).body

    for start in range(0, len(whole), 997):
        rest = await service.ask(job["links"]["archive"], headers={"Range": f"bytes={start}-"})
        assert (rest.status, rest.body) == (206, whole[start:])


async def test_a_lost_image_and_a_lost_report_are_repaired(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """The archive is what it was, by one fetch."""
    upstream.orders[OTHER_ORDER] = 404
    data_dir = tmp_path / "kept"
    service = await start_service(data_dir=data_dir)
    job = await job_of(service)
    before = (await zip_of(service, job)).body
    await service.stop()
    stored = {path: path.read_bytes() for path in (data_dir / "images").rglob("*") if path.is_file()}
    lost = [path for path, body in stored.items() if body == jpeg(ord("d")) or body.startswith(b"Download report")]
    assert len(lost) == 2
    for path in lost:
        path.unlink()

    after = await start_service(data_dir=data_dir)

    assert (await zip_of(after, job)).body == before
    assert [upstream.calls(image_id) for image_id in "abd"] == [1, 1, 2]


async def test_all_are_waited_for_at_once(upstream: FakeUpstream, service: Service) -> None:
    """Images are fetched as they become ready, of whichever order."""
    ready, later = order([photo("a"), photo("b")]), [photo("a"), photo("b", status="processing")]
    upstream.orders[ORDER] = [order(later), ready]
    upstream.orders[THIRD] = [mill_road("processing"), mill_road("processing"), mill_road("processed")]

    job = await job_of(service, wait=True, wait_timeout=TIMEOUT)

    assert sorted((await zip_of(service, job)).members) == [
        *("12 Harbour Lane/a.jpg", "12 Harbour Lane/b.jpg", "12 harbour lane_1/bath.jpg", "Mill Road/d.jpg"),
    ]
    assert (job["downloaded"], job["failed"]) == (4, 0)


async def test_an_order_that_goes_while_it_is_waited_for(upstream: FakeUpstream, service: Service) -> None:
    """Its images are reported; the other order is waited for."""
    upstream.orders[ORDER] = [order([photo("a", status="processing")]), 404]
    upstream.orders[THIRD] = [*[mill_road("processing")] * 3, mill_road("processed")]

    job = await job_of(service, [ORDER, THIRD], wait=True, wait_timeout=TIMEOUT)

    assert sorted((await zip_of(service, job)).members) == ["12 Harbour Lane/_download_report.txt", "Mill Road/d.jpg"]
    assert [failure["code"] for failure in job["failures"]] == ["image_not_found"]


async def test_events_tell_each_image_with_its_order(upstream: FakeUpstream, service: Service) -> None:
    """Once, though images without an id are called the same in both orders."""
    nameless = {"image_name": "x.jpg"}
    upstream.orders |= {
        ORDER: order(["a", nameless]),
        OTHER_ORDER: order(["c", nameless], order_id=OTHER_ORDER, name="Other"),
    }
    job = (await post(service, [ORDER, OTHER_ORDER])).document

    events = await jobs.all_events(service, job)

    assert [event.number for event in events if event.name == "image"] == [1, 2, 3, 4]
    failures = [event.job["failures"][0] for event in events if event.name == "image" and event.job["failures"]]
    assert sorted((failure["order_id"], failure["name"]) for failure in failures) == [
        (ORDER, "x.jpg"),
        (OTHER_ORDER, "x.jpg"),
    ]
    assert (events[-1].number, events[-1].job["downloaded"], events[-1].job["failed"]) == (5, 2, 2)


async def test_the_list_finds_it_by_any_of_its_orders(start_service: StartService) -> None:
    """Beside the jobs of that order alone."""
    service = await start_service(service_api_key="one")
    service.session.headers["X-API-Key"] = "one"
    several, alone = await job_of(service), await ended(service, await jobs.submit(service, OTHER_ORDER))

    async def listed(order_id: str) -> list[str]:
        page = (await service.ask("/v1/jobs", params={"order_id": order_id})).document
        return [job["job_id"] for job in page["items"]]

    assert await listed(OTHER_ORDER) == [alone["job_id"], several["job_id"]]
    assert await listed(THIRD) == [several["job_id"]]
    assert await listed(UNKNOWN) == []


async def test_one_idempotency_key_is_one_job(service: Service) -> None:
    """Of just these orders."""
    headers = {"Idempotency-Key": "once"}
    first, again = [(await post(service, headers=headers)).document for _ in range(2)]
    other = await post(service, ORDERS[:2], headers=headers)

    assert first["job_id"] == again["job_id"]
    assert (other.status, other.problem["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "order_ids"),
        ({"order_ids": []}, "order_ids"),
        ({"order_ids": ORDER}, "order_ids"),
        ({"order_ids": [ORDER, "x"]}, "order_ids"),
        ({"order_ids": [ORDER, ORDER.upper()]}, "order_ids"),
        ({"order_ids": [ORDER[:-2] + f"{n:02x}" for n in range(21)]}, "order_ids"),
        ({"order_ids": [ORDER], "image": ["a"]}, "image"),
        ({"order_ids": [ORDER], "part": 1}, "part"),
        ({"order_ids": [ORDER], "since": "0" * 32}, "since"),
        ({"order_ids": [ORDER], "order_id": ORDER}, "order_id"),
        ({"order_ids": [ORDER], "rendition": ["print"], "quality": 80}, "rendition"),
    ],
)
async def test_what_cannot_be_asked_for(
    upstream: FakeUpstream, service: Service, body: dict[str, Any], parameter: str
) -> None:
    """A 400 that names what is wrong; nothing was begun."""
    async with service.session.post(f"{service.url}/v1/jobs", json=body) as response:
        problem = await response.json()

    assert (response.status, problem["code"], problem["parameter"]) == (400, "invalid_parameter", parameter)
    assert not upstream.received


async def test_options_belong_in_the_body(service: Service) -> None:
    """Of one way to say it; without a body there are no orders."""
    async with service.session.post(f"{service.url}/v1/jobs?quality=3", json={"order_ids": [ORDER]}) as response:
        in_query = await response.json()
    empty = await service.ask("/v1/jobs", method="POST")

    assert (in_query["code"], in_query["parameter"]) == ("invalid_parameter", "quality")
    assert (empty.status, empty.problem["parameter"]) == (400, "order_ids")


async def test_credits_are_those_of_all_orders(start_service: StartService) -> None:
    """`max_credits` is for the whole; what was told is what is spent, and nothing is bought twice."""
    async with Sandbox(SandboxConfig(image_delay=0, credits=8)) as sandbox:
        service = await start_service(autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key)
        wanted = [sandbox.control.add_order([ImageSpec()] * count).order_id for count in (2, 3)]
        options = {"rendition": ["print", "mls"]}

        refused = await job_of(service, wanted, max_credits=4, **options)
        bought = await job_of(service, wanted, max_credits=5, **options)
        again = await job_of(service, wanted, max_credits=0, **options)

        assert (refused["error"]["code"], bought["status"]) == ("max_credits_exceeded", "complete")
        assert (again["status"], again["archive_id"]) == ("complete", bought["archive_id"])
        assert sandbox.control.credits == 8 - 5


async def test_what_was_announced_is_what_is_spent(start_service: StartService) -> None:
    """Over any mix of requests, one after the other: the sandbox's credits are those of the overviews before each."""
    async with Sandbox(SandboxConfig(image_delay=0, credits=50)) as sandbox:
        service = await start_service(
            autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key, order_freshness=0
        )
        one, other = (sandbox.control.add_order([ImageSpec()] * 4) for _ in range(2))
        two, full = [("rendition", "print"), ("rendition", "mls")], [("preview", "false")]
        first = ("image", one.images[0].image_id)
        since = (await service.download(one.order_id, quality="70")).headers["X-Archive-Id"]
        steps: list[tuple[tuple[Order, ...], list[tuple[str, str]]]] = [
            ((one,), [*full, first]),
            ((one,), [*two, first, ("include", "original")]),
            ((one, other), two),
            ((one, other), two),
            ((other,), [*full, ("quality", "60"), ("names", "{seq}")]),
            ((one,), [("since", since), *full]),
            ((one, other), [("rendition", "web")]),
        ]
        for orders, query in steps:
            told = 0
            for order_of in orders:
                overview = await service.ask(f"/v1/orders/{order_of.order_id}", params=query)
                told += overview.document["to_buy"]
            before = sandbox.control.credits
            if len(orders) == 1:
                answer = await service.ask(f"/v1/orders/{orders[0].order_id}/images", params=query)
                assert answer.status == 200
            else:
                rendered = {"rendition": [value for _, value in query]}
                job = await job_of(service, [order_of.order_id for order_of in orders], max_credits=told, **rendered)
                assert job["status"] == "complete"
            assert before - sandbox.control.credits == told, query

        assert sandbox.control.credits == 50 - 8


async def test_a_restart_in_the_middle_goes_on(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """The job runs again by itself, and what was fetched is not fetched again."""
    upstream.hold("d")
    data_dir = tmp_path / "kept"
    service = await start_service(data_dir=data_dir)
    job = (await post(service)).document
    async with jobs.events(service, job) as stream:
        async for event in stream:
            if event.job["downloaded"] == 3:
                break
    await service.stop()
    upstream.hold("d").set()

    after = await start_service(data_dir=data_dir)

    job = await ended(after, job)
    assert (job["status"], job["downloaded"]) == ("complete", 4)
    assert len((await zip_of(after, job)).members) == 4
    assert [upstream.calls(image_id) for image_id in "abc"] == [1, 1, 1]


async def test_it_is_delivered_and_its_receiver_told(start_service: StartService) -> None:
    """As any job: by one PUT, then a callback with all of its orders."""
    put: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        put.append(await request.read())
        return web.Response()

    async with serving(web.put("/all.zip", take)) as storage, jobs.Receiver() as receiver:
        service = await start_service(callback_allow_private=True, callback_secret=SECRET)
        job = await job_of(service, deliver_to=f"{storage}/all.zip", callback_url=f"{receiver.url}/done")
        await receiver.until(lambda: bool(receiver.received))
        (told,) = receiver.received

    assert put == [(await zip_of(service, job)).body]
    data = told.message["data"]
    assert (data["order_id"], data["order_ids"], data["delivery"]["status"]) == (None, list(ORDERS), "delivered")
    assert [one["downloaded"] for one in data["orders"]] == [2, 1, 1]
