"""`download`: orders' ZIPs from a running service: with progress, resumed when interrupted, verified in the end."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import ClientError, ClientResponse, ClientSession

from service.commands.client import (
    STILL_ENHANCING,
    Busy,
    Document,
    Interrupted,
    Refused,
    in_flags,
    is_unreachable,
    refuse,
    suggested_name,
    why,
)
from service.commands.contents import Contents, first_broken, read_contents
from service.commands.display import Display
from service.commands.output import Output
from service.commands.partial import Partial
from service.commands.request import Request, parts
from service.commands.talk import ALL, BROKEN, PARTIAL, REFUSED, STOPPED, USAGE, Talk
from service.commands.together import build
from service.reasons import Reason

_ATTEMPTS = 5
_CHUNK = 256 * 1024


class NothingNew(Exception):
    """The archive named with --since holds everything as it is."""


@dataclass(frozen=True)
class Fetched:
    """A whole, verified archive: the name that the service suggests for it, and the number of images in the order."""

    name: str
    total: int | None
    failures: tuple[Document, ...] = ()


def download(requests: Iterable[Request], output: Output, talk: Talk) -> int:
    """Download the archives, one after the other; returns the exit code that `download --help` explains.

    One that is refused does not end the others; an unreachable service does.
    """
    requests = list(requests)
    several = len(requests) > 1 or any(request.wants_all_parts for request in requests)
    if (wrong := output.problem(several=several)) is not None:
        talk.fail(wrong)
        return USAGE
    if talk.as_json and output.is_stdout:
        talk.fail("--json and -o - both write to standard output. Choose one.")
        return USAGE
    codes, names = [], _Names()
    for request in requests:
        try:
            for each in _built(request, talk) if request.more else parts(request):
                codes.append(_download(each, output, talk, names))
                if codes[-1] == BROKEN:
                    return BROKEN
        except Refused as refusal:
            codes.append(_refused(request, refusal, talk))
        except Interrupted as error:
            talk.fail(f"{error} Run the same command again.")
            return BROKEN
        except KeyboardInterrupt:
            talk.fail(f"Interrupted. Run the same command again{_purpose(output)}.")
            return STOPPED
    return max(codes)


def _purpose(output: Output) -> str:
    return "" if output.is_stream else " to resume the download"


def _built(request: Request, talk: Talk) -> Iterator[Request]:
    """The request for the ZIP of several orders, once it is built."""
    yield replace(request, job=asyncio.run(build(request.service, request.orders, request.query, talk)))


class _Names:
    """File names of this run: two orders of one name do not replace each other."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unused(self, name: str) -> str:
        """The name, with a number if this run has used it."""
        stem, dot, extension = name.rpartition(".")
        candidate, number = name, 1
        while candidate.casefold() in self._taken:
            number += 1
            candidate = f"{stem} ({number}){dot}{extension}"
        self._taken.add(candidate.casefold())
        return candidate


def _download(request: Request, output: Output, talk: Talk, names: _Names) -> int:
    part: Partial | None = None
    try:
        with output.partial_file(request.label) as path:
            part = Partial(path, request.identity)
            with Display(talk.console, visible=talk.progress) as display:
                fetched = asyncio.run(fetch(request, part, display, talk))
            contents = read_contents(path)
            size, archive_id = part.size, part.archive_id
            target = part.deliver(output, names.unused(fetched.name))
    except NothingNew:
        talk.say("Nothing is new since that archive.")
        talk.tell({**request.which, "file": None, "images": 0, "complete": True, "failures": []})
        return ALL
    except Refused as refusal:
        return _refused(request, refusal, talk)
    except (Interrupted, OSError) as error:
        reason = _os_error(error) if isinstance(error, OSError) else str(error)
        purpose = _purpose(output) if part is not None and part.size else ""
        talk.fail(f"{reason} Run the same command again{purpose}.")
        talk.tell({**request.which, "error": {"code": "interrupted", "message": reason}})
        return BROKEN
    talk.tell(
        {
            **request.which,
            **{name: int(value) for name, value in request.query if name == "part"},
            "file": target and str(target),
            "archive_id": archive_id,
            "bytes": size,
            "images": contents.images,
            "total": fetched.total or contents.images,
            "complete": contents.report is None,
            "failures": list(fetched.failures),
            **({"missing_orders": request.missing_orders} if request.more else {}),
        }
    )
    return _summarise(contents, target, fetched.total, request, talk)


def _refused(request: Request, refusal: Refused, talk: Talk) -> int:
    talk.fail(str(refusal))
    talk.tell({**request.which, "error": {"code": refusal.code, "message": str(refusal)}})
    return REFUSED


def _os_error(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror or error}."


async def fetch(request: Request, part: Partial, display: Display, talk: Talk) -> Fetched:
    """Download until the partial file is the whole archive, and verified.

    Raises `Refused`, or `Interrupted` when it was interrupted too often without progress, or nobody answers at all.
    """
    async with request.service.session() as session:
        part.load()
        failures, was_reached = 0, False
        while True:
            before = part.size
            try:
                return await _attempt(session, request, part, display, talk)
            except Busy as error:
                was_reached = True
                talk.say(str(error))
                await asyncio.sleep(error.wait)
            except (Interrupted, ClientError, TimeoutError) as error:
                was_reached = was_reached or not is_unreachable(error)
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
            return await _finish(session, part, request, response.headers, display, talk)
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
        await _receive(response, part, display, talk)
        return await _finish(session, part, request, response.headers, display, talk)


async def _receive(response: ClientResponse, part: Partial, display: Display, talk: Talk) -> None:
    part.total = _number(response.headers.get("X-Total-Images"))
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
        async for chunk in response.content.iter_chunked(_CHUNK):
            await asyncio.to_thread(file.write, chunk)
            display.feed(chunk)


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


def _summarise(contents: Contents, target: Path | None, total: int | None, request: Request, talk: Talk) -> int:
    """Say what is in the ZIP and what is missing; returns the exit code."""
    label = "" if target is None else f"{target}: "
    orders = f", {missing} of {len(request.orders)} orders missing" if (missing := len(request.missing_orders)) else ""
    talk.say(f"{label}{contents.images} of {total or contents.images} images{orders}")
    if contents.report is None:
        return ALL
    report = in_flags(contents.report)
    talk.say(report.replace("\r\n", "\n"), style="yellow")
    if re.search(rf"\b{Reason.NOT_READY}: ", report):
        talk.say(STILL_ENHANCING, style="yellow")
    return PARTIAL


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
