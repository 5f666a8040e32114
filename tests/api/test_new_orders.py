"""An order of uploaded files: how much may come, and what is told of those that were sent before the form broke."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from service.api import new_orders, order_form
from service.api.caller import CALLER, Caller
from service.api.keys import ORDER_REQUESTS, SETTINGS, UPLOADS
from service.problems import BadRequest, FileTooLarge, InvalidParameter, NotAnImage, NothingUploaded, Problem
from service.reasons import UploadReason
from service.settings import Settings
from service.upstream.new_order import NewFile, NewOrder
from tests.api.test_order_form import END, field, file, request
from tests.support.samples import jpeg
from tests.support.transport import yield_to_loop


def uploads() -> Any:
    """An Autoenhance that takes every file, if not at once."""

    async def create_order(_: str | None) -> str:
        return "an-order"

    async def upload(_: str, name: str, __: Path, ___: int) -> str:
        await yield_to_loop(100)
        return f"id of {name}"

    return cast(Any, SimpleNamespace(create_order=create_order, upload=upload, is_storage_well=True))


async def test_what_was_sent_before_the_form_broke_is_told_once_it_has_arrived() -> None:
    """The order is there: its files have their ids."""
    asked = request(file("a.jpg", jpeg()) + field("colour", "red") + END)
    asked.app[UPLOADS] = uploads()

    with pytest.raises(InvalidParameter) as error:
        await new_orders._from_files(asked)

    assert error.value.extra["order_id"] == "an-order"
    assert [file["image_id"] for file in error.value.extra["files"]] == ["id of a.jpg"]


async def test_as_many_files_as_an_order_can_have_may_each_be_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is around them in the form does not count."""
    for module in (new_orders, order_form):
        monkeypatch.setattr(module, "LARGEST_FILE", 2_000)
    body = file("a.jpg", jpeg(size=2_000)) + file("b.jpg", jpeg(2, size=2_000)) + END
    asked = request(body, length=len(body))
    asked.app[UPLOADS] = uploads()

    order = await new_orders._from_files(asked)

    assert [file.image_id for file in order.files] == ["id of a.jpg", "id of b.jpg"]


ARRIVED = NewFile("a.jpg", 5, "id-of-a")
EARLIER = {"order_id": "earlier", "links": {"overview": "/v1/orders/earlier", "images": "/v1/orders/earlier/images"}}


class Requests:
    """Answers by key; `steps` is what was done."""

    def __init__(self, known: Any = None) -> None:
        self.known = known
        self.steps: list[Any] = []

    async def begin(self, _: str) -> Any:
        self.steps.append("begun")
        return self.known

    async def finish(self, _: str, answer: Any) -> None:
        self.steps.append(answer["order_id"])

    async def release(self, _: str) -> None:
        self.steps.append("released")

    async def count(self, _: web.Request) -> None:
        self.steps.append("counted")

    def asked(self, **headers: str) -> web.Request:
        app = web.Application()
        app[SETTINGS] = Settings(_env_file=None, autoenhance_api_key=SecretStr("key"), base_path="/batch")
        app[ORDER_REQUESTS] = cast(Any, self)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = make_mocked_request("POST", "/v1/orders", headers=given, app=app)
        request[CALLER] = Caller()
        return request


def made(*files: NewFile, order_id: str | None = "an-order") -> NewOrder:
    order = NewOrder(cast(Any, None))
    order.order_id, order.files = order_id, list(files)
    return order


def refused(reason: UploadReason) -> NewFile:
    return NewFile("b.txt", 4, None, reason)


async def test_what_came_of_each_file_is_told() -> None:
    """One that has arrived is enough for an order."""
    order = made(ARRIVED, refused(UploadReason.NOT_AN_IMAGE))

    answer = await new_orders._answer(Requests().asked(), order, None)

    document = json.loads(cast(bytes, answer.body))
    assert (answer.status, answer.headers["Location"]) == (201, "/v1/orders/an-order")
    assert (document["total"], document["uploaded"], document["failed"]) == (2, 1, 1)
    assert document["links"]["images"] == "/batch/v1/orders/an-order/images"
    assert [(file["image_id"], file["status"], file["code"]) for file in document["files"]] == [
        ("id-of-a", "uploaded", None),
        (None, "failed", "not_an_image"),
    ]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([UploadReason.NOT_AN_IMAGE, UploadReason.NOT_AN_IMAGE], NotAnImage),
        ([UploadReason.FILE_TOO_LARGE], FileTooLarge),
        ([UploadReason.FILE_TOO_LARGE, UploadReason.NOT_AN_IMAGE], NothingUploaded),
        ([UploadReason.TOO_MANY_FILES], NothingUploaded),
        ([], BadRequest),
    ],
)
@pytest.mark.parametrize("order_id", ["an-order", None])
async def test_where_nothing_has_arrived_the_cause_is_told(
    monkeypatch: pytest.MonkeyPatch, files: list[UploadReason], problem: type[Problem], order_id: str | None
) -> None:
    """Where all have the same; its key may be used again."""
    requests = Requests()
    monkeypatch.setattr(new_orders, "count", requests.count)

    async def make(_: web.Request) -> NewOrder:
        return made(*map(refused, files), order_id=order_id)

    with pytest.raises(problem) as error:
        await new_orders._once(requests.asked(Idempotency_Key="k"), "order", make)

    assert type(error.value) is problem
    assert requests.steps == ["counted", "begun", "released"]
    assert len(error.value.extra.get("files", ())) == len(files)


@pytest.mark.parametrize(
    ("known", "key", "steps", "is_replayed"),
    [
        (None, None, ["counted", "made"], False),
        (None, "k", ["counted", "begun", "made", "an-order"], False),
        (EARLIER, "k", ["counted", "begun"], True),
    ],
)
async def test_a_key_makes_one_order(
    monkeypatch: pytest.MonkeyPatch, known: Any, key: str | None, steps: list[str], is_replayed: bool
) -> None:
    """What it has made before is told again; each request counts."""
    requests = Requests(known)
    monkeypatch.setattr(new_orders, "count", requests.count)

    async def make(_: web.Request) -> NewOrder:
        requests.steps.append("made")
        return made(ARRIVED)

    answer = await new_orders._once(requests.asked(**{"Idempotency_Key": key} if key else {}), "order", make)

    assert requests.steps == steps
    assert ("Idempotent-Replayed" in answer.headers) is is_replayed
    assert answer.headers["Location"] == ("/v1/orders/earlier" if known else "/v1/orders/an-order")
