"""What is bought is told before, has a limit for each request and for each day, and is counted as what it is."""

import asyncio
import re
from pathlib import Path

import pytest
from multidict import CIMultiDict

from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from tests.support import jobs
from tests.support.client import TIMEOUT, Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream, Reply

IMAGES = {f"i{number}": jpeg(number) for number in range(6)}
TOKEN = "token-of-the-administrator"


@pytest.fixture(autouse=True)
def six_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(IMAGES)
    upstream.images |= IMAGES


async def buy(service: Service, **query: str) -> Answer:
    """Download the order in full size."""
    return await service.ask(f"/v1/orders/{ORDER}/images", params={"preview": "false", **query})


async def bought(service: Service) -> float:
    """Images that were bought, by the metrics."""
    found = re.search(r"^batch_images_bought_total (\S+)", (await service.ask("/metrics")).body.decode(), re.MULTILINE)
    assert found
    return float(found[1])


async def credits_of(service: Service) -> object:
    """What administrators are told."""
    return (await service.ask("/v1/stats", headers=CIMultiDict({"X-Admin-Token": TOKEN}))).document["credits"]


async def test_more_than_max_credits_is_refused_before_anything_is_bought(
    upstream: FakeUpstream, service: Service
) -> None:
    """With the number, which is that of the overview."""
    told = (await service.ask(f"/v1/orders/{ORDER}", params={"preview": "false"})).document["to_buy"]

    refused = await buy(service, max_credits="5")
    told_so = await service.ask(
        f"/v1/orders/{ORDER}/images", method="HEAD", params={"preview": "false", "max_credits": "5"}
    )

    assert told_so.status == refused.status
    assert (refused.status, refused.problem["code"]) == (409, "max_credits_exceeded")
    assert (refused.problem["to_buy"], refused.problem["max_credits"]) == (told, 5) == (6, 5)
    assert upstream.image_calls == 0
    assert (await buy(service, max_credits="6")).status == 200
    assert await bought(service) == 6


async def test_what_is_stored_or_was_bought_costs_nothing(upstream: FakeUpstream, service: Service) -> None:
    """Neither does a preview."""
    upstream.orders[ORDER] = order([photo("i0", downloaded=True), "i1", "i2"])
    await buy(service, image="i1")

    refused, enough = await buy(service, max_credits="0"), await buy(service, max_credits="1")
    again, preview = await buy(service, max_credits="0"), await service.download(max_credits="0")

    assert (refused.status, refused.problem["to_buy"]) == (409, 1)
    assert [answer.status for answer in (enough, again, preview)] == [200, 200, 200]
    assert await bought(service) == 2


async def test_who_joins_a_build_is_asked_too(upstream: FakeUpstream, service: Service) -> None:
    """What others are buying now is more than this caller wants to pay."""
    gates = [upstream.hold(image_id) for image_id in IMAGES]
    building = asyncio.create_task(buy(service))
    await upstream.until(lambda: upstream.in_flight > 0)

    joining = await buy(service, max_credits="2")
    for gate in gates:
        gate.set()

    assert (joining.status, joining.problem["to_buy"]) == (409, 6)
    assert (await building).status == 200


async def test_a_refresh_is_refused_without_beginning_it(upstream: FakeUpstream, service: Service) -> None:
    """What is stored stays what a download gives."""
    await buy(service)

    refused = await buy(service, refresh="true", max_credits="3")
    after = await buy(service, max_credits="0")

    assert (refused.status, refused.problem["to_buy"]) == (409, 6)
    assert after.status == 200
    assert upstream.image_calls == 6


async def test_a_job_that_would_buy_more_ends_with_the_reason(upstream: FakeUpstream, service: Service) -> None:
    """Nothing is bought."""
    job = await jobs.ended(service, await jobs.submit(service, preview="false", max_credits="2"))

    assert (job["status"], job["error"]["code"]) == ("error", "max_credits_exceeded")
    assert upstream.image_calls == 0


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "1_0"])
async def test_max_credits_is_a_whole_number(service: Service, value: str) -> None:
    """Anything else is refused by name."""
    answer = await buy(service, max_credits=value)

    assert (answer.status, answer.problem["parameter"]) == (400, "max_credits")


async def test_a_day_buys_no_more_than_its_limit(upstream: FakeUpstream, start_service: StartService) -> None:
    """However many ask at once, for archives that overlap; what could not be bought is told image by image."""
    upstream.orders[OTHER_ORDER] = order(IMAGES, order_id=OTHER_ORDER)
    service = await start_service(max_credits_per_day=3, admin_token=TOKEN)
    subsets = [[("image", f"i{number}"), ("image", f"i{number + 1}"), ("preview", "false")] for number in range(5)]

    answers = await asyncio.gather(
        *(service.ask(f"/v1/orders/{one}/images", params=subset) for one in (ORDER, OTHER_ORDER) for subset in subsets)
    )
    whole = await buy(service)

    assert upstream.image_calls == await bought(service) == 3
    assert {answer.status for answer in answers} <= {200, 503}
    assert whole.status == 200
    assert len(whole.images) == 3
    assert whole.report.count("credit_limit") == 3
    assert await credits_of(service) == {"spent_today": 3, "limit": 3, "left": 0}


