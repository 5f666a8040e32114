"""Why a command does not start: one line for each reason, in words."""

import errno
import socket
import sys


def refuse(reason: object, *, code: int = 1) -> int:
    """Say it; returns the exit code."""
    for line in str(reason).splitlines():
        print(f"autoenhance-batch: {line}", file=sys.stderr)
    return code


def why_not_listening(error: OSError, host: str, port: str, remedy: str) -> str | None:
    """What keeps a program from listening; None when the error is about something else. `remedy` changes the port."""
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return f"Port {port} of {host} is in use by another program. Stop it, or choose another with {remedy}."
        case PermissionError(filename=None):
            return f"This user may not listen on port {port} of {host}. Choose one above 1023 with {remedy}."
        case socket.gaierror() | OSError(errno=errno.EADDRNOTAVAIL):
            return f"This machine has no address {host}. Take 127.0.0.1, or 0.0.0.0 for all of its own."
        case _:
            return None
