"""The harness measures what it says it does, and fails rather than measure something else."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.figures import Amount, Figure, Pair, Result, Round, run
from tests.bench.path_cost import CASES, download, pass_through
from tests.bench.upstream import PROGRAM, Speed, Upstream, open_upstream
from tests.support.doc_blocks import ROOT
from tests.support.tools import require_tool


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """nginx with orders."""
    require_tool(PROGRAM)
    async with open_upstream(tmp_path, Speed(0.01, 0.01)) as running:
        yield running


async def test_the_service_is_measured_beside_the_pass_through(upstream: Upstream) -> None:
    """A round is a pair of CPU times that were really used."""
    (result,) = await run(CASES["tiny"], Amount(rounds=1, images=10), upstream, {"here": ROOT})

    assert result.pairs[0].service > result.pairs[0].reference > 0


async def test_each_checkout_takes_its_turn_in_each_round(upstream: Upstream) -> None:
    """Two rounds with two checkouts are two pairs for each of both."""
    turns: list[Path] = []

    async def measure(_: Upstream, checkouts: Sequence[Path], __: Amount) -> Round:
        turns.extend(checkouts)
        return [(Pair(len(turns), 1),) for _ in checkouts]

    case = replace(CASES["tiny"], measure=measure)
    one, other = await run(case, Amount(rounds=2, images=1), upstream, {"one": Path("a"), "other": Path("b")})

    assert turns == [Path("a"), Path("b")] * 2
    assert (one.checkout, other.checkout) == ("one", "other")
    assert one.pairs == other.pairs == [Pair(2, 1), Pair(4, 1)]


async def test_wall_time_is_compared_with_bare_links(upstream: Upstream) -> None:
    """The case with latency goes through its own API."""
    bare, ideal = await run(CASES["wall"], Amount(rounds=1, images=2), upstream, {"here": ROOT})

    assert all(pair.service > 0 and pair.reference > 0 for result in (bare, ideal) for pair in result.pairs)
    assert ideal.pairs[0].reference == pytest.approx(0.01 + 0.02 + 5_000_000 / upstream.speed.rate)


async def test_a_download_that_lacks_bytes_is_not_measured(upstream: Upstream) -> None:
    """An image that upstream has lost ends the measurement."""
    whole, torn = upstream.order(2, 20_000), upstream.order(2, 20_000, number=1)
    async with pass_through(upstream, upstream.api, whole) as (_, url):
        with pytest.raises(AssertionError):
            await download(url + whole.path, whole.size + 1)
        for file in (upstream.folder / "assets").iterdir():
            file.unlink()
        with pytest.raises(AssertionError):
            await download(url + torn.path, torn.size)


@pytest.mark.parametrize(("is_difference", "value"), [(False, 2.0), (True, 3.0)])
def test_a_result_is_the_middle_of_its_rounds(is_difference: bool, value: float) -> None:
    """One bad round does not decide; the aim itself still counts as met."""
    figure = Figure("memory", "MB", "before", aim=value, is_difference=is_difference)
    result = Result(figure, "here", [Pair(6, 3), Pair(600, 3), Pair(6, 3)], [])

    assert result.value == value
    assert result.is_met
    assert result.spread.startswith(f"{value:.2f} ({value:.2f} to ")
