"""Which format a file has, and whether it is whole: judged on what real encoders write, cut wherever a cut can be."""

import io
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from service.upstream import formats
from service.upstream.formats import FORMAT_EXTENSIONS, SIGNATURE_BYTES, Data, extension, is_whole


def picture(seed: int = 0) -> Image.Image:
    """A small picture with some detail."""
    noise = Image.effect_noise((96, 64), 60 + seed).convert("L")
    return Image.merge(
        "RGB", (noise, Image.linear_gradient("L").resize((96, 64)), noise.transpose(Image.Transpose.ROTATE_180))
    )


def encode(name: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, name, **options)
    return buffer.getvalue()


def exif_with_thumbnail() -> bytes:
    """EXIF with a whole JPEG inside, as every camera writes it."""
    thumbnail = encode("JPEG", picture().resize((32, 24)))
    tags = Image.Exif()
    tags[271] = "Camera"
    return tags.tobytes() + thumbnail


MORE: dict[str, Any] = {"save_all": True, "append_images": [picture(1), picture(2)]}
REAL: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("jpg", lambda: encode("JPEG")),
    "jpeg progressive": ("jpg", lambda: encode("JPEG", progressive=True)),
    "jpeg restarts": ("jpg", lambda: encode("JPEG", restart_marker_blocks=1)),
    "jpeg grey": ("jpg", lambda: encode("JPEG", picture().convert("L"))),
    "jpeg cmyk": ("jpg", lambda: encode("JPEG", picture().convert("CMYK"))),
    "jpeg thumbnail": ("jpg", lambda: encode("JPEG", exif=exif_with_thumbnail())),
    "jpeg profile": ("jpg", lambda: encode("JPEG", icc_profile=b"\xff\xd9" * 40_000)),
    "jpeg comment": ("jpg", lambda: encode("JPEG", comment=b"\xff\xda\xff\xd9")),
    "png": ("png", lambda: encode("PNG")),
    "png palette": ("png", lambda: encode("PNG", picture().convert("P"))),
    "png animated": ("png", lambda: encode("PNG", **MORE)),
    "png profile": ("png", lambda: encode("PNG", icc_profile=b"IDAT" * 500, exif=b"IEND" * 10)),
    "webp": ("webp", lambda: encode("WEBP")),
    "webp lossless": ("webp", lambda: encode("WEBP", lossless=True)),
    "webp animated": ("webp", lambda: encode("WEBP", **MORE)),
    "webp profile": ("webp", lambda: encode("WEBP", icc_profile=b"profile", exif=b"Exif\0\0odd")),
    "avif": ("avif", lambda: encode("AVIF", speed=10)),
    "avif alpha": ("avif", lambda: encode("AVIF", picture().convert("RGBA"), speed=10)),
    "avif animated": ("avif", lambda: encode("AVIF", speed=10, **MORE)),
    "avif exif": ("avif", lambda: encode("AVIF", speed=10, exif=exif_with_thumbnail())),
}  # fmt: skip


def box(kind: bytes, content: bytes = b"", *, size: int | None = None) -> bytes:
    return (8 + len(content) if size is None else size).to_bytes(4) + kind + content


def long_box(kind: bytes, content: bytes) -> bytes:
    """With its size in 64 bits."""
    return (1).to_bytes(4) + kind + (16 + len(content)).to_bytes(8) + content


