"""Share links in S3: `links/ID` is the record, `links-by/MAKER/ID` says whose it is. They are never only in Redis.

Nothing is deleted there: a link that was revoked keeps an empty record, until the storage's own rules remove it. So a
maker's links count for as long as a link may last at most.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from service.api.share_links import MAX_LINK_SECONDS, MAX_LINKS, ShareLink, created_before
from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.images.identity import digest
from service.problems import LinksUnavailable, TooManyLinks

_RECORDS, _MAKERS = "links/", "links-by/"
_REVOKED = b""
_RETRY_AFTER_SECONDS = 5.0


class ClusterShareLinks:
    """As `ShareLinks`, for instances that share a storage."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def add(self, link: ShareLink) -> None:
        async with _told():
            made = f"{_MAKERS}{digest(link.maker)}/"
            names = await self._objects.names(made, "", MAX_LINKS)
            if len(names) == MAX_LINKS and not created_before(names[-1], time.time() - MAX_LINK_SECONDS):
                raise TooManyLinks
            # Its maker's first: what is listed nowhere could not be revoked.
            await self._write(made + link.link_id, b"")
            await self._write(_RECORDS + link.link_id, link.model_dump_json().encode())

    async def get(self, link_id: str) -> ShareLink | None:
        async with _told():
            found = await self._objects.get(_RECORDS + link_id)
        if found is None or found[0] == _REVOKED:
            return None
        link = ShareLink.model_validate_json(found[0])
        return None if link.has_ended else link

    async def find(self, maker: str | None, after: str, limit: int) -> Sequence[ShareLink]:
        prefix = _RECORDS if maker is None else f"{_MAKERS}{digest(maker)}/"
        links: list[ShareLink] = []
        while len(links) < limit:
            async with _told():
                names = await self._objects.names(prefix, after, limit)
            found = await asyncio.gather(*map(self.get, names))
            links += [link for link in found if link is not None]
            if len(names) < limit:
                break
            after = names[-1]
        return links[:limit]

    async def revoke(self, link: ShareLink) -> None:
        name = _RECORDS + link.link_id
        async with _told():
            while (found := await self._objects.get(name)) is not None and found[0] != _REVOKED:
                with suppress(ObjectChanged):
                    await self._objects.write(name, _REVOKED, found[1])

    async def _write(self, name: str, body: bytes) -> None:
        """Write what is new. What is there already came by this call, whose first answer was lost."""
        with suppress(ObjectChanged):
            await self._objects.write(name, body)


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    try:
        yield
    except Unavailable:
        raise LinksUnavailable(retry_after=_RETRY_AFTER_SECONDS) from None
