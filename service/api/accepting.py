"""Takes callers' connections in: many at once, and also where no file can be opened any more."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from service.api.admission import Admission
from service.telemetry.logs import get_logger

log = get_logger(__name__)

# So many wait in the kernel to be taken; more would have to knock again, a second later.
_QUEUE = 4096
# So many are taken before others have their turn.
_AT_ONCE = 64
# Descriptors kept for connections: without any, nobody would be answered, not even a probe.
_SPARE = 8
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS = 0.02
_NOTE_SECONDS = 60.0


class CannotListen(Exception):
    """The address, or the port, cannot be had; the message says why."""


@asynccontextmanager
async def accepting(
    connect: Callable[[], asyncio.Protocol], host: str, port: int, admission: Admission
) -> AsyncIterator[list[socket.socket]]:
    """Give each connection a protocol that `connect` makes; yields the sockets that are listened on.

    At the end, who waits in the kernel's queue is taken in too. Raises `CannotListen`.
    """
    async with AsyncExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in await _listen(connect, host, port)]
        spare = stack.enter_context(_Spare())
        attaching: set[asyncio.Task[None]] = set()

        async def attach(connections: Sequence[socket.socket]) -> None:
            these = [asyncio.create_task(_attach(connect, connection)) for connection in connections]
            attaching.update(these)
            await asyncio.wait(these)
            attaching.difference_update(these)
            if errors := [error for task in these if (error := task.exception()) is not None]:
                raise errors[0]

        tasks = [asyncio.create_task(_accept(listener, attach, admission, spare)) for listener in listeners]
        try:
            yield listeners
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            rest = [connection for listener in listeners for connection in _close(listener, spare)]
            await asyncio.gather(*attaching, *(_attach(connect, one) for one in rest), return_exceptions=True)


async def _listen(connect: Callable[[], asyncio.Protocol], host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host."""
    try:
        server = await asyncio.get_running_loop().create_server(connect, host, port, start_serving=False)
    except UnicodeError as error:  # no look-up takes the host's name
        raise CannotListen("this can be no host's name") from error
    except OSError as error:
        raise CannotListen(error.strerror or str(error)) from error
    try:
        return [_listening(os.dup(bound.fileno())) for bound in server.sockets]
    finally:
        server.close()


def _listening(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.settimeout(0)
    try:
        listener.listen(_QUEUE)
    except OSError as error:
        listener.close()
        raise CannotListen(error.strerror or str(error)) from error
    return listener


async def _accept(
    listener: socket.socket,
    attach: Callable[[Sequence[socket.socket]], Awaitable[None]],
    admission: Admission,
    spare: "_Spare",
) -> None:
    """Take connections in, for ever."""
    note_after = 0.0
    while True:
        try:
            await _until_readable(listener)
            if taken := _take(listener):
                await attach(taken)
            spare.refill()
        except Exception as error:
            is_full = isinstance(error, OSError) and error.errno in _NO_FILES
            if is_full and spare.close_one():
                continue
            if time.monotonic() >= note_after:
                note_after = time.monotonic() + _NOTE_SECONDS
                log.error("connections cannot be accepted", exc_info=None if is_full else error)  # noqa: TRY400
            if is_full:
                admission.make_room()
            await asyncio.sleep(_PAUSE_SECONDS)


async def _until_readable(listener: socket.socket) -> None:
    """Wait until somebody has connected. (To accept in the same call would lose a connection when it is cancelled.)"""
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(listener)


def _take(listener: socket.socket) -> list[socket.socket]:
    """Connections that wait, as many as are taken at once. Raises `OSError` when none can be."""
    taken: list[socket.socket] = []
    try:
        while len(taken) < _AT_ONCE:
            taken.append(listener.accept()[0])
            taken[-1].settimeout(0)
    except BlockingIOError:
        pass
    except OSError:
        if not taken:
            raise
    return taken


def _close(listener: socket.socket, spare: "_Spare") -> list[socket.socket]:
    """Stop listening; returns the connections that waited in the listener's queue, which would be reset with it."""
    rest: list[socket.socket] = []
    with listener:
        while True:
            try:
                taken = _take(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in _NO_FILES and spare.close_one():
                    continue
                log.error("connections cannot be accepted", exc_info=error)  # noqa: TRY400
                return rest
            if not taken:
                return rest
            rest += taken


async def _attach(connect: Callable[[], asyncio.Protocol], taken: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(connect, taken)
    except BaseException:
        taken.close()
        raise


class _Spare:
    """Descriptors that are given away when there are no others."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self.refill()

    def refill(self) -> None:
        """Take as many as are missing, if they can be had."""
        with suppress(OSError):
            while len(self._kept) < _SPARE:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))

    def close_one(self) -> bool:
        """Close one, if there is one."""
        if self._kept:
            os.close(self._kept.pop())
            return True
        return False

    def __enter__(self) -> "_Spare":
        return self

    def __exit__(self, *_: object) -> None:
        while self.close_one():
            pass
