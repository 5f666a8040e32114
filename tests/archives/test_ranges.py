"""What a `Range` header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archives.ranges import ByteRange, parse_range
from service.problems import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=5-5", ByteRange(5, 5)),
        ("BYTES = 2 - 9 ", ByteRange(2, 9)),
        ("bytes=7-", ByteRange(7)),
        (f"bytes=0-{10**30}", ByteRange(0, 10**30)),
        ("bytes=-3", ByteRange(suffix=3)),
        ("bytes=9-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=\u0663-9", None),
        ("", None),
        (None, None),
    ],
)
def test_one_range_is_read_and_all_else_means_the_whole(header: str | None, expected: ByteRange | None) -> None:
    """Several ranges, another unit, nonsense."""
    assert parse_range(header) == expected


@given(st.integers(0, 50), st.integers(0, 50), st.binary(min_size=1, max_size=40))
def test_a_range_is_its_first_to_its_last_byte(first: int, more: int, whole: bytes) -> None:
    """The last one too; what lies beyond the end is not there."""
    wanted = ByteRange(first, first + more)
    expected = bytes(byte for place, byte in enumerate(whole) if first <= place <= first + more)

    if not expected:
        with pytest.raises(RangeNotSatisfiable):
            wanted.resolve(len(whole))
        return
    start, stop = wanted.resolve(len(whole))

    assert whole[start:stop] == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(ByteRange(4), (4, 10)), (ByteRange(suffix=4), (6, 10)), (ByteRange(suffix=99), (0, 10))],
)
def test_an_open_range_goes_to_the_end(wanted: ByteRange, expected: tuple[int, int]) -> None:
    """A suffix that is longer than the archive is all of it."""
    assert wanted.needs_end
    assert wanted.resolve(10) == expected


@pytest.mark.parametrize("wanted", [ByteRange(10), ByteRange(suffix=0), ByteRange(10, 12)])
def test_what_has_no_byte_cannot_be_had(wanted: ByteRange) -> None:
    """416, with the length."""
    with pytest.raises(RangeNotSatisfiable):
        wanted.resolve(10)


def test_only_what_begins_with_the_first_byte_begins_there() -> None:
    """A suffix may, but nobody knows before the end."""
    begins = [wanted.starts_at_zero for wanted in (ByteRange(), ByteRange(0, 0), ByteRange(1), ByteRange(suffix=5))]

    assert begins == [True, True, False, False]
