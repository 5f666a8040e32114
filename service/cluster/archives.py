"""The record of archives in the storage that several instances share.

One document per archive, written anew with every member, and only over the version its writer knows. So an archive has
one builder at a time: whoever claims it from a builder that is gone makes that builder's next write fail. Without the
storage a build goes on, and its document follows when the storage is back.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.archives.archive import Archive, ImageResult, State
from service.archives.catalogue import TakenOver
from service.archives.layout import LAYOUT_VERSION, Member
from service.archives.plan import Plan
from service.archives.record import GONE, Record, decode_member, decode_result, encode_member, encode_result, extend
from service.cluster.objects import ObjectChanged, Objects, ObjectsUnavailable
from service.problems import ArchiveGone, StillBuilding
from service.telemetry.logs import get_logger

log = get_logger(__name__)

BEAT_SECONDS = 2.0
"""How often a builder says that it is still there."""
_POLL_SECONDS = 0.5
# A builder that has said nothing for so long is taken for dead.
_SILENCE_SECONDS = 4 * BEAT_SECONDS
# With nothing announced and no way to take over for so long, the storage itself is away.
_AWAY_SECONDS = 30.0


@dataclass
class _Document:
    """An archive's document as this instance last wrote it."""

    body: dict[str, Any]
    tag: str | None = None
    is_dirty: bool = False
    """It says something that the storage has not taken yet."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClusterArchives:
    """Archives of all instances, by id, by key and by options. Nothing raises when the storage is away."""

    def __init__(self, objects: Objects, ttl: float) -> None:
        self._objects = objects
        self._ttl = ttl
        self._owner = uuid.uuid4().hex
        self._documents: dict[str, _Document] = {}

    async def begin(self, archive: Archive, plan: Plan) -> None:
        """Announce a new archive, without members."""
        self._documents[archive.id] = _Document(
            {
                "id": archive.id,
                "owner": self._owner,
                "state": State.BUILDING,
                "layout": LAYOUT_VERSION,
                "plan": plan.model_dump(mode="json"),
                "members": [],
                "results": [],
                "comment": None,
                "created": archive.created,
                "settled": None,
                "released": False,
                "beat": 0,
            }
        )
        await self._write(archive.id)

    async def append(self, archive_id: str, member: Member, attempts: int) -> None:
        """Announce the next member. Raises `TakenOver`."""
        document = self._ours(archive_id)
        document.body["members"].append(encode_member(member, attempts))
        document.body["released"] = False
        await self._write(archive_id)

    async def settle(self, archive: Archive, state: State, comment: str) -> None:
        """Announce that the archive is whole; from now on its key finds it, if it is complete. Raises `TakenOver`."""
        results = [encode_result(result) for result in archive.results]
        document = self._ours(archive.id)
        document.body |= {"state": state, "results": results, "comment": comment, "settled": time.time()}
        await self._write(archive.id)
        if state is State.COMPLETE:
            pointer = json.dumps({"id": archive.id, "settled": time.time()}).encode()
            await self._point(_key(archive.key), pointer)
            await self._point(_options(document.body["plan"]["options_key"]), pointer, newest_wins=True)

    async def drop(self, archive_id: str) -> None:
        """The archive is gone, or nobody was told its id: it is no longer worked on here."""
        document = self._documents.pop(archive_id, None)
        if document is None:
            return
        document.body["state"] = GONE
        async with document.writing:  # a write under way would leave what others take for a build to go on with
            with suppress(TakenOver, ObjectsUnavailable):
                await self._put(archive_id, document)

    async def load(self, archive_id: str) -> Record | None:
        """An archive as its builder last announced it; None when there is none, or when it cannot be told."""
        found = await self._read(archive_id)
        return _record(found[0]) if found else None

    async def keep(self, archive_id: str, until: float) -> None:
        """Let no instance take the archive for expired before `until` (epoch seconds)."""
        try:
            await self._objects.overwrite(_kept(archive_id), json.dumps(until).encode())
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="keep archive", error=str(error))

    async def kept_until(self, archive_id: str) -> float:
        """Until when some instance keeps the archive; 0 when none does, or when it cannot be told."""
        try:
            found = await self._objects.get(_kept(archive_id))
        except ObjectsUnavailable:
            return 0
        return float(json.loads(found[0])) if found else 0

    async def find_complete(self, key: str) -> Record | None:
        """The complete archive that was first published for `key` and is not too old."""
        return await self._follow_pointer(_key(key))

    async def find_stale(self, options_key: str) -> Record | None:
        """The newest complete archive for the same options, whatever its images are now."""
        return await self._follow_pointer(_options(options_key))

    async def watch(self, archive_id: str, known_tag: str | None) -> tuple[Record, str, bool] | None:
        """What another instance builds: its record, the document's tag, and whether its builder let go of it.

        None while there is nothing newer than `known_tag`. Raises `KeyError` when it is gone.
        """
        try:
            found = await self._objects.get(_name(archive_id))
        except ObjectsUnavailable:
            return None
        if found is None:
            raise KeyError(archive_id)
        body, tag = found
        document = json.loads(body)
        return None if tag == known_tag else (_record(document), tag, bool(document["released"]))

    async def follow(self, archive: Archive, adopt: Callable[[Record], Awaitable[None]]) -> bool:
        """Let an unfinished archive grow as its builder announces; True once this instance is to go on with it.

        False when it was settled meanwhile; `adopt` records what was announced. Raises `ArchiveGone`, `Abandoned` when
        nobody here wants it any more, and `StillBuilding` when the storage is away.
        """
        if archive.id in self._documents:
            return True
        tag: str | None = None
        latest: Record | None = None
        heard = time.monotonic()
        while True:
            await archive.readers.wait_for_demand(archive.length)
            try:
                announced = await self.watch(archive.id, tag)
            except KeyError:
                raise ArchiveGone(f"The build of archive {archive.id} was abandoned.") from None
            may_claim = announced is None and time.monotonic() - heard > _SILENCE_SECONDS
            if announced is not None:
                latest, tag, may_claim = announced
                heard = time.monotonic()
                if latest.state == GONE:
                    raise ArchiveGone(f"The build of archive {archive.id} was abandoned.")
                extend(archive, latest)
                if archive.is_settled:
                    await adopt(latest)
                    return False
            if may_claim and latest is not None and tag is not None and await self.claim(archive.id, tag):
                await adopt(latest)
                return True
            if time.monotonic() - heard > _AWAY_SECONDS:
                raise StillBuilding(retry_after=BEAT_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    async def claim(self, archive_id: str, tag: str) -> bool:
        """Become the builder of an archive whose document still has `tag`."""
        found = await self._read(archive_id)
        if found is None or found[1] != tag:
            return False
        document = _Document({**found[0], "owner": self._owner, "released": False}, tag)
        try:
            document.tag = await self._objects.replace(_name(archive_id), _encode(document.body), tag)
        except (ObjectChanged, ObjectsUnavailable):
            return False
        self._documents[archive_id] = document
        return True

    @property
    def beat_seconds(self) -> float:
        """How often `beat` is to be called."""
        return BEAT_SECONDS

    async def release(self, archive_id: str) -> None:
        """Let another instance go on with an unfinished archive at once."""
        document = self._documents.get(archive_id)
        if document is None or document.body["state"] != State.BUILDING or document.body["released"]:
            return
        document.body["released"] = True
        try:
            await self._write(archive_id)
        except TakenOver:
            return

    async def beat(self, wanted: Collection[str]) -> None:
        """Say of the archives that are `wanted` here that their builder lives, and make up for failed writes."""
        for archive_id, document in list(self._documents.items()):
            is_building = document.body["state"] == State.BUILDING
            try:
                if is_building and archive_id in wanted:
                    document.body["beat"] += 1
                    await self._write(archive_id)
                elif document.is_dirty:
                    await self._write(archive_id)
                elif is_building:
                    await self.release(archive_id)
            except TakenOver:
                continue  # the builder finds out at its next member
            if not is_building and not document.is_dirty:
                self._documents.pop(archive_id, None)

    def _ours(self, archive_id: str) -> _Document:
        """Raises `TakenOver`, also when a beat was what met the other builder."""
        document = self._documents.get(archive_id)
        if document is None:
            raise TakenOver
        return document

    async def _write(self, archive_id: str) -> None:
        document = self._ours(archive_id)
        async with document.writing:
            try:
                document.tag = await self._put(archive_id, document)
                document.is_dirty = False
            except ObjectsUnavailable as error:
                document.is_dirty = True
                log.warning("shared storage unavailable", action="write archive", error=str(error))

    async def _put(self, archive_id: str, document: _Document) -> str:
        body = _encode(document.body)
        try:
            if document.tag is None:
                return await self._objects.create(_name(archive_id), body)
            return await self._objects.replace(_name(archive_id), body, document.tag)
        except ObjectChanged:
            # An earlier write of ours may have been taken although its answer was lost.
            found = await self._read(archive_id)
            if found is None or found[0]["owner"] != self._owner:
                self._documents.pop(archive_id, None)
                raise TakenOver from None
            try:
                return await self._objects.replace(_name(archive_id), body, found[1])
            except ObjectChanged:
                self._documents.pop(archive_id, None)
                raise TakenOver from None

    async def _point(self, name: str, pointer: bytes, *, newest_wins: bool = False) -> None:
        try:
            if newest_wins:
                await self._objects.overwrite(name, pointer)
                return
            found = await self._objects.get(name)
            if found is None:
                await self._objects.create(name, pointer)
            elif json.loads(found[0])["settled"] < time.time() - self._ttl:
                await self._objects.replace(name, pointer, found[1])
        except ObjectChanged:
            return  # another builder was first
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="publish archive", error=str(error))

    async def _follow_pointer(self, name: str) -> Record | None:
        try:
            found = await self._objects.get(name)
        except ObjectsUnavailable:
            return None
        record = await self.load(json.loads(found[0])["id"]) if found else None
        return record if record is not None and record.state == State.COMPLETE else None

    async def _read(self, archive_id: str) -> tuple[dict[str, Any], str] | None:
        try:
            found = await self._objects.get(_name(archive_id))
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="read archive", error=str(error))
            return None
        return (json.loads(found[0]), found[1]) if found else None


def _record(body: dict[str, Any]) -> Record:
    results: list[ImageResult] = [decode_result(line) for line in body["results"]]
    return Record(
        body["id"],
        body["state"],
        body["layout"],
        Plan.model_validate(body["plan"]),
        tuple(results),
        body["comment"],
        body["created"],
        body["settled"],
        tuple(decode_member(line) for line in body["members"]),
    )


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _name(archive_id: str) -> str:
    return f"archives/{archive_id}"


def _kept(archive_id: str) -> str:
    return f"kept/{archive_id}"


def _key(key: str) -> str:
    return f"keys/{key}"


def _options(options_key: str) -> str:
    return f"families/{options_key}"
