"""What conditions on an entity tag come to."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.archives.response_heads import has_already
from service.problems import PreconditionFailed


def asked(**headers: str) -> web.Request:
    """A request with these headers."""
    return make_mocked_request("GET", "/", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("given", "fits"), [('"a"', True), ('"b", "a"', True), ("*", True), ('W/"a"', False), ('"b"', False)]
)
def test_if_match_asks_for_just_these_bytes(given: str, fits: bool) -> None:
    """A weak tag names no bytes (RFC 9110 13.1.1)."""
    if fits:
        assert not has_already(asked(If_Match=given), "a", "")
    else:
        with pytest.raises(PreconditionFailed):
            has_already(asked(If_Match=given), "a", "")


@pytest.mark.parametrize(
    ("given", "exists", "is_there"),
    [('"a"', True, True), ('W/"a"', True, True), ("*", True, True), ("*", False, False), ('"b"', True, False)],
)
def test_if_none_match_is_about_what_is_there(given: str, exists: bool, is_there: bool) -> None:
    """A star means whatever there is: not what has just begun."""
    assert has_already(asked(If_None_Match=given), "a", "", exists=exists) is is_there
