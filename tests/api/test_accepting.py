"""How connections are taken in where no more files can be opened."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.api import accepting
from service.api.accepting import _SPARE, _accept, _Spare
from tests.support.transport import TIMEOUT

FULL = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("errors", "spares_left", "times_made", "is_logged"),
    [
        ([], _SPARE, 0, False),
        ([FULL], _SPARE - 1, 0, False),
        ([FULL] * _SPARE, 0, 0, False),
        ([FULL] * (_SPARE + 2), 0, 2, True),
        ([OSError(errno.EPERM, "Operation not permitted")] * 2, _SPARE, 0, True),
        ([KeyError("a fault")], _SPARE, 0, True),
    ],
    ids=["none", "one", "all spares", "more than spares", "another kind", "a fault"],
)
async def test_what_is_done_when_a_connection_cannot_be_taken(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception], spares_left: int, times_made: int, is_logged: bool
) -> None:
    """Spare descriptors are given first, then one that is idle makes room; they are taken again afterwards.

    Whatever it is, the next one is taken in, and it is told once.
    """
    told: list[str] = []
    monkeypatch.setattr(accepting, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(accepting.log, "error", lambda event, **_: told.append(event))
    made_room: list[bool] = []
    admission = cast(Any, SimpleNamespace(make_room=lambda: made_room.append(True)))
    left, one, attached, taken_anew = list(errors), socket.socket(), asyncio.Event(), asyncio.Event()
    kept: list[int] = []

    async def until_readable(_: socket.socket) -> None:
        await asyncio.sleep(0)
        if attached.is_set():  # the one before was taken in
            taken_anew.set()
            await asyncio.Event().wait()

    def take(_: socket.socket) -> list[socket.socket]:
        if left:
            raise left.pop(0)
        return [one]

    async def attach(taken: Sequence[socket.socket]) -> None:
        assert taken == [one]
        kept.append(len(spare._kept))
        attached.set()

    monkeypatch.setattr(accepting, "_until_readable", until_readable)
    monkeypatch.setattr(accepting, "_take", take)
    with one, _Spare() as spare:
        working = asyncio.create_task(_accept(one, attach, admission, spare))
        async with asyncio.timeout(TIMEOUT):
            await taken_anew.wait()
        kept.append(len(spare._kept))
        working.cancel()
        await asyncio.wait([working])

    assert (kept, len(made_room)) == ([spares_left, _SPARE], times_made)
    assert len(told) == is_logged
    assert spare._kept == []
