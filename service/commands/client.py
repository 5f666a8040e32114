"""Requests of the command line to a running service, and what its refusals mean here."""

import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
)
from yarl import URL

from service import hosts
from service.order_ids import find_order_id, is_order_id
from service.reasons import Reason
from service.text import one_line

Document = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "AUTOENHANCE_BATCH_URL"
# The second of each is what the service itself reads.
KEY_VARIABLES = ("AUTOENHANCE_BATCH_KEY", "SERVICE_API_KEY")
TOKEN_VARIABLES = ("AUTOENHANCE_BATCH_ADMIN_TOKEN", "ADMIN_TOKEN")

# Without a byte for so long a request is given up; its first byte may wait for images.
STALL_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
# A longer `Retry-After` is not waited out.
MAX_WAIT_SECONDS = 600
# Without a document of the service they are those of a proxy, whose service is being restarted.
_GATEWAY_ERRORS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

# In the words of the command line, where the service's own message names headers and query parameters.
_MESSAGES = {
    "unauthorized": "The service requires an API key. Give one with --api-key, or in AUTOENHANCE_BATCH_KEY.",
    "administrators_only": "That is for administrators. Give their token with --admin-token, or in"
    " AUTOENHANCE_BATCH_ADMIN_TOKEN.",
    "too_many_images": "The order has too many images for one archive. Download its parts, with --part all.",
    "too_many_links": "You have too many share links. Revoke some (share list, share revoke), or wait for some to end.",
    "link_not_found": "No link of yours that still works has this id. share list shows those that do.",
    "unknown_image": "The order has no image with an id given with --image.",
    "images_missing": "Some images could not be downloaded. Run the command without --strict to get the others.",
}
# The same refusals, of a key or token that was given.
_NOT_ACCEPTED = {
    (
        "unauthorized",
        "X-API-Key",
    ): "The service does not accept this API key. Check --api-key, or AUTOENHANCE_BATCH_KEY.",
    ("administrators_only", "X-Admin-Token"): "The service does not accept this token. Check --admin-token, or"
    " AUTOENHANCE_BATCH_ADMIN_TOKEN.",
}
_FLAGS = {
    r"GET \S*/images/([^\s?]+)\?include=original\S*": r"run the command with --image \1 --include original",
    r"GET \S*[?&]image=([^\s&]+)\S*": r"run the command with --image \1",
    r"\bpart=(\d)": r"--part \1",
    r"\bmax_credits\b": "--max-credits",
    r" to the number in `to_buy`": "",
    r"\bwait_timeout\b": "--wait",
    # Not in what it says of a rendition, where the name is typed as it is.
    r"\bmax_width:": "--max-width:",
}
STILL_ENHANCING = "To wait for images that are still being enhanced, run the command again with --wait SECONDS."


