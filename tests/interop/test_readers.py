"""Our archives in other people's hands: every reader finds every member, byte for byte, and complains of nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import zip_readers as readers
from tests.support import zip_samples as samples
from tests.support.zip_readers import BY_DIRECTORY, BY_STREAM, TO_PIPE, Contents, Reader
from tests.support.zip_samples import Members, Sample, Zeros

SMALL = [samples.plain, samples.folders, samples.orders, samples.non_ascii, samples.nested, samples.empty_members]
LARGE = [samples.over_4_gib_in_one, samples.over_4_gib_in_all]
# Those that go by the directory, at whose end members are counted, and make no files of them: unpacking so many takes
# half a minute. busybox knows no ZIP64.
READERS_OF_MANY = [readers.python_zipfile, readers.java_zip_file, readers.node_yauzl]


@pytest.fixture(scope="module", params=SMALL, ids=lambda members: members.__name__)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return archive_of(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return archive_of(samples.many, tmp_path_factory)


@pytest.fixture(scope="module", params=LARGE, ids=lambda members: members.__name__)
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return archive_of(request.param, tmp_path_factory)


def archive_of(members: Callable[[], Members], folders: pytest.TempPathFactory) -> Sample:
    return samples.write(folders.mktemp("zip") / "order.zip", members(), "An order's images")


@pytest.mark.parametrize("reader", [*BY_DIRECTORY, *BY_STREAM], ids=lambda reader: reader.__name__)
def test_every_reader_finds_every_member(small: Sample, reader: Reader) -> None:
    """Whether it goes by the directory or by the stream, and whatever names and contents look like."""
    assert reader(small.path) == small.digests()


@pytest.mark.timeout(400)  # on a machine that is busy
@pytest.mark.parametrize("reader", READERS_OF_MANY, ids=lambda reader: reader.__name__)
def test_66_000_members_are_all_found(many: Sample, reader: Reader) -> None:
    """More than the classic end record can count."""
    assert reader(many.path) == many.digests()


@pytest.mark.parametrize("reader", TO_PIPE, ids=lambda reader: reader.__name__)
def test_66_000_members_are_all_unpacked(many: Sample, reader: Callable[[Path], Contents]) -> None:
    """By programs that check each CRC as they write the contents into a pipe."""
    names, contents = reader(many.path)

    assert names == list(many.members)
    assert contents == b"".join(data for data in many.members.values() if isinstance(data, bytes))


def test_a_directory_reader_checks_more_than_4_gib(large: Sample) -> None:
    """7-Zip finds every byte and every CRC right, also beyond the classic offset."""
    size = sum(data.size if isinstance(data, Zeros) else len(data) for data in large.members.values())

    said = readers.seven_zip_test(large.path).splitlines()

    assert "Everything is Ok" in said
    assert f"Files: {len(large.members)}" in said
    assert f"Size:       {size}" in said


@pytest.mark.parametrize("large", LARGE[:1], ids=lambda members: members.__name__, indirect=True)
def test_a_stream_reader_gets_past_4_gib(large: Sample) -> None:
    """Java checks each member's CRC and size as they pass, and finds what stands behind the large one."""
    found = readers.java_zip_input_stream(large.path)

    assert list(found) == list(large.members)
    assert found.items() >= large.digests().items()


def test_a_large_member_alone_is_in_zip64(tmp_path: Path) -> None:
    """Small ones beside it keep the classic header that old readers, and Safari on the first one, ask for."""
    sample = samples.write(tmp_path / "order.zip", samples.over_4_gib_in_one())

    with sample.path.open("rb") as file:
        first = file.read(64)

    assert first.startswith(b"PK\x03\x04\x14\x00\x00\x00")  # needs version 2.0, no flags
    assert b"first.jpg" + b"first" + b"PK\x03\x04\x2d\x00" in first  # nothing between; the next needs version 4.5
