"""Where a job may be told of and delivered to, as far as that can be judged without looking a name up."""

from types import SimpleNamespace
from typing import Any

import pytest
from yarl import URL

from service.api import new_job
from service.api.bodies import checked
from service.api.keys import PRESETS, SETTINGS
from service.api.new_job import NewJob, NewJobOfSeveral, Spec, _objection, read_job_of_several, read_new_job
from service.archives.renditions import read_presets
from service.problems import InvalidParameter
from service.settings import Settings
from tests.support.samples import ORDER, OTHER_ORDER


@pytest.mark.parametrize(
    ("address", "objection"),
    [
        ("https://a.example/done", None),
        ("https://a.example:8443/done?x=1", None),
        ("http://a.example/", "must be an https address"),
        ("ftp://a.example/", "must be an https address"),
        ("/done", "absolute URL"),
        ("https:///done", "absolute URL"),
        ("https://a.example/\n", "absolute URL"),
        ("https://a.example:x/", "is not a URL"),
        ("https://a.example:0/", "is not a URL"),
        ("https://a b.example/", "a valid host name"),
        ("https://a..example/", "a valid host name"),
        ("https://.example/", "a valid host name"),
        ("https://a%2eexample/", "a valid host name"),
        ("https://a_b.example./", None),
        ("https://b\u00fccher.example/", None),
        ("https://[2606:4700::1111]/", None),
        ("https://me@a.example/", "neither a user nor a fragment"),
        ("https://@a.example/", "neither a user nor a fragment"),
        ("https://a.example/me@b.example", None),
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
    found = _objection(address, allow_private=False)

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
    assert (_objection(address, allow_private=True) is None) is may


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


async def read(
    monkeypatch: pytest.MonkeyPatch, query: str, body: dict[str, object] | None = None, **settings: Any
) -> NewJob:
    """What a request for a job of one order asks for; of several, where its body names them."""

    async def read_body(_: object) -> bytes:
        return b"" if body is None else b"{}"

    async def read_document(_: object, kind: type[Spec], context: dict[str, Any]) -> Spec:
        return checked(kind, body, context)

    monkeypatch.setattr(new_job, "read_body", read_body)
    monkeypatch.setattr(new_job, "read_document", read_document)
    app = {SETTINGS: Settings(_env_file=None, **settings), PRESETS: read_presets({})}
    request: Any = SimpleNamespace(query=URL(f"/?{query}").query, app=app, can_read_body=body is not None)
    of_several = body is not None and "order_ids" in body
    return await (read_job_of_several(request) if of_several else read_new_job(request, NewJob))


RECEIVER, STORAGE = "https://a.example/done", "https://b.example/put?Signature=x"
SECRET = {"callback_secret": "whsec_" + "A" * 32}


async def test_a_job_is_asked_for_in_the_query_and_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part in one of them."""
    spec = await read(
        monkeypatch, f"quality=80&callback_url={RECEIVER}", {"deliver_to": STORAGE, "image": ["a"]}, **SECRET
    )

    assert (spec.callback_url, spec.deliver_to) == (RECEIVER, STORAGE)
    assert (spec.quality, spec.image) == (80, ("a",))
    assert spec.model_fields_set == {"quality", "image", "callback_url", "deliver_to"}


@pytest.mark.parametrize(
    ("query", "body", "name"),
    [
        ("quality=80", {"quality": 80}, "quality"),
        (f"callback_url={RECEIVER}", {"callback_url": RECEIVER}, "callback_url"),
        (f"deliver_to={RECEIVER}&deliver_to={STORAGE}", None, "deliver_to"),
        ("deliver_to=http://b.example/", None, "deliver_to"),
        ("", {"callback_url": "https://127.0.0.1/"}, "callback_url"),
        ("", {"callback_url": f"{RECEIVER}{'x' * (2049 - len(RECEIVER))}"}, "callback_url"),
        (f"callback_url={RECEIVER}{'x' * (2049 - len(RECEIVER))}", None, "callback_url"),
        ("", {"deliver_to": f"{STORAGE}{'x' * (8001 - len(STORAGE))}"}, "deliver_to"),
        ("", {"order_ids": [ORDER], "image": ["a"]}, "image"),
        ("", {"order_ids": [ORDER], "part": 1}, "part"),
        ("", {"order_ids": [ORDER], "since": "0" * 32}, "since"),
        ("quality=80", {"order_ids": [ORDER]}, "quality"),
        ("order_ids=x", None, "order_ids"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(
    monkeypatch: pytest.MonkeyPatch, query: str, body: dict[str, object] | None, name: str
) -> None:
    """Twice, nowhere, or with several orders."""
    with pytest.raises(InvalidParameter) as refused:
        await read(monkeypatch, query, body, **SECRET)

    assert refused.value.extra["parameter"] == name


async def test_what_needs_a_secret_is_a_callback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage's address is signed by itself, and may be longer."""
    long = f"{STORAGE}{'x' * (8000 - len(STORAGE))}"
    longest = f"{RECEIVER}{'x' * (2048 - len(RECEIVER))}"

    assert (await read(monkeypatch, "", {"deliver_to": long})).deliver_to == long
    assert (await read(monkeypatch, f"callback_url={longest}", None, **SECRET)).callback_url == longest
    with pytest.raises(InvalidParameter, match="CALLBACK_SECRET"):
        await read(monkeypatch, f"callback_url={RECEIVER}")


async def test_several_orders_have_options_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in the body."""
    spec = await read(monkeypatch, "", {"order_ids": [ORDER, OTHER_ORDER], "quality": 80})

    assert isinstance(spec, NewJobOfSeveral)
    assert (spec.order_ids, spec.quality) == ((ORDER, OTHER_ORDER), 80)
