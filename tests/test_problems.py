"""What a caller is told of an error: the document, the headers, and what each class adds."""

from typing import Any

import pytest

from service.problems import (
    UPSTREAM_DOWN,
    BreakerOpen,
    ImageExpired,
    ImageNotReady,
    ImagesMissing,
    InvalidParameter,
    JobFailed,
    MaxCreditsExceeded,
    NoOrders,
    NothingUploaded,
    OrderNotFound,
    Problem,
    RangeNotSatisfiable,
    StillBuilding,
    TooManyImages,
    Unauthorized,
    UnknownImage,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    WebhookUnauthorized,
)

FAILURE = {"image_id": "a", "code": "not_ready", "reason": "It is not finished."}
GONE = {"order_id": "o", "reason": "It is gone."}


def test_a_problem_is_a_document() -> None:
    """With its type below the path where the caller reaches the service."""
    problem = InvalidParameter("quality", "must be 1 to 90")

    assert problem.document("r1", "/batch") == {
        "type": "/batch/docs/errors#invalid_parameter",
        "title": "Invalid parameter",
        "status": 400,
        "detail": "quality: must be 1 to 90.",
        "code": "invalid_parameter",
        "request_id": "r1",
        "parameter": "quality",
    }


def test_the_detail_is_what_happened_and_what_to_do() -> None:
    """Where the occurrence says both, the class's advice is in the docs only; without one it is all there is."""
    assert str(OrderNotFound("It is gone.")) == f"It is gone. {OrderNotFound.advice}"
    assert str(OrderNotFound()) == OrderNotFound.advice
    assert str(InvalidParameter("part", "must be 1")) == "part: must be 1."
    assert str(ImageNotReady(FAILURE)) == FAILURE["reason"]


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.2, "2"), (5, "5")])
def test_nobody_is_asked_to_come_back_too_early(seconds: float, header: str) -> None:
    """Whole seconds, rounded up, and at least one."""
    problem = StillBuilding(retry_after=seconds)

    assert (problem.headers["Retry-After"], problem.retry_after) == (header, seconds)


def test_a_401_names_what_it_asks_for() -> None:
    """Each its own scheme."""
    assert Unauthorized().headers == {"WWW-Authenticate": 'ApiKey realm="autoenhance-batch", header="X-API-Key"'}
    assert WebhookUnauthorized().headers == {"WWW-Authenticate": 'Bearer realm="autoenhance-batch"'}


def test_what_is_missing_is_counted_and_listed() -> None:
    """Images that Autoenhance does not list too, and orders; nothing is said of what is not missing."""
    all_of_it = ImagesMissing([FAILURE], 2, [{"order_id": "o"}, {"order_id": "p"}])
    images = ImagesMissing([FAILURE])

    assert str(all_of_it).startswith(
        "Images missing: 3. Autoenhance does not list 2 of them, or lists more than 10,000. Orders missing: o, p."
    )
    assert all_of_it.extra == {"failures": [FAILURE], "unlisted": 2, "orders": [{"order_id": "o"}, {"order_id": "p"}]}
    assert str(images).startswith("Images missing: 1. `failures`")
    assert images.extra == {"failures": [FAILURE]}


@pytest.mark.parametrize(
    ("problem", "extra"),
    [
        (UnknownImage(["x", "y"]), {"parameter": "image", "image_ids": ["x", "y"]}),
        (ImageNotReady(FAILURE), {"failures": [FAILURE]}),
        (ImageExpired(FAILURE), {"failures": [FAILURE]}),
        (TooManyImages(300, 100), {"images": 300, "limit": 100}),
        (MaxCreditsExceeded(7, 5), {"to_buy": 7, "max_credits": 5}),
        (
            NoOrders([{"order_id": "o", "reason": "It is gone."}]),
            {"orders": [{"order_id": "o", "reason": "It is gone."}]},
        ),
        (JobFailed({"title": "It failed"}, [FAILURE]), {"error": {"title": "It failed"}, "failures": [FAILURE]}),
        (NothingUploaded([{"name": "a.txt"}], "o"), {"files": [{"name": "a.txt"}], "order_id": "o"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_program_needs_is_a_member_of_the_document(problem: Problem, extra: dict[str, Any]) -> None:
    """Not in the words alone."""
    assert problem.document("r1").items() >= extra.items()


def test_who_asks_behind_the_end_is_told_where_it_is() -> None:
    """And who comes too early, when."""
    assert RangeNotSatisfiable(500).headers == {"Content-Range": "bytes */500"}
    assert ImageNotReady(FAILURE).headers == {"Retry-After": "10"}


def test_whatever_keeps_autoenhance_from_being_asked_is_down() -> None:
    """What is stored is served then."""
    assert set(UPSTREAM_DOWN) == {BreakerOpen, UpstreamBusy, UpstreamError, UpstreamTimeout}
