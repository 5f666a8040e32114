"""Which images instances have shared, in S3: a document or more per order.

index/ORDER_ID/N   by variant of an image: its newest generation, and its blob. Written conditionally, the last one
                   only; once it is full, another one is begun. What comes later is in force.

Many images are named by one write, and found by one read.
"""

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from typing import Any

from service.cluster.link import Unavailable
from service.cluster.objects import ObjectChanged, Objects
from service.images.blobs import Blob
from service.images.identity import split_key

TRUSTED_SECONDS = 1800
"""What was read so long ago says of an image that was not shared meanwhile whether it was before."""
_FULL = 256
# What was read and written last is known of so many entries (about 0.7 kB each), and at least of one order.
_REMEMBERED = 16_384
# What is to be named within so many seconds is written together.
_GATHER_SECONDS = 0.05
_TRIES = 10


@dataclass
class _Part:
    """One document."""

    entries: dict[str, list[Any]]
    """By variant: the generation, then the blob."""
    tag: str | None = None

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= _FULL


@dataclass(frozen=True)
class _Known:
    """The documents of an order."""

    parts: list[_Part]
    read_at: float
    """When they were that at the earliest (of `time.monotonic`)."""

    @property
    def size(self) -> int:
        """In entries; an order without any counts too."""
        return 1 + sum(len(part.entries) for part in self.parts)


_NOTHING = _Known([], -math.inf)


class ImageIndex:
    """Everything raises `Unavailable` when S3 does not answer."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._added: dict[str, dict[str, list[Any]]] = {}
        self._reads = _Rounds(self._read)
        self._writes = _Rounds(self._write, _GATHER_SECONDS)

    async def find(self, order_id: str, key: str, *, is_new: bool) -> Blob | None:
        """The blob that was named by `key`, an image of this order; of an older generation there is none.

        `is_new`: it was not named within twice `TRUSTED_SECONDS`.
        """
        known = self._known.get(order_id, _NOTHING)
        blob = _blob(known.parts, key)
        if blob is not None or (is_new and time.monotonic() - known.read_at < TRUSTED_SECONDS):
            return blob
        return _blob((await self._reads.join(order_id)).parts, key)

    async def add(self, order_id: str, key: str, blob: Blob) -> None:
        """Let `key` name a blob, unless a newer generation is there."""
        variant, generation = split_key(key)
        added = self._added.setdefault(order_id, {})
        if variant not in added or added[variant][0] <= generation:
            added[variant] = [generation, *astuple(blob)]
        await self._writes.join(order_id)

    async def _read(self, order_id: str) -> _Known:
        """The last part and what is behind it: those before do not change any more, until they expire."""
        began, known = time.monotonic(), self._known.get(order_id, _NOTHING)
        parts = list(known.parts) if began - known.read_at < TRUSTED_SECONDS else []
        at = max(len(parts) - 1, 0)
        found = await self._objects.get(_name(order_id, at))
        if found is None and at:  # the storage has lost it
            at = 0
            found = await self._objects.get(_name(order_id, at))
        del parts[at:]
        while found is not None:
            parts.append(_Part(json.loads(found[0]), found[1]))
            found = await self._objects.get(_name(order_id, len(parts))) if parts[-1].is_full else None
        return self._remember(order_id, _Known(parts, began))

    async def _write(self, order_id: str) -> _Known:
        added = self._added.pop(order_id)
        known = self._known.get(order_id)
        for _ in range(_TRIES):
            known = known or await self._read(order_id)
            parts = known.parts
            newer = {
                variant: entry
                for variant, entry in added.items()
                if (newest := _newest(parts, variant)) is None or newest[0] <= entry[0]
            }
            if not newer:
                return known
            last = parts[-1] if parts and not parts[-1].is_full else _Part({})
            before = parts[:-1] if parts and last is parts[-1] else parts
            entries, name = last.entries | newer, _name(order_id, len(before))
            body = json.dumps(entries, separators=(",", ":")).encode()
            try:
                tag = await self._objects.write(name, body, last.tag)
            except ObjectChanged:
                known = None
            else:
                return self._remember(order_id, _Known([*before, _Part(entries, tag)], known.read_at))
        raise Unavailable(order_id)

    def _remember(self, order_id: str, known: _Known) -> _Known:
        self._known[order_id] = known
        self._known.move_to_end(order_id)
        while len(self._known) > 1 and sum(one.size for one in self._known.values()) > _REMEMBERED:
            self._known.popitem(last=False)
        return known


class _Rounds:
    """`work` by key, one after another: whoever asks while it runs shares the next round with all others who do."""

    def __init__(self, work: Callable[[str], Awaitable[_Known]], pause: float = 0.0) -> None:
        self._work = work
        self._pause = pause
        self._next: dict[str, asyncio.Task[_Known]] = {}
        self._now: dict[str, asyncio.Task[_Known]] = {}

    async def join(self, key: str) -> _Known:
        """What a round comes to that begins after this."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._run(key, self._now.get(key)), name=f"round {key}")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, whoever has left
        return await asyncio.shield(task)

    async def _run(self, key: str, before: asyncio.Task[_Known] | None) -> _Known:
        await asyncio.sleep(self._pause)
        if before is not None:
            await asyncio.wait([before])
        self._now[key] = self._next.pop(key)
        try:
            return await self._work(key)
        finally:
            del self._now[key]


def _newest(parts: list[_Part], variant: str) -> list[Any] | None:
    found = [part.entries[variant] for part in reversed(parts) if variant in part.entries]
    return max(found, key=lambda entry: int(entry[0]), default=None)


def _blob(parts: list[_Part], key: str) -> Blob | None:
    variant, generation = split_key(key)
    newest = _newest(parts, variant)
    return Blob(*newest[1:]) if newest is not None and newest[0] == generation else None


def _name(order_id: str, part: int) -> str:
    return f"index/{order_id}/{part}"
