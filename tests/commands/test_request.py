"""What `download` asks for."""

from typing import Any

import pytest
from aiohttp import ClientSession

from service.commands.client import Busy, Document, Service
from service.commands.request import ALL_PARTS, Request, parts
from service.commands.talk import Talk
from tests.support.samples import ORDER


class _Limited(Service):
    """A service that asks its caller to wait, once; its order takes two parts."""

    def __init__(self, limits: list[Busy]) -> None:
        super().__init__("http://127.0.0.1:8000")
        self.limits = limits

    async def ask(self, session: ClientSession, method: str, path: str, **more: Any) -> Document:
        if self.limits:
            raise self.limits.pop()
        return {"parts": [{}, {}]}


@pytest.mark.parametrize("quiet", [False, True])
def test_a_limit_is_waited_out_before_the_parts_are_known(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is for each part's download; said unless nothing is to be said."""
    request = Request(_Limited([Busy("Wait.", wait=0)]), ORDER, {"part": ALL_PARTS})

    assert [each.query["part"] for each in parts(request, Talk(quiet=quiet))] == [1, 2]
    assert capsys.readouterr().err == ("" if quiet else "Wait.\n")


def test_each_part_is_collected_in_a_file_of_its_own() -> None:
    """Part 1, with which a rerun begins, leaves what there is of part 2; by number or by all it is the same file."""
    service = _Limited([])
    of_all = list(parts(Request(service, ORDER, {"part": ALL_PARTS, "wait": True}), Talk()))

    second = Request(service, ORDER, {"part": "2", "wait": True})

    assert [each.partial_name for each in of_all] == [f"{ORDER}-part-1", f"{ORDER}-part-2"]
    assert (second.partial_name, second.identity) == (of_all[1].partial_name, of_all[1].identity)
    assert Request(service, ORDER).partial_name == ORDER
    assert {each.label for each in of_all} == {ORDER}
