"""`python -m tests.mutants [WORDS]`: apply each change of the list to a copy of the project, and say which survive.

With words, only the changes whose file or promise has one of them. Exits with 1 when fewer die than `LEAST`, or fewer
by unit tests than `LEAST_BY_UNIT`.
"""

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mutants.core import CORE
from tests.mutants.mutant import ROOT, Mutant

LEAST, LEAST_BY_UNIT = 0.85, 0.5
# A change that makes a test hang, or loop, is noticed as well. Beside a busy machine a test with a service is slow.
_SECONDS, _TEST_SECONDS = 300, {"unit": 20, "beyond": 120}
_ALREADY_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-W", _ALREADY_IMPORTED)
_SLOW_IMPORTS = (
    "aiohttp.web",
    "docket",
    "limits",
    "obstore",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.instrumentation.aiohttp_client",
    "opentelemetry.sdk.trace",
    "prometheus_client",
    "pydantic_settings",
    "redis.asyncio",
    "rich.console",
    "sentry_sdk",
    "structlog",
)


def run(mutants: Sequence[Mutant]) -> Counter[str]:
    """How many each level killed, and how many survived."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("service", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy)
        for mutant in mutants:
            started = time.monotonic()
            level = judge(mutant, copy)
            found[level] += 1
            print(f"{level:9} {time.monotonic() - started:5.1f} s  {mutant.file}: {mutant.promise}", flush=True)
    return found


def judge(mutant: Mutant, copy: Path) -> str:
    """Which tests notice the change: `unit`, `beyond`, or none: `SURVIVED`."""
    path = copy / mutant.path
    original = path.read_text()
    path.write_text(mutant.applied(original))
    try:
        for level, tests in (("unit", mutant.unit), ("beyond", mutant.beyond)):
            if tests and not passes(tests.split(), copy, level):
                return level
        return "SURVIVED"
    finally:
        path.write_text(original)


def passes(tests: list[str], project: Path, level: str = "unit") -> bool:
    """Whether all of these tests pass there. In a fork, which has what takes long to import already."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryFile() as output:
        limit = f"--timeout={_TEST_SECONDS[level]}"
        child = context.Process(target=_ask, args=([limit, *tests], project, output.fileno()))
        child.start()
        child.join(_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
            return False
        if child.exitcode in (4, 5):  # nothing was asked
            output.seek(0)
            raise RuntimeError(output.read().decode())
    return child.exitcode == 0


def _ask(tests: list[str], project: Path, output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(project)
    sys.path.insert(0, str(project))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("service", "tests")]:
        del sys.modules[name]
    code = 70
    try:
        code = int(pytest.main([*_OPTIONS, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    """The list, or the part of it that the words name."""
    words = sys.argv[1:]
    for name in _SLOW_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    chosen = [mutant for mutant in CORE if not words or any(word in mutant.file + mutant.promise for word in words)]
    if not chosen:
        raise SystemExit("no change has these words")
    for mutant in [mutant for mutant in chosen if not mutant.fits]:
        print(f"STALE     {mutant.file}: {mutant.promise}")
        chosen.remove(mutant)
    if not passes(sorted({test for mutant in chosen for test in mutant.unit.split()}), ROOT):
        raise SystemExit("unit tests fail without any change")
    found = run(chosen)
    killed = found["unit"] + found["beyond"]
    print(f"{killed} of {len(chosen)} killed, {found['unit']} by unit tests")
    return int(killed < LEAST * len(chosen) or found["unit"] < LEAST_BY_UNIT * len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
