"""Leases: what is told of an image when its turn is given back."""

import pytest

from service.images.leases import Lease, NoLeases


@pytest.mark.parametrize(
    ("known", "told", "given"), [(None, "", ""), ("a", "", "a"), ("a", "b", "b"), ("", "b", "b"), ("", "", "")]
)
def test_the_next_one_is_told_where_the_image_is(known: str | None, told: str, given: str) -> None:
    """As one of which order it is shared: of the newest, else of that which was known before."""
    given_back: list[str] = []

    Lease(shared_in=known, give_back=given_back.append).release(told)

    assert given_back == [given]


async def test_on_one_machine_every_fetch_is_the_only_one() -> None:
    """Nobody waits, and nobody is told."""
    lease = await NoLeases().acquire("a.0", buys=True)
    lease.release("order")

    assert (lease.is_only_one, lease.shared_in) == (True, None)
