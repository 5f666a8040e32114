"""What an API version of Autoenhance takes. Versions are dates; a newer one takes what an older one does."""

from collections.abc import Mapping

_FORMAT_VERSIONS: Mapping[str, str] = {"avif": "2026-10-01", "jxl": "2026-10-01"}


def required_version(image_format: str) -> str | None:
    """The first API version that is documented to take `format=image_format`; None when every version takes it."""
    return _FORMAT_VERSIONS.get(image_format)


def version_needed(version: str | None, image_format: str) -> str | None:
    """What `format=image_format` needs that API `version` is not, in words; None where it may be asked for."""
    if takes_format(version, image_format):
        return None
    return f"{image_format} needs AUTOENHANCE_API_VERSION={required_version(image_format)} or newer"


def takes_format(version: str | None, image_format: str) -> bool:
    """Whether `format=image_format` may be asked for at API `version` (`AUTOENHANCE_API_VERSION`).

    True without a version: the account has one of its own, which only Autoenhance knows.
    """
    required = required_version(image_format)
    return version is None or required is None or version >= required
