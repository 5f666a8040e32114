"""Leases: what is told of an image when its turn is given back."""

import pytest

from service.images.protocols import Lease


@pytest.mark.parametrize(
    ("known", "newest", "given"), [(None, "", ""), ("a", "", "a"), ("a", "b", "b"), ("", "b", "b"), ("", "", "")]
)
def test_the_next_one_is_told_where_the_image_is(known: str | None, newest: str, given: str) -> None:
    """As one of which order it is shared: of the newest, else of that which was known before."""
    given_back: list[str] = []

    Lease(shared_in=known, give_back=given_back.append).release(newest)

    assert given_back == [given]
