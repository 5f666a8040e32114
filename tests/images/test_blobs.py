"""Files that are being filled, and files as they are found again."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import xxhash
from blake3 import blake3

from service.images.blobs import Blob, BlobWriter, content_of, is_intact, stamp, write_all
from tests.support.images import MIB
from tests.support.samples import jpeg


def blob_of(data: bytes) -> Blob:
    content = content_of(data)
    return Blob(content.digest, content.size, content.crc, "jpg")


@pytest.fixture
def writer(tmp_path: Path) -> BlobWriter:
    """An empty one."""
    return BlobWriter(tmp_path / "file")


def test_checksums_are_those_of_the_bytes(writer: BlobWriter) -> None:
    """However they were cut into chunks; BLAKE3 names them."""
    data = jpeg(size=3_000)
    writer.append([data[:1], data[1:1_000]])
    writer.append([data[1_000:]])

    assert writer.content() == content_of(data)
    assert writer.content().digest == blake3(data).hexdigest()
    assert (writer.path.read_bytes(), writer.size) == (data, 3_000)


@pytest.mark.parametrize("taken", [1, 7, 999, 5_000])
def test_a_short_write_is_continued(writer: BlobWriter, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """Given a system that takes fewer bytes than it is given, none is lost and none is doubled."""
    really_write = os.write

    def writev(file: int, chunks: Sequence[bytes]) -> int:
        return really_write(file, b"".join(chunks)[:taken])

    def write(file: int, data: bytes | memoryview) -> int:
        return really_write(file, bytes(data)[:taken])

    monkeypatch.setattr(os, "writev", writev)
    monkeypatch.setattr(os, "write", write)
    data = jpeg(size=2_500)

    writer.append([data[:10], data[10:1_200], data[1_200:]])

    assert writer.path.read_bytes() == data
    assert writer.content() == content_of(data)


def test_a_body_that_starts_anew_holds_the_new_bytes_only(writer: BlobWriter) -> None:
    """Also when they are fewer; checksums begin anew too."""
    writer.append([jpeg(1, size=5_000)])
    writer.restart()
    assert writer.size == 0

    writer.append([jpeg(2, size=3_000)])

    assert writer.path.read_bytes() == jpeg(2, size=3_000)
    assert writer.content() == content_of(jpeg(2, size=3_000))


def test_the_end_is_looked_for_in_the_file(writer: BlobWriter) -> None:
    """A cut one is told from a whole one."""
    writer.append([jpeg(size=3_000)[:-2]])
    cut = writer.is_whole("jpg")
    writer.append([b"\xff\xd9"])

    assert (cut, writer.is_whole("jpg")) == (False, True)


def test_nothing_is_left_of_what_is_discarded(writer: BlobWriter) -> None:
    """Neither the file nor its descriptor; twice is once."""
    writer.append([b"x"])
    file = writer._file
    assert file is not None

    writer.discard()
    writer.discard()

    assert not writer.path.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_a_file_is_its_owners_and_its_groups(writer: BlobWriter) -> None:
    """Nobody else reads what was bought."""
    writer.append([b"x"])

    assert writer.path.stat().st_mode & 0o777 & ~0o640 == 0


class TestIntact:
    @pytest.mark.parametrize("change", [b"", b"x", b"\0"])
    def test_only_equal_content_is(self, tmp_path: Path, change: bytes) -> None:
        """A byte that differs, of which neither size nor time tells, is found."""
        data = jpeg(size=2 * MIB + 5)
        path = tmp_path / "blob"
        path.write_bytes(data[: -len(change)] + change if change else data)

        assert is_intact(path, blob_of(data)) is (not change)

    def test_a_file_that_is_not_there_is_not(self, tmp_path: Path) -> None:
        """It is lost."""
        assert not is_intact(tmp_path / "blob", blob_of(b"x"))

    def test_version_0s_names_are_checked_by_its_hash(self, tmp_path: Path) -> None:
        """128 bits of xxh3."""
        path = tmp_path / "blob"
        path.write_bytes(b"photo")
        name = xxhash.xxh3_128_hexdigest(b"photo")

        assert is_intact(path, Blob(name, 5, 0, "jpg"))
        assert not is_intact(path, Blob(xxhash.xxh3_128_hexdigest(b"other"), 5, 0, "jpg"))

    def test_what_cannot_be_read_just_now_says_so(self, tmp_path: Path) -> None:
        """A folder stands in for a file that gives an I/O error."""
        with pytest.raises(IsADirectoryError):
            is_intact(tmp_path, blob_of(b"x"))


def test_a_stamp_is_size_and_time(tmp_path: Path) -> None:
    """Of a file that is there."""
    path = tmp_path / "file"
    path.write_bytes(b"four")
    os.utime(path, ns=(1, 12_345))

    assert stamp(path) == (4, 12_345)
    assert stamp(tmp_path / "other") is None


def test_checksums_of_nothing() -> None:
    """An empty blob has some too."""
    content = content_of(b"")

    assert (content.size, content.crc, content.digest) == (0, 0, blake3(b"").hexdigest())
    assert content_of(b"123456789").crc == 0xCBF43926


def test_write_all_takes_no_chunks(tmp_path: Path) -> None:
    """Nothing to write is written."""
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write_all(file, [b"", b""])
    os.close(file)

    assert (tmp_path / "file").read_bytes() == b""
