"""An archive that another instance builds: followed while that instance goes on, taken over when it does not."""

import asyncio
import time

from service.archives.archive import Archive
from service.archives.catalogue import Catalogue
from service.archives.record import GONE, Record
from service.archives.restore import bring_up_to
from service.archives.shared import BEAT_SECONDS
from service.problems import ArchiveGone, StillBuilding

_POLL_SECONDS = 0.5
# A builder that has said nothing for so long is taken for dead.
_SILENCE_SECONDS = 4 * BEAT_SECONDS
# Without news and without a way to take over, the storage itself is away.
_PATIENCE_SECONDS = 30.0


async def take_up(archive: Archive, catalogue: Catalogue) -> bool:
    """Let an unfinished archive grow as its builder announces; True once it is for this instance to go on with.

    False when it was settled meanwhile. Raises `ArchiveGone`, `Abandoned` when nobody here wants it any more, and
    `StillBuilding` when the storage is away.
    """
    shared = catalogue.shared
    if shared is None or shared.is_ours(archive.id):
        return True
    tag: str | None = None
    latest: Record | None = None
    heard = time.monotonic()
    while True:
        await archive.demand.wanted(archive.length)
        try:
            news = await shared.watch(archive.id, tag)
        except KeyError:
            raise ArchiveGone(f"Archive {archive.id} was dropped.") from None
        may_claim = news is None and time.monotonic() - heard > _SILENCE_SECONDS
        if news is not None:
            latest, tag, may_claim = news
            heard = time.monotonic()
            if latest.state == GONE:
                raise ArchiveGone(f"Archive {archive.id} was dropped.")
            bring_up_to(archive, latest)
            if archive.is_settled:
                await catalogue.adopt(latest)
                return False
        if may_claim and latest is not None and tag is not None and await shared.claim(archive.id, tag):
            await catalogue.adopt(latest)
            return True
        if time.monotonic() - heard > _PATIENCE_SECONDS:
            raise StillBuilding(retry_after=BEAT_SECONDS)
        await asyncio.sleep(_POLL_SECONDS)
