"""The tables of the image store: which blobs there are, and which image is which."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from service.images import blob_index
from service.images.blobs import Blob
from service.images.legacy import KeyWithLegacy
from service.images.requests import ImageRequest
from service.upstream.models import Rendition

BLOB = Blob("b" * 64, 100, 7, "jpg")
OTHER = Blob("c" * 64, 200, 8, "png")


def image(key: str) -> ImageRequest:
    return ImageRequest(key, "a", Rendition())


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """To an empty database with these tables."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.executescript(blob_index.SCHEMA)
        yield connection


def test_a_file_that_is_written_anew_looks_as_it_does_now(connection: sqlite3.Connection) -> None:
    """It is known already; it need not be read again to be believed."""
    first = blob_index.insert(connection, BLOB, None, (100, 1), "boot 1")
    again = blob_index.insert(connection, BLOB, None, (100, 2), "boot 2")

    assert (first, again) == (True, False)
    assert blob_index.stamps(connection, [BLOB.digest]) == [(BLOB.digest, 100, 2, "boot 2")]


def test_a_file_that_is_written_anew_is_in_use(connection: sqlite3.Connection) -> None:
    """It is not the first to go when room is needed."""
    blob_index.insert(connection, BLOB, None, (100, 1), "boot")
    connection.execute("UPDATE blobs SET used = 0")

    blob_index.insert(connection, BLOB, None, (100, 1), "boot")

    assert connection.execute("SELECT used > 0 FROM blobs").fetchone() == (1,)


def test_of_a_generation_the_last_download_counts(connection: sqlite3.Connection) -> None:
    """A late one of an older generation counts for nothing."""
    for blob, key in ((BLOB, "a.1"), (OTHER, "a.1"), (BLOB, "a.0")):
        blob_index.insert(connection, blob, image(key), (blob.size, 1), "boot")

    assert blob_index.find(connection, ["a.1"]) == {"a.1": OTHER}
    assert blob_index.find(connection, ["a.0"]) == {}


def test_what_was_found_right_looks_as_it_does_now(connection: sqlite3.Connection) -> None:
    """Until it changes again."""
    blob_index.insert(connection, BLOB, None, (100, 1), "boot 1")

    blob_index.restamp(connection, BLOB.digest, 3, "boot 3")

    assert blob_index.stamps(connection, [BLOB.digest, OTHER.digest]) == [(BLOB.digest, 100, 3, "boot 3")]


def test_an_image_of_version_0_is_found_until_there_is_one_of_today(connection: sqlite3.Connection) -> None:
    """By the key that it had; the newer one is what Autoenhance sends now."""
    key = KeyWithLegacy("a.0", "old")
    blob_index.insert(connection, BLOB, None, (100, 1), "boot")
    connection.execute("INSERT INTO images VALUES ('old', ?)", (BLOB.digest,))
    before = blob_index.find(connection, [key])
    blob_index.insert(connection, OTHER, image(key), (200, 1), "boot")

    assert (before, blob_index.find(connection, [key])) == ({key: BLOB}, {key: OTHER})
    assert blob_index.has_legacy(connection)
    assert blob_index.find(connection, ["a.1"]) == {}


def test_what_is_removed_says_how_much_it_was(connection: sqlite3.Connection) -> None:
    """And nothing names it any more."""
    blob_index.insert(connection, BLOB, image("a.0"), (100, 1), "boot")

    freed = [blob_index.remove(connection, BLOB.digest) for _ in range(2)]

    assert (freed, blob_index.find(connection, ["a.0"]), blob_index.sizes(connection)) == ([100, 0], {}, {})