async def test_when_nothing_may_be_bought_the_answer_says_when(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Previews and what is stored are served all the same."""
    service = await start_service(max_credits_per_day=1)
    await buy(service, image="i0")

    refused, single = await buy(service, image="i1"), await service.ask(f"/v1/orders/{ORDER}/images/i1?preview=false")
    stored, preview = await buy(service, image="i0"), await service.download()

    for answer in (refused, single):
        assert (answer.status, answer.problem["code"]) == (503, "credit_limit")
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert (stored.status, preview.status, len(preview.images)) == (200, 200, 6)
    assert len([one for one in upstream.received if one.query.get("preview") == "false"]) == 1


async def test_the_limit_outlives_a_restart(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """A day is a day."""
    service = await start_service(max_credits_per_day=2, data_dir=tmp_path / "kept", admin_token=TOKEN)
    await buy(service, image="i0")
    await service.stop()

    again = await start_service(max_credits_per_day=2, data_dir=tmp_path / "kept", admin_token=TOKEN)
    await buy(again)

    assert await credits_of(again) == {"spent_today": 2, "limit": 2, "left": 0}
    assert upstream.image_calls == 2


async def test_what_autoenhance_refuses_costs_nothing(upstream: FakeUpstream, start_service: StartService) -> None:
    """The credit is spent on another."""
    upstream.images |= {"i0": 404, "i1": 402}
    service = await start_service(max_credits_per_day=1, admin_token=TOKEN)

    refused = [await buy(service, image=image_id) for image_id in ("i0", "i1")]
    fine = await buy(service, image="i2")

    assert [answer.failures for answer in refused] == [{"i0": "image_not_found"}, {"i1": "no_credit"}]
    assert fine.status == 200
    assert await credits_of(service) == {"spent_today": 1, "limit": 1, "left": 0}


async def test_what_may_have_been_bought_stays_counted(upstream: FakeUpstream, start_service: StartService) -> None:
    """The bytes did not arrive; the next try is for the same credit."""
    upstream.images["i0"] = [Reply(body=IMAGES["i0"], cut_after=100), IMAGES["i0"]]
    service = await start_service(max_credits_per_day=1, admin_token=TOKEN, upstream_attempts=1)

    broken, other = await buy(service, image="i0"), await buy(service, image="i1")
    again = await buy(service, image="i0")

    assert broken.failures == {"i0": "truncated"}
    assert other.problem["code"] == "credit_limit"
    assert again.status == 200
    assert await bought(service) == 1


async def test_a_picture_that_was_sold_but_did_not_arrive_is_counted_as_bought(
    upstream: FakeUpstream, start_service: StartService
) -> None:
    """Autoenhance sells it when it says where it is."""
    upstream.hops["i0"], upstream.images["i0"] = 1, 503
    service = await start_service(upstream_attempts=1)

    answer = await buy(service, image="i0")

    assert answer.status == 422
    assert await bought(service) == 1


async def test_only_administrators_see_what_is_spent(start_service: StartService) -> None:
    """Without a limit too."""
    service = await start_service(admin_token=TOKEN)
    await buy(service)

    assert "credits" not in (await service.ask("/v1/stats")).document
    assert await credits_of(service) == {"spent_today": 6, "limit": None, "left": None}


async def test_a_job_beyond_the_limit_waits(upstream: FakeUpstream, start_service: StartService) -> None:
    """Like for anything that passes by itself; its document says when it is tried again."""
    service = await start_service(max_credits_per_day=0)

    job = await jobs.submit(service, preview="false")
    async with asyncio.timeout(TIMEOUT), jobs.events(service, job) as events:
        waiting = await anext(event.job async for event in events if event.job["retry_at"] is not None)

    assert waiting["status"] == "queued"
    assert upstream.image_calls == 0


async def test_autoenhance_sells_what_was_counted(start_service: StartService) -> None:
    """After a mix of downloads, single images and jobs that want more than the day has."""
    async with Sandbox(SandboxConfig(image_delay=0, credits=8)) as sandbox:
        service = await start_service(
            autoenhance_api_base=sandbox.api_base,
            autoenhance_api_key=sandbox.api_key,
            max_credits_per_day=5,
            admin_token=TOKEN,
        )
        orders = [sandbox.control.add_order([ImageSpec()] * 4) for _ in range(2)]
        image = orders[1].images[0].image_id

        await asyncio.gather(
            *(service.ask(f"/v1/orders/{one.order_id}/images?preview=false") for one in orders * 2),
            service.ask(f"/v1/orders/{orders[1].order_id}/images/{image}?preview=false"),
            jobs.submit(service, orders[0].order_id, preview="false", on_failure="partial"),
        )

        spent = 8 - sandbox.control.credits
        assert spent == await bought(service) == 5
