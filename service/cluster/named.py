"""Which archives the addresses of orders have named, by any of the instances that share a storage."""

import asyncio
import sqlite3
import time
from contextlib import suppress
from dataclasses import replace

from service.archives.named import REMEMBERED_SECONDS, Named
from service.background import carry_through
from service.cluster.link import Unavailable
from service.cluster.orders import Naming, OrderDocument, OrderDocuments
from service.database import Database
from service.problems import StillBuilding

# A download does not wait longer for this to be noted.
_WAIT_SECONDS = 0.25
_RETRY_SECONDS = 2.0
# That an address named the same again is not written more often.
_FRESH_SECONDS = 24 * 3600.0


class ClusterNames:
    """As `SharedNames`."""

    def __init__(self, documents: OrderDocuments, database: Database) -> None:
        self._documents = documents
        self._database = database

    async def find(self, order_id: str, url_key: str) -> Named | None:
        try:
            naming = (await self._documents.read(order_id)).names.get(url_key)
        except Unavailable:
            raise StillBuilding(
                "Which archive this URL has named is not known at the moment.", retry_after=_RETRY_SECONDS
            ) from None
        if naming is None or naming.seen < time.time() - REMEMBERED_SECONDS:
            return None
        return Named(naming.archive_id, naming.is_only)

    async def add(self, order_id: str, url_key: str, archive_id: str) -> bool | None:
        """As `SharedNames`. What cannot be noted in time is marked, and noted later."""
        with suppress(Exception):  # whatever it is
            async with asyncio.timeout(_WAIT_SECONDS):
                document = await carry_through(self._note(order_id, url_key, archive_id))
                return document.names[url_key].is_only
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO unshared_names VALUES (?, ?, ?)", (url_key, archive_id, order_id)
            )
        )
        return None

    async def share(self) -> bool:
        """Give others what is marked; whether none is left."""

        def read(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
            return connection.execute("SELECT order_id, url_key, archive_id FROM unshared_names").fetchall()

        for order_id, url_key, archive_id in await self._database.run(read):
            try:
                await self._note(order_id, url_key, archive_id)
            except Unavailable:
                return False
            self._database.note(
                "DELETE FROM unshared_names WHERE url_key = ? AND archive_id = ?", (url_key, archive_id)
            )
        return True

    async def _note(self, order_id: str, url_key: str, archive_id: str) -> OrderDocument:
        def add(document: OrderDocument) -> OrderDocument:
            now, known = time.time(), document.names.get(url_key)
            if known is None or known.seen < now - REMEMBERED_SECONDS:
                is_only = True
            elif known.archive_id != archive_id:
                is_only = False
            elif known.seen > now - _FRESH_SECONDS:
                return document
            else:
                is_only = known.is_only
            return replace(document, names={**document.names, url_key: Naming(archive_id, is_only, now)})

        return await self._documents.update(order_id, add, may_be_recent=True)
