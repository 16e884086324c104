"""What a bench finds: figures with what each is beside, and whether two versions agree.

A figure's value is the median of its rounds. Its ratio is the median of the rounds' own ratios, since in one round both sides
met the same machine; it need not be the quotient of the two medians. A ratio says how many times as fast, so more is better,
except where the aim is a limit (`at_most`): there it says how many times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

Answer = TypeVar("Answer")
Say = Callable[[str], None]


class Figure(NamedTuple):
    """`other`: the value of what is beside it. `spread`: half the distance of the quartiles of the rounds' ratios, as a part
    of the ratio. `aim`: what the ratio should be at least, or at most."""

    section: str
    name: str
    value: float
    unit: str
    beside: str = ""
    other: float | None = None
    ratio: float | None = None
    spread: float | None = None
    aim: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.aim is None or self.ratio is None:
            return None
        return self.ratio <= self.aim if self.at_most else self.ratio >= self.aim


class Agreement(NamedTuple):
    """Something that is no matter of speed, and should be the same in both versions."""

    section: str
    name: str
    today: object
    baseline: object

    @property
    def same(self) -> bool:
        return self.today == self.baseline


class Report(NamedTuple):
    """All that was found. `notes`: what could not be measured, and why."""

    figures: list[Figure]
    agreements: list[Agreement]
    notes: list[str]


class Series(NamedTuple):
    """The rounds of one thing that was measured."""

    name: str
    values: Sequence[float]


def alone(section: str, series: Series, unit: str) -> Figure:
    return Figure(section, series.name, median(series.values), unit)


def beside(
    section: str, series: Series, unit: str, other: Series, aim: float | None = None, at_most: bool = False
) -> Figure:  # fmt: skip
    """Rates have a unit per second (…/s); everything else is a time."""
    less_is_better = not unit.endswith("/s")
    pairs = list(zip(series.values, other.values, strict=True))
    ratios = [theirs / ours if less_is_better and not at_most else ours / theirs for ours, theirs in pairs]
    return Figure(
        section, series.name, median(series.values), unit, other.name, median(other.values), median(ratios), spread(ratios),
        aim, at_most,
    )  # fmt: skip


def spread(ratios: Sequence[float]) -> float | None:
    if len(ratios) < 2:
        return None
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return (high - low) / 2 / middle


def alternate(count: int, ways: Mapping[str, Callable[[], Answer]], say: Callable[[str], None]) -> dict[str, list[Answer]]:
    """The answers of `count` rounds. Every way has its turn in a round, and every second round goes backwards."""
    found: dict[str, list[Answer]] = {name: [] for name in ways}
    for n in range(count):
        say(f"round {n + 1} of {count}")
        for name in list(ways)[:: -1 if n % 2 else 1]:
            found[name].append(ways[name]())
    return found
