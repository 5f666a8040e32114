"""What a request asks for, as far as it says so in its path, its query and its `Idempotency-Key`. No service runs."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, MultiDict
from pydantic import SecretStr
from yarl import URL

from service.api.caller import CALLER, Caller
from service.api.job_list import JobQuery
from service.api.query import read_as, read_image_options, read_key, read_options, read_order_id, read_query
from service.archives.renditions import read_presets
from service.order_ids import find_order_id, is_order_id
from service.problems import InvalidOrderId, InvalidParameter
from service.settings import ServiceKey
from tests.support.samples import ORDER

PRESETS = read_presets({})


def asked(path: str = "/", caller: Caller | None = None, *keys: str, order_id: str = ORDER) -> web.Request:
    """A request of this caller, with these idempotency keys."""
    headers = CIMultiDict([("Idempotency-Key", key) for key in keys])
    request = make_mocked_request("GET", path, headers=headers, match_info={"order_id": order_id})
    request[CALLER] = caller or Caller()
    return request


def key_of(name: str) -> Caller:
    return Caller(ServiceKey(name, SecretStr("key-of-a-caller-1234")))


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (ORDER, True),
        (ORDER.upper(), True),
        (f"{ORDER}\n", False),
        (f"x{ORDER}", False),
        (f"{ORDER}/", False),
        (ORDER[:-1], False),
        (ORDER.replace("-", ""), False),
        (ORDER.replace("0", "\u0660"), False),
        (None, False),
        (7, False),
    ],
)
def test_what_can_be_the_id_of_an_order(value: Any, is_one: bool) -> None:
    """A UUID, in any letters; nothing around it. It is asked for in lower case."""
    assert is_order_id(value) is is_one
    if not isinstance(value, str):
        return
    if is_one:
        assert read_order_id(asked(order_id=value)) == ORDER
    else:
        with pytest.raises(InvalidOrderId):
            read_order_id(asked(order_id=value))


def test_an_order_id_is_found_in_what_was_pasted() -> None:
    """The first one, in lower case."""
    other = ORDER.replace("0", "1")

    assert find_order_id(f"see https://app.example/orders/{ORDER.upper()}/images?{other} ") == ORDER
    assert find_order_id("no order") is None


@pytest.mark.parametrize(
    ("query", "name", "reason"),
    [
        ("quality=80&quality=80", "quality", "only once"),
        ("quality=", "quality", "must be"),
        ("quality=high", "quality", "not high"),
        ("part=1&image=a", "part", r"cannot be combined with image\."),
        (f"names={'a' * 101}", "names", r"may have at most 100 characters\."),
        ("qualty=80", "qualty", "perhaps you mean quality"),
        ("QUALITY=80", "QUALITY", "perhaps you mean quality"),
        ("signature=x", "signature", "unknown parameter"),
        ("%0d%0aq=1", "??q", "unknown parameter"),
    ],
)
def test_the_first_parameter_that_is_wrong_is_named(query: str, name: str, reason: str) -> None:
    """With what was given, or was perhaps meant."""
    with pytest.raises(InvalidParameter, match=reason) as refused:
        read_options(URL(f"/?{query}").query, PRESETS)

    assert refused.value.extra["parameter"] == name


@pytest.mark.parametrize("name", ["image", "include", "rendition"])
def test_some_may_be_given_more_than_once(name: str) -> None:
    """All that is given counts."""
    values = {"image": ["a", "b"], "include": ["original", "manifest"], "rendition": ["print", "web"]}[name]

    options = read_options(MultiDict([(name, value) for value in values]), PRESETS)

    assert len(getattr(options, name)) == len(values)


def test_of_one_image_there_is_one_rendition() -> None:
    """A preset stands for what it says."""
    options = read_image_options(URL("/?rendition=web").query, PRESETS)

    assert options.plain == PRESETS["web"].plain


def test_a_query_is_read_once_for_each_name() -> None:
    """In whatever sequence."""
    assert read_as(JobQuery, URL("/?limit=7&status=error").query).limit == 7


def test_what_makes_a_link_is_no_parameter_of_it() -> None:
    """Whoever comes by another way has no such parameters."""
    path = "/?quality=80&expires=9&signature=x&quality=90"

    assert [*read_query(asked(path, Caller(by_link=True))).items()] == [("quality", "80"), ("quality", "90")]
    assert "signature" in read_query(asked(path))


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b", '"quoted"', "~!"])
def test_an_idempotency_key_is_printable(key: str) -> None:
    """Up to 255 characters; without one there is none."""
    assert read_key(asked("/", None, key)) == read_key(asked("/", None, key))
    assert read_key(asked()) is None


@pytest.mark.parametrize("keys", [("",), ("k" * 256,), (" k",), ("k ",), ("ä",), ("a\x7f",), ("k", "k")])
def test_any_other_idempotency_key_is_refused(keys: tuple[str, ...]) -> None:
    """So are two of them."""
    with pytest.raises(InvalidParameter):
        read_key(asked("/", None, *keys))


def test_an_idempotency_key_is_its_callers() -> None:
    """Another caller's, and one for something else, is another; several keys of one caller are one."""
    everybody = [
        read_key(asked("/", None, "k")),
        read_key(asked("/", None, "another")),
        read_key(asked("/", None, "k"), "several orders"),
        read_key(asked("/", key_of("one"), "k")),
        read_key(asked("/", key_of("two"), "k")),
        read_key(asked("/", key_of("two"), "k"), "several orders"),
    ]

    assert len({*everybody}) == len(everybody)
    assert None not in everybody
    assert read_key(asked("/", key_of("one"), "k")) == everybody[3]
