"""S3-compatible storage that several instances share: objects by name, written whole, some only if unchanged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from service.telemetry.logs import get_logger

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = get_logger(__name__)

T = TypeVar("T")

# S3 takes parts of at least 5 MiB; with four under way an upload holds about 40 MiB.
_PART = 8 << 20
_PARTS_AT_ONCE = 4
_UPLOADS_AT_ONCE = 4
# One ranged read; each is bounded by the timeout, so a slow storage is noticed however large the object.
_READ = 4 << 20
_SECONDS = 15
_CONNECT_SECONDS = 2
_RETRIES = 2
_PROBE = "probe"
_OTHER_TAG = '"00000000000000000000000000000000"'


class ObjectsUnavailable(Exception):
    """The storage cannot be reached, refuses us, or does not answer in time."""


class ObjectChanged(Exception):
    """The object is not, or no longer, what the writer took it for."""


class Objects:
    """Objects under one prefix. Everything raises `ObjectsUnavailable` when the storage fails."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    @classmethod
    def open(cls, url: str) -> "Objects":
        """The storage at `s3://bucket/prefix`. Credentials, region and endpoint come from the usual `AWS_*` variables.

        Raises `ImportError` without the extra `s3`, `ValueError` for an address that is none. Connects to nothing yet.
        """
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        pause = timedelta(milliseconds=100)
        try:
            store = from_url(
                url,
                client_options={
                    "timeout": timedelta(seconds=_SECONDS),
                    "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                    "allow_http": True,  # an endpoint without TLS is the operator's own choice
                },
                retry_config={
                    "max_retries": _RETRIES,
                    "retry_timeout": timedelta(seconds=_SECONDS),
                    "backoff": {"init_backoff": pause, "max_backoff": pause * 20, "base": 2},
                },
            )
        except BaseError as error:
            raise ValueError(f"cannot be used: {type(error).__name__}") from error
        return cls(store)

    async def check(self) -> None:
        """Make sure that the storage honours conditional writes: without them two builders could mix an archive.

        Raises `ValueError` when it does not. A storage that is away for the moment is given the benefit of the doubt.
        """
        try:
            await self.overwrite(_PROBE, b"probe")
            for condition, mode in (("If-None-Match", "create"), ("If-Match", {"e_tag": _OTHER_TAG})):
                if not await self._refuses(mode):
                    raise ValueError(f"this storage ignores conditional writes ({condition}), which sharing needs")
        except ObjectsUnavailable as error:
            log.warning("shared storage unavailable", action="start", error=str(error))

    async def _refuses(self, mode: object) -> bool:
        try:
            await self._put(_PROBE, b"another", mode)
        except ObjectChanged:
            return True
        return False

    async def create(self, name: str, body: bytes) -> str:
        """Write an object that must not exist yet; returns its tag. Raises `ObjectChanged` when it does."""
        return await self._put(name, body, "create")

    async def replace(self, name: str, body: bytes, tag: str) -> str:
        """Write an object anew if it still has this tag; returns the new one. Raises `ObjectChanged` if not."""
        return await self._put(name, body, {"e_tag": tag})

    async def overwrite(self, name: str, body: bytes) -> str:
        """Write an object, whatever is there; returns its tag."""
        return await self._put(name, body, "overwrite")

    async def upload(self, name: str, path: Path) -> None:
        """Write a file, in parts when it is large. It appears whole or not at all."""
        import obstore

        async with self._uploads:
            await _with_our_errors(
                obstore.put_async(self._store, name, path, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)
            )

    async def get(self, name: str) -> tuple[bytes, str] | None:
        """A small object's bytes and tag; None when there is none."""
        import obstore

        async def read() -> tuple[bytes, str]:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async()), found.meta["e_tag"] or ""

        try:
            return await _with_our_errors(read())
        except FileNotFoundError:
            return None

    async def exists(self, name: str) -> bool:
        """Whether the object is there."""
        import obstore

        try:
            await _with_our_errors(obstore.head_async(self._store, name))
        except FileNotFoundError:
            return False
        return True

    async def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`, a few MiB at a time. Raises `FileNotFoundError`."""
        import obstore

        while start < stop:
            end = min(start + _READ, stop)
            piece = await _with_our_errors(obstore.get_range_async(self._store, name, start=start, end=end))
            if len(piece) != end - start:
                raise ObjectsUnavailable("an object is shorter than it should be")
            yield bytes(piece)
            start = end

    async def _put(self, name: str, body: bytes, mode: object) -> str:
        import obstore

        result = await _with_our_errors(obstore.put_async(self._store, name, body, mode=mode, use_multipart=False))  # type: ignore[arg-type]  # typed as one of literals
        return result["e_tag"] or ""


async def _with_our_errors(call: Awaitable[T]) -> T:
    """Await a call of the library, and raise our errors for its own. `FileNotFoundError` passes."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        return await call
    except (AlreadyExistsError, PreconditionError) as error:
        raise ObjectChanged from error
    except BaseError as error:
        raise ObjectsUnavailable(type(error).__name__) from error
