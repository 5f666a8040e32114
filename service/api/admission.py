"""How many connections callers may hold: in all, and from one address. A quiet one makes room for a new one."""

import ipaddress
import resource
import time
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

from service.hosts import address_of
from service.telemetry.logs import get_logger

log = get_logger(__name__)

Network = IPv4Network | IPv6Network

# One household or host usually holds a whole network of this length.
IPV6_PREFIX = 64

_MAX_FILES = 65_536
# For the database, the log, calls upstream and what is being stored.
_OTHER_FILES = 128
_MAX_CONNECTIONS = 16_384
_NOTE_SECONDS = 60.0


class Evictable(Protocol):
    """A connection, as far as this is concerned."""

    def evict(self) -> None:
        """End it, although its caller did nothing wrong."""


def raise_file_limit() -> int:
    """Let this process open as many files as it may, within reason; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_FILES
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def connections_within(files: int) -> int:
    """How many connections so many files allow: each may have an image open besides itself."""
    return max(16, min(_MAX_CONNECTIONS, (files - _OTHER_FILES) // 2))


def peer_group(address: str) -> str:
    """Whose connections count together: those of an address, of IPv6 those of its network."""
    ip = address_of(address)
    if isinstance(ip, IPv6Address):
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return address if ip is None else str(ip)


class Admission:
    """Bounds connections: `limit` in all, a quarter of them from one address unless it is in `trusted`."""

    def __init__(self, limit: int, trusted: Collection[Network] = ()) -> None:
        self._limit = limit
        self._limit_of_one = max(1, limit // 4)
        self._trusted = trusted
        self._counts: dict[str, int] = {}
        # In the sequence in which they became idle. (Dicts, for their order.)
        self._idle: dict[Evictable, str] = {}
        self._idle_of: dict[str, dict[Evictable, None]] = {}
        self._note_after = 0.0
        self.total = 0

    def admit(self, connection: Evictable, address: str) -> bool:
        """Take a new connection, which is idle, in. False when there is no room and none that could make some."""
        group = peer_group(address)
        is_one_too_many = self._counts.get(group, 0) >= self._limit_of_one and not self._is_trusted(address)
        if is_one_too_many or self.total >= self._limit:
            self._note(address)
            if not self._evict_one(self._idle_of.get(group, {}) if is_one_too_many else self._idle):
                return False
        self._counts[group] = self._counts.get(group, 0) + 1
        self.total += 1
        self.idle(connection, address)
        return True

    def make_room(self) -> bool:
        """End the connection that has been idle for longest; False when there is none."""
        return self._evict_one(self._idle)

    def _evict_one(self, idle: Iterable[Evictable]) -> bool:
        victim = next(iter(idle), None)
        if victim is None:
            return False
        self.leave(victim, self._idle[victim])
        victim.evict()
        return True

    def idle(self, connection: Evictable, address: str) -> None:
        """It waits for a request."""
        group = peer_group(address)
        self._idle[connection] = address
        self._idle_of.setdefault(group, {})[connection] = None

    def busy(self, connection: Evictable, address: str) -> None:
        """A request of it is being answered."""
        if self._idle.pop(connection, None) is None:
            return
        group = peer_group(address)
        idle = self._idle_of[group]
        del idle[connection]
        if not idle:
            del self._idle_of[group]

    def leave(self, connection: Evictable, address: str) -> None:
        """It has ended. Call once for each that was admitted."""
        self.busy(connection, address)
        group = peer_group(address)
        self.total -= 1
        self._counts[group] -= 1
        if not self._counts[group]:
            del self._counts[group]

    def _is_trusted(self, address: str) -> bool:
        ip = address_of(address)
        return ip is not None and any(ip in network for network in self._trusted)

    def _note(self, address: str) -> None:
        """One line a minute, however many come."""
        now = time.monotonic()
        if now >= self._note_after:
            self._note_after = now + _NOTE_SECONDS
            log.warning("too many connections: idle ones are closed", address=address, connections=self.total)
