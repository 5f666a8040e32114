"""`download`: an order's ZIP from a running service, with progress, resumed when it breaks, checked at the end."""

import asyncio
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, ClientTimeout
from rich.console import Console
from yarl import URL

from service import addresses
from service.archives.names import REPORT_NAME
from service.commands.display import Display

ALL, BROKEN, USAGE, PARTIAL, REFUSED = range(5)

_ATTEMPTS = 5
_CHUNK = 256 * 1024
# Without a byte for so long the connection is given up and taken up again; the first byte may wait for images.
_STALL = 120.0


@dataclass(frozen=True)
class Request:
    """What to download, and from where."""

    service: str
    order_id: str
    query: tuple[tuple[str, str], ...] = ()
    api_key: str | None = None

    @property
    def url(self) -> URL:
        """The order's address."""
        return (URL(self.service) / "v1/orders" / self.order_id / "images").with_query(list(self.query))

    @property
    def identity(self) -> str:
        """Equal for requests that a half file may go on with; no key in it."""
        return str(self.url)


class Refused(Exception):
    """The service answered with a problem that will not pass by itself."""


class Interrupted(Exception):
    """The connection broke, or the service is not ready yet; what is here can be gone on with."""

    def __init__(self, reason: str, wait: float = 1.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class Partial:
    """A half file and what is known of its archive, kept beside it between runs."""

    path: Path
    identity: str
    archive_id: str | None = None
    total: int | None = None

    @property
    def note(self) -> Path:
        """The file that remembers which archive the half file belongs to."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self) -> None:
        """Take up what an earlier run left, if it belongs to the same request."""
        try:
            known = json.loads(self.note.read_text())
            if known["identity"] == self.identity:
                self.archive_id = str(known["archive_id"])
        except (OSError, ValueError, KeyError, TypeError):
            self.archive_id = None
        if self.archive_id is None:
            self.restart()

    def begin(self, archive_id: str) -> None:
        """Remember the archive before its first byte is written."""
        self.archive_id = archive_id
        self.note.write_text(json.dumps({"identity": self.identity, "archive_id": archive_id}))

    def restart(self) -> None:
        """Forget what is here."""
        self.archive_id = None
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Give the whole file its name."""
        self.path.replace(target)
        self.note.unlink(missing_ok=True)


def download(request: Request, output: Path | None, console: Console | None = None) -> int:
    """Download the archive; returns the exit code that `download --help` explains."""
    console = console or Console(stderr=True)
    if (wrong := _why_not(request, output)) is not None:
        console.print(wrong, style="red", markup=False)
        return USAGE
    try:
        with Display(console) as display:
            target, total = asyncio.run(fetch(request, output, display))
    except Refused as refusal:
        console.print(str(refusal), style="red", markup=False)
        return REFUSED
    except (Interrupted, OSError) as error:
        reason = f"{error.strerror}: {error.filename}." if isinstance(error, OSError) and error.filename else error
        console.print(f"{reason} Run the command again to go on where it stopped.", style="red", markup=False)
        return BROKEN
    return _account(target, total, console)


def _why_not(request: Request, output: Path | None) -> str | None:
    """What is wrong with the command itself, so that running it again would not help."""
    if not re.fullmatch(r"[0-9A-Za-z-]+", request.order_id):
        return "The order id is not a UUID."
    address = addresses.split(request.service)
    if address is None or address.scheme not in ("http", "https"):
        return f"--url: {request.service} is no address such as http://127.0.0.1:8000."
    if output is not None and not output.parent.is_dir():
        return f"--output: there is no folder {output.parent}."
    return None


async def fetch(request: Request, output: Path | None, display: Display) -> tuple[Path, int | None]:
    """Download until the file is whole; returns its path and how many images the order has.

    Raises `Refused`, or `Interrupted` when it broke too often without getting on.
    """
    timeout = ClientTimeout(total=None, sock_connect=10, sock_read=_STALL)
    headers = {"X-API-Key": key} if (key := request.api_key or os.environ.get("SERVICE_API_KEY")) else {}
    async with ClientSession(timeout=timeout, headers=headers) as session:
        part = Partial(_part_path(request, output), request.identity)
        part.load()
        failures = 0
        while True:
            before = part.size
            try:
                return await _attempt(session, request, output, part, display), part.total
            except (Interrupted, ClientError, TimeoutError) as error:
                failures = 1 if part.size > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise Interrupted(_reason(error, request.service)) from error
                await asyncio.sleep(error.wait if isinstance(error, Interrupted) else failures)


async def _attempt(
    session: ClientSession, request: Request, output: Path | None, part: Partial, display: Display
) -> Path:
    """One request: from the start, or from where the half file ends. Returns the finished file's path."""
    url, headers = request.url, {}
    if part.archive_id is not None and part.size:
        url = URL(request.service) / "v1/archives" / part.archive_id
        headers = {"Range": f"bytes={part.size}-", "If-Range": f'"{part.archive_id}"'}
    async with session.get(url, headers=headers) as response:
        if response.status == 416 and response.headers.get("Content-Range") == f"bytes */{part.size}":
            return await _finish(part, output, request, response.headers, display)
        if response.status in (404, 410) and part.archive_id is not None:
            part.restart()
            raise Interrupted("The archive is no longer kept; beginning anew.", wait=0)
        if response.status not in (200, 206):
            await _refuse(response)
        if "X-Archive-Id" not in response.headers:
            raise Refused(f"{request.service} answered, but not with an archive. Is it the address of the service?")
        await _receive(response, part, display)
        return await _finish(part, output, request, response.headers, display)


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


async def _finish(
    part: Partial, output: Path | None, request: Request, headers: Mapping[str, str], display: Display
) -> Path:
    """Check the whole file, then give it its name."""
    broken = await asyncio.to_thread(_first_broken, part.path)
    if broken is not None:
        part.restart()
        raise Interrupted(f"The file was not a sound ZIP ({broken}).")
    target = _target(output, _suggested_name(headers) or f"{request.order_id}.zip")
    await asyncio.to_thread(part.finish, target)
    display.finish()
    return target


def _first_broken(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


async def _refuse(response: ClientResponse) -> None:
    """Raise what a problem document means: come back later, or do not."""
    try:
        problem: dict[str, Any] = await response.json(content_type=None)
    except (ValueError, ClientError):
        problem = {}
    detail = str(problem.get("detail") or f"The service answered with status {response.status}.")
    wait = _number(response.headers.get("Retry-After"))
    if response.status == 503 and problem.get("code") == "still_building" and wait is not None:
        raise Interrupted(detail, wait=wait)
    title = f"{problem['title']}. " if "title" in problem else ""
    lines = [f"{title}{detail} ({problem.get('code', response.status)})"]
    lines += [f"  {failure.get('name')}: {failure.get('reason')}" for failure in problem.get("failures", [])]
    raise Refused("\n".join(lines))


def _account(target: Path, total: int | None, console: Console) -> int:
    """Say what is in the ZIP and what is missing."""
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        images = [name for name in names if name != REPORT_NAME]
        report = archive.read(REPORT_NAME).decode() if REPORT_NAME in names else None
    console.print(f"{target}: {len(images)} of {total or len(images)} images", markup=False, highlight=False)
    if report is None:
        return ALL
    console.print(report.replace("\r\n", "\n"), style="yellow", markup=False, highlight=False)
    return PARTIAL


def _target(output: Path | None, name: str) -> Path:
    """`output`; where that is a folder, or nothing, a file of this name in it, or here."""
    folder = output or Path()
    return folder / name if folder.is_dir() else folder


def _part_path(request: Request, output: Path | None) -> Path:
    target = _target(output, f"{request.order_id}.zip")
    return target.with_name(target.name + ".part")


def _suggested_name(headers: Mapping[str, str]) -> str | None:
    """The file name the service suggests, without any folder."""
    match = re.search(r'filename="([^"]+)"', headers.get("Content-Disposition", ""))
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", match[1]).lstrip(".") if match else ""
    return name or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _reason(error: Exception, service: str) -> str:
    if isinstance(error, ClientConnectorError):
        return f"Nothing answers at {service}. Is the service running there?"
    return str(error) if isinstance(error, Interrupted) else f"The connection broke ({type(error).__name__})."
