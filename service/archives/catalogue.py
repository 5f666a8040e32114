"""The record of archives: on the disk, and where several instances share them also at the others."""

import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from service.archives import archive_index
from service.archives.archive import SETTLED, Archive, State
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record
from service.archives.shared_archives import SharedArchives
from service.data_dir import data_dir_needed
from service.database import Database
from service.disk import OutOfSpace
from service.images.blobs import BlobLost


class Catalogue:
    """Archives by id, by key and by options. Every change is committed before a reader hears of it.

    With `shared`, what is appended, settled or dropped is told the other instances first, and what they have told is
    found here.
    """

    def __init__(self, database: Database, ttl: float, shared: SharedArchives | None = None) -> None:
        self._database = database
        self._ttl = ttl
        self.shared = shared

    @asynccontextmanager
    async def building_in(self, boot: str | None) -> AsyncIterator[None]:
        """While the context lasts, archives are built, in this boot of the machine (None: it cannot be told).

        A power cut may take the last entries of their lists. Where nobody else knows these, an archive that it left
        unfinished is gone: to go on with it could give its id to other bytes than were sent. Raises `DataDirUnusable`.
        """
        if boot is None:
            yield
            return
        now = time.time()

        def begin(connection: sqlite3.Connection) -> None:
            shared = self.shared
            archive_index.begin_boot(
                connection, boot, now, lambda one: shared is not None and shared.is_known(connection, one)
            )

        with data_dir_needed():
            await self._database.run(begin, durable=True)
        try:
            yield
        finally:
            with suppress(OutOfSpace, sqlite3.Error):  # it looks like a power cut then
                await self._database.run(archive_index.end_boot)

    async def begin(self, archive: Archive, plan: Plan) -> None:
        await self._database.run(lambda connection: archive_index.insert(connection, archive, plan))

    async def announce(self, plan: Plan, created: float, *, anyway: bool = False) -> tuple[str, Record | None]:
        """As `SharedArchives`; where nothing is shared, the id is always a new one."""
        if self.shared is None:
            return uuid4().hex, None
        archive_id, record = await self.shared.announce(plan, created, anyway=anyway)
        await self._adopt_settled(record)
        return archive_id, record

    async def append(self, archive: Archive, members: Sequence[tuple[Member, int]]) -> bool:
        """Record the next members, each with the attempts its image took; False, and nothing recorded, when the blob
        of one is no longer in the store.

        Raises as `SharedArchives.append`, and `ArchiveGone` when the archive was dropped meanwhile.
        """
        if self.shared is not None:
            await self.shared.append(archive.id, members)
        first = len(archive.members)
        try:
            await self._database.run(
                lambda connection: archive_index.insert_members(connection, archive.id, first, members), gather=True
            )
        except BlobLost:
            return False
        return True

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Record that the archive is whole; from now on its key finds it, if it is complete.

        Raises as `append`.
        """
        now = time.time()
        if self.shared is not None:
            await self.shared.settle(archive, state, comment)

        def update(connection: sqlite3.Connection) -> None:
            archive_index.settle(connection, archive, state, comment, now)
            if self.shared is not None:
                self.shared.mark(connection, archive.id)

        await self._database.run(update)
        if self.shared is not None:
            self.shared.wake()

    async def image_keys(self, archive_id: str) -> tuple[list[str], Collection[bytes]] | None:
        """The orders of an archive that was settled in the last 30 days, and the keys (as `key_digest`) of the images
        that it holds.

        Raises `StillBuilding` when it cannot be told.
        """
        known = await self._database.run(lambda connection: archive_index.image_keys(connection, archive_id))
        if known is not None:
            return known
        record = await self.find(archive_id)
        if record is None or record.state not in SETTLED:
            return None
        keys = [result.key for result in record.results if result.code is None and result.key]
        return [order.order_id for order in record.plan.orders], archive_index.key_digests(keys or record.keys)

    async def forget(self, archive_id: str) -> None:
        """Remove every trace of an archive whose id nobody was told."""
        if self.shared is not None:
            await self.shared.drop(archive_id)
        await self._database.run(lambda connection: archive_index.remove(connection, archive_id))

    async def drop(self, archive_id: str) -> None:
        """Remove an archive; its id is remembered as gone."""
        if self.shared is not None:
            await self.shared.drop(archive_id)
        now = time.time()
        await self._database.run(lambda connection: archive_index.mark_gone(connection, archive_id, now))

    async def keep(self, archive_id: str, until: float) -> None:
        """Keep an archive before `until`, whatever its age and the room that is needed."""
        await self._database.run(lambda connection: archive_index.keep(connection, archive_id, until))
        if self.shared is not None:
            await self.shared.keep(archive_id, until)

    async def load(self, archive_id: str) -> Record | None:
        """An archive by id, `GONE` ones included; notes that it is used. Raises `StillBuilding` if not known."""
        record = await self.find(archive_id)
        if self.shared is not None and record is not None and record.state != GONE and self._is_over(record):
            record = replace(record, kept=await self.shared.kept_until(archive_id))
        return record

    async def find(self, archive_id: str) -> Record | None:
        """As `load`, but for whether another instance keeps it."""
        record = await self._database.run(lambda connection: archive_index.read_record(connection, archive_id))
        self.note_used(archive_id)
        if self.shared is None:
            return record
        if record is None or record.state not in SETTLED:
            record = await self._adopt_settled(await self.shared.load(archive_id)) or record
        return record

    async def find_complete(self, key: str) -> list[Record]:
        """The complete archives for `key` that are not too old to be used again, the newest first."""
        return await self._find_complete(archive_index.COMPLETE_BY_KEY, key)

    async def find_unfinished(self, key: str) -> Record | None:
        """The newest build for `key` that was left unfinished."""
        return next(iter(await self._read(archive_index.UNFINISHED_BY_KEY, key)), None)

    async def find_stale(self, options_key: str) -> list[Record]:
        """The complete archives for the same options, whatever their images are now, the newest first."""
        return await self._find_complete(archive_index.COMPLETE_BY_OPTIONS, options_key)

    async def _find_complete(self, query: str, key: str) -> list[Record]:
        records = await self._read(query, key)
        records = [record for record in records if not (self.is_expired(record) or self._is_old(record))]
        if not records and self.shared is not None:
            record = await self._adopt_settled(await self.shared.find_complete(key))
            return [] if record is None or self.is_expired(record) else [record]
        return records

    async def _read(self, query: str, key: str) -> list[Record]:
        return await self._database.run(lambda connection: archive_index.read_records(connection, query, key))

    async def adopt(self, record: Record) -> None:
        """Record what another instance told of an archive, in place of what was known of it here."""
        now = time.time()
        must_share = self.shared is not None and self.shared.must_share(record.id)

        def note(connection: sqlite3.Connection) -> None:
            archive_index.replace(connection, record, now)
            if self.shared is not None and must_share:
                self.shared.mark(connection, record.id)

        await self._database.run(note)
        if self.shared is not None and must_share:
            self.shared.wake()

    async def _adopt_settled(self, record: Record | None) -> Record | None:
        if record is not None and record.state in SETTLED:
            await self.adopt(record)
        return record

    async def continue_here(self, archive: Archive, plan: Plan) -> bool:
        """Whether this instance is to go on with an unfinished archive; while another builds it, the archive follows.

        Raises as `SharedArchives.follow`.
        """
        return self.shared is None or await self.shared.follow(archive, plan, self.adopt)

    async def wait_until_free(self, archive_id: str) -> None:
        """Wait while another instance that lives builds the archive, as far as can be told."""
        if self.shared is not None:
            await self.shared.wait_until_free(archive_id)

    async def release(self, archive_id: str) -> None:
        """Let another instance go on with what is built here."""
        if self.shared is not None:
            await self.shared.release(archive_id)

    async def sweep(self, running: set[str], orphaned_before: float) -> None:
        """Drop what is past its time: old archives, and builds from before a restart that nobody came back for."""
        now = time.time()
        await self._database.run(
            lambda connection: archive_index.sweep(
                connection, running, now, settled_before=now - self._ttl, orphaned_before=orphaned_before
            )
        )

    def is_expired(self, record: Record) -> bool:
        """Whether the archive's time is over, or its bytes would no longer be the same."""
        return record.state == GONE or self._is_over(record) or record.layout != LAYOUT_VERSION

    def _is_over(self, record: Record) -> bool:
        """Whether it is too old, and nobody is known to keep it."""
        return self._is_old(record) and record.kept < time.time()

    def _is_old(self, record: Record) -> bool:
        """Whether it is too old to answer a new request."""
        return record.settled is not None and record.settled < time.time() - self._ttl

    def note_used(self, archive_id: str) -> None:
        """It is not the first to go when room is needed."""
        self._database.note("UPDATE archives SET used = ? WHERE id = ?", (time.time(), archive_id))
