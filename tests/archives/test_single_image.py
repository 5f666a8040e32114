"""One image by itself: which it is, by whose turn and in which line it is fetched, and why it cannot be had."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.archives.options import ImageOptions
from service.archives.plan import Plan
from service.archives.single_image import SingleImages, is_thumbnail
from service.images.blobs import Blob
from service.images.requests import FetchContext, Fetched, ImageFailed, ImageRequest
from service.orders.generations import read_observations
from service.problems import (
    BreakerOpen,
    CreditLimit,
    CreditsUnknown,
    ImageExpired,
    ImageNotFound,
    ImageNotReady,
    NoImages,
    Problem,
    StoreFull,
)
from service.reasons import Reason
from service.upstream.models import Rendition
from service.upstream.order_document import parse_order
from tests.support.archives import ArchiveSystem
from tests.support.images import put
from tests.support.samples import ORDER, Document, jpeg, order, photo

BLOB = Blob("d" * 64, 3, 0, "jpg")


class Fetcher:
    """Comes to `outcome`, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.outcome: Fetched | ImageFailed = Fetched(BLOB, 1)
        self.asked: list[tuple[ImageRequest, FetchContext]] = []

    async def fetch(self, image: ImageRequest, context: FetchContext) -> Fetched:
        """That."""
        self.asked.append((image, context))
        if isinstance(self.outcome, ImageFailed):
            raise self.outcome
        return self.outcome


@pytest.fixture
def fetcher() -> Fetcher:
    """It has fetched what it is asked for, with one attempt."""
    return Fetcher()


@pytest.fixture
def singles(system: ArchiveSystem, fetcher: Fetcher) -> SingleImages:
    """With that fetcher."""
    singles = SingleImages(system.archives._context)
    singles._fetcher = fetcher  # type: ignore[assignment]
    return singles


async def plan(
    singles: SingleImages, images: Sequence[str | Document] = ("a", "b"), image_id: str = "a", **wanted: Any
) -> Plan:
    """Of one of these images."""
    return await singles.plan(ORDER, parse_order(order(images)), image_id, ImageOptions(**wanted))


def outcomes(system: ArchiveSystem) -> dict[str, float]:
    """How often each is counted."""
    names = ("downloaded", "failed", "stored")
    return {name: system.parts.sample("batch_images_total", outcome=name) for name in names}


async def test_an_image_is_planned_alone(singles: SingleImages, system: ArchiveSystem) -> None:
    """Nothing else of the order is looked at; one that is not part of it is not found."""
    alone = await plan(singles, quality=70)

    assert [image.image_id for image in alone.images] == ["a"]
    assert alone.rendition(alone.images[0]) == Rendition(quality=70)
    assert await system.database.run(lambda connection: list(read_observations(connection, "ab"))) == ["a"]
    with pytest.raises(ImageNotFound):
        await plan(singles, image_id="c")


async def test_an_original_is_planned_without_the_enhanced_image(singles: SingleImages) -> None:
    """Of one that was made from another image it is that one's, however many are between them."""
    records: list[Any] = [photo("a", parent_image_id="b"), photo("b", parent_image_id="c"), "c"]
    alone = await plan(singles, records, include="original")

    (image,) = alone.images
    assert (image.is_original, alone.request(image).image_id) == (True, "c")


@pytest.mark.parametrize(
    ("status", "is_found"),
    [("processed", True), ("expired", True), ("a word of tomorrow", True), ("processing", False), ("failed", False)],
)
async def test_it_is_found_where_it_is_what_autoenhance_would_send_now(
    singles: SingleImages, system: ArchiveSystem, status: str, is_found: bool
) -> None:
    """One that is being made anew, or failed, is not what is stored."""
    planned = await plan(singles, [photo("a", status=status)])
    stored = await put(system.images, planned.images[0].key, jpeg())

    assert await singles.find(planned) == (stored if is_found else None)


@pytest.mark.parametrize(
    ("wanted", "behind"),
    [
        ({}, False),
        ({"max_width": 480}, True),
        ({"max_width": 481}, False),
        ({"max_width": 480, "preview": False}, False),
    ],
)
async def test_thumbnails_wait_behind_all_others(
    singles: SingleImages, fetcher: Fetcher, system: ArchiveSystem, wanted: dict[str, Any], behind: bool
) -> None:
    """Whoever only looks at an order counts nowhere; each takes the turn of its caller."""
    planned = await plan(singles, **wanted)
    blob = await singles.fetch(planned, "caller")
    fetcher.outcome = ImageFailed(Reason.TIMEOUT, 3)
    with pytest.raises(NoImages):
        await singles.fetch(planned, "caller")

    (request, context), _ = fetcher.asked
    assert (blob, request) == (BLOB, planned.request(planned.images[0]))
    assert (context.caller, context.behind) == ("caller", behind)
    assert outcomes(system) == {"downloaded": not behind, "failed": not behind, "stored": 0}
    assert system.parts.sample("batch_image_failures_total", reason="timeout") == (not behind)


async def test_what_somebody_has_stored_meanwhile_is_no_download(
    singles: SingleImages, fetcher: Fetcher, system: ArchiveSystem
) -> None:
    """It is counted once."""
    fetcher.outcome = Fetched(BLOB, 0)

    await singles.fetch(await plan(singles), "")

    assert outcomes(system) == {"downloaded": 0, "failed": 0, "stored": 0}


@pytest.mark.parametrize(
    ("status", "problem"),
    [("processing", ImageNotReady), ("waiting", ImageNotReady), ("failed", NoImages), ("expired", ImageExpired)],
)
async def test_what_cannot_be_there_is_not_asked_for(
    singles: SingleImages, fetcher: Fetcher, status: str, problem: type[Problem]
) -> None:
    """Its state says why."""
    with pytest.raises(problem):
        await singles.fetch(await plan(singles, [photo("a", status=status)]), "")

    assert fetcher.asked == []


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        (Reason.NOT_READY, ImageNotReady),
        (Reason.NOT_UPLOADED, ImageNotReady),
        (Reason.EXPIRED, ImageExpired),
        (Reason.IMAGE_NOT_FOUND, ImageNotFound),
        (Reason.BREAKER_OPEN, BreakerOpen),
        (Reason.CREDIT_LIMIT, CreditLimit),
        (Reason.CREDITS_UNKNOWN, CreditsUnknown),
        (Reason.STORE_FULL, StoreFull),
        (Reason.NO_CREDIT, NoImages),
    ],
)
async def test_each_failure_has_its_problem(
    singles: SingleImages,
    fetcher: Fetcher,
    monkeypatch: pytest.MonkeyPatch,
    reason: Reason,
    problem: type[Problem],
) -> None:
    """With its reason where the problem alone does not say it; credits come back at midnight."""
    monkeypatch.setattr("service.archives.outcomes.until_tomorrow", lambda: 1234.0)
    fetcher.outcome = ImageFailed(reason, 3)

    with pytest.raises(problem) as raised:
        await singles.fetch(await plan(singles), "")

    assert [failure["code"] for failure in raised.value.extra.get("failures", [])] in ([], [reason])
    assert (raised.value.headers.get("Retry-After") == "1234") == (reason is Reason.CREDIT_LIMIT)


@pytest.mark.parametrize(("width", "is_one"), [(480, True), (481, False), (None, False)])
def test_a_thumbnail_is_a_small_preview(width: int | None, is_one: bool) -> None:
    """Full size is bought, however small it is made."""
    assert is_thumbnail(Rendition(max_width=width)) is is_one
    assert not is_thumbnail(Rendition(max_width=width, preview=False))
