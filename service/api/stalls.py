"""Whether a caller has stopped reading, as the kernel knows it: it counts what the caller's system has taken."""

import asyncio
import socket
import struct

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
# Of Linux's `struct tcp_info`: segments on their way, bytes acknowledged so far, bytes that are still to be sent.
_FIELDS = struct.Struct("=24xI92xQ16xI")


class Progress:
    """How far the bytes of one connection have come. A look costs one system call, the bytes cost nothing."""

    __slots__ = ("_since", "_taken")

    def __init__(self) -> None:
        self._taken = 0
        self._since: float | None = None

    def stalled_seconds(self, transport: asyncio.BaseTransport, now: float) -> float:
        """For how long, at `now` on the loop's clock, there have been bytes to take and none was taken.

        Counted from the first look that saw it. 0 where the system does not tell.
        """
        taken, waiting = _look(transport)
        if not waiting:
            self._since = None
        elif self._since is None or taken != self._taken:
            self._since = now
        self._taken = taken
        return 0.0 if self._since is None else now - self._since


def _look(transport: asyncio.BaseTransport) -> tuple[int, bool]:
    """Bytes that the other side has taken since the connection began, and whether there are more."""
    connection = transport.get_extra_info("socket")
    if _TCP_INFO is None or connection is None:
        return 0, False
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _FIELDS.size)
        unacked, taken, unsent = _FIELDS.unpack(told)
    except (OSError, struct.error):  # closed meanwhile, or an older system that tells less
        return 0, False
    return taken, bool(unacked or unsent)
