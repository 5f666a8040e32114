"""Documents as they come in: how much of them is taken, when a turn is waited for, and the words of errors."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from aiohttp import ClientPayloadError, ClientResponse
from multidict import CIMultiDict

from service.reasons import Reason
from service.upstream import bodies
from service.upstream.answers import UpstreamFailure
from service.upstream.bodies import first_text, read_body, read_document
from tests.support.transport import TIMEOUT

LONG = 5


class Answer:
    """An answer whose body comes in these chunks."""

    def __init__(self, *chunks: bytes, length: int | None = None, coding: str | None = None) -> None:
        self.headers = CIMultiDict({"Content-Encoding": coding} if coding else {})
        self.content_length = length
        self.content = self
        self.taken = 0
        self._chunks = chunks

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.taken += len(chunk)
            yield chunk

    async def read(self, count: int) -> bytes:
        return b"".join(self._chunks)[:count]


def as_response(answer: object) -> ClientResponse:
    return cast(ClientResponse, answer)


async def turns(answer: Answer) -> list[int]:
    """How much had been taken whenever a turn was waited for."""
    waited: list[int] = []

    async def wait() -> None:
        waited.append(answer.taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LONG_DOCUMENT", LONG)
        await read_body(as_response(answer), wait)
    return waited


@pytest.mark.parametrize(
    ("chunks", "waited"),
    [
        ((b"12345",), []),
        ((b"123456",), [6]),
        ((b"123", b"45"), []),
        ((b"123", b"456"), [6]),
        ((b"123456", b"7", b"89"), [6]),
    ],
)
async def test_a_turn_is_waited_for_once_before_a_long_document_is_kept(
    chunks: tuple[bytes, ...], waited: list[int]
) -> None:
    """With the chunk that makes it long, not with the one behind it; who has its turn does not wait for another."""
    assert await turns(Answer(*chunks)) == waited


@pytest.mark.parametrize("size", [LONG + 1, 10_000], ids=["packed and long", "packed longer still"])
async def test_what_becomes_long_by_unpacking_waits_for_its_turn(size: int) -> None:
    """Once, whether it is known before or after."""
    packed = gzip.compress(b" " * size)

    assert len(await turns(Answer(packed, coding="gzip"))) == 1


async def test_what_was_short_until_it_was_unpacked_waits_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes can hold as many as a document may have."""
    packed, waited = gzip.compress(b" " * 10_000), []

    async def wait() -> None:
        waited.append(1)

    monkeypatch.setattr(bodies, "LONG_DOCUMENT", len(packed))
    body = await read_body(as_response(Answer(packed, coding="gzip")), wait)

    assert (len(body), waited) == (10_000, [1])


@pytest.mark.parametrize(("size", "is_taken"), [(100, True), (101, False)])
@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_the_longest_document(
    monkeypatch: pytest.MonkeyPatch, size: int, is_taken: bool, coding: str | None
) -> None:
    """One byte more is too much, packed or not, whatever length was announced."""
    monkeypatch.setattr(bodies, "MAX_DOCUMENT_BYTES", 100)
    content = b" " * size
    answer = Answer(gzip.compress(content) if coding else content, coding=coding)

    if is_taken:
        assert await read_body(as_response(answer)) == content
        return
    with pytest.raises(UpstreamFailure) as told:
        await read_body(as_response(answer))
    assert told.value.reason is Reason.REJECTED


async def test_of_what_is_announced_as_too_long_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not come at all."""
    monkeypatch.setattr(bodies, "MAX_DOCUMENT_BYTES", 100)
    answer = Answer(b"1", length=101)

    with pytest.raises(UpstreamFailure):
        await read_body(as_response(answer))
    assert answer.taken == 0


@pytest.mark.parametrize(("extra", "is_short"), [(0, True), (1, False)])
async def test_a_long_document_is_read_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, extra: int, is_short: bool
) -> None:
    """To read it takes some milliseconds."""
    told: list[bool] = []

    async def compute(work: Callable[[], Any], *, is_short: bool) -> Any:
        told.append(is_short)
        return work()

    monkeypatch.setattr(bodies, "compute", compute)

    assert await read_document(as_response(Answer(b"[]" + b" " * (bodies.LONG_DOCUMENT - 2 + extra)))) == []
    assert told == [is_short]


class Broken(Answer):
    """An answer whose body cannot be read."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        super().__init__(coding="gzip")
        self._read = read

    async def read(self, count: int) -> bytes:
        return await self._read()


def raising(error: Exception) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        raise error

    return read


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


async def bad_gzip() -> bytes:
    return gzip.compress(b"words")[:10] + b"\xff" * 20


@pytest.mark.parametrize(
    "read",
    [raising(ClientPayloadError()), raising(ConnectionResetError()), raising(TimeoutError()), never, bad_gzip],
    ids=["broken off", "hung up", "stalled", "silent", "wrongly packed"],
)
async def test_an_error_whose_words_cannot_be_read_has_none(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], Awaitable[bytes]]
) -> None:
    """And is not waited for: its status has said it all."""
    monkeypatch.setattr(bodies, "_TEXT_SECONDS", 0.01)

    async with asyncio.timeout(TIMEOUT):
        assert await first_text(as_response(Broken(read))) == ""


async def test_the_words_of_an_error_are_its_first() -> None:
    """However much they unpack into."""
    packed = gzip.compress(b"w" * 5_000)
    assert zlib.decompress(packed, 31) == b"w" * 5_000

    assert await first_text(as_response(Answer(packed, coding="gzip"))) == "w" * 300
