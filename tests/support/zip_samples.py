"""Archives for other people's readers, written with `ZipFormat` as the service does: header, data, ..., directory."""

import hashlib
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from service.archives.zip_format import ZipFormat

NOON = datetime(2026, 5, 4, 12, 30, 58, tzinfo=UTC)
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Zeros:
    """So many zero bytes: a member of any size that takes no room on the disk."""

    size: int


Members = dict[str, bytes | Zeros]


@dataclass(frozen=True)
class Sample:
    """What a reader must find: the members, told apart by what they hold, and the archive's file."""

    path: Path
    members: Members = field(repr=False)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of every member that is held in memory: all but `Zeros`."""
        return {
            name: hashlib.sha256(data).hexdigest() for name, data in self.members.items() if isinstance(data, bytes)
        }


def write(path: Path, members: Members, comment: str = "") -> Sample:
    """The archive as a file, sparse where members are `Zeros`."""
    zip_format = ZipFormat()
    with path.open("wb") as file:
        for name, data in members.items():
            if isinstance(data, Zeros):
                file.write(zip_format.header(name, size=data.size, crc=crc_of_zeros(data.size), modified=NOON))
                file.seek(data.size, 1)
            else:
                file.write(zip_format.header(name, size=len(data), crc=zlib.crc32(data), modified=NOON) + data)
        file.write(zip_format.directory(comment))
        assert file.tell() == zip_format._pos
    return Sample(path, members)


@cache
def crc_of_zeros(size: int) -> int:
    crc, piece = 0, bytes(MIB)
    for _ in range(size // MIB):
        crc = zlib.crc32(piece, crc)
    return zlib.crc32(bytes(size % MIB), crc)


def photos(names: Iterable[str], size: int) -> Members:
    """Random bytes under a JPEG's first ones, the same for every run."""
    chance = random.Random("photos")
    return {name: b"\xff\xd8\xff\xe0" + chance.randbytes(size) for name in names}


def plain() -> Members:
    """An order as it comes: photos of different sizes, and the report."""
    report = {"_download_report.txt": "1 of 3 images is missing: Küche\n".encode()}
    return photos(["kitchen.jpg"], 70_000) | photos(["bath.jpg", "bath_1.jpg"], 120_000) | report


def folders() -> Members:
    """A delivery: renditions in folders with equal names, originals, a report and a manifest."""
    names = [f"{number:02}_kitchen" for number in range(1, 4)]
    members: Members = {}
    for number, folder in enumerate(("mls", "print", "originals")):
        extension = "dng" if folder == "originals" else "jpg"
        members |= photos([f"{folder}/{name}.{extension}" for name in names], 3_000 + number)
    return members | {"_download_report.txt": b"1 missing\r\n", "_manifest.json": b'{"files": []}\n'}


def orders() -> Members:
    """Several orders: a folder each, with renditions below it, and one that is a report alone."""
    members: Members = {}
    for number, folder in enumerate(("12 Harbour Lane", "12 Harbour Lane_1", "Café Müller")):
        members |= photos([f"{folder}/{below}/01_kitchen.jpg" for below in ("mls", "print")], 7_000 + number)
        members[f"{folder}/_manifest.json"] = b'{"files": []}\n'
    return members | {"order-0b9f7c1e/_download_report.txt": b"Nothing of it could be downloaded.\r\n"}


def non_ascii() -> Members:
    """Names in many scripts, beside one in ASCII."""
    return photos(["Küche.jpg", "寝室.webp", "кухня.jpg", "حمام.png", "🏠 view.avif", "hall.jpg"], 5_000)


def nested() -> Members:
    """Photos that hold a ZIP's own marks: each alone, and a whole archive twice in a row."""
    marks = photos(["photo.jpg"], 100) | {f"{mark}.jpg": b"PK" + mark.to_bytes(2) for mark in (0x0102, 0x0304, 0x0506)}
    zip_format = ZipFormat()
    inner = zip_format.header("inner.jpg", size=4, crc=zlib.crc32(b"PK\x07\x08"), modified=NOON) + b"PK\x07\x08"
    inner += zip_format.directory()
    descriptor = b"PK\x07\x08" + bytes(12)
    return marks | {"inner.zip": inner * 2, "descriptor.jpg": descriptor * 2, "after.jpg": descriptor + inner + b"PK"}


def empty_members() -> Members:
    """Nothing is a valid content too, first, between others and last."""
    return {
        "first.txt": b"",
        "photo.jpg": b"\xff\xd8\xff",
        "middle.txt": b"",
        "other.jpg": b"\xff\xd8",
        "last.txt": b"",
    }


def many() -> Members:
    """More members than the classic end record can count."""
    return {f"{number:05}.jpg": number.to_bytes(3) for number in range(66_000)}


def over_4_gib_in_one() -> Members:
    """One member beyond what the classic header can say, small ones before and after it."""
    return {"first.jpg": b"first", "large.tif": Zeros(4 * GIB + 1), "last.jpg": b"last"}


def over_4_gib_in_all() -> Members:
    """Members of a classic size whose headers stand beyond the classic offset."""
    return {f"{number}.tif": Zeros(GIB) for number in range(4)} | {"beyond.jpg": b"beyond", "last.jpg": b"last"}
