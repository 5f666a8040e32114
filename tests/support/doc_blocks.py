"""The commands and programs in a page of the docs, and how they are run."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import clean_environment, end_of
from tests.support.tools import require_tool

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "service" / "docs").glob("*.md")))
ADDRESS = "http://127.0.0.1:8000"
"""Where the docs say that the service is."""
RECEIVER = "9000"
"""The port at which the docs receive callbacks."""
STORAGE = "9001"
"""The port at which the docs have a storage."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"^\w+=\$\(.*\)$", re.MULTILINE)
_PROGRAMS = {"console", "python", "javascript", "php", "go"}
# What sets a machine up, and is run by CI itself or by the tests of the deployment.
_ELSEWHERE = re.compile(r"(make|docker|kubectl|git|pip) |export AUTOENHANCE_API_KEY=|#|$")
_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """A fenced block that can be run."""

    language: str
    text: str

    @property
    def assignments(self) -> list[str]:
        """The variables that it leaves in its reader's shell."""
        return _ASSIGNMENT.findall(self.text) if self.language == "console" else []

    @property
    def resumes(self) -> bool:
        """Whether it is a program that goes on where a connection broke."""
        return self.language != "console" and "/archives/" in self.text

    async def run(
        self, folder: Path, environment: Mapping[str, str], places: Mapping[str, str], shell: Sequence[str] = ()
    ) -> str:
        """Run it in a folder; returns what it printed. Fails the test when it fails.

        `places` has what stands in the test for an address in the docs, `shell` the assignments of earlier blocks;
        those that it uses are made again.
        """
        text = self.text
        if self.language == "console":
            used = [line for line in shell if re.search(rf"\${line.partition('=')[0]}\b", text)]
            text = "\n".join([*used, text])
        for written, real in places.items():
            text = text.replace(written, real)
        match self.language:
            case "console":
                command = [require_tool("bash"), "-euo", "pipefail", "-c", text]
            case "javascript":
                command = [require_tool("node"), "--input-type=module", "--eval", text]
            case "php":
                command = [require_tool("php"), "-r", text.removeprefix("<?php\n")]
            case "go":
                program = folder / "main.go"
                program.write_text(text)
                command = [require_tool("go"), "run", str(program)]
            case _:
                command = [sys.executable, "-c", text]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await end_of(process, _SECONDS)
        assert process.returncode == 0, f"{self.text}\n--- says:\n{output.decode(errors='replace')}"
        return output.decode(errors="replace")


def blocks(page: Path) -> Iterator[Block]:
    """What a page asks its reader to run, without the lines that are run elsewhere."""
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        if language not in _PROGRAMS:
            continue
        if language == "console":
            text = "\n".join(line for line in text.splitlines() if not _ELSEWHERE.match(line))
        if text.strip():
            yield Block(language, text)


def command_line(folder: Path) -> None:
    """Put an `autoenhance-batch` into a folder that asks the service at $SERVICE_URL."""
    script = folder / "autoenhance-batch"
    script.write_text(f'#!/bin/sh\nAUTOENHANCE_BATCH_URL="$SERVICE_URL" exec {sys.executable} -m service "$@"\n')
    script.chmod(0o755)


def environment(tools: Path, **more: str) -> dict[str, str]:
    """Variables of a reader's shell."""
    return clean_environment(PATH=f"{tools}:{os.environ['PATH']}", **more)
