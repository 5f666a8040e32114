"""Some images fail: the rest arrives, and what is missing is said."""

from typing import Any

import pytest

from tests.support.client import Service
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream


async def test_a_failed_image_leaves_the_rest_and_a_report(upstream: FakeUpstream, service: Service) -> None:
    """What succeeded is there; the report names each failed image, its id and why."""
    upstream.orders[ORDER] = order([photo("a"), photo("id-of-b", "bath.jpg"), photo("id-of-c", "cellar.jpg")])
    upstream.images |= {"a": jpeg(), "id-of-b": 404, "id-of-c": 402}

    answer = await service.download()

    assert answer.status == 200
    assert answer.images == {"a.jpg": jpeg()}
    report = answer.report
    assert all(words in report for words in ("bath.jpg", "id-of-b", "image_not_found"))
    assert all(words in report for words in ("cellar.jpg", "id-of-c", "no_credit"))
    assert "a.jpg" not in report


async def test_the_report_says_how_to_get_what_is_missing(upstream: FakeUpstream, service: Service) -> None:
    """Each missing image comes with the request that would fetch it."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(), "b": 404}

    answer = await service.download()

    assert f"/orders/{ORDER}/images?image=b" in answer.report


async def test_nothing_at_all_is_a_422_with_each_failure(upstream: FakeUpstream, service: Service) -> None:
    """No image, no archive: the problem document lists every failure."""
    upstream.orders[ORDER] = order([photo("a", "attic.jpg"), photo("b")])
    upstream.images |= {"a": 404, "b": 403}

    answer = await service.download()

    assert (answer.status, answer.problem["code"]) == (422, "no_images")
    assert answer.failures == {"a": "image_not_found", "b": "refused"}
    first = next(failure for failure in answer.problem["failures"] if failure["image_id"] == "a")
    assert first["name"] == "attic.jpg"
    assert first["reason"]


async def test_strict_refuses_what_is_not_whole(upstream: FakeUpstream, service: Service) -> None:
    """`on_failure=strict` answers 422 when one image failed, though another is in."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(), "b": 404}

    answer = await service.download(on_failure="strict")

    assert answer.status == 422
    assert answer.failures == {"b": "image_not_found"}


async def test_strict_delivers_what_is_whole(upstream: FakeUpstream, service: Service) -> None:
    """Where nothing failed, `strict` makes no difference."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg()

    answer = await service.download(on_failure="strict")

    assert (answer.status, answer.members) == (200, {"a.jpg": jpeg()})


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "error"}, "enhancement_failed"),
        ({"status": "failed"}, "enhancement_failed"),
        ({"status": None, "error": True}, "enhancement_failed"),
        ({"status": "expired"}, "expired"),
        ({"status": "processing"}, "not_ready"),
        ({"status": "waiting"}, "not_uploaded"),
    ],
)
async def test_an_image_that_upstream_has_not_finished_is_not_fetched(
    upstream: FakeUpstream, service: Service, fields: dict[str, Any], code: str
) -> None:
    """Its state is the reason in the report, and no download of it is tried."""
    upstream.orders[ORDER] = order(["a", photo("b", **fields)])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answer = await service.download()

    assert answer.images == {"a.jpg": jpeg(1)}
    assert code in answer.report
    assert upstream.calls("b") == 0


async def test_complete_delivery_tells_the_final_counts(upstream: FakeUpstream, service: Service) -> None:
    """`delivery=complete` has an exact length and says how many came and how many did not."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2), "c": 404}

    answer = await service.download(delivery="complete")

    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert (answer.headers["X-Downloaded"], answer.headers["X-Failed"]) == ("2", "1")
    assert answer.headers["X-Total-Images"] == "3"
    assert set(answer.images) == {"a.jpg", "b.jpg"}
