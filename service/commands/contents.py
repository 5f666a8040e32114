"""What is in a ZIP that was downloaded."""

import zipfile
from pathlib import Path
from typing import NamedTuple

from service.archives.names import MANIFEST_NAME, REPORT_NAME


def first_broken(path: Path) -> str | None:
    """What is wrong with it; None when it is a whole, valid ZIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)


class Contents(NamedTuple):
    """What is in an archive: the number of its images, and its report on those that are missing."""

    images: int
    report: str | None


def read_contents(path: Path) -> Contents:
    """Of a valid ZIP."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        report = archive.read(REPORT_NAME).decode() if REPORT_NAME in names else None
    return Contents(len(names) - names.count(REPORT_NAME) - names.count(MANIFEST_NAME), report)
