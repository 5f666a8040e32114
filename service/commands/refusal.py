"""Why a command does not start: one line for each reason."""

import errno
import socket
import sys


def refuse(reason: object, *, code: int = 1) -> int:
    """Print the reason to standard error; returns the exit code."""
    for line in str(reason).splitlines():
        print(f"autoenhance-batch: {line}", file=sys.stderr)
    return code


def why_not_listening(error: BaseException | None, host: str, port: str, remedy: str) -> str | None:
    """Why a port cannot be listened on; None when the error is about something else. `remedy` changes the port."""
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return f"Port {port} of {host} is in use by another program. Stop it, or choose another with {remedy}."
        case PermissionError(filename=None):
            return f"This user may not listen on port {port} of {host}. Choose one above 1023 with {remedy}."
        # From Python 3.13 on asyncio tells of addresses that are another machine's without a number.
        case UnicodeError() | socket.gaierror() | OSError(errno=errno.EADDRNOTAVAIL | None):
            return f"This machine has no address {host}. Use 127.0.0.1, or 0.0.0.0 for all of its addresses."
        case _:
            return None
