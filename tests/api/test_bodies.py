"""JSON bodies as models: each value is of its kind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from pydantic import BaseModel, Field

from service.api.bodies import checked, read_body
from service.api.keys import TIMEOUTS
from service.api.timeouts import Timeouts
from service.problems import BadRequest, InvalidParameter, PayloadTooLarge, Problem, UploadTimeout


class Sample(BaseModel):
    """One member of each kind."""

    whole: int = Field(1, ge=1, le=9)
    number: float = 0.5
    truth: bool = False
    text: str = ""
    several: tuple[str, ...] = ()


WRONG: dict[str, list[object]] = {
    "whole": [True, "3", 3.5, None, [3], 0, 10],
    "number": [True, "0.5", None, []],
    "truth": [0, 1, "true", None, []],
    "text": [3, True, None, ["a"]],
    "several": ["a", {"a": 1}, [1], [None]],
}


@pytest.mark.parametrize(
    "document",
    [{"whole": 3}, {"number": 3}, {"number": 0.25}, {"truth": True}, {"text": "3"}, {"several": ["a", "b"]}, {}],
    ids=str,
)
def test_what_is_of_its_kind_is_taken(document: dict[str, Any]) -> None:
    """A whole number is a number too, and a list has any length."""
    assert checked(Sample, document).model_dump(mode="json", exclude_unset=True) == document


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=str
)
def test_what_is_of_another_kind_is_refused_by_name(name: str, value: object) -> None:
    """It is not guessed what is meant, and the answer does not repeat it."""
    with pytest.raises(InvalidParameter) as refused:
        checked(Sample, {name: value})

    assert refused.value.extra["parameter"] == name


def test_what_is_nested_too_deeply_is_refused() -> None:
    """To write it takes more of the stack than to read it did."""
    document: dict[str, Any] = {}
    for _ in range(100_000):
        document = {"text": document}

    with pytest.raises(InvalidParameter):
        checked(Sample, document)


@pytest.mark.parametrize("document", [None, [], "x", 3, {"text": "\ud800"}], ids=repr)
def test_what_is_no_object_of_texts_is_refused(document: object) -> None:
    """400, whatever it is."""
    with pytest.raises(InvalidParameter):
        checked(Sample, document)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (None, UploadTimeout),
        (web.HTTPRequestEntityTooLarge(1, 2), PayloadTooLarge),
        (web.RequestPayloadError(), BadRequest),
        (BadHttpMessage("x"), BadRequest),
    ],
    ids=repr,
)
async def test_a_body_that_cannot_be_read_is_told_as_what_it_is(
    error: Exception | None, problem: type[Problem]
) -> None:
    """One that does not come is not waited for."""

    async def read() -> bytes:
        if error is None:
            await asyncio.Event().wait()
            raise AssertionError
        raise error

    timeouts = Timeouts(body=0 if error is None else 9)
    request: Any = SimpleNamespace(app={TIMEOUTS: timeouts}, headers={}, read=read)
    async with asyncio.timeout(2):
        with pytest.raises(problem):
            await read_body(request)
