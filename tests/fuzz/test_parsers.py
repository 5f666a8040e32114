"""What callers send is read by parsers that know one way to fail."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from yarl import URL

from service.api.query import read_options
from service.api.signatures import is_signed, sign
from service.archives.options import Options
from service.archives.ranges import parse_range
from service.archives.renditions import PRESETS
from service.order_ids import is_order_id
from service.problems import InvalidParameter, RangeNotSatisfiable
from service.text import is_printable
from tests.fuzz.campaign import PARSERS

NAMES = st.sampled_from([*Options.model_fields, "unknown", "", "expires", "signature"])
NUMBERS = st.one_of(st.integers(), st.floats()).map(str)
WORDS = st.sampled_from(
    [
        *("true", "false", "1", "0", "nan", "inf", "-inf", "1e400", "\u0663", "0x10", "1_0", " 1", "jpeg", "strict"),
        *("print", "print,quality=85", "a,scale=0", "x,format=png,format=png", "con,quality=1", ",", "mls,quality=1e9"),
        *("{seq}_{name}", "{", "{seq", "a/b", "{{seq}}", " "),
    ]
)
VALUES = st.one_of(st.text(), NUMBERS, WORDS)
HEADERS = st.text(st.characters(max_codepoint=255))


@given(st.lists(st.tuples(st.one_of(NAMES, st.text()), VALUES)))
def test_a_query_gives_options_or_names_what_is_wrong(pairs: list[tuple[str, str]]) -> None:
    """Valid options within their bounds, or a parameter by a name that can be printed."""
    try:
        options = read_options(MultiDict(pairs), PRESETS)
    except InvalidParameter as error:
        problem: InvalidParameter | None = error
    else:
        problem = None
        assert options.quality is None or 1 <= options.quality <= 90
        assert options.scale is None or 0 <= options.scale <= 1
        assert options.max_width is None or options.max_width >= 1
        assert 0 <= options.wait_timeout <= 3600
    assert problem is None or is_printable(f"{problem.extra['parameter']} {problem}")


@given(st.text())
def test_an_order_id_is_a_uuid_or_none(text: str) -> None:
    """36 ASCII characters, or no id."""
    assert not is_order_id(text) or (len(text) == 36 and text.isascii())


@given(st.one_of(HEADERS, st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True)), st.integers(min_value=0))
def test_a_range_is_within_the_archive(header: str, length: int) -> None:
    """Bytes that are there, at least one; else the range cannot be satisfied, or is none."""
    wanted = parse_range(header)
    if wanted is None:
        return

    with suppress(RangeNotSatisfiable):
        start, stop = wanted.resolve(length)
        assert 0 <= start < stop <= length


@given(st.binary(min_size=32, max_size=32), st.text(), st.text())
def test_only_the_same_text_has_the_same_signature(key: bytes, text: str, other: str) -> None:
    """Of any text, also of such as cannot be encoded."""
    assert is_signed(key, text, sign(key, text))
    assert is_signed(key, other, sign(key, text)) is (text == other)


@pytest.mark.parametrize("signature", ["", "\u00e9", "0" * 64, "\udcff"])
def test_a_wrong_signature_is_wrong(signature: str) -> None:
    """Whatever it is made of."""
    assert not is_signed(b"key", "text", signature)


@given(st.text(min_size=1))
def test_an_address_stays_what_it_is(value: str) -> None:
    """What was signed is what the browser's request is read as: reading an address again changes nothing."""
    with suppress(ValueError):
        url = URL("/v1/orders/x/images").with_query([("image", value)])
        assert list(URL(str(url)).query.items()) == list(url.query.items())


def test_the_campaign_has_what_it_runs() -> None:
    """A file that was renamed would not be tried any more."""
    assert [name for name in PARSERS if not (Path(__file__).parent.parent / name).is_file()] == []
