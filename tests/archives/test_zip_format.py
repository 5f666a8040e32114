"""The bytes around the members: whatever is appended, `zipfile` reads it back, and nothing is left to be guessed."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from inspect import signature
from unittest.mock import patch
from zipfile import ZipFile, ZipInfo

import pytest
import zipstream.ng as ng
from hypothesis import given
from hypothesis import strategies as st

from service.archives.zip_format import ZipFormat

NOON = datetime(2026, 5, 4, 12, 30, 58, tzinfo=UTC)
LOCAL_HEADER = struct.Struct("<4sHHHHHLLLHH")
ZIP64_END = b"PK\x06\x06"
DATA_DESCRIPTOR, UTF8_NAME = 1 << 3, 1 << 11


@dataclass(frozen=True)
class Member:
    name: str
    data: bytes
    modified: datetime = NOON


@dataclass(frozen=True)
class LocalHeader:
    version: int
    flags: int
    method: int
    time: tuple[int, int]
    crc: int
    sizes: tuple[int, int]
    name: bytes
    extra: bytes


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
dates = st.datetimes(timezones=zones)
members = st.lists(st.builds(Member, names, st.binary(max_size=300), dates), max_size=8)


def archive_of(members: Sequence[Member], comment: str = "") -> bytes:
    """The whole archive, its length checked against the announced one after every step."""
    zip_format, archive = ZipFormat(), b""
    for member in members:
        header = zip_format.header(
            member.name, size=len(member.data), crc=zlib.crc32(member.data), modified=member.modified
        )
        archive += header + member.data
        assert zip_format._pos == len(archive)
    archive += zip_format.directory(comment)
    assert zip_format._pos == len(archive)
    return archive


def local_header(archive: bytes, info: ZipInfo) -> LocalHeader:
    """What stands before the member's data, read without the directory's help except for where it is."""
    start = info.header_offset
    end = start + LOCAL_HEADER.size
    magic, needs, flags, method, time, date, crc, packed, size, name, extra = LOCAL_HEADER.unpack(archive[start:end])
    assert magic == b"PK\x03\x04"
    rest = archive[end : end + name + extra]
    return LocalHeader(needs, flags, method, (date, time), crc, (packed, size), rest[:name], rest[name:])


@given(members, st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_members_are_read_back(members: list[Member], comment: str) -> None:
    """Names, contents and comment come back in their order from a reader that checks every CRC."""
    archive = archive_of(members, comment)

    with ZipFile(io.BytesIO(archive)) as opened:
        read = [(info.orig_filename, opened.read(info)) for info in opened.infolist()]
        assert opened.testzip() is None

    assert read == [(member.name, member.data) for member in members]
    assert opened.comment == comment.encode()


@given(members)
def test_a_local_header_needs_no_directory(members: list[Member]) -> None:
    """A reader of the stream finds everything before the data: STORED, CRC and sizes, and no data descriptor."""
    archive = archive_of(members)

    with ZipFile(io.BytesIO(archive)) as opened:
        headers = [(info, local_header(archive, info)) for info in opened.infolist()]

    for member, (info, local) in zip(members, headers, strict=True):
        size = len(member.data)
        assert local.method == info.compress_type == 0
        assert local.crc == info.CRC == zlib.crc32(member.data)
        assert local.sizes == (info.compress_size, info.file_size) == (size, size)
        assert local.name == member.name.encode()
        assert local.flags == info.flag_bits
        assert not local.flags & DATA_DESCRIPTOR
        assert bool(local.flags & UTF8_NAME) == (not member.name.isascii())
        assert local.version == info.extract_version == 20
        assert local.extra == info.extra == b""


@given(members)
def test_nothing_stands_between_members(members: list[Member]) -> None:
    """Every byte before the directory is a header or a member's data."""
    archive = archive_of(members)

    with ZipFile(io.BytesIO(archive)) as opened:
        offsets = [info.header_offset for info in opened.infolist()] + [opened.start_dir]

    taken = [LOCAL_HEADER.size + len(member.name.encode()) + len(member.data) for member in members]
    assert offsets == [sum(taken[:count]) for count in range(len(taken) + 1)]


@pytest.mark.parametrize(
    ("modified", "stamp"),
    [
        (NOON, (2026, 5, 4, 12, 30, 58)),
        (datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))), (2025, 12, 31, 23, 0, 0)),
        (datetime(2026, 5, 4, 12, 30, 59, 999_999, tzinfo=UTC), (2026, 5, 4, 12, 30, 58)),
        (datetime(1970, 1, 1, tzinfo=UTC), (1980, 1, 1, 0, 0, 0)),
        (datetime(1980, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=1))), (1980, 1, 1, 0, 0, 0)),
        (datetime(2200, 1, 1, tzinfo=UTC), (2107, 12, 31, 23, 59, 58)),
        (datetime(2107, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), (2107, 12, 31, 23, 59, 58)),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), (1980, 1, 1, 0, 0, 0)),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), (2107, 12, 31, 23, 59, 58)),
    ],
)
def test_dates_are_in_utc_and_within_the_formats_range(modified: datetime, stamp: tuple[int, ...]) -> None:
    """So equal members give equal bytes wherever the service runs, and a far date is no error."""
    archive = archive_of([Member("a.jpg", b"a", modified)])

    with ZipFile(io.BytesIO(archive)) as opened:
        (info,) = opened.infolist()

    assert info.date_time == stamp
    year, month, day, hour, minute, second = stamp
    assert local_header(archive, info).time == (
        (year - 1980) << 9 | month << 5 | day,
        hour << 11 | minute << 5 | second // 2,
    )


