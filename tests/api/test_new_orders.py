"""An order of uploaded files: how much may come, and what is told of those that were sent before the form broke."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.api import new_orders, order_form
from service.api.keys import UPLOADS
from service.problems import InvalidParameter
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

    return cast(Any, SimpleNamespace(create_order=create_order, upload=upload))


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
