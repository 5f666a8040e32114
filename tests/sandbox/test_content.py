"""Synthetic images: whoever looks only at a format's start and end takes them for whole, and cut ones for cut."""

import pytest

from service.sandbox.content import BLOCK, PERIOD, SyntheticBody

SIZES = [100, 2_000, BLOCK + 1, PERIOD + 100_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_jpeg_ends_where_its_scan_ends(size: int) -> None:
    """No marker between start of scan and end of image: a cut one has no end."""
    body = SyntheticBody("seed", size, "jpeg").whole()

    scan = body.index(bytes.fromhex("ffda"))
    assert body.startswith(bytes.fromhex("ffd8"))
    assert body.index(b"\xff", scan + 1) == size - 2
    assert body.endswith(bytes.fromhex("ffd9"))


@pytest.mark.parametrize("size", SIZES)
def test_a_png_is_a_list_of_chunks(size: int) -> None:
    """Their lengths lead from one to the next, and IEND is the last."""
    body = SyntheticBody("seed", size, "png").whole()

    names, at = [], 8
    while at < len(body):
        names.append(body[at + 4 : at + 8])
        at += 12 + int.from_bytes(body[at : at + 4], "big")

    assert (names, at) == ([b"IHDR", b"IDAT", b"IEND"], size)


@pytest.mark.parametrize("size", SIZES)
def test_a_webp_tells_its_length(size: int) -> None:
    """In the RIFF header, and in its one chunk's."""
    body = SyntheticBody("seed", size, "webp").whole()

    assert len(body) == size == int.from_bytes(body[4:8], "little") + 8
    assert int.from_bytes(body[16:20], "little") + 20 == size


@pytest.mark.parametrize("size", SIZES)
def test_an_avif_is_a_list_of_boxes(size: int) -> None:
    """Their sizes lead from one to the next and end with the file."""
    body = SyntheticBody("seed", size, "avif").whole()

    names, at = [], 0
    while at < len(body):
        names.append(body[at + 4 : at + 8])
        at += int.from_bytes(body[at : at + 4], "big")

    assert (names, at) == ([b"ftyp", b"meta", b"mdat"], size)


@pytest.mark.parametrize("size", [1, 2, 13, 14, 60, 1000])
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "avif", "jxl"])
async def test_every_part_is_a_slice_of_the_whole(size: int, image_format: str) -> None:
    """Of the announced size, wherever a reader begins and stops."""
    body = SyntheticBody("seed", size, image_format)
    whole = body.whole()

    assert len(whole) == size
    for start in range(0, size, max(1, size // 20)):
        for stop in (start + 1, (start + size + 1) // 2, size):
            assert b"".join([bytes(piece) async for piece in body.blocks(start, stop)]) == whole[start:stop]


def test_a_length_beyond_four_bytes_is_no_error() -> None:
    """Tests of very large archives ask for such images; nobody reads all of one."""
    for image_format in ("jpeg", "png", "webp", "avif"):
        assert SyntheticBody("seed", 5 << 30, image_format).size == 5 << 30
