"""Draws that are the same on every machine: from `random.Random(seed).random()`, whose numbers Python keeps from version to
version, with comparisons and + - * / only. What would need a logarithm or a power is interpolated between written quantiles."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random

WAITING = (0.0, 0.11, 0.22, 0.36, 0.51, 0.69, 0.92, 1.2, 1.61, 2.3, 5.3)
"""Deciles of the time until something happens that may happen at any moment; about 1 on average."""
LOPSIDED = (0.15, 0.36, 0.51, 0.66, 0.82, 1.0, 1.22, 1.52, 1.96, 2.79, 7.0)
"""Deciles of sizes of which half are below 1 and a few are many times as large."""


class Draws:
    def __init__(self, seed: int):
        self.share = Random(seed).random
        """From 0 up to, not including, 1."""

    def chance(self, share: float) -> bool:
        return self.share() < share

    def below(self, limit: int) -> int:
        return int(self.share() * limit)

    def between(self, least: int, most: int) -> int:
        return least + self.below(most - least + 1)

    def wait(self, mean: float) -> float:
        return mean * self._among(WAITING)

    def size(self, median: float, least: int = 1) -> int:
        return max(least, int(median * self._among(LOPSIDED)))

    def _among(self, quantiles: tuple[float, ...]) -> float:
        place = self.share() * (len(quantiles) - 1)
        lower = int(place)
        return quantiles[lower] + (place - lower) * (quantiles[lower + 1] - quantiles[lower])


class Popularity:
    """Ranks 0 to `number` - 1, of which rank r is drawn in proportion to 1 / (r + `flat`): the larger that, the more alike."""

    def __init__(self, number: int, flat: float):
        self._until = list(accumulate(1 / (rank + flat) for rank in range(number)))

    def draw(self, draws: Draws) -> int:
        return bisect_right(self._until, draws.share() * self._until[-1], hi=len(self._until) - 1)
