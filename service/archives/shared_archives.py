"""What the catalogue leaves to others: archives that several instances share."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from service.archives.archive import Archive, State
from service.archives.layout import Member
from service.archives.plan import Plan
from service.archives.record import Record


class TakenOver(Exception):
    """Another instance goes on with this archive."""


class SharedArchives(Protocol):
    """The record of archives that several instances share."""

    def is_known(self, connection: sqlite3.Connection, archive_id: str) -> bool:
        """Whether the list of an unfinished archive of this instance is at the others too."""

    async def announce(self, plan: Plan, created: float, *, anyway: bool = False) -> tuple[str, Record | None]:
        """The id for a new archive, or that of the one which some instance builds for the plan's build key, or has
        built, and its record.

        `anyway`: a new one, which later requests are then given.
        """

    async def append(self, archive_id: str, members: Sequence[tuple[Member, int]]) -> None:
        """Announce the next members, with the attempts each took. Raises `TakenOver`, or `StillBuilding`."""

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Announce that the archive is whole. Raises as `append`."""

    def must_share(self, archive_id: str) -> bool:
        """Whether an archive that `load` or `find_complete` has told of is this instance's to share: its builder has
        died."""

    def mark(self, connection: sqlite3.Connection, archive_id: str) -> None:
        """Within the transaction that keeps a settled archive: it is to be shared."""

    def wake(self) -> None:
        """Something was marked."""

    async def drop(self, archive_id: str) -> None:
        """An archive that was built here is gone."""

    async def release(self, archive_id: str) -> None:
        """Nobody here wants what is built here: another instance may go on with it at once."""

    async def load(self, archive_id: str) -> Record | None:
        """An archive as its builder last announced it, if any. Raises `StillBuilding` when it cannot be told."""

    async def keep(self, archive_id: str, until: float) -> None:
        """Let no instance take the archive for expired before `until` (epoch seconds). Raises `StillBuilding`."""

    async def kept_until(self, archive_id: str) -> float:
        """Until when some instance keeps the archive; 0: none does. Raises `StillBuilding` when it cannot be told."""

    async def find_complete(self, key: str) -> Record | None:
        """The complete archive for a plan's key or its options; None also when it cannot be told."""

    async def follow(self, archive: Archive, plan: Plan, adopt: Callable[[Record], Awaitable[None]]) -> bool:
        """Let an unfinished archive grow as its builder announces; True once this instance is to go on with it.

        False when it was settled meanwhile; `adopt` records what was announced. Raises `ArchiveGone`, `Abandoned`, or
        `StillBuilding` when it cannot be told.
        """

    async def wait_until_free(self, archive_id: str) -> None:
        """Wait while another instance that lives builds the archive, as far as can be told."""
