"""`.env.example`: every setting with its meaning and default, made from the settings themselves."""

import textwrap
from collections.abc import Iterator

from service.docs.tables import default_of
from service.settings import Settings

_HEAD = """\
# Settings of Autoenhance Batch. Copy this file to .env in the folder that the service is started from, and uncomment
# what you need; the environment wins over the file. Other OTEL_* variables are read from the environment only.
# `autoenhance-batch config check` says what is wrong. This file is made by `autoenhance-batch config example`.
"""


def example() -> str:
    """The whole file. A setting with a default shows it; one without is empty, which is the same as unset."""
    return "\n".join([_HEAD, *_entries()])


def _entries() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        meaning = textwrap.wrap(" ".join((field.description or "").split()), 117)
        yield "".join([*(f"# {line}\n" for line in meaning), f"#{name.upper()}={default_of(field)}\n"])
