"""What becomes of an error, by whether an answer has begun. No service runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import middleware
from service.api.keys import PREPARED, REQUEST_ID, SETTINGS, STATS
from service.disk import OutOfSpace
from service.problems import BreakerOpen
from service.settings import Settings


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[web.BaseRequest]:
    """The requests whose connections were cut."""
    cut: list[web.BaseRequest] = []
    monkeypatch.setattr(middleware, "cut", cut.append)
    return cut


async def answered(error: Exception, *, has_begun: bool) -> tuple[web.Request, web.StreamResponse]:
    """A request whose handler raises, and what is answered."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None)
    app[STATS] = cast(Any, SimpleNamespace(note_error=lambda *_: None))
    request = make_mocked_request("GET", "/", app=app)
    request[REQUEST_ID] = "id"
    if has_begun:
        request[PREPARED] = True

    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    return request, await middleware.handle_errors(request, handler)


@pytest.mark.parametrize("error", [ValueError(), BreakerOpen(), OutOfSpace("full"), web.HTTPNotFound()], ids=repr)
async def test_after_the_first_byte_an_error_is_a_cut(error: Exception, cuts: list[web.BaseRequest]) -> None:
    """Whatever it is: nothing that a client could take for the end."""
    request, _ = await answered(error, has_begun=True)

    assert cuts == [request]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError(), 500), (BreakerOpen(), 503), (OutOfSpace("full"), 503), (web.HTTPNotFound(), 404)],
    ids=repr,
)
async def test_before_it_an_error_is_a_problem_document(
    error: Exception, status: int, cuts: list[web.BaseRequest]
) -> None:
    """And the connection stays."""
    _, response = await answered(error, has_begun=False)

    assert (response.status, response.content_type, cuts) == (status, "application/problem+json", [])
