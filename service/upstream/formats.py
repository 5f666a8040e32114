"""Image formats by their bytes: which one a file is, and whether it has its end."""

import re
from collections.abc import Iterator
from io import BytesIO
from mmap import mmap
from struct import Struct

Data = bytes | bytearray | memoryview | mmap
"""A whole file in memory or mapped into it. Nothing here keeps a hold on it."""

FORMAT_EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif", "jxl": "jxl"}
"""The extension for each value of the API's `format`."""

_MEDIA_SUBTYPES = {"jpg": "jpeg", "tif": "tiff"}  # all others are called as their extension

SIGNATURE_BYTES = 64
"""How much of a file's start `extension` looks at: room for the 12 brands that an ISO file may list."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"), "jxl"),
)

# Brands of ISO/IEC 23008-12 (HEIF). The first group says only how the file is built, not how it is coded.
_STRUCTURAL_BRANDS = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"})
_CODED_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "heic"),
}

# A file of this many parts was made to waste time: a 512 MiB PNG in blocks of 8 KiB has 65,536.
_MAX_PARTS = 1_000_000
# Of a HEIF file's table of items: room for 50,000 tiles.
_MAX_LOCATION_BYTES = 1 << 20

_U16 = Struct(">H")
_U64 = Struct(">Q")
_CHUNK = Struct("<4sI")
_BOX = Struct(">I4s")


def extension(head: bytes) -> str | None:
    """The extension ("jpg", "heic", ...) of the image that begins with `head`; None when it is no image known here.

    `head` is the first `SIGNATURE_BYTES`, or the whole of a shorter file.
    """
    for pattern, known in _SIGNATURES:
        if pattern.match(head):
            return known
    return _heif_extension(head) if head[4:8] == b"ftyp" else None


def media_type(extension: str) -> str:
    """What the bytes of an image with this extension, as the function of that name says it, are called in HTTP."""
    return f"image/{_MEDIA_SUBTYPES.get(extension, extension)}"


# What cameras write. TIFF is what most raw formats are built as: which one it is, is told by the file's name.
_ORIGINAL_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"II\x2a\x00|MM\x00\x2a|II\x2b\x00|MM\x00\x2b"), "tif"),
    (re.compile(rb"....ftypcrx ", re.DOTALL), "cr3"),
    (re.compile(rb"FUJIFILMCCD-RAW"), "raf"),
    (re.compile(rb"II\x55\x00"), "rw2"),
    (re.compile(rb"IIR[OS]|MMOR"), "orf"),
    (re.compile(rb"FOVb"), "x3f"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
)


def original_extension(head: bytes) -> str | None:
    """As `extension`, of what may have been uploaded: also raw files, TIFF, GIF and BMP."""
    return extension(head) or next((known for pattern, known in _ORIGINAL_SIGNATURES if pattern.match(head)), None)


def is_whole(data: Data, extension: str) -> bool:
    """Whether an image has the end that its format prescribes. Bytes behind that end are no fault.

    `extension` is what the function of that name said. True for formats without a rule, bare JPEG XL among them.
    """
    match extension:
        case "jpg":
            return _is_whole_jpeg(data)
        case "png":
            return _is_whole_png(data)
        case "webp":
            return _is_whole_webp(data)
        case "avif" | "heic" | "heif":
            return _is_whole_heif(data)
        case "jxl":
            return data[:2] == b"\xff\x0a" or _is_whole_jxl(data)
        case _:
            return True


def _heif_extension(head: bytes) -> str | None:
    """By the first brand, the major one before the compatible ones, that names a codec; "heif" when none does."""
    major, listed = head[8:12], head[16 : int.from_bytes(head[:4])]
    brands = [major, *(listed[at : at + 4] for at in range(0, len(listed), 4))]
    coded = next((_CODED_BRANDS[brand] for brand in brands if brand in _CODED_BRANDS), None)
    return coded or ("heif" if major in _STRUCTURAL_BRANDS else None)


# JPEG (ITU-T T.81, annex B). In coded data FF is followed by 00, by a restart marker or by a fill byte FF; the same
# search leads over stray bytes between segments, as decoders do.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = frozenset({0x01, 0xD8})


# A search holds every thread: it goes in steps, so that others get their turn in a huge file.
_SEARCH_BYTES = 1 << 20


def _is_whole_jpeg(data: Data) -> bool:
    position, in_scan = 2, False
    for _ in range(_MAX_PARTS):
        found = _next_marker(data, position)
        if found is None:
            return False
        marker, position = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            if in_scan:
                return True
        elif marker not in _WITHOUT_LENGTH:
            if position + 2 > len(data):
                return False
            position += _U16.unpack_from(data, position)[0]
            if marker == _START_OF_SCAN:
                in_scan = True
                # Coded data holds no marker: where it begins before the last two bytes, these are the image's own end.
                # Nearly every file ends so, and is spared the search through all of it.
                if position <= len(data) - 2 and data[len(data) - 2 :] == b"\xff\xd9":
                    return True
    return False


def _next_marker(data: Data, position: int) -> re.Match[bytes] | None:
    while position < len(data) - 1:
        if found := _MARKER.search(data, position, position + _SEARCH_BYTES):
            return found
        position += _SEARCH_BYTES - 1  # a marker has two bytes, and may lie across the border
    return None


def _is_whole_png(data: Data) -> bool:
    position, has_pixels = 8, False
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            return False
        size, kind = _BOX.unpack_from(data, position)
        position += 12 + size
        if kind == b"IEND":
            return has_pixels
        has_pixels = has_pixels or kind == b"IDAT"
    return False


def _is_whole_webp(data: Data) -> bool:
    if len(data) < 12:
        return False
    end = 8 + _CHUNK.unpack_from(data)[1]
    if end > len(data):
        return False
    position, has_pixels = 12, False
    for _ in range(_MAX_PARTS):
        if position + 8 > end:
            # The last chunk's padding may be missing.
            return has_pixels and position - end in (0, 1)
        kind, size = _CHUNK.unpack_from(data, position)
        position += 8 + size + size % 2
        has_pixels = has_pixels or kind in (b"VP8 ", b"VP8L", b"ANMF")
    return False


_HEIF_BOXES = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"styp", b"pdin", b"free", b"skip", b"uuid"}
    | {b"mpvd"}
)
_JXL_BOXES = frozenset(
    {b"JXL ", b"ftyp", b"jxll", b"jxli", b"jxlc", b"jxlp", b"jbrd", b"jhgm", b"Exif", b"xml ", b"jumb", b"brob"}
)


def _is_whole_heif(data: Data) -> bool:
    """The boxes lie within the file, and so does every piece of every item."""
    seen: set[bytes] = set()
    for kind, start, end in _boxes(data, 0, len(data), _HEIF_BOXES):
        if end > len(data):
            return False
        seen.add(kind)
        if kind == b"meta":
            for _, at, stop in _boxes(data, start + 4, end, frozenset({b"iloc"})):
                if stop > end or stop - at > _MAX_LOCATION_BYTES:
                    return False
                if not _items_lie_within(bytes(data[at:stop]), len(data)):
                    return False
    return b"meta" in seen or {b"moov", b"mdat"} <= seen


def _is_whole_jxl(data: Data) -> bool:
    is_ended = False
    for kind, start, end in _boxes(data, 0, len(data), _JXL_BOXES):
        if end > len(data):
            return False
        # Of the parts of a codestream the last one carries this bit.
        is_ended = is_ended or kind == b"jxlc" or (kind == b"jxlp" and end > start and data[start] >= 0x80)
    return is_ended


def _boxes(data: Data, position: int, stop: int, known: frozenset[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box (ISO/IEC 14496-12); of the known kinds only.

    A box may end beyond `stop`, and is the last one then; one of an unknown kind that does is taken for bytes behind.
    """
    for _ in range(_MAX_PARTS):
        if position + 8 > stop:
            return
        size, kind = _BOX.unpack_from(data, position)
        start = position + 8
        if size == 1:  # the size follows, in 64 bits
            if start + 8 > stop:
                size = 1 + stop - position if kind in known else 0
            else:
                size, start = _U64.unpack_from(data, start)[0], start + 8
        elif size == 0:  # up to the end
            size = stop - position
        if position + size < start:
            return
        position += size
        if kind in known:
            yield kind, start, position


def _items_lie_within(location: bytes, length: int) -> bool:
    """Whether an item location box, given by its content, names no byte of the file beyond `length`."""
    try:
        return all(end <= length for end in _item_ends(BytesIO(location)))
    except EOFError:
        return False


def _item_ends(location: BytesIO) -> Iterator[int]:
    """Raises `EOFError` where the box ends too early."""

    def read(size: int) -> int:
        if len(data := location.read(size)) < size:
            raise EOFError
        return int.from_bytes(data)

    version = read(1)
    read(3)
    sizes = read(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version == 0:
        index_size = 0
    wide = 2 if version < 2 else 4
    for _ in range(read(wide)):
        read(wide)
        # Method 0 counts from the file's start, others within another box or item, whose own place is looked at.
        method = read(2) & 15 if version else 0
        is_elsewhere = read(2) != 0
        base = read(base_size)
        extents = read(2)
        if not offset_size + length_size + index_size:
            continue
        for _ in range(extents):
            read(index_size)
            end = base + read(offset_size) + read(length_size)
            if method == 0 and not is_elsewhere:
                yield end