def test_members_are_ordinary_files() -> None:
    """Unpacked on Unix, an image can be read by everyone and written by its owner."""
    with ZipFile(io.BytesIO(archive_of([Member("a.jpg", b"a")]))) as opened:
        (info,) = opened.infolist()

    assert info.external_attr >> 16 == 0o100644


def test_equal_members_give_equal_bytes() -> None:
    """An archive's id names one byte sequence, so nothing of the moment may enter it."""
    members = [Member("a.jpg", b"one"), Member("é.jpg", b"two", NOON - timedelta(days=1))]

    assert archive_of(members, "from order 1") == archive_of(members, "from order 1")


def test_zip64_only_where_a_size_or_offset_needs_it() -> None:
    """One large member neither changes its neighbours nor the end records of a small archive."""
    small, large = Member("small.jpg", b"s" * 100), Member("large.jpg", b"l" * 101)
    with patch.object(ng, "ZIP64_LIMIT", 100):
        archive = archive_of([small, large, small])

    with ZipFile(io.BytesIO(archive)) as opened:
        first, second, third = opened.infolist()
        read = [opened.read(info) for info in (first, second, third)]
    assert read == [small.data, large.data, small.data]
    assert local_header(archive, first).extra == b""
    assert local_header(archive, second).extra == struct.pack("<HHQQ", 1, 16, 101, 101)
    assert local_header(archive, second).sizes == (0xFFFF_FFFF, 0xFFFF_FFFF)
    assert local_header(archive, second).version == 45
    assert local_header(archive, third).extra == b""
    assert [info.extra for info in (first, second, third)] == [
        b"",
        struct.pack("<HHQQQ", 1, 24, 101, 101, second.header_offset),
        struct.pack("<HHQ", 1, 8, third.header_offset),
    ]
    assert ZIP64_END in archive


@pytest.mark.parametrize(("size", "is_zip64"), [(0xFFFF_FFFE, False), (0xFFFF_FFFF, True), (0x1_0000_0000, True)])
def test_a_member_turns_to_zip64_at_the_formats_own_limit(size: int, is_zip64: bool) -> None:
    """Not at half of it, where `zipfile` does: readers without ZIP64 get all that the classic form can hold."""
    zip_format = ZipFormat()

    header = zip_format.header("a.jpg", size=size, crc=0, modified=NOON)
    length = zip_format._pos
    directory = zip_format.directory()

    zip64 = struct.pack("<HHQQ", 1, 16, size, size)
    assert header.endswith(zip64 if is_zip64 else b"a.jpg")
    assert length == len(header) + size
    assert (zip64 in directory) == is_zip64
    assert ZIP64_END in directory  # the directory itself lies beyond the limit in all three


@pytest.mark.parametrize(("count", "is_zip64"), [(65_534, False), (65_535, True), (65_536, True)])
def test_many_members_turn_the_end_record_to_zip64(count: int, is_zip64: bool) -> None:
    """At the limit itself, where lengths predicted elsewhere have been 76 bytes short."""
    zip_format = ZipFormat()
    archive = bytearray()

    for number in range(count):
        archive += zip_format.header(f"{number}.jpg", size=0, crc=0, modified=NOON)
    archive += zip_format.directory()

    assert zip_format._pos == len(archive)
    assert (ZIP64_END in archive) == is_zip64
    assert struct.unpack_from("<HH", archive, len(archive) - 14) == (min(count, 0xFFFF),) * 2
    with ZipFile(io.BytesIO(archive)) as opened:
        assert opened.namelist() == [f"{number}.jpg" for number in range(count)]


def append(zip_format: ZipFormat) -> object:
    return zip_format.header("late.jpg", size=0, crc=0, modified=NOON)


@pytest.mark.parametrize(
    "too_late",
    [append, ZipFormat.directory],
)
def test_the_directory_is_the_end(too_late: Callable[[ZipFormat], object]) -> None:
    """Neither a member nor a second directory can follow it."""
    zip_format = ZipFormat()
    append(zip_format)
    zip_format.directory()
    length = zip_format._pos

    with pytest.raises(RuntimeError):
        too_late(zip_format)

    assert zip_format._pos == length


def test_the_library_is_the_one_that_was_read() -> None:
    """`ZipFormat` stands on private parts of this version: read the new one's source before moving this line."""
    assert version("zipstream-ng") == "1.9.3"


def test_the_librarys_private_parts_are_in_place() -> None:
    """Each part that `ZipFormat` stands on does what it relies on."""
    stream = ng.ZipStream()
    info = ng.ZipStreamInfo("a.jpg", (2026, 5, 4, 12, 30, 58))
    info.header_offset = info.file_size = info.compress_size = info.CRC = 0

    assert stream._pos == 0
    assert stream._filelist == []
    assert stream._track(b"four") == b"four"
    assert stream._pos == 4
    assert list(signature(info.FileHeader).parameters) == ["zip64"]
    assert len(info.FileHeader(zip64=True)) == len(info.FileHeader(zip64=False)) + 20
    stream._filelist.append(info)
    assert b"".join(stream.footer()).startswith(info._central_directory_header_data())


def test_the_librarys_limits_are_read_when_they_are_used() -> None:
    """Ours replaces the library's for sizes and offsets, so it must be looked up at every call."""
    info = ng.ZipStreamInfo("a.jpg", (2026, 5, 4, 12, 30, 58))
    info.file_size = info.compress_size = 2_000
    info.header_offset = info.CRC = 0
    classic = info._central_directory_header_data()

    with patch.object(ng, "ZIP64_LIMIT", 1_000):
        assert len(info._central_directory_header_data()) == len(classic) + 20
    with patch.object(ng, "ZIP_FILECOUNT_LIMIT", 0):
        assert ZIP64_END in b"".join(ng.ZipStream().footer())
    assert ng.ZIP64_LIMIT == 0xFFFF_FFFE
