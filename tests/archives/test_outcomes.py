"""How images and builds turn out, in the words of the report and of problems."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.archives import outcomes
from service.archives.archive import Archive, ImageResult, State
from service.archives.outcomes import (
    FOR_GOOD,
    MAY_BE_STORED,
    image_failure,
    nothing_usable,
    obstacle,
    outcome_of,
    problem_of,
)
from service.archives.plan import PlannedImage, PlannedOrder
from service.archives.readers import Abandoned, Readers
from service.archives.shared_archives import TakenOver
from service.disk import OutOfSpace
from service.problems import (
    ArchiveGone,
    BreakerOpen,
    CreditLimit,
    CreditsUnknown,
    InternalError,
    NoImages,
    OrderNotFound,
    Problem,
    StillBuilding,
    StoreFull,
)
from service.reasons import Reason
from service.telemetry.metrics import ArchiveOutcome
from service.upstream.models import ImageState


def image(state: ImageState = ImageState.READY, **fields: Any) -> PlannedImage:
    """A planned image in this state."""
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    return PlannedImage(image_id="a", name="a.jpg", state=state, key="a.0", modified=moment, **fields)


def archive(*codes: Reason) -> Archive:
    """Of two orders, the second of which cannot be had, with images that failed for these reasons."""
    orders = (PlannedOrder(order_id="o", total=len(codes)), PlannedOrder.failed("p", None, OrderNotFound()))
    made = Archive("a" * 32, key="k", orders=orders, readers=Readers(1, 60))
    for number, code in enumerate(codes):
        made.add_failure(ImageResult(f"{number}", f"{number}.jpg", code=code))
    return made


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ImageState.READY, None),
        (ImageState.UNKNOWN, None),
        (ImageState.WAITING, Reason.NOT_UPLOADED),
        (ImageState.PROCESSING, Reason.NOT_READY),
        (ImageState.FAILED, Reason.ENHANCEMENT_FAILED),
        (ImageState.EXPIRED, Reason.EXPIRED),
    ],
)
def test_a_state_says_why_it_cannot_be_fetched(state: ImageState, reason: Reason | None) -> None:
    """One that is unknown is tried."""
    assert obstacle(image(state)) == reason


@pytest.mark.parametrize("state", ImageState)
def test_only_what_is_finished_is_looked_for_in_the_store(state: ImageState) -> None:
    """Or may be: what is there is what Autoenhance would send now."""
    finished = {ImageState.READY, ImageState.UNKNOWN, ImageState.EXPIRED}

    assert (state in MAY_BE_STORED) == (state in finished)


@pytest.mark.parametrize("reason", Reason)
def test_only_what_no_second_request_could_change_is_for_good(reason: Reason) -> None:
    """Everything else may pass, and is asked for again."""
    lasting = {Reason.IMAGE_NOT_FOUND, Reason.EXPIRED, Reason.REJECTED, Reason.TOO_LARGE}

    assert (reason in FOR_GOOD) == (reason in lasting)


@pytest.mark.parametrize(
    ("reason", "said"),
    [(Reason.ENHANCEMENT_FAILED, "too dark"), (Reason.EXPIRED, "too dark"), (Reason.TIMEOUT, None)],
)
def test_what_autoenhance_says_of_an_image_is_told_where_that_is_the_reason(reason: Reason, said: str | None) -> None:
    """Not beside a failure of another kind."""
    failed = image_failure(image(status_reason="too dark", rendition="web", order=1), reason, 3)

    assert (failed.code, failed.attempts, failed.status_reason) == (reason, 3, said)
    assert failed.identity == (1, "a", "web")
    assert image_failure(image(), reason).rendition is None


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ([Reason.BREAKER_OPEN] * 2, BreakerOpen),
        ([Reason.CREDIT_LIMIT] * 2, CreditLimit),
        ([Reason.CREDITS_UNKNOWN] * 2, CreditsUnknown),
        ([Reason.BREAKER_OPEN, Reason.TIMEOUT], NoImages),
        ([Reason.CREDIT_LIMIT, Reason.BREAKER_OPEN], NoImages),
    ],
)
def test_nothing_usable_has_the_reason_of_all(
    monkeypatch: pytest.MonkeyPatch, codes: list[Reason], problem: type[Problem]
) -> None:
    """Of several reasons each image has its own, and each order that is missing."""
    monkeypatch.setattr(outcomes, "until_tomorrow", lambda: 1234.0)

    found = nothing_usable(archive(*codes))

    assert type(found) is problem
    assert (found.headers.get("Retry-After") == "1234") == (problem is CreditLimit)
    if problem is NoImages:
        assert [failure["code"] for failure in found.extra["failures"]] == codes
        assert [order["order_id"] for order in found.extra["orders"]] == ["p"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (NoImages([]), NoImages),
        (Abandoned(), ArchiveGone),
        (OutOfSpace("no room"), StoreFull),
        (TakenOver(), StillBuilding),
        (ExceptionGroup("", [ExceptionGroup("", [OutOfSpace("no room")])]), StoreFull),
        (ExceptionGroup("", [OutOfSpace("no room"), LookupError("what came of it")]), StoreFull),
        (LookupError("a fault"), InternalError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_error_is_told_as_a_problem(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, problem: type[Problem]
) -> None:
    """However deep in groups; only what nobody expected is a fault in the log."""
    faults: list[Any] = []
    monkeypatch.setattr(outcomes.log, "error", lambda event, exc_info: faults.append(exc_info))

    found = problem_of(error)

    assert type(found) is problem
    assert problem is not StillBuilding or found.headers["Retry-After"] == "2"
    assert faults == ([error] if problem is InternalError else [])


@pytest.mark.parametrize(
    ("state", "failure", "outcome"),
    [
        (State.COMPLETE, None, ArchiveOutcome.SUCCESS),
        (State.PARTIAL, None, ArchiveOutcome.PARTIAL),
        (State.FAILED, ArchiveGone(), ArchiveOutcome.CANCELLED),
        (State.FAILED, NoImages([]), ArchiveOutcome.FAILURE),
    ],
)
def test_what_nobody_wanted_any_more_is_no_failure(
    state: State, failure: Problem | None, outcome: ArchiveOutcome
) -> None:
    """It was cancelled."""
    ended = archive()
    ended.state, ended.failure = state, failure

    assert outcome_of(ended) is outcome
