"""The one error for want of room, whoever meets it: a file, or the database."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# The second is what SQLite makes of a disk on which the index of its log cannot grow.
_DATABASE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


class OutOfSpace(Exception):
    """The disk, or the budget, has no room left."""


@contextmanager
def room_needed() -> Iterator[None]:
    """Within the block an error for want of room is `OutOfSpace`; every other one passes as it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutOfSpace(error.strerror) from error
        raise
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) in _DATABASE_FULL:  # Python's own errors have none
            raise OutOfSpace(error.sqlite_errorname) from error
        raise
