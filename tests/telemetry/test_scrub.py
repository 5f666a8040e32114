"""No secret leaves by a log line or an error report, however it is written."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.scrub import MASK, Scrubber

SECRET = 'k3y/with "quotes"\\and \u00fcmlaut+%'
SCRUB = Scrubber([SECRET, "another-secret"])


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        repr(SECRET),
    ],
)
def test_a_secret_is_masked_in_every_form(form: str) -> None:
    """As it is, in JSON, in an address, in a Python literal."""
    text = SCRUB(f"before {form} after")

    assert MASK in text
    assert "k3y" not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@pytest.mark.parametrize("wrap", [list, tuple, set, frozenset, lambda parts: {"name": [*parts]}, lambda p: [[*p]]])
def test_secrets_in_containers_are_masked(wrap: object) -> None:
    """Lists, sets, dicts and what is within them; names too."""
    assert callable(wrap)

    found = json.dumps(SCRUB.document({"another-secret": wrap(["another-secret", "plain"])}))

    assert "another-secret" not in found
    assert "plain" in found


def test_bytes_are_text_too() -> None:
    """Also such as are no UTF-8."""
    assert SCRUB.document(b"\xff another-secret") == f"\ufffd {MASK}"


def test_numbers_and_nothing_stay_what_they_are() -> None:
    """A report keeps its types."""
    assert SCRUB.document([1, 2.5, None, True]) == [1, 2.5, None, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://cdn.example/a.jpg?X-Amz-Signature=1f&x=2 failed", f"GET https://cdn.example/a.jpg?{MASK} failed"),
        ("path /v1/x?signature=abcdef&expires=1", f"path /v1/x?signature={MASK}&expires=1"),
        ("/s/aSmpwX3J5bC1jL0dQ2fXkq8VbWn7hT4Z/download", f"/s/{MASK}/download"),
        ("a sentence about keys", "a sentence about keys"),
        ("GET https://cdn.example/a.jpg failed, https://cdn.example/b.jpg? too",) * 2,
    ],
)
def test_what_signed_addresses_carry_is_masked(text: str, expected: str) -> None:
    """The rest of the address stays, to be found again."""
    assert SCRUB(text) == expected


def test_of_two_secrets_the_longer_is_masked_whole() -> None:
    """One may be the beginning of the other."""
    assert Scrubber(["secret", "secret-longer"])("a secret-longer b") == f"a {MASK} b"


@given(st.text())
def test_without_secrets_text_of_people_is_unchanged(text: str) -> None:
    """Nothing is masked that looks like none."""
    if not any(mark in text.lower() for mark in ("=", "/s/", "http")):
        assert Scrubber()(text) == text


def test_a_word_too_short_to_be_a_secret_masks_nothing() -> None:
    """Else half of every sentence went."""
    assert Scrubber(["a"])("a cat") == "a cat"


def test_many_beginnings_of_urls_are_searched_once() -> None:
    """A caller's path may be full of them; were each searched to the end of the line, this would take minutes."""
    line = "http://" * 50_000

    assert Scrubber()(line) == line
