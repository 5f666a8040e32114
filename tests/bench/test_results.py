"""The page, the plots and the JSON tell every figure."""

import json
from pathlib import Path
from xml.etree import ElementTree

from tests.bench import results
from tests.bench.comparison import BOUNDS, Run
from tests.bench.figures import Figure, Pair, Result
from tests.bench.plot import Bar, bars

FOUND = (
    Result(
        Figure("large", "s/GB", "pass-through", 2.2, reason="It is large."),
        "here",
        [Pair(4, 2), Pair(5, 2)],
        [0.5, 1.5],
    ),
    Result(Figure("memory", "MB", "before", 30, is_difference=True), "here", [Pair(150, 100)], [1.0]),
    Result(Figure("callers", "ms", "one caller"), "here", [Pair(3, 2)], [1.0]),
)
RUNS = {"40 photos": {"this <service>": [Run(0.5, 3.5, 0.1, 120)], BOUNDS: [Run(0, 3.2, 0.1, 0)]}}


def test_what_was_measured_is_written(tmp_path: Path) -> None:
    """With its aim, where it has one, and where that stands."""
    results.write(tmp_path, FOUND, RUNS, is_full=False)

    page = (tmp_path / "RESULTS.md").read_text()
    assert "| large | 4.50 s/GB | / pass-through, 2.00 s/GB | 2.25 (2.00 to 2.50) | 2.2 | MISSED | 2, 1.0 |" in page
    assert "| memory | 150.00 MB | minus before, 100.00 MB | 50.00 (50.00 to 50.00) | +30 | MISSED | 1, 1.0 |" in page
    assert "| callers | 3.00 ms | / one caller, 2.00 ms | 1.50 (1.50 to 1.50) |  |  | 1, 1.0 |" in page
    assert page.count("What keeps a figure from its aim:\n\n- large, 2.25 in place of 2.2: It is large.\n") == 1
    assert "this <service>" in page
    found = json.loads((tmp_path / "results.json").read_text())
    assert [one["value"] for one in found["results"]] == [2.25, 50, 1.5]
    assert found["comparison"]["40 photos"]["this <service>"][0]["whole"] == 3.5
    for name in ("aims.svg", "comparison.svg"):
        assert f"({name})" in page
        assert "prefers-color-scheme: dark" in (tmp_path / name).read_text()


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    """Beyond the mark they have another colour."""
    drawn = ElementTree.fromstring(bars("Two & a mark", [Bar("a", 0.5, "0.5"), Bar("b", 2, "2")], mark=1))  # noqa: S314  # our own

    short, long = (each.attrib for each in drawn.iter() if each.tag.endswith("rect"))
    assert float(long["width"]) == 4 * float(short["width"])
    assert (short["class"], long["class"]) == ("bar", "over")
