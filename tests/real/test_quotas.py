"""What Autoenhance publishes: uses of a file name an hour, enhancements a day, formats by version."""

from collections.abc import AsyncIterator

import pytest

from service.sandbox import Sandbox, SandboxConfig
from tests.e2e.uploads.orders import ADMIN, TOKEN, form, make
from tests.real.test_bytes import iso
from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream, Reply


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """It takes each file name once an hour, and enhances five images a day."""
    limits = SandboxConfig(image_delay=0, same_name_per_hour=1, enhancements_per_day=5)
    async with Sandbox(limits) as running:
        yield running


@pytest.fixture
async def service(sandbox: Sandbox, start_service: StartService) -> Service:
    """A service with an administrator."""
    return await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        order_freshness=0,
        image_timeout=5,
    )


async def test_a_file_name_that_was_used_too_often_is_told(service: Service) -> None:
    """What helps is another name or another hour, not the next minute."""
    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))
    again = await make(service, form(("a.jpg", jpeg(3)), ("c.jpg", jpeg(4))))

    assert made.outcomes == {"a.jpg": "uploaded", "b.jpg": "uploaded"}
    assert again.outcomes == {"a.jpg": "file_name_limit", "c.jpg": "uploaded"}
    advice = again.document["files"][0]["reason"]
    assert "file name" in advice
    assert "hour" in advice
    assert "minute" not in advice


async def test_sample_orders_use_no_name_up(service: Service) -> None:
    """One after the other: their photos have names of their own."""
    made = [await make(service, None, ADMIN, "/v1/orders/sample") for _ in range(2)]

    assert [one.status for one in made] == [201, 201]
    assert [{file["status"] for file in one.document["files"]} for one in made] == [{"uploaded"}] * 2


async def test_a_day_that_is_used_up_is_told(service: Service) -> None:
    """Autoenhance's own reason reaches whoever downloads; nobody is told to process the images again."""
    files = [(f"{number}.jpg", jpeg(number)) for number in range(7)]
    made = await make(service, form(*files))

    overview = await service.ask(f"/v1/orders/{made.document['order_id']}")
    answer = await service.download(made.document["order_id"])

    failures = overview.document["failures"]
    assert len(failures) == 2
    assert all("limit" in failure["reason"] for failure in failures)
    assert not any("Process it again" in failure["reason"] for failure in failures)
    assert all(failure["reason"] in answer.report for failure in failures)


@pytest.mark.parametrize("image_format", ["avif", "jxl"])
async def test_a_format_is_offered_where_the_version_has_it(
    upstream: FakeUpstream, start_service: StartService, image_format: str
) -> None:
    """Else a 400 names the version that has it, and Autoenhance is not asked."""
    upstream.orders[ORDER] = order(["a"])
    body = iso(b"avif", b"mif1") if image_format == "avif" else b"\xff\x0a" + bytes(3_000)
    upstream.images["a"] = Reply(body=body)
    pinned = await start_service()
    newer = await start_service(autoenhance_api_version="2026-10-01")

    refused = [
        await pinned.download(format=image_format),
        await pinned.ask(f"/v1/orders/{ORDER}?format={image_format}"),
    ]
    asked = upstream.image_calls
    taken = await newer.download(format=image_format)

    assert [answer.status for answer in refused] == [400, 400]
    assert all("AUTOENHANCE_API_VERSION=2026-10-01" in answer.problem["detail"] for answer in refused)
    assert asked == 0
    assert (taken.status, list(taken.images)) == (200, [f"a.{image_format}"])
