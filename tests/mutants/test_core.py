"""The list of changes fits the code as it is now."""

import ast

import pytest

from tests.mutants.core import CORE
from tests.mutants.mutant import ROOT, Mutant


def test_nearly_every_change_can_be_made() -> None:
    """In one place, to something else that Python can read; what the code has outgrown is told by `make mutants`."""
    stale = [mutant for mutant in CORE if not mutant.fits]
    for path in {mutant.path for mutant in CORE}:
        text = (ROOT / path).read_text()
        before = ast.dump(ast.parse(text))
        for mutant in CORE:
            if mutant.path == path and mutant.fits:
                assert ast.dump(ast.parse(mutant.applied(text))) != before

    assert len(stale) < len(CORE) / 5, stale


def test_a_change_is_made_in_just_one_place() -> None:
    """Else it would not be known which promise it breaks."""
    change = Mutant("text.py", "a", "b", "", "")

    assert change.applied("cat") == "cbt"
    with pytest.raises(ValueError, match="2 places"):
        change.applied("banal")


def test_the_core_is_covered() -> None:
    """Every package of the core has some, and no promise is listed twice."""
    packages = {mutant.file.partition("/")[0] for mutant in CORE}

    assert packages >= {"archives", "images", "orders", "upstream", "jobs", "cluster", "api", "settings.py"}
    assert len(CORE) >= 40
    assert len({(mutant.file, mutant.promise) for mutant in CORE}) == len(CORE)
