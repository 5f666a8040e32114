"""Recent issues, read back from Sentry; asked at most once a minute, whoever wants to know."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TraceConfig
from yarl import URL

from service.problems import ErrorsNotConfigured, ErrorsUnavailable
from service.settings import Settings
from service.telemetry.logs import get_logger

log = get_logger(__name__)

_KEPT_SECONDS = 60.0
# A failure is kept too, so that a page that asks again and again does not pass its impatience on.
_FAILURE_KEPT_SECONDS = 15.0
_CALL_SECONDS = 5.0
_MAX_BYTES = 1 << 20
_MAX_ISSUES = 25
_MAX_LENGTH = 300

Issue = dict[str, Any]


def api_address(dsn: str | None) -> str:
    """Where the API is that belongs to a DSN: Sentry's own, also of a region, or the host of one's own."""
    parts = urlsplit(dsn or "https://sentry.io")
    host = parts.hostname or "sentry.io"
    if host == "sentry.io" or host.endswith(".sentry.io"):
        region = [part for part in host.removesuffix("sentry.io").split(".") if part in ("us", "de")]
        return f"https://{'.'.join([*region, 'sentry', 'io'])}"
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{parts.port}" if parts.port else "")


class Issues:
    """The project's unresolved issues, newest first, at `url`. Without it they say so."""

    def __init__(self, session: ClientSession, url: URL | None) -> None:
        self._session = session
        self._url = url
        self._asking = asyncio.Lock()
        self._kept: list[Issue] | None = None
        self._until = 0.0

    async def recent(self) -> list[Issue]:
        """At most 25. Raises `ErrorsNotConfigured`, or `ErrorsUnavailable` when Sentry cannot be asked."""
        if self._url is None:
            raise ErrorsNotConfigured
        async with self._asking:
            if time.monotonic() >= self._until:
                self._kept = await self._ask(self._url)
                self._until = time.monotonic() + (_FAILURE_KEPT_SECONDS if self._kept is None else _KEPT_SECONDS)
            if self._kept is None:
                raise ErrorsUnavailable
            return self._kept

    async def _ask(self, url: URL) -> list[Issue] | None:
        try:
            async with self._session.get(url) as response:
                if response.status != 200:
                    log.warning("Sentry refuses to list issues", status=response.status)
                    return None
                document = json.loads(await _bounded(response.content.iter_any()))
        except (ClientError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("Sentry's issues could not be read", reason=type(error).__name__)
            return None
        if not isinstance(document, list):
            log.warning("Sentry's issues could not be read", reason="no list")
            return None
        return [_issue(entry) for entry in document[:_MAX_ISSUES] if isinstance(entry, dict)]


@asynccontextmanager
async def open_issues(settings: Settings, trace_configs: list[TraceConfig]) -> AsyncIterator[Issues]:
    """The issues, with a session of their own: no header of upstream's ever goes there, nor the token elsewhere."""
    token = settings.sentry_auth_token
    async with ClientSession(
        timeout=ClientTimeout(total=_CALL_SECONDS),
        headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
        trace_configs=trace_configs,
    ) as session:
        yield Issues(session, _url(settings))


def _url(settings: Settings) -> URL | None:
    """None unless token, organisation and project are all set."""
    if not (settings.sentry_auth_token and settings.sentry_org and settings.sentry_project):
        return None
    api = api_address(settings.sentry_dsn.get_secret_value() if settings.sentry_dsn else None)
    path = f"/api/0/projects/{quote(settings.sentry_org, safe='')}/{quote(settings.sentry_project, safe='')}/issues/"
    return URL(api + path, encoded=True).with_query(query="is:unresolved", limit=str(_MAX_ISSUES))


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _MAX_BYTES:
            raise ValueError("too long")
    return bytes(body)


def _issue(entry: dict[str, Any]) -> Issue:
    """What a person wants to know of one; whatever is missing or of another kind is null."""
    return {
        "id": _text(entry.get("id")),
        "title": _text(entry.get("title")),
        "culprit": _text(entry.get("culprit")),
        "level": _text(entry.get("level")),
        "count": _number(entry.get("count")),
        "first_seen": _text(entry.get("firstSeen")),
        "last_seen": _text(entry.get("lastSeen")),
        "link": link if (link := _text(entry.get("permalink"))) and link.startswith("https://") else None,
    }


def _text(value: object) -> str | None:
    return str(value)[:_MAX_LENGTH] if isinstance(value, str | int) and not isinstance(value, bool) else None


def _number(value: object) -> int | None:
    text = _text(value)
    return int(text[:15]) if text is not None and text.isascii() and text.isdigit() else None
