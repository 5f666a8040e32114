"""One archive, fetched from a running service: with progress, resumed when interrupted, verified in the end."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError, ClientResponse, ClientSession

from service.commands import client
from service.commands.client import (
    Building,
    Busy,
    Document,
    Interrupted,
    Refused,
    is_unreachable,
    refuse,
    suggested_name,
    whole_number,
    why,
)
from service.commands.contents import first_broken, read_contents
from service.commands.display import Display
from service.commands.partial import Partial
from service.commands.request import Request
from service.commands.talk import Talk

_ATTEMPTS = 5
_CHUNK = 256 * 1024
# How long all images of an archive may take before its first byte: nothing else would tell that the service is gone.
_STRICT_SECONDS = 3600.0


class NothingNew(Exception):
    """The archive named with --since holds everything as it is."""


@dataclass(frozen=True)
class Fetched:
    """A whole, verified archive: the name that the service suggests for it, and the number of images in the order."""

    name: str
    total: int | None
    failures: tuple[Document, ...] = ()


async def fetch(request: Request, part: Partial, display: Display, talk: Talk) -> Fetched:
    """Download until the partial file is the whole archive, and verified.

    Raises `Refused`, or `Interrupted` when it was interrupted too often without progress, or nobody answers at all.
    A build that goes on counts as an interruption only after the wait that was asked for.
    """
    more_seconds = request.wait + (_STRICT_SECONDS if request.is_strict else 0.0)
    waits_until = time.monotonic() + request.wait
    async with request.service.session(more_seconds) as session:
        part.load()
        failures, was_reached = 0, False
        while True:
            before = part.size
            try:
                return await _attempt(session, request, part, display, talk)
            except (Interrupted, ClientError, TimeoutError) as error:
                was_reached = was_reached or not is_unreachable(error)
                if isinstance(error, Busy) and not (isinstance(error, Building) and time.monotonic() >= waits_until):
                    talk.say(str(error))
                else:
                    failures = 1 if part.size > before else failures + 1
                    if failures >= _ATTEMPTS or not was_reached:
                        raise Interrupted(why(error, request.service.url)) from error
                await asyncio.sleep(error.wait if isinstance(error, Interrupted) else failures)


async def _attempt(session: ClientSession, request: Request, part: Partial, display: Display, talk: Talk) -> Fetched:
    """One request: from the start, or from where the partial file ends."""
    url, headers = request.url, {}
    if part.archive_id is not None and part.size:
        url = request.service / "v1/archives" / part.archive_id
        headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{part.archive_id}"'}
    async with session.get(url, headers=headers) as response:
        if response.status == 416 and response.headers.get("Content-Range") == f"bytes */{part.size}":
            async with session.head(url) as whole:
                part.total = whole_number(whole.headers.get("X-Total-Images"))
                return await _finish(session, part, request, whole.headers, display, talk)
        if response.status in (404, 410) and part.archive_id is not None:
            part.restart()
            raise Interrupted("The archive has expired; starting again.", wait=0)
        if response.status == 204:
            raise NothingNew
        if response.status not in (200, 206):
            await refuse(response)
        if "X-Archive-Id" not in response.headers:
            address = request.service.url
            raise Refused(f"{address} answered, but not with an archive. Is --url the URL of the service?")
        stall = client.STALL_SECONDS + (0.0 if request.is_strict else request.wait)
        await _receive(response, part, display, talk, stall)
        return await _finish(session, part, request, response.headers, display, talk)


async def _receive(response: ClientResponse, part: Partial, display: Display, talk: Talk, stall: float) -> None:
    """Write the body into the partial file. Raises `TimeoutError` after `stall` seconds without a byte."""
    part.total = whole_number(response.headers.get("X-Total-Images"))
    resumed = part.size if response.status == 206 else 0
    display.restart()
    if resumed:
        talk.say(f"Resuming at byte {resumed:,}.")
        await asyncio.to_thread(_replay, part.path, display)
    else:
        await asyncio.to_thread(part.begin, response.headers["X-Archive-Id"])
    length = response.content_length
    display.expect(part.total, None if length is None else resumed + length)
    with await asyncio.to_thread(part.path.open, "ab" if resumed else "wb") as file:
        while chunk := await _read(response, stall):
            await asyncio.to_thread(file.write, chunk)
            display.feed(chunk)


async def _read(response: ClientResponse, stall: float) -> bytes:
    async with asyncio.timeout(stall):  # `wait_for` loses a cancellation that comes with the bytes
        return await response.content.read(_CHUNK)


def _replay(path: Path, display: Display) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            display.skip(chunk)


async def _finish(
    session: ClientSession,
    part: Partial,
    request: Request,
    headers: Mapping[str, str],
    display: Display,
    talk: Talk,
) -> Fetched:
    """Verify the whole file."""
    broken = await asyncio.to_thread(first_broken, part.path)
    if broken is not None:
        part.restart()
        raise Interrupted(f"The file was not a valid ZIP ({broken}).")
    display.finish()
    failures: tuple[Document, ...] = ()
    if talk.as_json and (await asyncio.to_thread(read_contents, part.path)).report is not None:
        report = await request.service.ask(session, "GET", f"v1/archives/{part.archive_id}/report")
        failures = tuple(report["failures"])
    return Fetched(suggested_name(headers) or f"{request.label}.zip", part.total, failures)
