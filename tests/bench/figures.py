"""What the benchmarks measure: figures, each beside what it is compared with, over rounds in turns."""

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeAlias

from tests.bench.upstream import Upstream

# For each case and checkout: no further round begins after this time.
FULL_SECONDS, QUICK_SECONDS = 50.0, 30.0


class Pair(NamedTuple):
    """What a round measured, and what that is compared with."""

    service: float
    reference: float


Round: TypeAlias = list[tuple[Pair, ...]]
"""What one round of a case measured: for each checkout, a pair for each of the case's figures."""


@dataclass(frozen=True)
class Figure:
    """What a case measures. Its value is service / reference, or with `is_difference` service - reference.

    It is to be at most `aim`; None where nobody has set one.
    """

    title: str
    unit: str
    reference: str
    aim: float | None = None
    is_difference: bool = False
    reason: str = ""
    """What keeps it from its aim, where that is known."""

    def value(self, pair: Pair) -> float:
        """The value of one round."""
        return pair.service - pair.reference if self.is_difference else pair.service / pair.reference


@dataclass(frozen=True)
class Amount:
    """How much a round downloads and how often it is repeated."""

    rounds: int
    images: int
    repeats: int = 1
    """Of what is too short to be measured once."""


@dataclass(frozen=True)
class Case:
    """How a round is measured, at full and at quick length."""

    figures: tuple[Figure, ...]
    measure: Callable[[Upstream, Sequence[Path], Amount], Awaitable[Round]]
    full: Amount
    quick: Amount


@dataclass(frozen=True)
class Result:
    """The rounds of one figure for one checkout."""

    figure: Figure
    checkout: str
    pairs: list[Pair]
    loads: list[float]
    """The machine's load average at the end of each round: above its number of processors, the values scatter."""

    @property
    def values(self) -> list[float]:
        """Of each round, in order of size."""
        return sorted(map(self.figure.value, self.pairs))

    @property
    def value(self) -> float:
        """The middle of all rounds."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached, if there is one."""
        return None if self.figure.aim is None else self.value <= self.figure.aim

    @property
    def verdict(self) -> str:
        """The same in a word."""
        return {True: "met", False: "MISSED", None: ""}[self.is_met]

    @property
    def aim(self) -> str:
        """The aim as text; empty where there is none."""
        figure = self.figure
        return "" if figure.aim is None else f"{'+' if figure.is_difference else ''}{figure.aim:g}"

    @property
    def spread(self) -> str:
        """The middle of all rounds with the lowest and the highest."""
        return f"{self.value:.2f} ({self.values[0]:.2f} to {self.values[-1]:.2f})"


async def run(
    case: Case, amount: Amount, upstream: Upstream, checkouts: Mapping[str, Path], *, seconds: float = FULL_SECONDS
) -> list[Result]:
    """The rounds of a case, one at least: a result per figure and checkout. `checkouts` are folders by their labels."""
    results = [[Result(figure, label, [], []) for figure in case.figures] for label in checkouts]
    end = time.monotonic() + seconds * len(checkouts)
    for number in range(amount.rounds):
        if number and time.monotonic() > end:
            break
        for row, pairs in zip(results, await case.measure(upstream, list(checkouts.values()), amount), strict=True):
            for result, pair in zip(row, pairs, strict=True):
                result.pairs.append(pair)
                result.loads.append(os.getloadavg()[0])
    return [result for figures in zip(*results, strict=True) for result in figures]
