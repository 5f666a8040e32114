"""What `download` asks for."""

from typing import Any, ClassVar

from aiohttp import ClientSession

from service.commands.client import Busy, Document, Service
from service.commands.request import ALL_PARTS, Request, parts
from tests.support.samples import ORDER


class _Limited(Service):
    """A service that asks its caller to wait, once; its order takes two parts."""

    limits: ClassVar = [Busy("Wait.", wait=0)]

    async def ask(self, session: ClientSession, method: str, path: str, **more: Any) -> Document:
        if self.limits:
            raise self.limits.pop()
        return {"parts": [{}, {}]}


def test_a_limit_is_waited_out_before_the_parts_are_known() -> None:
    """As it is for each part's download."""
    request = Request(_Limited("http://127.0.0.1:8000"), ORDER, {"part": ALL_PARTS})

    assert [each.query["part"] for each in parts(request)] == [1, 2]
