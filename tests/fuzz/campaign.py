"""The long form of the fuzzing: the document, the socket, the parsers."""

import asyncio
import logging
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from service.api import parts
from service.telemetry.logs import configure_logs
from tests.faults.findings import Findings
from tests.fuzz import raw
from tests.fuzz.document import fuzz_document
from tests.support.services import service_factory
from tests.support.upstream import FakeUpstream
from tests.support.wire import heads

_ROOT = Path(__file__).parent.parent.parent
_AT_ONCE = 50
PARSERS = (  # below tests
    "fuzz/test_parsers.py",
    "upstream/test_parsers.py",
    "upstream/test_order_document.py",
    "archives/test_names.py",
)
_PASSED = re.compile(r"(\d+) passing, ")
_FAILED = re.compile(r"[1-9]\d* failing, ")


async def fuzz(folder: Path, *, examples: int, streams: int, parser_examples: int, seed: int) -> Findings:
    """`examples` per operation of the document, `streams` of odd bytes, `parser_examples` per property of a parser."""
    findings = Findings()
    await _fuzz_document(findings, folder, examples, seed)
    await _fuzz_socket(findings, folder, streams, seed)
    await _fuzz_parsers(findings, parser_examples, seed)
    return findings


async def _fuzz_document(findings: Findings, folder: Path, examples: int, seed: int) -> None:
    run = await fuzz_document(folder, examples=examples, seed=seed)
    findings.hold("the service is what its document says", run.code == 0, run.report[-2000:])
    findings.equal("the document's fuzzing meets no 500", run.statuses[500], 0)
    findings.equal("and no traceback", run.tracebacks, [])
    findings.figure(f"requests made from the document, up to {examples} examples each", run.statuses.total())
    findings.figure("their answers by status", _words(run.statuses))


async def _fuzz_socket(findings: Findings, folder: Path, streams: int, seed: int) -> None:
    chance, seen = random.Random(seed), Counter[int]()
    async with FakeUpstream() as upstream, service_factory(upstream.url, folder) as start_service:
        service = await raw.start(upstream, start_service)
        # An upload that has gone silent is given more time than we have.
        with _noise() as noise, patch.object(parts, "SILENCE_SECONDS", 0.5):
            for _ in range(streams // _AT_ONCE):
                sent = [raw.damaged(chance) for _ in range(_AT_ONCE)]
                received = await asyncio.gather(*(raw.send(service, one) for one in sent), return_exceptions=True)
                for one, answer in zip(sent, received, strict=True):
                    told = isinstance(answer, bytes)
                    findings.hold("a stream of odd bytes is let go", told, f"{answer!r} after {one[:300]!r}")
                    statuses = heads(answer) if isinstance(answer, bytes) else []
                    findings.hold("and meets no 500", 500 not in statuses, one[:300])
                    seen.update(statuses)
                findings.equal("the next caller is served", (await service.download(headers=raw.KEY)).status, 200)
        findings.equal("odd bytes leave no error in the log, and no traceback", noise[:1], [])
    findings.figure("streams of odd bytes", streams)
    findings.figure("their answers by status", _words(seen))


@contextmanager
def _noise() -> Iterator[list[str]]:
    """What is logged as an error, or with a traceback, meanwhile."""
    noise: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info or record.levelno >= logging.ERROR:
                noise.append(record.getMessage()[:500])

    configure_logs("json", "INFO")
    root, listener = logging.getLogger(), Listener()
    root.handlers = [listener]
    yield noise
    root.removeHandler(listener)


async def _fuzz_parsers(findings: Findings, examples: int, seed: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=long"),
        *("--hypothesis-show-statistics", f"--hypothesis-seed={seed}", *(f"tests/{file}" for file in PARSERS)),
        cwd=_ROOT,
        env={**os.environ, "LONG_EXAMPLES": str(examples)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    text = printed.decode(errors="replace")
    passed = [int(count) for count in _PASSED.findall(text)]
    held = process.returncode == 0 and len(passed) > 0 and not _FAILED.search(text)
    findings.hold("a parser of what others send fails in its one way", held, text[-2000:])
    findings.figure("properties of parsers, and examples that they were tried with", f"{len(passed)}, {sum(passed)}")


def _words(statuses: Counter[int] | Counter[object]) -> str:
    return ", ".join(f"{status} {count}" for status, count in sorted(statuses.items(), key=str))
