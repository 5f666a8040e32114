"""The list of changes fits the code as it is now."""

import ast

import pytest

from tests.mutants.core import CORE
from tests.mutants.mutant import ROOT, Mutant


@pytest.mark.parametrize("mutant", CORE, ids=lambda mutant: f"{mutant.file}: {mutant.promise}")
def test_each_change_can_be_made(mutant: Mutant) -> None:
    """In one place, to something that Python can read; and the tests that are to notice it are there."""
    text = (ROOT / mutant.path).read_text()

    changed = ast.parse(mutant.applied(text))

    assert ast.dump(changed) != ast.dump(ast.parse(text))
    tests = [ROOT / test.partition("::")[0] for test in f"{mutant.unit} {mutant.beyond}".split()]
    assert tests
    assert [test for test in tests if not test.exists()] == []


def test_the_core_is_covered() -> None:
    """Every package of the core has some, and no promise is listed twice."""
    packages = {mutant.file.partition("/")[0] for mutant in CORE}

    assert packages >= {"archives", "images", "orders", "upstream", "jobs", "cluster", "api", "settings.py"}
    assert len(CORE) >= 40
    assert len({(mutant.file, mutant.promise) for mutant in CORE}) == len(CORE)
