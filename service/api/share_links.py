"""Share links: records that let somebody without a key see and download what the link was made for, until its end.

A token is the moment of making and a random secret; the id of its record follows from it, and tells nothing of the
secret. Ids sort by time, the newest first. No record, no access.
"""

import base64
import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from service.database import Database
from service.problems import TooManyLinks

SCHEMA = """
CREATE TABLE IF NOT EXISTS share_links (
    link_id TEXT PRIMARY KEY, maker TEXT NOT NULL, expires REAL NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS share_links_by_end ON share_links (expires);
CREATE INDEX IF NOT EXISTS share_links_by_maker ON share_links (maker);
"""

MAX_LINK_SECONDS = 30 * 24 * 3600
MAX_LINKS = 5000
"""Of one maker: a record may have megabytes."""
ADMINISTRATOR = "administrator"
"""The maker of what an administrator shares without a caller's key."""
ANYBODY = ""
"""The maker in a service without keys."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_MOMENT_BYTES, _SECRET_BYTES = 4, 20
_NEWEST = (1 << 8 * _MOMENT_BYTES) - 1


class SharedImage(BaseModel):
    """An image that a link shows."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    name: str
    """Of its file, in the rendition that is shared."""


class ShareLink(BaseModel):
    """What a share link opens: some images of one order, in one way."""

    model_config = ConfigDict(frozen=True)

    link_id: str
    token: str
    maker: str
    """Whose account it is on: `ADMINISTRATOR`, `ANYBODY`, or as `caller.tenant_of` names a key."""
    order_id: str
    order_name: str | None
    query: str
    """The options of the download, without the choice of images."""
    images: tuple[SharedImage, ...]
    created: float
    expires: float

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"/s/{self.token}"

    @property
    def has_ended(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.expires


class ShareLinks(Protocol):
    """Keeps share links. Everything raises `LinksUnavailable` while they cannot be told."""

    async def add(self, link: ShareLink) -> None:
        """Keep a link, safe from a power cut when this returns. Raises `TooManyLinks`."""

    async def get(self, link_id: str) -> ShareLink | None:
        """A link that can be used."""

    async def find(self, maker: str | None, after: str, limit: int) -> Sequence[ShareLink]:
        """The links of a maker (None: of all) that can be used, newest first, at most `limit`: those whose id is
        greater than `after`."""

    async def revoke(self, link: ShareLink) -> None:
        """End a link at once, safe from a power cut when this returns."""


SHARE_LINKS = web.AppKey("SHARE_LINKS", ShareLinks)


class LocalShareLinks:
    """In the database of this instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, link: ShareLink) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM share_links WHERE expires <= ?", (time.time(),))
            count = connection.execute("SELECT COUNT(*) FROM share_links WHERE maker = ?", (link.maker,))
            if count.fetchone()[0] >= MAX_LINKS:
                raise TooManyLinks
            row = (link.link_id, link.maker, link.expires, link.model_dump_json())
            connection.execute("INSERT INTO share_links VALUES (?, ?, ?, ?)", row)

        await self._database.run(write, durable=True)

    async def get(self, link_id: str) -> ShareLink | None:
        query = "SELECT record FROM share_links WHERE link_id = ?"
        row = await self._database.run(lambda connection: connection.execute(query, (link_id,)).fetchone())
        found = None if row is None else ShareLink.model_validate_json(row[0])
        return None if found is None or found.has_ended else found

    async def find(self, maker: str | None, after: str, limit: int) -> Sequence[ShareLink]:
        query = (
            "SELECT record FROM share_links WHERE link_id > :after AND expires > :now"
            " AND (:maker IS NULL OR maker = :maker) ORDER BY link_id LIMIT :limit"
        )
        values = {"after": after, "now": time.time(), "maker": maker, "limit": limit}
        rows = await self._database.run(lambda connection: connection.execute(query, values).fetchall())
        return [ShareLink.model_validate_json(record) for (record,) in rows]

    async def revoke(self, link: ShareLink) -> None:
        statement = "DELETE FROM share_links WHERE link_id = ?"
        await self._database.run(lambda connection: connection.execute(statement, (link.link_id,)), durable=True)


def new_token() -> str:
    """A token that nobody can guess."""
    moment = int(time.time()).to_bytes(_MOMENT_BYTES, "big")
    return base64.urlsafe_b64encode(moment + secrets.token_bytes(_SECRET_BYTES)).decode()


def link_id_of(token: str) -> str | None:
    """The id of the record that a token opens; None for what cannot be one."""
    if not _TOKEN.fullmatch(token):
        return None
    moment = int.from_bytes(base64.urlsafe_b64decode(token)[:_MOMENT_BYTES], "big")
    return f"{_NEWEST - moment:08x}{hashlib.sha256(token.encode()).hexdigest()[:24]}"


def created_before(link_id: str, moment: float) -> bool:
    """Whether the link of this id was made before a moment (of `time.time`)."""
    return _NEWEST - int(link_id[: 2 * _MOMENT_BYTES], 16) < moment


def is_token_of(link: ShareLink, token: str) -> bool:
    """Whether it is this link's token; takes as long whatever is wrong with it."""
    return hmac.compare_digest(link.token.encode(), token.encode("utf-8", "surrogateescape"))
