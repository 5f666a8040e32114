"""A check that looked at nothing has not passed."""

import pytest

from tests.faults.findings import Findings


def test_nothing_looked_at_is_a_failure() -> None:
    """Nor are figures alone, of which nothing is said."""
    findings = Findings()
    findings.figure("downloads", 0)

    assert not findings.passed
    with pytest.raises(AssertionError, match="nothing was looked at"):
        findings.verify()


def test_one_broken_promise_fails_the_check() -> None:
    """However often it was kept; the first time it was not is told."""
    findings = Findings()
    for passed in (True, False, True):
        findings.hold("images are whole", passed, "a.jpg")

    assert not findings.passed
    with pytest.raises(AssertionError, match=r"images are whole: 2 of 3 a\.jpg"):
        findings.verify()


def test_figures_that_are_judged_count() -> None:
    """By a limit, or by a verdict of their own; the largest of several is what is judged."""
    within, beyond = Findings(), Findings()
    for found in (1, 3, 2):
        within.at_most("lag", found, 3)
        beyond.at_most("lag", found, 2)
    judged = Findings()
    judged.figure("faults", 0, passed=False)

    assert within.passed
    assert not beyond.passed
    assert not judged.passed


def test_what_another_check_found_is_taken_over() -> None:
    """Under its name, and with its verdict."""
    other, findings = Findings(), Findings()
    other.hold("held", False)
    findings.add(other, "part")

    assert [row.what for row in findings.rows] == ["part: held"]
    assert not findings.passed
