"""What answers mean, as tables."""

import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.reasons import Reason
from service.sandbox.content import JXL_PICTURE
from service.upstream.answers import (
    FORMAT_EXTENSIONS,
    SIGNATURE_BYTES,
    UpstreamFailure,
    carries_image,
    content_range,
    image_extension,
    refusal,
    retry_after,
    strong_etag,
)

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
DAY = 86_400.0

TRANSIENT = {Reason.RATE_LIMITED, Reason.UPSTREAM_ERROR, Reason.TIMEOUT, Reason.UNREACHABLE, Reason.TRUNCATED}


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
    def test_upstreams_wish_to_wait_counts_where_a_retry_can_follow(self, status: int, wait: float | None) -> None:
        """`Retry-After` means something with 429 and 5xx."""
        failure = refusal(status, {"Retry-After": "7"})

        assert failure is not None
        assert failure.retry_after == wait

    def test_a_date_is_read_against_the_moment_given(self) -> None:
        """The caller's clock is used."""
        failure = refusal(429, {"Retry-After": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}, now=NOW)

        assert failure is not None
        assert failure.retry_after == 9

    @pytest.mark.parametrize("reason", list(Reason))
    def test_what_may_pass_is_transient_and_what_is_upstreams_fault_breaks_the_circuit(self, reason: Reason) -> None:
        """Every transient reason speaks against the dependency, but for its wish to be asked less."""
        failure = UpstreamFailure(reason)

        assert failure.is_transient is (reason in TRANSIENT)
        assert failure.breaks_circuit is (reason in TRANSIENT and reason is not Reason.RATE_LIMITED)


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


class TestImageExtension:
    @pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "avif", "jxl"])
    def test_a_real_image_is_known_by_its_first_bytes(self, image_format: str) -> None:
        """Each format that can be ordered, as a real encoder writes it."""
        head = encoded(image_format)[:SIGNATURE_BYTES]

        assert image_extension(head) == FORMAT_EXTENSIONS[image_format]

    @pytest.mark.parametrize(
        ("head", "extension"),
        [
            (b"\xff\xd8\xff\xe1\x00\x10Exif", "jpg"),
            (b"\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14", "jxl"),
            (b"\xff\x0a\x00\x00", "jxl"),
            (b"\x00\x00\x00\x1cftypavis\x00\x00\x00\x00", "avif"),
            (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00", "avif"),
            (b"\x00\x0a\x0d\x0aftypavif\x00\x00\x00\x00", "avif"),
            (b"RIFF\n\n\n\nWEBPVP8 ", "webp"),
            (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
            (b"\x00\x00\x00\x1cftypisom\x00\x00\x00\x00", None),
            (b"\xff\xd8", None),
            (b"\x89PNG\n\n\x1a\n", None),
            (b"GIF89a", None),
            (b"%PDF-1.7", None),
            (b"<?xml version=", None),
            (b"<!DOCTYPE html>", None),
            (b'{"message": "no"', None),
            (b" \xff\xd8\xff", None),
            (b"", None),
        ],
    )
    def test_variants_and_strangers(self, head: bytes, extension: str | None) -> None:
        """Every form of a format we know, at the very start; anything else is no image."""
        assert image_extension(head) == extension


def encoded(image_format: str) -> bytes:
    if image_format == "jxl":
        return JXL_PICTURE
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content_type", "may"),
    [
        ("image/jpeg", True),
        ("image/jpg", True),
        ("image/anything-new", True),
        ("IMAGE/PNG", True),
        (" image/webp ; q=1", True),
        ("application/octet-stream", True),
        ("binary/octet-stream", True),
        ("", True),
        (None, True),
        ("image/svg+xml", False),
        ("image/svg+xml; charset=utf-8", False),
        ("text/plain", False),
        ("text/html; charset=utf-8", False),
        ("application/json", False),
        ("application/xml", False),
        ("application/problem+json", False),
        ("multipart/byteranges; boundary=x", False),
        ("application/zip", False),
        ("imaged", False),
    ],
)
def test_which_types_may_carry_an_image(content_type: str | None, may: bool) -> None:
    """Images, plain bytes and silence; never text, markup or JSON."""
    assert carries_image(content_type) is may


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
