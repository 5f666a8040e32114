"""Which blobs the store has, and which image is which: its tables. All functions run within a transaction."""

import json
import sqlite3
import time
from collections.abc import Iterable

from service.images.blobs import Blob
from service.images.identity import split_key
from service.images.legacy import KeyWithLegacy
from service.images.requests import ImageRequest

SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, crc INTEGER NOT NULL, extension TEXT NOT NULL,
    -- What the file looked like when its content was last known to be right, and in which boot of the machine:
    -- a file that changed since, or may have lost its last pages to a power cut, is read and checked again.
    mtime_ns INTEGER NOT NULL, boot TEXT NOT NULL, used REAL NOT NULL,
    -- Upstream's own file ends before its format says it should: it is not fetched again.
    is_incomplete INTEGER NOT NULL DEFAULT 0
);
-- The newest generation of each variant of an image.
CREATE TABLE IF NOT EXISTS variants (
    variant TEXT PRIMARY KEY, generation INTEGER NOT NULL, image_id TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS variants_by_digest ON variants (digest);
-- What other instances do not have yet, by content and image key; '' where no key names it. An image is of an order.
CREATE TABLE IF NOT EXISTS unshared (
    digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE, key TEXT NOT NULL, order_id TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (digest, key)
) WITHOUT ROWID;
-- Version 0's index, by keys that are no longer made.
CREATE TABLE IF NOT EXISTS images (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS images_by_digest ON images (digest);
"""

_INSERT_BLOB = (
    "INSERT INTO blobs (digest, size, crc, extension, is_incomplete, mtime_ns, boot, used)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (digest) DO UPDATE SET mtime_ns = excluded.mtime_ns, boot = excluded.boot, used = excluded.used"
)
# A late download of an older generation does not replace a newer one.
_INSERT_VARIANT = (
    "INSERT INTO variants (variant, generation, image_id, digest) VALUES (?, ?, ?, ?) ON CONFLICT (variant)"
    " DO UPDATE SET generation = excluded.generation, digest = excluded.digest"
    " WHERE excluded.generation >= generation"
)
_BLOB = "digest, size, crc, extension, is_incomplete"


def sizes(connection: sqlite3.Connection) -> dict[str, int]:
    """The bytes of every blob, by digest."""
    return dict(connection.execute("SELECT digest, size FROM blobs"))


def has_legacy(connection: sqlite3.Connection) -> bool:
    """Whether images of version 0 are here."""
    return connection.execute("SELECT 1 FROM images LIMIT 1").fetchone() is not None


def is_known(connection: sqlite3.Connection, digest: str) -> bool:
    return connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone() is not None


def insert(
    connection: sqlite3.Connection, blob: Blob, image: ImageRequest | None, stamp: tuple[int, int], boot: str
) -> bool:
    """Note a blob whose file looks as `stamp` says, and the `image` that it is; whether it is new."""
    is_new = not is_known(connection, blob.digest)
    size, mtime_ns = stamp
    row = (blob.digest, size, blob.crc, blob.extension, blob.is_incomplete, mtime_ns, boot, time.time())
    connection.execute(_INSERT_BLOB, row)
    if image is not None:
        connection.execute(_INSERT_VARIANT, (*split_key(image.key), image.image_id, blob.digest))
    return is_new


def find(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, Blob]:
    variants = {split_key(key)[0]: key for key in keys}
    rows = connection.execute(
        f"SELECT variant, generation, {_BLOB} FROM variants JOIN blobs USING (digest)"  # noqa: S608  # our own columns
        " WHERE variant IN (SELECT value FROM json_each(?))",
        [json.dumps(list(variants))],
    )
    found = {
        variants[variant]: Blob(*columns)
        for variant, generation, *columns in rows
        if split_key(variants[variant])[1] == generation
    }
    legacy = {key.legacy: key for key in keys if isinstance(key, KeyWithLegacy) and key not in found}
    if legacy:
        rows = connection.execute(
            f"SELECT key, {_BLOB} FROM images JOIN blobs USING (digest)"  # noqa: S608  # our own columns
            " WHERE key IN (SELECT value FROM json_each(?))",
            [json.dumps(list(legacy))],
        )
        found |= {legacy[old]: Blob(*columns) for old, *columns in rows}
    return found


def stamps(connection: sqlite3.Connection, digests: Iterable[str]) -> list[tuple[str, int, int, str]]:
    """What the files of these blobs were last: digest, size, modification time (ns), and in which boot."""
    return connection.execute(
        "SELECT digest, size, mtime_ns, boot FROM blobs WHERE digest IN (SELECT value FROM json_each(?))",
        [json.dumps(list(digests))],
    ).fetchall()


def restamp(connection: sqlite3.Connection, digest: str, mtime_ns: int, boot: str) -> None:
    """The content of a blob's file was found right as it is now."""
    connection.execute("UPDATE blobs SET mtime_ns = ?, boot = ? WHERE digest = ?", (mtime_ns, boot, digest))


def used(digests: Iterable[str]) -> tuple[str, tuple[float, str]]:
    """The statement, with its values, that notes that these blobs are in use now."""
    statement = "UPDATE blobs SET used = ? WHERE digest IN (SELECT value FROM json_each(?))"
    return statement, (time.time(), json.dumps(list(digests)))


def remove(connection: sqlite3.Connection, digest: str) -> int:
    """Forget a blob, and which images it is; returns its size."""
    row = connection.execute("DELETE FROM blobs WHERE digest = ? RETURNING size", (digest,)).fetchone()
    return row[0] if row else 0
