"""What is in a ZIP that was downloaded."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from service.archives.names import MANIFEST_NAME, REPORT_NAME

_ORDERS = re.compile("Autoenhance orders? ([^:]+): ")


def first_broken(path: Path) -> str | None:
    """What is wrong with it; None when it is a whole, valid ZIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


def is_of_others(path: Path, order_ids: Iterable[str]) -> bool:
    """Whether there is a ZIP of this service that holds other orders than these."""
    try:
        with zipfile.ZipFile(path) as archive:
            known = _ORDERS.match(archive.comment.decode(errors="replace"))
    except (zipfile.BadZipFile, OSError):
        return False
    return known is not None and not set(known[1].split(", ")) <= {order_id.lower() for order_id in order_ids}


class Contents(NamedTuple):
    """What is in an archive: the number of its images, and its reports on those that are missing."""

    images: int
    report: str | None


def read_contents(path: Path) -> Contents:
    """Of a valid ZIP."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        reports = [archive.read(name).decode() for name in names if base_name(name) == REPORT_NAME]
    images = sum(base_name(name) not in (REPORT_NAME, MANIFEST_NAME) for name in names)
    return Contents(images, "\n".join(reports) or None)


def base_name(name: str) -> str:
    """A member's name without its folder."""
    return name.rpartition("/")[2]
