"""How long the service waits for a caller: nobody holds a connection by sending slowly, or by reading nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. Uploads have their own (`parts.py`), since they may take long for good reasons."""

    head: float = 15.0
    """From the connection to the end of its first request's head."""
    body: float = 15.0
    """For the whole body of a request that takes a small one."""
    idle: float = 75.0
    """From an answer to the end of the next request's head; longer than nginx keeps its connections (60 s)."""
    send: float = 120.0
    """For a caller who takes nothing of what is sent (`SEND_TIMEOUT`)."""
    unread: float = 5.0
    """For the rest of a body that the answer did not need; then the connection ends."""
