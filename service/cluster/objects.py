"""S3-compatible storage that several instances share: objects by name, written whole, some only if unchanged."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import timedelta
from mmap import mmap
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from service import hosts
from service.cluster.link import Link, Unavailable
from service.telemetry.logs import get_logger
from service.telemetry.metrics import Metrics, Shared

log = get_logger(__name__)

T = TypeVar("T")

# S3 takes parts of at least 5 MiB; with four under way an upload holds about 40 MiB.
_PART = 8 << 20
_PARTS_AT_ONCE = 4
_UPLOADS_AT_ONCE = 4
# One ranged read; each is bounded by the timeout, so a slow storage is noticed however large the object.
_READ = 4 << 20
_PIECE_SECONDS = 15.0
_DOCUMENT_SECONDS, _PAUSE_SECONDS = 1.5, 3.0
_CONNECT_SECONDS = 1
_RETRIES = 2
_PROBE, _NO_PROBE = "probe", "no-probe"
_OTHER_TAG = '"00000000000000000000000000000000"'


class ObjectChanged(Exception):
    """The object is not, or no longer, what it was taken for."""


class _Failed(Exception):
    """The storage cannot be reached, refuses us, or does not answer in time."""


def open_store(url: str) -> ObjectStore:
    """The storage at `s3://bucket/prefix`. Credentials, region and endpoint come from the usual `AWS_*` variables.

    Raises `ValueError` for an address that is none. Connects to nothing yet.
    """
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):  # the library panics at its first call
        if endpoint := os.environ.get(name):
            parts = hosts.split(endpoint)
            if parts is None or parts.scheme not in ("http", "https"):
                raise ValueError(f"{name} must be a URL such as http://minio:9000")
    pause = timedelta(milliseconds=100)
    try:
        return from_url(
            url,
            # To sign all that is sent would cost as much as to send it. What is read is checked by its content.
            config={"unsigned_payload": True},
            client_options={
                "timeout": timedelta(seconds=_PIECE_SECONDS),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "allow_http": True,  # an endpoint without TLS is the operator's own choice
            },
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_PIECE_SECONDS),
                "backoff": {"init_backoff": pause, "max_backoff": pause * 20, "base": 2},
            },
        )
    except BaseError as error:
        raise ValueError(f"cannot be used: {type(error).__name__}") from error


class Objects:
    """Objects under one prefix. Everything raises `Unavailable` when the storage fails, or failed a moment ago."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        self._store = store
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self.link = Link(Shared.S3, metrics, seconds=_DOCUMENT_SECONDS, pause=_PAUSE_SECONDS, failures=(_Failed,))

    async def check(self) -> None:
        """Make sure that the storage lets us do all that sharing needs, and honours conditional writes.

        Without them two builders could mix an archive. Raises `ValueError` when it does not. A storage that is away for
        the moment is given the benefit of the doubt.
        """
        try:
            await self.overwrite(_PROBE, b"probe")
            for condition, mode in (("If-None-Match", "create"), ("If-Match", {"e_tag": _OTHER_TAG})):
                if not await self._refuses(mode):
                    raise ValueError(f"this storage ignores conditional writes ({condition}), which sharing needs")
            await self._take_own_tag()
            # Without the right to list, Amazon refuses to say of an object that there is none.
            await self.get(_NO_PROBE)
            await self.has_any(_NO_PROBE)
        except Unavailable as error:
            match error.__cause__.__cause__ if error.__cause__ else None:
                case PermissionDeniedError() | UnauthenticatedError():
                    raise ValueError(
                        "this storage refuses us: check the credentials, and whether they allow s3:GetObject,"
                        " s3:PutObject and s3:ListBucket"
                    ) from None
                case FileNotFoundError():
                    raise ValueError("there is no such bucket") from None

    async def _refuses(self, mode: object) -> bool:
        try:
            await self._put(_PROBE, b"another", mode)
        except ObjectChanged:
            return True
        return False

    async def _take_own_tag(self) -> None:
        """Raises `ValueError` when the tag that an object is read with is not that by which it may be written."""
        if (found := await self.get(_PROBE)) is not None:
            try:
                await self.write(_PROBE, b"probe", found[1])
            except ObjectChanged:
                if await self.get(_PROBE) == found:  # nor by another instance that starts
                    raise ValueError("this storage, or a proxy before it, changes ETags, which sharing needs") from None

    async def write(self, name: str, body: bytes, tag: str | None = None) -> str:
        """Write an object if it still has this tag (None: if there is none yet); returns the new one.

        Raises `ObjectChanged` if not.
        """
        return await self._put(name, body, "create" if tag is None else {"e_tag": tag})

    async def overwrite(self, name: str, body: bytes) -> str:
        """Write an object, whatever is there; returns its tag."""
        return await self._put(name, body, "overwrite")

    async def upload(self, name: str, content: bytes | mmap | Path, size: int) -> None:
        """Write a file, or bytes, under the name of its content, in parts when it is large.

        It appears whole or not at all. Raises `FileNotFoundError` when there is no such file.
        """

        async def put() -> None:
            try:
                await _with_our_errors(
                    obstore.put_async(self._store, name, content, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)
                )
            except FileNotFoundError as error:
                if isinstance(content, Path) and not await asyncio.to_thread(content.exists):
                    raise
                raise _Failed("no bucket") from error

        async with self._uploads:
            await self.link.call(put, _PIECE_SECONDS * (1 + size / _PART))

    async def is_there(self) -> bool:
        """Whether the storage answers; it is asked only if it did not answer before."""
        if not self.link.is_up:
            with suppress(Unavailable):
                await self.exists(_PROBE)
        return self.link.is_up

    async def get(self, name: str) -> tuple[bytes, str] | None:
        """A small object's bytes and tag; None when there is none."""

        async def read() -> tuple[bytes, str]:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async()), found.meta["e_tag"] or ""

        try:
            return await self.link.call(lambda: _with_our_errors(read()))
        except FileNotFoundError:
            return None

    async def names(self, prefix: str, after: str, limit: int) -> list[str]:
        """The names below `prefix` that come after `after`, in their order, without it; at most `limit`."""

        async def read() -> list[str]:
            found: list[str] = []
            stream = obstore.list(self._store, prefix, offset=f"{prefix}{after}" if after else None)
            async for chunk in stream:
                found += [str(entry["path"]).removeprefix(prefix) for entry in chunk]
                if len(found) >= limit:
                    break
            return sorted(found)[:limit]

        return await self.link.call(lambda: _with_our_errors(read()))

    async def exists(self, name: str) -> bool:
        try:
            await self.link.call(lambda: _with_our_errors(obstore.head_async(self._store, name)))
        except FileNotFoundError:
            return False
        return True

    async def has_any(self, prefix: str) -> bool:
        """Whether there are objects whose names begin so."""
        return await self.link.call(lambda: _with_our_errors(anext(aiter(obstore.list(self._store, prefix)), []))) != []

    async def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`, a few MiB at a time.

        Raises `FileNotFoundError`, and `ObjectChanged` when the object ends before `stop`.
        """

        async def read_piece() -> bytes:
            try:
                piece = await _with_our_errors(obstore.get_range_async(self._store, name, start=start, end=end))
            except _Failed:  # also when it ends before `start`, which the library does not tell apart
                if (await _with_our_errors(obstore.head_async(self._store, name)))["size"] > start:
                    raise
                raise ObjectChanged from None
            if len(piece) != end - start:
                raise ObjectChanged
            return bytes(piece)

        while start < stop:
            end = min(start + _READ, stop)
            yield await self.link.call(read_piece, _PIECE_SECONDS)
            start = end

    async def _put(self, name: str, body: bytes, mode: object) -> str:
        async def put() -> str:
            try:
                call = obstore.put_async(self._store, name, body, mode=mode, use_multipart=False)  # type: ignore[arg-type]  # typed as one of literals
                return (await _with_our_errors(call))["e_tag"] or ""
            except FileNotFoundError as error:
                if isinstance(mode, dict):  # it is no more what it was
                    raise ObjectChanged from error
                raise _Failed("no bucket") from error

        return await self.link.call(put)


async def _with_our_errors(call: Awaitable[T]) -> T:
    """Await a call of the library, and raise our errors for its own. `FileNotFoundError` passes."""
    try:
        return await call
    except (AlreadyExistsError, PreconditionError) as error:
        raise ObjectChanged from error
    except BaseError as error:
        raise _Failed(type(error).__name__) from error
