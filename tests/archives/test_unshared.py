"""What other instances do not have yet is not evicted as if they had."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from service.archives import archive_index
from service.archives.eviction import Eviction
from service.archives.registry import Registry
from service.images import blob_index


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Two images that nobody uses; the older one is still to be shared."""
    with closing(sqlite3.connect(":memory:")) as opened:
        for schema in (blob_index.SCHEMA, archive_index.SCHEMA):
            opened.executescript(schema)
        for number, digest in enumerate(("unshared", "shared")):
            opened.execute("INSERT INTO blobs VALUES (?, 10, 0, 'jpg', 0, 'boot', ?, 0)", (digest, number))
        opened.execute("INSERT INTO unshared VALUES ('unshared', 'v.0', 'o')")
        yield opened


@pytest.mark.parametrize(("missing", "chosen"), [(10, ["shared"]), (20, [])])
def test_only_what_is_shared_makes_room(connection: sqlite3.Connection, missing: int, chosen: list[str]) -> None:
    """If that is not enough, nothing goes."""
    assert Eviction(Registry())(missing, limit=0, is_cache=True)(connection) == chosen
