"""Want of room is one error, whoever meets it; no other error is taken for it."""

import errno
import sqlite3

import pytest

from service.disk import OutOfSpace, room_needed


def of_sqlite(name: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorname, error.sqlite_errorcode = name, getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        of_sqlite("SQLITE_FULL"),
        of_sqlite("SQLITE_IOERR_SHMSIZE"),
    ],
    ids=str,
)
def test_want_of_room_is_told_as_that(error: Exception) -> None:
    """Of the disk, of a quota, of what one file may hold, and of the database."""
    with pytest.raises(OutOfSpace), room_needed():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        of_sqlite("SQLITE_BUSY"),
        of_sqlite("SQLITE_IOERR"),
        sqlite3.OperationalError("Python's own"),
        KeyError("another"),
    ],
    ids=str,
)
def test_every_other_error_passes_as_it_is(error: Exception) -> None:
    """More room would not help."""
    with pytest.raises(type(error)) as passed, room_needed():
        raise error

    assert passed.value is error
