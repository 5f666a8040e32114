"""Following a ZIP while its bytes arrive, in pieces of any size."""

import itertools
import zlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.archives.zip_format import ZipFormat
from service.commands.zip_progress import ZipProgress

MOMENT = datetime(2026, 3, 2, tzinfo=UTC)


def archive(members: list[tuple[str, bytes]]) -> bytes:
    """The bytes of an archive of ours."""
    zip_format = ZipFormat()
    parts = []
    for name, data in members:
        parts += [zip_format.header(name, size=len(data), crc=zlib.crc32(data), modified=MOMENT), data]
    return b"".join([*parts, zip_format.directory("comment")])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


@given(
    st.lists(st.tuples(st.text("abcäß漢_.", min_size=1, max_size=20), st.binary(max_size=200)), max_size=6),
    st.lists(st.integers(min_value=0), max_size=12),
)
def test_members_are_named_wherever_the_pieces_are_cut(members: list[tuple[str, bytes]], cuts: list[int]) -> None:
    """Every name once and in order; at the end the last member is all here."""
    progress = ZipProgress()

    names = [name for piece in pieces(archive(members), cuts) for name in progress.feed(piece)]

    assert names == [name for name, _ in members]
    assert progress.members == len(members)


@given(st.binary(max_size=400), st.lists(st.integers(min_value=0), max_size=5))
def test_bytes_that_are_no_archive_are_no_crash(data: bytes, cuts: list[int]) -> None:
    """Whatever a wrong address sends."""
    progress = ZipProgress()

    for piece in pieces(data, cuts):
        list(progress.feed(piece))

    assert progress.received >= 0
