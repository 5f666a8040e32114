"""What commands say, to people and to programs, and how they end."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console

ALL, BROKEN, USAGE, PARTIAL, REFUSED = range(5)
STOPPED = 130
"""Exit codes, as `download --help` explains them."""


@dataclass(frozen=True)
class Talk:
    """What is said: progress and summaries to people, or a line of JSON for each archive to programs."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    quiet: bool = False
    as_json: bool = False
    progress: bool = True

    @classmethod
    def of(cls, *, quiet: bool, as_json: bool, progress: bool) -> "Talk":
        """From flags. A bar needs a terminal: in a log it would be one line of noise."""
        console = Console(stderr=True)
        return cls(console, quiet, as_json, progress and not quiet and console.is_terminal)

    def say(self, text: str, style: str | None = None) -> None:
        """For people."""
        if not (self.quiet or self.as_json):
            self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def fail(self, text: str) -> None:
        """Always said."""
        self.console.print(text, style="red", markup=False, soft_wrap=True)

    def tell(self, document: Mapping[str, object]) -> None:
        """For programs."""
        if self.as_json:
            try:
                print(json.dumps(document), flush=True)
            except BrokenPipeError:  # of a reader that has seen enough; the ZIPs are wanted all the same
                forget(sys.stdout)


def forget(stream: TextIO) -> None:
    """What is left of an output that takes nothing any more is flushed into nothing, and so is all that follows."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
