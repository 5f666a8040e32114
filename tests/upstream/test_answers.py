"""What answers mean, as tables."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reasons import Reason
from service.telemetry.metrics import Circuit
from service.upstream.answers import UpstreamFailure, content_range, refusal, retry_after, strong_etag

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
DAY = 86_400.0

TRANSIENT = {Reason.RATE_LIMITED, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED}


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (202, Reason.NOT_READY),
            (204, Reason.NOT_AN_IMAGE),
            (304, Reason.NOT_AN_IMAGE),
            (400, Reason.REJECTED),
            (401, Reason.REFUSED),
            (402, Reason.NO_CREDIT),
            (403, Reason.REFUSED),
            (404, Reason.IMAGE_NOT_FOUND),
            (405, Reason.REJECTED),
            (408, Reason.TIMEOUT),
            (409, Reason.REJECTED),
            (410, Reason.EXPIRED),
            (418, Reason.REJECTED),
            (422, Reason.REJECTED),
            (425, Reason.NOT_READY),
            (429, Reason.RATE_LIMITED),
            (500, Reason.UPSTREAM_ERROR),
            (502, Reason.UPSTREAM_ERROR),
            (503, Reason.UPSTREAM_ERROR),
            (504, Reason.UPSTREAM_ERROR),
            (599, Reason.UPSTREAM_ERROR),
        ],
    )
    def test_every_status_has_a_reason(self, status: int, reason: Reason) -> None:
        """The status alone decides, and is kept for the log."""
        failure = refusal(status, {})

        assert failure is not None
        assert (failure.reason, failure.status, failure.retry_after) == (reason, status, None)
        assert str(status) in failure.detail

    def test_200_is_no_refusal(self) -> None:
        """Whatever else the head says."""
        assert refusal(200, {"Retry-After": "5"}) is None

    @pytest.mark.parametrize(
        ("status", "wait"), [(429, 7.0), (503, 7.0), (500, 7.0), (404, None), (402, None), (202, None)]
    )
    def test_the_wait_that_upstream_asks_for_counts_where_a_retry_can_follow(
        self, status: int, wait: float | None
    ) -> None:
        """`Retry-After` means something with 429 and 5xx."""
        failure = refusal(status, {"Retry-After": "7"})

        assert failure is not None
        assert failure.retry_after == wait

    @pytest.mark.parametrize("clock_is_wrong_by", [timedelta(0), timedelta(hours=-3), timedelta(days=400)], ids=str)
    def test_a_date_is_measured_from_the_answers_own(self, clock_is_wrong_by: timedelta) -> None:
        """Whatever our own clock says: upstream's two dates come from one clock."""
        headers = {
            "Date": format_datetime(NOW, usegmt=True),
            "Retry-After": format_datetime(NOW + timedelta(seconds=9), usegmt=True),
        }

        failure = refusal(429, headers, now=NOW + clock_is_wrong_by)

        assert failure is not None
        assert failure.retry_after == 9

    @pytest.mark.parametrize("own", [{}, {"Date": "yesterday"}], ids=["none", "not one"])
    def test_without_a_date_of_its_own_the_moment_given_counts(self, own: dict[str, str]) -> None:
        """The caller's clock stands in."""
        wait = format_datetime(NOW + timedelta(seconds=9), usegmt=True)

        failure = refusal(429, {"Retry-After": wait} | own, now=NOW)

        assert failure is not None
        assert failure.retry_after == 9

    @pytest.mark.parametrize("reason", list(Reason))
    def test_which_reasons_pass_by_themselves(self, reason: Reason) -> None:
        """Trying again can help with these, and with no others."""
        assert UpstreamFailure(reason).is_transient is (reason in TRANSIENT)

    @pytest.mark.parametrize(
        ("status", "passes"),
        [(408, True), (425, True), (500, True), (503, True), (202, False), (400, False), (409, False)],
    )
    def test_which_refusals_pass_by_themselves(self, status: int, passes: bool) -> None:
        """A request that was too slow or too early may be repeated, like a 5xx; no other 4xx."""
        failure = refusal(status, {})

        assert failure is not None
        assert failure.is_transient is passes

    @pytest.mark.parametrize(
        ("failure", "breaks"),
        [
            (UpstreamFailure(Reason.UPSTREAM_ERROR, status=500), True),
            (UpstreamFailure(Reason.UPSTREAM_ERROR, status=599), True),
            (UpstreamFailure(Reason.UPSTREAM_ERROR), False),
            (UpstreamFailure(Reason.TIMEOUT), True),
            (UpstreamFailure(Reason.TIMEOUT, has_begun=True), False),
            (UpstreamFailure(Reason.TIMEOUT, status=408), False),
            (UpstreamFailure(Reason.UNREACHABLE), True),
            (UpstreamFailure(Reason.TRUNCATED), True),
            (UpstreamFailure(Reason.TRUNCATED, has_begun=True), True),
            (UpstreamFailure(Reason.RATE_LIMITED, status=429), False),
            (UpstreamFailure(Reason.NOT_AN_IMAGE), False),
            (UpstreamFailure(Reason.NO_CREDIT, status=402), False),
            (UpstreamFailure(Reason.REJECTED, status=400), False),
        ],
        ids=lambda value: (
            f"{value.reason}-{value.status}-{value.has_begun}" if isinstance(value, UpstreamFailure) else None
        ),
    )
    def test_what_speaks_against_the_dependency(self, failure: UpstreamFailure, breaks: bool) -> None:
        """5xx, timeouts without a byte, connection errors, broken bodies; not refusals, not a document that cannot be
        read, not a body that came too slowly."""
        assert failure.breaks_circuit is breaks

    @pytest.mark.parametrize(
        ("circuit", "status", "was_sent", "sold_nothing"),
        [
            (Circuit.API, 400, True, True),
            (Circuit.API, 499, True, True),
            (Circuit.API, 399, True, False),
            (Circuit.API, 500, True, False),
            (Circuit.API, None, True, False),
            (Circuit.API, None, False, True),
            (Circuit.ASSETS, 400, True, False),
            (Circuit.ASSETS, 499, True, False),
            (Circuit.ASSETS, None, False, False),
        ],
    )
    def test_only_a_4xx_of_the_api_itself_or_none_of_its_connections_has_sold_nothing(
        self, circuit: Circuit, status: int | None, was_sent: bool, sold_nothing: bool
    ) -> None:
        """What a 5xx has done cannot be told, and what the place of a redirect refuses has been sold by the API."""
        failure = UpstreamFailure(Reason.REJECTED, status=status, circuit=circuit, was_sent=was_sent)

        assert failure.sold_nothing is sold_nothing


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, None),
            ("", None),
            ("0", 0.0),
            ("120", 120.0),
            (" 120 ", 120.0),
            ("86401", DAY),
            ("9" * 400, DAY),
            ("1.5", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("٣", None),
            ("²", None),
            ("soon", None),
            ("Mon, 02 Mar 2026 09:15:34 GMT", 30.0),
            ("Mon, 02 Mar 2026 09:15:34", 30.0),
            ("Mon, 02 Mar 2026 11:15:34 +0200", 30.0),
            ("Monday, 02-Mar-26 09:15:34 GMT", 30.0),
            ("Mon Mar  2 09:15:34 2026", 30.0),
            ("Mon, 02 Mar 2026 09:15:04 GMT", 0.0),
            ("Sun, 01 Mar 2026 09:15:34 GMT", 0.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
            ("Mon, 32 Mar 2026 09:15:34 GMT", None),
            ("Mon, 02 Mar 2026 09:15:34 +9999", None),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_seconds_or_a_date(self, value: str | None, seconds: float | None) -> None:
        """Both forms of RFC 9110, never negative, never more than a day; what cannot be read says nothing."""
        assert retry_after(value, now=NOW) == seconds

    @given(value=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} (Jan|Feb|Dec) \d{1,12} \d{1,3}:\d+:\d+ \S{0,9}"))
    def test_no_header_makes_it_raise(self, value: str) -> None:
        """Any string is nothing or a bearable number."""
        seconds = retry_after(value, now=NOW)

        assert seconds is None or 0 <= seconds <= DAY

    @given(seconds=st.integers(0, 86_400))
    def test_seconds_and_their_date_mean_the_same(self, seconds: int) -> None:
        """Both forms agree."""
        date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

        assert retry_after(str(seconds), now=NOW) == retry_after(date, now=NOW) == seconds


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ('"v1"', '"v1"'),
        ('""', '""'),
        ('"a-b\\c"', '"a-b\\c"'),
        ('W/"v1"', None),
        ("v1", None),
        ('"', None),
        ('"v1', None),
        ('v1"', None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_strong_tag_guards_a_resumed_body(value: str | None, tag: str | None) -> None:
    """A weak tag does not promise equal bytes."""
    assert strong_etag(value) == tag


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes 5-9/10", (5, 10)),
        (" bytes 0-0/1 ", (0, 1)),
        ("bytes 5-9/*", (5, None)),
        ("bytes */10", None),
        ("bytes 5-/10", None),
        ("bytes -5/10", None),
        ("bytes=5-9/10", None),
        ("items 5-9/10", None),
        ("bytes 5-9", None),
        ("bytes 5-9/10, bytes 1-2/10", None),
        (f"bytes {'9' * 19}-9/10", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_part_begins_and_how_long_the_whole_is(value: str | None, span: tuple[int, int | None] | None) -> None:
    """One range of bytes, of a whole whose length may be unknown."""
    assert content_range(value) == span
