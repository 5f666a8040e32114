"""What is asked of a fetch, and what one attempt says about those that are still to be fetched."""

from typing import Any

import pytest

from service.images import requests as requests_module
from service.images.requests import FetchContext, ImageRequest
from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.models import Rendition
from tests.support.transport import FakeClock

FREE = ImageRequest("variant.3", "a", Rendition())
BOUGHT = ImageRequest("variant.3", "a", Rendition(preview=False))


@pytest.fixture
def clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What the module takes for the time."""
    monkeypatch.setattr(requests_module, "time", clock)
    return clock


def throttled(**fields: Any) -> UpstreamFailure:
    """A 429."""
    return UpstreamFailure(Reason.RATE_LIMITED, **({"status": 429} | fields))


@pytest.mark.parametrize(
    ("rendition", "is_bought", "buys"),
    [({}, False, False), ({"preview": False}, False, True), ({"preview": False}, True, False)],
)
def test_full_size_is_bought_once(rendition: dict[str, Any], is_bought: bool, buys: bool) -> None:
    """A preview never."""
    assert ImageRequest("k.0", "a", Rendition(**rendition), is_bought).buys is buys


def test_a_credit_buys_one_generation_in_whatever_rendition() -> None:
    """An image made anew is bought anew."""
    other = ImageRequest("another variant.3", "a", Rendition(preview=False, format="png"))
    anew = ImageRequest("variant.4", "a", Rendition(preview=False))

    assert BOUGHT.purchase == other.purchase == "a.3"
    assert anew.purchase == "a.4"


def test_without_credit_nothing_more_is_bought() -> None:
    """What is free is fetched; a 402 for what is free says nothing of credit."""
    context = FetchContext("build")
    context.note(FREE, UpstreamFailure(Reason.NO_CREDIT))
    before = context.refusal(BOUGHT)
    context.note(BOUGHT, UpstreamFailure(Reason.NO_CREDIT))

    assert (before, context.refusal(BOUGHT), context.refusal(FREE)) == (None, Reason.NO_CREDIT, None)


def test_after_more_than_a_minute_of_nothing_but_429s_the_rest_is_given_up(clock: FakeClock) -> None:
    """Counted from the first one; any other answer begins it anew, also a failure."""
    context, refused = FetchContext("build"), []
    for seconds, failure in ((0, throttled()), (60, throttled()), (1, throttled())):
        clock.advance(seconds)
        context.note(FREE, failure)
        refused.append(context.refusal(FREE))
    for other in (UpstreamFailure(Reason.UPSTREAM_ERROR), None):
        context.note(FREE, other)
        refused.append(context.refusal(FREE))
        context.note(FREE, throttled())
        refused.append(context.refusal(FREE))

    assert refused == [None, None, Reason.RATE_LIMITED, None, None, None, None]
