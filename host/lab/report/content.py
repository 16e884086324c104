"""What the report says of the cells in a folder, before anything is drawn: traces, their policies in order, sums, variants.

A folder's own cells are the subject. Those of runs in folders directly below it, such as `--out DIR/step50`, are variants: where
they differ from others of the same trace, policy and capacity in their options, the sensitivity table has them side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ...contract.errors import UsageError
from .. import cells
from ..cells import CEILING, DONE, FLOOR, Cell

OPTIONS = {"entries": "entries", "step_ms": "ms a step", "classes": "classes", "final_accuracy": "FINAL right in", "seed": "seed"}
"""Of a cell, what may be tried with other values, and how people read it."""
OF_THE_DEVICE = ("ranked", "linear:")
LONGEST = 40
"""Characters of a name that a plot has room for."""
TIMES = ("seconds", "learn_seconds")
"""Keys of a cell that differ from run to run."""


def is_device(policy: str) -> bool:
    """Is it one of the device's own?"""
    return policy.startswith(OF_THE_DEVICE)


def shown(name: str) -> str:
    """A name from somebody else's file, as it can be shown: no control characters, not too long."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def options(cell: Cell) -> dict[str, Any]:
    """The options that the cell depends on, by their names in OPTIONS."""
    found = {name: getattr(cell, name, None) for name in OPTIONS}
    return {name: value for name, value in found.items() if value is not None}


def label(cell: Cell) -> str:
    """The policy of a cell for people. A dagger marks what uses the future, with the accuracy and the seed of that."""
    if not cell.uses_future:
        return shown(cell.policy)
    made = {"right in": f"{cell.final_accuracy:.0%}" if cell.final_accuracy is not None else None, "seed": cell.seed}
    how = ", ".join(f"{name} {value}" for name, value in made.items() if value is not None and cell.policy != CEILING)
    return f"{shown(cell.policy)}†" + (f" ({how})" if how else "")


class Best(NamedTuple):
    """Who wins at a capacity, of those who do not use the future. None where nobody has finished."""

    capacity: int
    device: Cell | None
    published: Cell | None
    floor: Cell | None
    ceiling: Cell | None

    def is_won_by(self, cell: Cell) -> bool:
        """Does nobody who does not use the future hit more often here?"""
        most = max((best.hits or 0 for best in (self.device, self.published) if best), default=0)
        return not cell.uses_future and cell.hits is not None and cell.hits >= most


@dataclass(frozen=True)
class TraceView:
    """The cells of one trace."""

    name: str
    cells: Sequence[Cell]

    @cached_property
    def by_place(self) -> Mapping[tuple[str, int], Cell]:
        """Each by its policy and capacity."""
        return {(cell.policy, cell.capacity): cell for cell in self.cells}

    @property
    def title(self) -> str:
        return shown(self.name) + (" (generated)" if self.generated else "")

    @property
    def generated(self) -> bool:
        return any(cell.generated for cell in self.cells)

    @cached_property
    def capacities(self) -> list[int]:
        return sorted({cell.capacity for cell in self.cells})

    @cached_property
    def policies(self) -> list[str]:
        """The bounds last, the device's own first, and among equals who hits more often at the capacities in all."""

        def order(policy: str) -> tuple[int, float, str]:
            rank = {FLOOR: 2, CEILING: 3}.get(policy, 0 if is_device(policy) else 1)
            return rank, -sum(cell.hit_rate or 0 for cell in self.cells if cell.policy == policy), policy

        return sorted({cell.policy for cell in self.cells}, key=order)

    def of(self, policy: str) -> list[Cell]:
        """The cells of a policy, by capacity."""
        return sorted((cell for cell in self.cells if cell.policy == policy), key=lambda cell: cell.capacity)

    def labels(self) -> dict[str, str]:
        return {policy: label(self.of(policy)[0]) for policy in self.policies}

    def bests(self) -> Iterator[Best]:
        for capacity in self.capacities:
            finished = [cell for cell in self.cells if cell.capacity == capacity and cell.hits is not None]
            fair = [cell for cell in finished if not cell.uses_future]
            device = [cell for cell in fair if is_device(cell.policy)]
            published = [cell for cell in fair if not is_device(cell.policy)]
            bounds = (self.by_place.get((policy, capacity)) for policy in (FLOOR, CEILING))
            yield Best(capacity, _most(device), _most(published), *bounds)


def _most(found: Iterable[Cell]) -> Cell | None:
    return max(found, key=lambda cell: cell.hits or 0, default=None)


class Variant(NamedTuple):
    """A cell with options that differ from those of the others of its trace, policy and capacity, `points` of hit rate (percent)
    above the first of them; None where one of the two did not finish."""

    cell: Cell
    options: dict[str, Any]
    points: float | None
    is_first: bool


@dataclass(frozen=True)
class Content:
    """`traces` in order of their names; `variants` in groups of the same trace, policy and capacity."""

    cells: Sequence[Cell]
    traces: Sequence[TraceView]
    variants: Sequence[Variant]

    @property
    def unfinished(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.status != DONE]

    def varied(self) -> dict[str, str]:
        """The columns of the sensitivity table: options that some variant has, and how people read them."""
        return {name: text for name, text in OPTIONS.items() if any(name in variant.options for variant in self.variants)}


def gather(place: Path) -> Content:
    """All that is below `place`. UsageError where it has no cell, or one cannot be read."""
    own = cells.load(place)
    if not own:
        raise UsageError(f"{place} has no finished cells of the lab", f"make some: kvfpga lab run TRACE --out {place}")
    below = [cell for run in sorted(place.iterdir()) if cells.folder(run).is_dir() for cell in cells.load(run)]
    names = sorted({cell.trace for cell in own})
    traces = [TraceView(name, [cell for cell in own if cell.trace == name]) for name in names]
    return Content(own, traces, list(_variants([*own, *below])))


def _variants(found: Iterable[Cell]) -> Iterator[Variant]:
    alike: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in found:
        alike.setdefault((cell.trace, cell.policy, cell.capacity), []).append(cell)
    for _, group in sorted(alike.items()):
        different = list({tuple(options(cell).items()): cell for cell in reversed(group)}.values())[::-1]
        first = different[0].hit_rate
        for cell in different if len(different) > 1 else ():
            rate = cell.hit_rate
            points = None if rate is None or first is None else 100 * (rate - first)
            yield Variant(cell, options(cell), points, cell is different[0])


def to_json(content: Content) -> dict[str, Any]:
    """report.json: the same for the same cells, but for `times`, which has what differs from run to run."""
    rows = [cell.to_json() for cell in content.cells]
    return {
        "command": "lab report",
        "cells": [{key: value for key, value in row.items() if key not in TIMES} for row in rows],
        "times": {cell.name: {key: row[key] for key in TIMES} for cell, row in zip(content.cells, rows)},
    }
