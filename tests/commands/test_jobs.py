"""`jobs`: what is asked of the service, how its events are followed, and what is said of a job."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from service.commands import jobs
from service.commands.client import Interrupted, Refused, Service
from service.commands.jobs import _events, _line, changes
from tests.support.loopback import serving
from tests.support.transport import TIMEOUT

JOB = "1" * 32
QUEUED: dict[str, Any] = {"job_id": JOB, "status": "queued", "downloaded": 0, "total": 0, "failed": 0, "orders": []}
DONE = {**QUEUED, "status": "complete", "downloaded": 3, "total": 3}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_events_are_read_by_the_standard(end: bytes, size: int) -> None:
    """Comments and unknown fields are passed over, data over several lines is one; what has no end is none.

    Wherever a connection cuts them.
    """
    sent = (
        b'retry: 2000\n\n: still here\n\nevent: status\nid: 3\ndata: {"a":\ndata:1}\n\n'
        b'id:4\n\ndata: {}\n\ndata: {"b": 2}\n'
    ).replace(b"\n", end)

    assert [event async for event in _events(pieces(sent, size))] == [("3", {"a": 1}), ("4", {})]


async def test_a_letter_that_comes_in_two_pieces_is_one() -> None:
    """Each is read when its line is whole."""
    sent = 'id: 1\ndata: {"a": "東"}\n\n'.encode()

    assert [event async for event in _events(pieces(sent, 1))] == [("1", {"a": "東"})]


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (QUEUED, "queued: 0 of 0 images"),
        ({**DONE, "failed": 1, "downloaded": 2}, "complete: 2 of 3 images, 1 failed"),
        (
            {**DONE, "orders": [{"order_id": "o", "code": "order_empty", "reason": "Wait."}, {"code": None}]},
            "complete: 3 of 3 images. o: Wait.",
        ),
        (
            {**QUEUED, "status": "error", "error": {"title": "Too many", "detail": "Set max_credits."}},
            "error: 0 of 0 images. Too many. Set --max-credits.",
        ),
    ],
)
def test_a_job_in_one_line(job: dict[str, Any], line: str) -> None:
    """In the words of the command line."""
    assert _line(job) == line


def frames(*events: tuple[int, dict[str, Any]]) -> bytes:
    return b"".join(b"id: %d\ndata: %s\n\n" % (number, json.dumps(job).encode()) for number, job in events)


class Followed:
    """A service that answers one connection after the other so, and notes where each one began."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = list(answers)
        self.began: list[str | None] = []

    async def handle(self, request: web.Request) -> web.Response:
        assert request.path == f"/v1/jobs/{JOB}/events"
        self.began.append(request.headers.get("Last-Event-ID"))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return web.json_response(
                {"title": "No", "code": "no", "detail": "d"}, status=answer, headers={"Retry-After": "0"}
            )
        return web.Response(body=answer, content_type="text/event-stream")

    async def follow(self) -> list[dict[str, Any]]:
        """Every change that is told."""
        async with asyncio.timeout(TIMEOUT), serving(web.get("/{path:.*}", self.handle)) as url:
            service = Service(url)
            async with service.session() as session:
                return [job async for job in changes(service, session, JOB)]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before another connection."""
    waited: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            waited.append(seconds)
        await really(0)

    monkeypatch.setattr(jobs, "asyncio", type("Patched", (), {"sleep": staticmethod(sleep)}))
    return waited


async def test_a_stream_that_breaks_off_is_taken_up_behind_its_last_event() -> None:
    """Nothing is told twice; it ends with the job."""
    followed = Followed(frames((0, QUEUED), (2, QUEUED)), b"", frames((4, DONE), (5, QUEUED)))

    assert await followed.follow() == [QUEUED, QUEUED, DONE]
    assert followed.began == [None, "2", "2"]


async def test_a_change_may_be_of_any_length() -> None:
    """As that of a job of very many orders is: longer than any line that the library reads."""
    reason = "x" * 3_000_000
    long = {**DONE, "orders": [{"order_id": "o", "code": "order_empty", "reason": reason}]}

    (job,) = await Followed(frames((1, long))).follow()

    assert job == long


async def test_it_is_given_up_when_nothing_comes_any_more(pauses: list[float]) -> None:
    """After five in a row; one that brought something counts anew."""
    followed = Followed(b"", b"", b"", b"", frames((1, QUEUED)), b"", b"", b"", b"", b"")

    with pytest.raises(Interrupted, match="ended before the job did"):
        await followed.follow()
    assert (len(followed.began), len(pauses)) == (9, 8)


@pytest.mark.parametrize("status", [404, 410])
async def test_a_job_that_is_not_there_is_not_asked_for_again(status: int) -> None:
    """The service has said all."""
    followed = Followed(status)

    with pytest.raises(Refused):
        await followed.follow()
    assert len(followed.began) == 1


@pytest.mark.parametrize("status", ["complete", "error", "cancelled"])
async def test_every_end_is_one(status: str) -> None:
    """Good or bad."""
    assert await Followed(frames((1, {**DONE, "status": status}))).follow() == [{**DONE, "status": status}]


async def test_where_nobody_is_it_is_said_at_once(pauses: list[float]) -> None:
    """One that was there is waited for."""
    async with serving() as url:
        pass
    service = Service(url)
    async with service.session() as session:
        with pytest.raises(Interrupted, match="no answer"):
            [job async for job in changes(service, session, JOB)]

    assert pauses == []
