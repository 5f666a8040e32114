"""`download`: an order's ZIP from a running service, with progress, resumed when interrupted, verified at the end."""

import asyncio
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, ClientTimeout
from rich.console import Console
from yarl import URL

from service import hosts
from service.archives.names import REPORT_NAME
from service.commands.display import Display
from service.commands.output import Output
from service.reasons import Reason

ALL, BROKEN, USAGE, PARTIAL, REFUSED = range(5)

_ATTEMPTS = 5
_CHUNK = 256 * 1024
# Seconds without a byte after which the download is resumed on a new connection; the first byte may wait for images.
_STALL = 120.0

# In the words of the command line, where the service's own message names headers and query parameters.
_MESSAGES = {
    "unauthorized": "The service requires an API key. Give one with --api-key, or in SERVICE_API_KEY.",
    "too_many_images": "The order has too many images for one archive. Choose some, with one --image ID for each.",
    "unknown_image": "The order has no image with an id given with --image.",
    "images_missing": "Some images could not be downloaded. Run the command without --strict to get the others.",
}
_FLAGS = {
    r"GET \S*[?&]image=(\S+)": r"run the command with --image \1",
    r"wait=true": "--wait SECONDS",
}
_STILL_ENHANCING = "To wait for images that are still being enhanced, run the command again with --wait SECONDS."


@dataclass(frozen=True)
class Request:
    """What to download, and from where."""

    service: str
    order_id: str
    query: tuple[tuple[str, str], ...] = ()
    api_key: str | None = None

    @property
    def url(self) -> URL:
        """The URL of the order's archive."""
        return (URL(self.service) / "v1/orders" / self.order_id / "images").with_query(list(self.query))

    @property
    def identity(self) -> str:
        """Equal for requests whose partial file can be resumed; no key in it."""
        return str(self.url)


class Refused(Exception):
    """The service answered with a problem that does not go away by itself."""


