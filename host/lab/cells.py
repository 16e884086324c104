"""What `kvfpga lab run` measures, and the folder that keeps it: a cell is one policy on one trace at one capacity of tier 1.

    found = cells.load(Path("DIR"))           # every cell of DIR/cells, the shares of the gap filled in
    cells.samples(Path("DIR"), found[0])      # what a plot over time takes, or None

A cell is a file of one JSON object, DIR/cells/<trace>.<policy>.<capacity>.json, written whole: beside its place, on the disk,
then renamed. So a run that is killed leaves finished cells and nothing else. Samples lie beside it, as .npz.

A finished cell is used again where its `digest` is still the same: of the trace's arrays, the options that its policy depends on,
the versions of the libraries, and the source that computed it (digests.py).
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from ..contract import inputs
from ..contract.errors import UsageError
from ..contract.files import sync

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = Mapping[str, NDArray[Any]]

DONE, TIMED_OUT, FAILED = "done", "timed out", "failed"
FLOOR, CEILING = "lru", "optimal"
"""Between the hits of these two lies the gap that a policy closes a share of."""


@dataclass(frozen=True)
class Cell:
    """One line of `kvfpga lab run --json`. None stands where a policy has no such thing, or did not finish.

    hits         touches that found their block in tier 1
    prefix_hits  those of them without a miss before them in their request
    fills        blocks that moved into tier 1, from below or from nowhere: in a plain cache the misses
    gap_closed   (hits - hits of LRU) / (hits of optimal - hits of LRU); None where the two are equal or not there
    seconds      processor time of the policy itself; `learn_seconds`: of learning its hints, once for all
                 capacities
    device       what only a device counts: evictions, loads, unloads, unplaced, steps, searched
    entries, step_ms, classes, final_accuracy, seed: options, where the policy depends on them
    status       DONE, TIMED_OUT after `timeout` seconds, or FAILED for the `reason`
    """

    trace: str
    policy: str
    capacity: int
    requests: int
    touches: int
    blocks: int
    hits: int | None = None
    prefix_hits: int | None = None
    fills: int | None = None
    gap_closed: float | None = None
    seconds: float | None = None
    learn_seconds: float | None = None
    uses_future: bool = False
    generated: bool = False
    entries: int | None = None
    step_ms: float | None = None
    classes: int | None = None
    final_accuracy: float | None = None
    seed: int | None = None
    status: str = DONE
    reason: str = ""
    timeout: float | None = None
    device: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    @property
    def name(self) -> str:
        """Of its files, without their suffix."""
        return f"{self.trace}.{self.policy}.{self.capacity}"

    @property
    def hit_rate(self) -> float | None:
        """Hits a touch, 0 to 1."""
        return None if self.hits is None else self.hits / self.touches

    @property
    def prefix_hit_rate(self) -> float | None:
        """Prefix hits a touch, 0 to 1."""
        return None if self.prefix_hits is None else self.prefix_hits / self.touches

    def having(self, **more: Any) -> Cell:
        """The same with these values."""
        return replace(self, **more)

    def failed(self, reason: str) -> Cell:
        return self.having(status=FAILED, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """The keys of a line (docs/lab.md)."""
        return {"command": "lab", **asdict(self), "hit_rate": self.hit_rate, "prefix_hit_rate": self.prefix_hit_rate}


NAMES = frozenset(column.name for column in fields(Cell))


def of_json(found: Mapping[str, Any]) -> Cell:
    """The cell of `to_json`. KeyError, TypeError where it is none."""
    return Cell(**{key: value for key, value in found.items() if key in NAMES})


# ---- the folder --------------------------------------------------------------------------------------------------------


def folder(place: Path) -> Path:
    return place / "cells"


def store(place: Path, cell: Cell, samples: Samples | None = None) -> None:
    """Write a cell below `place`; its samples first, so that a cell that is there has them."""
    if samples is not None:
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **samples)
        write_whole(folder(place) / f"{cell.name}.npz", packed.getvalue())
    write_whole(folder(place) / f"{cell.name}.json", (json.dumps(cell.to_json()) + "\n").encode())


def load(place: Path) -> list[Cell]:
    """All cells below `place`, in order of trace, policy and capacity. UsageError where one cannot be read."""
    found = [read(path) for path in folder(place).glob("*.json")]
    return with_gaps(sorted(found, key=lambda cell: (cell.trace, cell.policy, cell.capacity)))


def read(path: Path) -> Cell:
    """The cell in a file."""
    try:
        return of_json(inputs.strict_json(inputs.read_text(path)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no cell of the lab: {error}", "remove it; `kvfpga lab run` computes it again") from None


def samples(place: Path, cell: Cell) -> Samples | None:
    """The arrays over time that were kept for a cell: step, t1_used, theta, pool; None where there are none. UsageError where
    they cannot be read."""
    path = folder(place) / f"{cell.name}.npz"
    try:
        with np.load(path) as packed:
            return {name: packed[name] for name in packed.files}
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
        remedy = f"remove it, and {cell.name}.json beside it: then `kvfpga lab run` computes both again"
        raise UsageError(f"{path} has no samples of the lab: {error}", remedy) from None


def write_whole(path: Path, content: bytes) -> None:
    """Have a file with this content, or what was there before: never a part. OSError names the file, also where the disk is
    full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    sync(path.parent)


# ---- the gap -----------------------------------------------------------------------------------------------------------


def with_gaps(found: Iterable[Cell]) -> list[Cell]:
    """The same cells, each with the share of the gap that its policy closes."""
    found = list(found)
    hits = {(cell.trace, cell.capacity, cell.policy): cell.hits for cell in found if cell.policy in (FLOOR, CEILING)}

    def gap(cell: Cell) -> float | None:
        low, high = (hits.get((cell.trace, cell.capacity, policy)) for policy in (FLOOR, CEILING))
        if cell.hits is None or low is None or high is None or low == high:
            return None
        return (cell.hits - low) / (high - low)

    return [cell.having(gap_closed=gap(cell)) for cell in found]
