"""`python -m tests.mutants [WORDS]`: apply each change of the list to a copy of the project, and say which survive.

With words, only the changes whose file or promise has one of them. Exits with 1 when fewer die than `LEAST`, or fewer
by unit tests than `LEAST_BY_UNIT`.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.core import CORE
from tests.mutants.mutant import ROOT, Mutant

LEAST, LEAST_BY_UNIT = 0.85, 0.5
# Of the changes that are killed by unit tests; a change that makes them hang is noticed as well.
_SECONDS = 120


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
            if tests and not passes(tests.split(), copy):
                return level
        return "SURVIVED"
    finally:
        path.write_text(original)


def passes(tests: list[str], copy: Path) -> bool:
    """Whether all of these tests pass in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1, 2):  # 2: it cannot even be imported
        raise RuntimeError(done.stdout.decode() + done.stderr.decode())
    return done.returncode == 0


def main() -> int:
    """The list, or the part of it that the words name."""
    words = sys.argv[1:]
    chosen = [mutant for mutant in CORE if not words or any(word in mutant.file + mutant.promise for word in words)]
    if not chosen:
        raise SystemExit("no change has these words")
    found = run(chosen)
    killed = found["unit"] + found["beyond"]
    print(f"{killed} of {len(chosen)} killed, {found['unit']} by unit tests")
    return int(killed < LEAST * len(chosen) or found["unit"] < LEAST_BY_UNIT * len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