class Refused(Exception):
    """The service answered with a problem that does not go away by itself. `code` is what programs look at."""

    def __init__(self, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.code = code


class Interrupted(Exception):
    """The connection broke, or the service is not ready yet: it can be tried again after `wait` seconds."""

    def __init__(self, reason: str, wait: float = 1.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Busy(Interrupted):
    """The service asks its caller to wait, which is no failure."""


class Building(Busy):
    """It asks so because what is wanted of an archive is not there yet."""


class Usage(Exception):
    """What is wrong with the command itself, so that running it again would not help."""


@dataclass(frozen=True)
class Service:
    """A running service: its address, and what it lets its callers in by."""

    url: str
    api_key: str | None = None
    admin_token: str | None = None

    @classmethod
    def of(cls, url: str | None, api_key: str | None, admin_token: str | None = None) -> "Service":
        """From flags, else from the environment. Raises `Usage`."""
        url = _checked(url, "--url") if url else _of_variable() or DEFAULT_URL
        key = _secret(api_key) or _first_key(_of_environment(KEY_VARIABLES))
        token = _secret(admin_token) or _of_environment(TOKEN_VARIABLES)
        for flag, secret in (("--api-key", key), ("--admin-token", token)):
            if secret is not None and not secret.isprintable():
                raise Usage(f"{flag}: it has a line break or another character that no key has.")
        return cls(url, key, token)

    def __truediv__(self, path: str) -> URL:
        """The address of something of it."""
        return URL(self.url) / path

    def is_at(self, url: URL) -> bool:
        """Whether an address is the service's own, or the same host's over https instead of http."""
        own = URL(self.url)
        is_upgrade = url.host == own.host and (own.scheme, url.scheme) == ("http", "https")
        return is_upgrade or (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)

    @asynccontextmanager
    async def session(self, more_seconds: float = 0.0) -> AsyncIterator[ClientSession]:
        """Connections that carry what the service asks its callers for.

        They may be silent for `more_seconds` more before a request is given up. What answers lack that this version
        expects is raised as `Refused`.
        """
        headers = {}
        if self.api_key:
            headers["X-API-Key"] = self.api_key
        if self.admin_token:
            headers["X-Admin-Token"] = self.admin_token

        async def keep(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            """Redirects to other hosts get no secrets."""
            if not self.is_at(request.url):
                for name in headers:
                    request.headers.pop(name, None)
            return await send(request)

        timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=STALL_SECONDS + more_seconds)
        async with ClientSession(timeout=timeout, headers=headers, middlewares=(keep,)) as session:
            try:
                yield session
            except KeyError as missing:
                advice = "Is --url the URL of this service, and of this version?"
                raise Refused(f"{self.url} answered without {missing}. {advice}") from missing

    async def ask(self, session: ClientSession, method: str, path: str, **more: Any) -> Document:
        """The document that answers a request. Raises `Refused`, `Interrupted`, `ClientError`, `TimeoutError`."""
        async with session.request(method, self / path, **more) as response:
            if not response.ok:
                await refuse(response)
            if response.status == HTTPStatus.NO_CONTENT:
                return {}
            document = await _document(response)
            if document is None:
                raise Refused(f"{self.url} answered, but not as this service does. Is --url its URL?")
            return document


def read_order(text: str, url: str | None) -> tuple[str, str | None]:
    """An order's id, and the service's address: `text` is an id, or an address of the page or the API with one in it.

    A `url` that was given wins. An address at Autoenhance names the order alone. Raises `Usage`, also where the
    environment names a service at another place: its keys would go to whatever was pasted.
    """
    if is_order_id(text):
        return text.lower(), url
    parts = hosts.split(text)
    found = find_order_id(text)
    if parts is None or parts.scheme not in ("http", "https") or found is None:
        raise Usage(f"{text[:200]} is neither an order id (a UUID) nor the address of an order.")
    if re.search(r"(?:^|\.)autoenhance\.ai$", parts.hostname or ""):
        return found, url
    if url:
        return found, url
    base = re.sub(r"(?:/v1)?/orders/.*", "", parts.path).rstrip("/")
    pasted = _checked(f"{parts.scheme}://{parts.netloc}{base}", "ORDER")
    ours = _of_variable()
    if ours is not None and not Service(ours).is_at(URL(pasted)):
        raise Usage(f"ORDER is at {URL(pasted).origin()}, but {URL_VARIABLE} is {ours}: give --url to choose.")
    return found, pasted


def given(**query: Any) -> dict[str, Any]:
    """Query parameters, or members of a body, without those that were not given."""
    return {name: value for name, value in query.items() if value is not None}


def as_pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query parameters as an address has them: each value of several by itself."""
    each = ((name, one) for name, value in query.items() for one in (value if isinstance(value, list) else [value]))
    return [(name, str(one).lower() if isinstance(one, bool) else str(one)) for name, one in each]


def _of_variable() -> str | None:
    """The service's address as the environment has it. Raises `Usage`."""
    url = os.environ.get(URL_VARIABLE)
    return _checked(url, URL_VARIABLE) if url else None


def _checked(url: str, given_as: str) -> str:
    """The address itself. Raises `Usage` when there can be no service."""
    parts = hosts.split(url)
    if parts is None or parts.scheme not in ("http", "https") or not _can_be_looked_up(parts.hostname or ""):
        raise Usage(f"{given_as}: {url} is not a URL such as {DEFAULT_URL}.")
    return url


def _of_environment(names: Iterable[str]) -> str | None:
    return next((value for name in names if (value := _secret(os.environ.get(name)))), None)


def _secret(given: str | None) -> str | None:
    """Without what a file it was read from has around it, such as the end of a line of Windows."""
    return (given or "").strip() or None


def _can_be_looked_up(host: str) -> bool:
    """Whether a name can be any host's: with dots in a row or a part of 64 letters, the look-up itself would raise."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _first_key(keys: str | None) -> str | None:
    """The first of several that a service is given, each perhaps with its caller's name."""
    first = (keys or "").partition(",")[0].strip()
    return re.sub(r"^[A-Za-z0-9._-]{1,64}:(?=.)", "", first) or None


async def _document(response: ClientResponse) -> Document | None:
    """What a response says in JSON; None when it is anything else, or empty."""
    try:
        document: Any = await response.json(content_type=None)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


async def refuse(response: ClientResponse) -> None:
    """Raise what a problem document means: try again later, or give up."""
    try:
        problem = await _document(response) or {}
    except ClientError:
        problem = {}
    code = str(problem.get("code", response.status))
    detail = str(problem.get("detail") or f"The service answered with status {response.status}.")
    if not problem and response.status in _GATEWAY_ERRORS:
        raise Interrupted(f"A proxy answered with status {response.status}: it does not reach the service.", wait=3)
    wait = whole_number(response.headers.get("Retry-After"))
    if response.status == 503 and code == "still_building" and wait is not None:
        wait = min(wait, MAX_WAIT_SECONDS)
        raise Building(f"The archive is still being built. The service asks to wait {wait} s.", wait=wait)
    if response.status == 429 and wait is not None and wait <= MAX_WAIT_SECONDS:
        raise Busy(f"The service asks to wait {wait} s: too many requests.", wait=wait)
    if "title" in problem:
        detail = f"{problem['title']}. {detail}"
    failures: list[Document] = problem.get("failures", [])
    lines = [f"{_not_accepted(response, code) or _MESSAGES.get(code) or in_flags(detail)} ({code})"]
    not_sent = [file for file in problem.get("files", []) if file.get("reason")]
    lines += [f"  {one_line(str(of.get('name')))}: {in_flags(str(of.get('reason')))}" for of in [*failures, *not_sent]]
    if any(failure.get("code") == Reason.NOT_READY for failure in failures):
        lines.append(STILL_ENHANCING)
    raise Refused("\n".join(lines), code)


def _not_accepted(response: ClientResponse, code: str) -> str | None:
    """What became of the key or token that is wanted; None when none was given."""
    first = (*response.history, response)[0].request_info
    for (of, name), text in _NOT_ACCEPTED.items():
        if of == code and name in first.headers:
            if name in response.request_info.headers:
                return text
            ours, other = first.url.origin(), response.url.origin()
            return f"{ours} redirects to {other}, which gets no key and no token. If you trust it, give it as --url."
    return None


def in_flags(text: str) -> str:
    """The service's advice with this command's flags in place of query parameters."""
    for parameter, flag in _FLAGS.items():
        text = re.sub(parameter, flag, text)
    return text


def why(error: Exception, url: str) -> str:
    """Why a request has no answer, in one sentence."""
    match error:
        case ClientConnectorDNSError():
            return f"There is no host {URL(url).host}. Is --url right?"
        case ClientConnectorCertificateError():
            return f"The certificate of {URL(url).host} cannot be trusted."
        case ClientConnectorError():
            return f"There is no answer from {url}. Is the service running there?"
        case Interrupted():
            return str(error)
        case _:
            return f"The connection failed ({type(error).__name__})."


def is_unreachable(error: Exception) -> bool:
    """Whether there was no connection at all."""
    return isinstance(error, ClientConnectorError)


def suggested_name(headers: Mapping[str, str]) -> str | None:
    """The file name the service suggests, as a browser takes it, without any folder."""
    disposition = headers.get("Content-Disposition", "")
    plain = re.search(r'filename="([^"]+)"', disposition)
    true = re.search(r"filename\*=UTF-8''([^;\s]+)", disposition)
    suggested = unquote(true[1]) if true else ""
    if plain and not (suggested and _can_be_a_file(suggested)):
        suggested = plain[1]
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", suggested).lstrip(".") or None


def _can_be_a_file(name: str) -> bool:
    """Whether this system's encoding of file names has all its letters."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def whole_number(text: str | None) -> int | None:
    """What a header says; None when that is no number."""
    return int(text) if text is not None and text.isdigit() else None