def file_type(major: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", major + bytes(4) + b"".join(compatible))


def location(version: int, items: Sequence[tuple[int, int, Sequence[tuple[int, int]]]]) -> bytes:
    """An item location box of (method, base, extents)."""
    wide = 2 if version < 2 else 4
    content = bytes([version, 0, 0, 0, 0x44, 0x40]) + len(items).to_bytes(wide)
    for number, (method, base, extents) in enumerate(items, 1):
        content += number.to_bytes(wide) + (method.to_bytes(2) if version else b"") + bytes(2) + base.to_bytes(4)
        content += len(extents).to_bytes(2) + b"".join(at.to_bytes(4) + size.to_bytes(4) for at, size in extents)
    return box(b"iloc", content)


def heic(version: int = 1, *, media_first: bool = False, long: bool = False) -> bytes:
    """Two tiles in the media box, one of them in two pieces, and one item within the metadata."""
    kind, media = file_type(b"heic", b"mif1", b"heic"), bytes(range(200))
    inside = box(b"idat", b"overlay")

    def meta(offset: int) -> bytes:
        items = [(0, offset, [(0, 100)]), (0, offset, [(100, 60), (160, 40)])]
        items += [(1, 0, [(0, 7)])] if version else []
        return box(b"meta", bytes(4) + box(b"hdlr", bytes(12)) + location(version, items) + inside)

    held = (long_box if long else box)(b"mdat", media)
    header = len(held) - len(media)
    if media_first:
        return kind + held + meta(len(kind) + header)
    return kind + meta(len(kind) + len(meta(0)) + header) + held


NUMBERED = box(b"iloc", b"\1\0\0\0\x44\x44" + b"\0\1" * 2 + bytes(8) + b"\0\1" + b"\xff" * 4 + bytes(7) + b"\x09")
WITHOUT_NUMBERS = location(0, [(0, 0, [(0, 9)])]).replace(b"\x44\x40", b"\x44\x44", 1)
ELSEWHERE = box(b"iloc", b"\1\0\0\0\x44\x40" + b"\0\1" * 2 + bytes(2) + b"\0\1" + bytes(4) + b"\0\1" + b"\x09" * 8)
JXL_START = b"\x00\x00\x00\x0cJXL \r\n\x87\n" + file_type(b"jxl ", b"jxl ")
BUILT: dict[str, tuple[str, Callable[[], bytes]]] = {
    "heic 0": ("heic", lambda: heic(0)),
    "heic 1": ("heic", lambda: heic(1)),
    "heic 2": ("heic", lambda: heic(2)),
    "heic 64 bits": ("heic", lambda: heic(long=True)),
    "heic media first": ("heic", lambda: heic(media_first=True)),
    "heic sequence": ("heic", lambda: file_type(b"hevc", b"msf1") + box(b"moov", bytes(40)) + box(b"mdat", bytes(99))),
    "jxl": ("jxl", lambda: JXL_START + box(b"jxlc", bytes(300))),
    "jxl parts": ("jxl", lambda: JXL_START + box(b"jxlp", bytes(90)) + box(b"jxlp", b"\x80\0\0\1" + bytes(90))),
    "jxl metadata": ("jxl", lambda: JXL_START + box(b"Exif", bytes(50)) + box(b"jxlc", bytes(200))),
}
ALL = REAL | BUILT


@pytest.fixture(params=ALL)
def image(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Extension and bytes of each kind of file."""
    known, make = ALL[request.param]
    return known, make()


def test_the_first_bytes_name_the_extension(image: tuple[str, bytes]) -> None:
    """For everything that real encoders write."""
    known, data = image

    assert extension(data[:SIGNATURE_BYTES]) == known


def test_a_whole_image_is_whole(image: tuple[str, bytes]) -> None:
    """In memory, in a view of it, or mapped from a file."""
    known, data = image

    assert is_whole(data, known)
    assert is_whole(memoryview(data), known)


def test_a_cut_image_is_not(image: tuple[str, bytes]) -> None:
    """Down to twelve bytes, at a hundred places all over, and at each of the last sixty-four."""
    known, data = image
    cuts = {12, *range(12, len(data), max(1, len(data) // 100)), *range(len(data) - 64, len(data))}

    passed = [cut for cut in sorted(cuts) if is_whole(data[:cut], known)]

    assert len(cuts) >= 100
    assert passed == []


@pytest.mark.parametrize(
    "behind",
    [
        b"\0",
        b"\0" * 5_000,
        b"\xff" * 100,
        b"\xff\xd9",
        b"text behind the end",
        file_type(b"mp42", b"isom") + box(b"moov", bytes(100)) + box(b"mdat", bytes(1000)),
        b"\xff\xd8\xff\xe0 another, cut",
        bytes(range(256)) * 4,
    ],
    ids=range(8),
)
def test_bytes_behind_the_end_are_no_fault(image: tuple[str, bytes], behind: bytes) -> None:
    """Padding, trailers, and the film of a motion photo."""
    known, data = image

    assert is_whole(data + behind, known)


def test_the_second_picture_of_a_file_is_not_asked_for() -> None:
    """A multi-picture file is whole once its first picture is."""
    data = encode("MPO", save_all=True, append_images=[picture(1)])
    second = data.rindex(b"\xff\xd8\xff")

    assert is_whole(data[: second + 100], "jpg")
    assert not is_whole(data[: second - 2], "jpg")


def test_a_mapped_file_can_be_closed_afterwards(image: tuple[str, bytes], tmp_path: Path) -> None:
    """Nothing holds on to the mapping."""
    known, data = image
    path = tmp_path / "image"
    path.write_bytes(data)

    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert is_whole(mapped, known)
        mapped.close()


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b"\xff\xd8\xff\xe1\x00\x10Exif", "jpg"),
        (b"\xff\xd8\xff\xdb", "jpg"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "webp"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14", "jxl"),
        (b"\xff\x0a\x00\x00", "jxl"),
        (file_type(b"avif"), "avif"),
        (file_type(b"avis", b"msf1"), "avif"),
        (file_type(b"mif1", b"mif1", b"avif", b"miaf"), "avif"),
        (file_type(b"mif1", b"mif1", b"heic"), "heic"),
        (file_type(b"msf1", b"hevc", b"iso8"), "heic"),
        (file_type(b"miaf", b"MA1B", b"avif"), "avif"),
        (file_type(b"heic", b"mif1", b"avif"), "heic"),
        (file_type(b"heix", b"mif1"), "heic"),
        (file_type(b"MiHE", b"mif1", b"heic"), "heic"),
        (file_type(b"mif1", b"miaf"), "heif"),
        (file_type(b"mif1"), "heif"),
        # What is not in the list of brands does not count: here it lies behind the box.
        (file_type(b"mif1") + b"heic", "heif"),
        (b"\x00\x0a\x0d\x0aftypavif\x00\x00\x00\x00", "avif"),
        (file_type(b"isom", b"mp42"), None),
        (file_type(b"qt  "), None),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
        (b"\xff\xd8", None),
        (b"\x89PNG\n\n\x1a\n", None),
        (b"GIF89a", None),
        (b"%PDF-1.7", None),
        (b"<?xml version=", None),
        (b"<!DOCTYPE html>", None),
        (b'{"message": "no"', None),
        (b" \xff\xd8\xff", None),
        (b"", None),
    ],
)
def test_variants_and_strangers(head: bytes, known: str | None) -> None:
    """Every form of a format at the very start; HEIC and AVIF are told apart by their brands, anything else is none."""
    assert extension(head) == known


def test_each_format_that_can_be_ordered_has_its_extension() -> None:
    """And a real file of it is recognised by it."""
    names = {"jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif", "jxl": "jxl"}

    assert {name: ALL[kind][0] for name, kind in names.items()} == FORMAT_EXTENSIONS


@pytest.mark.parametrize(
    ("data", "known"),
    [
        # An end without a picture before it.
        (b"\xff\xd8\xff\xd9", "jpg"),
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", "jpg"),
        (b"\x89PNG\r\n\x1a\n" + box(b"IEND", bytes(4), size=0), "png"),
        (b"RIFF\x04\0\0\0WEBP", "webp"),
        (b"RIFF\x0e\0\0\0WEBPICCP\x02\0\0\0ab", "webp"),
        (file_type(b"avif"), "avif"),
        (file_type(b"avif") + box(b"mdat", bytes(9)), "avif"),
        (JXL_START, "jxl"),
        (JXL_START + box(b"jxlp", bytes(90)), "jxl"),
        # Sizes that lead nowhere.
        (b"RIFF\x00\0\0\0WEBPVP8 \x02\0\0\0ab", "webp"),
        (b"RIFF\x10\0\0\0WEBPVP8 \x05\0\0\0ab\0\0", "webp"),
        (file_type(b"heic") + box(b"meta", bytes(4) + location(1, [(0, 0, [(0, 1_000)])])), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + location(1, [(0, 1_000, [(0, 0)])])), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + location(1, [(0, 0, [(0, 9)])])[:-3]), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + box(b"iloc", b"\1\0\0\0\x44")), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + box(b"iloc", bytes(8), size=99)) + bytes(200), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4)) + b"\0\0\0\1mdat\0\0", "heic"),
        (JXL_START + box(b"jxlc", bytes(9), size=7), "jxl"),
        (JXL_START + b"\0\0\0\1jxlp" + (12).to_bytes(8) + b"jxlc" + bytes(4), "jxl"),
    ],
)
def test_what_is_no_whole_picture_either(data: bytes, known: str) -> None:
    """Ends without a picture, and sizes that lie."""
    assert not is_whole(data, known)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        # Fill bytes before a marker, stray bytes between segments, a marker without a length.
        (b"\xff\xd8\xff\xff\xfe\x00\x02stray\xff\x01\xff\xda\x00\x02ab\xff\x00\xff\xd0\xff\xff\xd9", "jpg"),
        (b"RIFF\x0f\0\0\0WEBPVP8 \x03\0\0\0abc", "webp"),
        (file_type(b"heic") + box(b"meta", bytes(4)) + box(b"mdat", bytes(9), size=0), "heic"),
        # Numbers before the places of extents: in version 0 what says how long they are says nothing.
        (file_type(b"heic") + box(b"meta", bytes(4) + NUMBERED), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + WITHOUT_NUMBERS), "heic"),
        # Of no concern: a place within another box or in another file, and items of 65,535 extents that name nothing.
        (file_type(b"heic") + box(b"meta", bytes(4) + location(1, [(1, 0, [(0, 1_000)])])), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + ELSEWHERE), "heic"),
        (file_type(b"heic") + box(b"meta", bytes(4) + box(b"iloc", bytes(6) + b"\xff" * 500_000)), "heic"),
        (JXL_START + box(b"jxlc", bytes(9), size=0), "jxl"),
        (b"\xff\x0a", "jxl"),
        (b"GIF89a", "gif"),
    ],
)
def test_what_is_odd_and_yet_whole(data: bytes, known: str) -> None:
    """As decoders see it; a format without a rule passes."""
    assert is_whole(data, known)


@pytest.mark.parametrize("behind", [b"", b"\0"], ids=["last", "not last"])
@pytest.mark.parametrize("step", [2, 3, 16, 257])
def test_a_marker_on_the_border_of_two_searches_is_found(
    step: int, behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is searched in steps, unless its last bytes tell all."""
    monkeypatch.setattr(formats, "_SEARCH_BYTES", step)

    for length in range(step, 3 * step):
        data = b"\xff\xd8\xff\xda\x00\x02" + bytes(length) + b"\xff\xd9"
        assert is_whole(data + behind, "jpg")
        assert not is_whole(data[:-1] + behind, "jpg")


STARTS = [
    b"",
    b"\xff\xd8",
    b"\xff\xd8\xff\xda\x00\x02",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x20\0\0\0WEBP",
    file_type(b"avif") + b"\0\0\0\x40meta\0\0\0\0\0\0\0\x30iloc",
    JXL_START,
]


@given(st.sampled_from(STARTS), st.binary(max_size=200), st.sampled_from(["jpg", "png", "webp", "avif", "jxl", "gif"]))
@example(b"\0\0\0\1meta", b"", "avif")
@example(b"\xff\xd8\xff\xe0", b"", "jpg")
def test_no_bytes_make_it_raise(start: bytes, rest: bytes, known: str) -> None:
    """Any body gets an answer, the same from each kind of buffer."""
    kinds: list[Data] = [start + rest, bytearray(start + rest), memoryview(start + rest)]

    assert {is_whole(data, known) for data in kinds} in ({True}, {False})
    assert extension((start + rest)[:SIGNATURE_BYTES]) in {"jpg", "png", "webp", "avif", "heic", "heif", "jxl", None}


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100, "jpg"),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IDAT\0\0\0\0" * 100 + b"\0\0\0\0IEND\xaeB`\x82", "png"),
        (b"RIFF" + (804).to_bytes(4, "little") + b"WEBP" + b"VP8 \0\0\0\0" * 100, "webp"),
        (file_type(b"avif") + b"\0\0\0\x08free" * 100 + box(b"meta", bytes(4)), "avif"),
    ],
    ids=["jpg", "png", "webp", "avif"],
)
def test_endless_parts_are_given_up(data: bytes, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was made to waste time is not whole, and costs no more than its first parts."""
    monkeypatch.setattr(formats, "_MAX_PARTS", 50)

    assert not is_whole(data, known)


@pytest.mark.parametrize(("extension", "name"), [("jpg", "image/jpeg"), ("tif", "image/tiff"), ("heic", "image/heic")])
def test_what_it_is_called_in_http(extension: str, name: str) -> None:
    """As registered with IANA."""
    assert formats.media_type(extension) == name


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"II*\x00\x10\x00", "tif"),
        (b"MM\x00*\x00\x00", "tif"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01", "cr3"),
        (b"FUJIFILMCCD-RAW 0201", "raf"),
        (b"IIU\x00\x18\x00", "rw2"),
        (b"IIRO\x08\x00", "orf"),
        (b"GIF89a", "gif"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b'{"message": "no"}', None),
        (b"<!doctype html>", None),
    ],
)
def test_what_was_uploaded_may_be_what_cameras_write(head: bytes, extension: str | None) -> None:
    """An enhanced image never is, so there it stays unknown."""
    assert formats.original_extension(head) == extension
    assert formats.extension(head) == (extension if extension == "jpg" else None)
