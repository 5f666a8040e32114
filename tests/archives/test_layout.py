"""Where every byte of an archive comes from."""

import pytest

from service.archives.layout import BlobSlice, Layout, Member
from service.images.blobs import Blob
from tests.support.plans import MOMENT

SIZES = (5, 0, 3)


@pytest.fixture
def layout() -> Layout:
    """Of three images, one of which is empty, and the directory."""
    layout = Layout()
    for number, size in enumerate(SIZES):
        layout.append(Member(f"{number}.jpg", Blob(f"{number}" * 64, size, 7, "jpg"), MOMENT, f"{number}"))
    layout.close("a comment")
    return layout


def images_within(layout: Layout, start: int, stop: int) -> bytes:
    """These bytes, with the number of its image in place of each of an image's."""
    found = b""
    for piece in layout.slices(start, stop):
        if isinstance(piece, BlobSlice):
            assert 0 <= piece.offset < piece.offset + piece.count <= piece.blob.size
            found += piece.blob.digest[:1].encode() * piece.count
        else:
            assert piece
            found += piece
    return found


def test_any_part_is_a_part_of_the_whole(layout: Layout) -> None:
    """Wherever it begins and ends, and nothing in it is empty: to some that would be the end."""
    whole = images_within(layout, 0, layout.length)
    ends = range(layout.length + 1)

    assert (len(whole), images_within(layout, 0, layout.length + 10)) == (layout.length, whole)
    assert all(images_within(layout, start, stop) == whole[start:stop] for start in ends[::7] for stop in ends[::3])


@pytest.mark.parametrize(
    ("name", "folder"), [("a.jpg", ""), ("web/a.jpg", "web"), ("12 Lane/web/a.jpg", "12 Lane/web")]
)
def test_an_entry_is_an_image_in_a_folder(name: str, folder: str) -> None:
    """Of an order's folder, and of a rendition's below it."""
    assert Member(name, Blob("a" * 64, 1, 7, "jpg"), MOMENT, "a").entry == ("a", folder)
