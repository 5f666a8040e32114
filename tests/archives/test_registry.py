"""Which builds requests may share."""

import pytest

from service.archives.registry import may_share


@pytest.mark.parametrize(
    ("wanted", "shares"),
    [(90, False), (98.9, False), (99.1, True), (100, True), (102.5, True), (105, True), (105.1, False), (700, False)],
)
def test_a_build_until_100_serves_who_waits_about_as_long(wanted: float, shares: bool) -> None:
    """A caller may get up to five seconds less than it asked for; it is not kept for longer, but for a second."""
    assert may_share(wanted, 100) is shares
