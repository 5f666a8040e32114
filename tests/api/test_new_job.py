"""Where a job may be told of and delivered to, as far as that can be judged without looking a name up."""

import pytest

from service.api.new_job import NewJobOfSeveral, _objection
from tests.support.samples import ORDER, OTHER_ORDER

LONGEST = 60


@pytest.mark.parametrize(
    ("address", "objection"),
    [
        ("https://a.example/done", None),
        ("https://a.example:8443/done?x=1", None),
        ("https://a.example/" + "x" * (LONGEST - 18), None),
        ("https://a.example/" + "x" * (LONGEST - 17), "at most 60 characters"),
        ("http://a.example/", "must be an https address"),
        ("ftp://a.example/", "must be an https address"),
        ("/done", "absolute URL"),
        ("https:///done", "absolute URL"),
        ("https://a.example/\n", "absolute URL"),
        ("https://a.example:x/", "is not a URL"),
        ("https://me@a.example/", "neither a user nor a fragment"),
        ("https://:secret@a.example/", "neither a user nor a fragment"),
        ("https://a.example/#part", "neither a user nor a fragment"),
        ("https://a.example/#", "neither a user nor a fragment"),
        ("https://127.0.0.1/", "private address"),
        ("https://[::1]/", "private address"),
        ("https://localhost/", "private address"),
        ("https://10.0.0.1/", "private address"),
    ],
)
def test_where_receivers_may_be(address: str, objection: str | None) -> None:
    """In public, over TLS, by an address that says no more than where."""
    found = _objection(address, LONGEST, allow_private=False)

    assert (found is None) is (objection is None)
    assert (objection or "") in (found or "")


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("http://127.0.0.1:9/", True),
        ("https://localhost/", True),
        ("ftp://127.0.0.1/", False),
        ("http://me@127.0.0.1/", False),
    ],
)
def test_where_they_may_be_if_private_ones_are_allowed(address: str, may: bool) -> None:
    """All else stays as it is."""
    assert (_objection(address, LONGEST, allow_private=True) is None) is may


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([ORDER], (ORDER,)),
        ([ORDER.upper(), OTHER_ORDER], (ORDER, OTHER_ORDER)),
        ([f"{number:08}{ORDER[8:]}" for number in range(20)], ...),
        ([f"{number:08}{ORDER[8:]}" for number in range(21)], None),
        ([], None),
        ([ORDER, ORDER.upper()], None),
        ([ORDER, "7"], None),
        ([ORDER, 7], None),
        (ORDER, None),
        ({ORDER: 1}, None),
    ],
)
def test_which_orders_may_be_together(given: object, taken: object) -> None:
    """One to twenty, each once, however its id is written."""
    if taken is None:
        with pytest.raises(ValueError, match="order"):
            NewJobOfSeveral._distinct_ids(given)
        return
    found = NewJobOfSeveral._distinct_ids(given)
    assert found == taken or (taken is ... and isinstance(found, tuple) and len(found) == 20)