class Interrupted(Exception):
    """The connection broke, or the service is not ready yet: the download can be resumed after `wait` seconds."""

    def __init__(self, reason: str, wait: float = 1.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Fetched:
    """A whole, verified archive: the name that the service suggests for it, and the number of images in the order."""

    name: str
    total: int | None


@dataclass
class Partial:
    """A partial file and what is known of its archive, kept beside it between runs."""

    path: Path
    identity: str
    archive_id: str | None = None
    total: int | None = None

    @property
    def note(self) -> Path:
        """The file that says which archive the partial file belongs to."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self) -> None:
        """Keep what an earlier run left, if it belongs to the same request."""
        try:
            known = json.loads(self.note.read_text())
            if known["identity"] == self.identity:
                self.archive_id = str(known["archive_id"])
        except (OSError, ValueError, KeyError, TypeError):
            self.archive_id = None
        if self.archive_id is None:
            self.restart()

    def begin(self, archive_id: str) -> None:
        """Record the archive before its first byte is written."""
        self.archive_id = archive_id
        self.note.write_text(json.dumps({"identity": self.identity, "archive_id": archive_id}))

    def deliver(self, output: Output, name: str) -> Path | None:
        """Move the whole file to where it belongs, as `Output.deliver`."""
        target = output.deliver(self.path, name)
        self.note.unlink(missing_ok=True)
        return target

    def restart(self) -> None:
        """Delete what was received."""
        self.archive_id = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(request: Request, output: Output, console: Console | None = None) -> int:
    """Download the archive; returns the exit code that `download --help` explains."""
    console = console or Console(stderr=True)
    if (wrong := _usage_error(request) or output.problem()) is not None:
        console.print(wrong, style="red", markup=False)
        return USAGE
    try:
        with output.partial_file(request.order_id) as path:
            part = Partial(path, request.identity)
            with Display(console) as display:
                fetched = asyncio.run(fetch(request, part, display))
            contents = _contents(path)
            target = part.deliver(output, fetched.name)
    except Refused as refusal:
        console.print(str(refusal), style="red", markup=False)
        return REFUSED
    except (Interrupted, OSError) as error:
        reason = _os_error(error) if isinstance(error, OSError) else error
        purpose = "" if output.is_stream else " to resume the download"
        console.print(f"{reason} Run the same command again{purpose}.", style="red", markup=False)
        return BROKEN
    return _summarise(contents, target, fetched.total, console)


def _os_error(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror or error}."


def _usage_error(request: Request) -> str | None:
    """What is wrong with the command itself, so that running it again would not help."""
    if not re.fullmatch(r"[0-9A-Za-z-]+", request.order_id):
        return "The order id is not a UUID."
    parts = hosts.split(request.service)
    if parts is None or parts.scheme not in ("http", "https"):
        return f"--url: {request.service} is not a URL such as http://127.0.0.1:8000."
    return None


async def fetch(request: Request, part: Partial, display: Display) -> Fetched:
    """Download until the partial file is the whole archive, and verified.

    Raises `Refused`, or `Interrupted` when it was interrupted too often without progress.
    """
    timeout = ClientTimeout(total=None, sock_connect=10, sock_read=_STALL)
    headers = {"X-API-Key": key} if (key := request.api_key or _key_of_environment()) else {}
    async with ClientSession(timeout=timeout, headers=headers) as session:
        part.load()
        failures = 0
        while True:
            before = part.size
            try:
                return await _attempt(session, request, part, display)
            except (Interrupted, ClientError, TimeoutError) as error:
                failures = 1 if part.size > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise Interrupted(_reason(error, request.service)) from error
                await asyncio.sleep(error.wait if isinstance(error, Interrupted) else failures)


def _key_of_environment() -> str | None:
    """The first key in `SERVICE_API_KEY`, which holds several for a service, each perhaps with its caller's name."""
    first = os.environ.get("SERVICE_API_KEY", "").partition(",")[0].strip()
    return re.sub(r"^[A-Za-z0-9._-]{1,64}:(?=.)", "", first) or None


async def _attempt(session: ClientSession, request: Request, part: Partial, display: Display) -> Fetched:
    """One request: from the start, or from where the partial file ends."""
    url, headers = request.url, {}
    if part.archive_id is not None and part.size:
        url = URL(request.service) / "v1/archives" / part.archive_id
        headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{part.archive_id}"'}
    async with session.get(url, headers=headers) as response:
        if response.status == 416 and response.headers.get("Content-Range") == f"bytes */{part.size}":
            return await _finish(part, request, response.headers, display)
        if response.status in (404, 410) and part.archive_id is not None:
            part.restart()
            raise Interrupted("The archive has expired; starting again.", wait=0)
        if response.status not in (200, 206):
            await _refuse(response)
        if "X-Archive-Id" not in response.headers:
            raise Refused(f"{request.service} answered, but not with an archive. Is --url the URL of the service?")
        await _receive(response, part, display)
        return await _finish(part, request, response.headers, display)


async def _receive(response: ClientResponse, part: Partial, display: Display) -> None:
    part.total = _number(response.headers.get("X-Total-Images"))
    resumed = part.size if response.status == 206 else 0
    display.restart()
    if resumed:
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
            display.feed(chunk)


async def _finish(part: Partial, request: Request, headers: Mapping[str, str], display: Display) -> Fetched:
    """Verify the whole file."""
    broken = await asyncio.to_thread(_first_broken, part.path)
    if broken is not None:
        part.restart()
        raise Interrupted(f"The file was not a valid ZIP ({broken}).")
    display.finish()
    return Fetched(_suggested_name(headers) or f"{request.order_id}.zip", part.total)


def _first_broken(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


async def _refuse(response: ClientResponse) -> None:
    """Raise what a problem document means: try again later, or give up."""
    try:
        problem: dict[str, Any] = await response.json(content_type=None)
    except (ValueError, ClientError):
        problem = {}
    code = str(problem.get("code", response.status))
    detail = str(problem.get("detail") or f"The service answered with status {response.status}.")
    wait = _number(response.headers.get("Retry-After"))
    if response.status == 503 and code == "still_building" and wait is not None:
        raise Interrupted(detail, wait=wait)
    if "title" in problem:
        detail = f"{problem['title']}. {detail}"
    failures: list[dict[str, Any]] = problem.get("failures", [])
    lines = [f"{_MESSAGES.get(code, detail)} ({code})"]
    lines += [f"  {failure.get('name')}: {_in_flags(str(failure.get('reason')))}" for failure in failures]
    if any(failure.get("code") == Reason.NOT_READY for failure in failures):
        lines.append(_STILL_ENHANCING)
    raise Refused("\n".join(lines))


class Contents(NamedTuple):
    """What is in an archive: the number of its images, and its report on those that are missing."""

    images: int
    report: str | None


def _contents(path: Path) -> Contents:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        report = archive.read(REPORT_NAME).decode() if REPORT_NAME in names else None
    return Contents(len(names) - names.count(REPORT_NAME), report)


def _summarise(contents: Contents, target: Path | None, total: int | None, console: Console) -> int:
    """Say what is in the ZIP and what is missing; returns the exit code."""
    label = "" if target is None else f"{target}: "
    console.print(f"{label}{contents.images} of {total or contents.images} images", markup=False, highlight=False)
    if contents.report is None:
        return ALL
    report = _in_flags(contents.report)
    console.print(report.replace("\r\n", "\n"), style="yellow", markup=False, highlight=False)
    if re.search(rf"\b{Reason.NOT_READY}: ", report):
        console.print(_STILL_ENHANCING, style="yellow", markup=False, highlight=False)
    return PARTIAL


def _in_flags(text: str) -> str:
    """The service's advice with this command's flags in place of query parameters."""
    for parameter, flag in _FLAGS.items():
        text = re.sub(parameter, flag, text)
    return text


def _suggested_name(headers: Mapping[str, str]) -> str | None:
    """The file name the service suggests, without any folder."""
    match = re.search(r'filename="([^"]+)"', headers.get("Content-Disposition", ""))
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", match[1]).lstrip(".") if match else ""
    return name or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _reason(error: Exception, service: str) -> str:
    if isinstance(error, ClientConnectorError):
        return f"There is no answer from {service}. Is the service running there?"
    return str(error) if isinstance(error, Interrupted) else f"The connection failed ({type(error).__name__})."
