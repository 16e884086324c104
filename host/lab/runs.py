"""`kvfpga lab run`: every policy on every trace at every capacity, what is finished used again.

The bounds that the gap lies between, LRU and the optimum, come first and always: then every other cell is written whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..contract.errors import UsageError
from ..contract.wording import counted
from . import cells, stream_files
from .cells import CEILING, DONE, FLOOR, TIMED_OUT, Cell
from .measure import blank
from .policies.contender import Contender, Options
from .policies.contenders import chosen
from .pools import Answer, Task
from .sources import Source

Told = Callable[[str], None]
Progress = Callable[[int, int, str], None]
"""(cells done, cells in all, what was done last)."""


class Pool(Protocol):
    """pools.Local, dask_pool.Dask."""

    def answers(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]: ...

    def close(self) -> None: ...


class Wanted(NamedTuple):
    """A cell that a run is about."""

    source: Source
    contender: Contender
    blank: Cell


def capacities(text: str, blocks: int, entries: int) -> list[int]:
    """Numbers of blocks from a list such as `1024,1%`; a share is one of the trace's different `blocks`, rounded up. UsageError
    where one cannot be a tier 1 on a directory of `entries`."""
    found = [_capacity(part.strip(), blocks) for part in text.split(",")]
    if wrong := [capacity for capacity in found if capacity > entries]:
        raise UsageError(
            f"a T1 of {counted(wrong[0], 'block')} on a directory of {entries:,} entries",
            "give a smaller --capacity, or more --entries",
        )
    return list(dict.fromkeys(found))


def check_capacities(text: str) -> None:
    """UsageError where the list cannot be meant, whatever the trace: known before one is read, which can take long."""
    for part in text.split(","):
        _capacity(part.strip(), blocks=1)


def _capacity(text: str, blocks: int) -> int:
    try:
        if text.endswith("%"):
            share = float(text.removesuffix("%"))
            if not 0 < share <= 100:
                raise ValueError
            return max(1, -int(-share * blocks // 100))
        if (found := int(text)) < 1:
            raise ValueError
        return found
    except ValueError:
        raise UsageError(
            f"a capacity of {text or 'nothing'}", "give blocks (4096), or a share of a trace's different blocks (1%)"
        ) from None


def wanted(sources: Sequence[Source], policies: str | None, sizes: str, options: Options) -> list[Wanted]:
    """All cells in order of trace, policy and capacity, those of LRU and the optimum first."""
    contenders = chosen(policies, options)
    bounds = [contender for contender in chosen(f"{CEILING},{FLOOR}", options) if contender not in contenders]
    return [
        Wanted(source, contender, blank(source.stream, contender, capacity, options, source.digest, source.generated))
        for source in sources
        for contender in (*bounds, *contenders)
        for capacity in capacities(sizes, len(source.stream.ids), options.entries)
    ]


def run(
    asked: Sequence[Wanted], options: Options, pool: Pool, place: Path | None, timeout: float | None,
    progress: Progress, told: Told,
) -> list[Cell]:  # fmt: skip
    """The finished cells, in the order of `asked`. `place`: the folder that keeps them, if any; `told` hears what people may."""
    kept = {item.blank.name: cell for item in asked if place and (cell := _kept(place, item.blank, timeout, told))}
    if kept:
        told(f"{counted(len(kept), 'cell')} of {len(asked):,} are there already")
    found = dict(kept)

    def keep(cell: Cell, samples: dict[str, Any] | None = None) -> None:
        found[cell.name] = cell
        if place:
            arrays = samples and {name: np.asarray(values) for name, values in samples.items()}
            cells.store(place, cell, arrays)

    with tempfile.TemporaryDirectory(prefix="kvfpga-lab-") as folder:
        tasks = _tasks([item for item in asked if item.blank.name not in kept], options, Path(folder))
        bounds = [task for task in tasks if task.blank.policy in (FLOOR, CEILING)]
        others = [task for task in tasks if task.blank.policy not in (FLOOR, CEILING)]
        for stage in (bounds, others):
            for task, answer in pool.answers(stage):
                cell = _with_gap(answer.cell.having(trace=task.blank.trace), found)
                keep(cell, answer.samples)
                progress(len(found), len(asked), _line(cell))
    for cell in cells.with_gaps(found.values()):  # bounds, and what was kept: written again where the gap is another now
        if cell != found[cell.name]:
            keep(cell)
    return [found[item.blank.name] for item in asked]


def _kept(place: Path, expected: Cell, timeout: float | None, told: Told) -> Cell | None:
    """The cell that is in the folder, if it is what would be computed again."""
    path = cells.folder(place) / f"{expected.name}.json"
    if not path.exists():
        return None
    cell = cells.read(path)
    if cell.digest != expected.digest:
        told(f"{cell.name} is computed again: {_difference(cell, expected)}")
        return None
    no_more_time = timeout is not None and cell.timeout is not None and timeout <= cell.timeout
    if cell.status == DONE or (cell.status == TIMED_OUT and no_more_time):
        return cell
    told(f"{cell.name} is computed again: it {'timed out' if cell.status == TIMED_OUT else 'failed'}")
    return None


def _difference(cell: Cell, expected: Cell) -> str:
    """Why a cell's digest is another, as far as it can be told."""
    for name in ("touches", "entries", "step_ms", "classes", "final_accuracy", "seed", "versions"):
        if getattr(cell, name) != getattr(expected, name):
            return f"{name} was {getattr(cell, name)}, is {getattr(expected, name)}"
    return "its trace or its source has changed"


def _tasks(asked: Sequence[Wanted], options: Options, folder: Path) -> list[Task]:
    files: dict[str, Path] = {}
    for item in asked:
        if item.source.digest not in files:
            files[item.source.digest] = folder / f"{item.source.digest}.npz"
            stream_files.save(files[item.source.digest], item.source.stream)
    return [
        Task(str(files[item.source.digest]), item.source.digest, item.blank, options._asdict(), item.contender.draws)
        for item in asked
    ]


def _with_gap(cell: Cell, found: dict[str, Cell]) -> Cell:
    bounds = [found[name] for policy in (FLOOR, CEILING) if (name := cell.having(policy=policy).name) in found]
    return cells.with_gaps([*bounds, cell])[-1]


def _line(cell: Cell) -> str:
    rate = f"{cell.hit_rate:.2%}" if cell.hit_rate is not None else cell.status
    return f"{cell.trace} {cell.policy} {cell.capacity:,}: {rate}"
