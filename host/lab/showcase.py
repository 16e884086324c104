"""How `kvfpga demo` ends: what the device's policies are worth. The small trace that comes along is replayed with each of them,
and the hit rates stand beside those of LRU and of the optimum.

Between two replays the directory is emptied; at the end the settings are as they were, and the table of the ranked policy stays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract.commands import Set, Unload
from ..contract.errors import DeviceRefused
from ..contract.wording import counted
from .checked_device import CheckedDevice, require_empty
from .device_policy import LEARNT
from .plan import va_of
from .policies import lru, optimal
from .replay import ReplayOptions, replay
from .traces import SAMPLE, load_trace

if TYPE_CHECKING:
    from rich.console import Console

    from .replay import Progress
    from .traces import Trace

T1_CAPACITY = 64
"""So small that policies differ on a trace of seconds."""
POLICIES = ("linear:balanced", LEARNT)
"""The device's, as `kvfpga replay --policy` names them."""


@dataclass(frozen=True)
class Row:
    """Hits of a policy. `is_device`: the device made them. `uses_future`: only who knows what comes can have them."""

    policy: str
    hits: int
    hit_rate: float
    is_device: bool
    uses_future: bool = False


@dataclass(frozen=True)
class Showcase:
    """`rows` from the fewest hits to the most; `checks` and `differences` of all replays."""

    trace: str
    requests: int
    touches: int
    t1_capacity: int
    rows: tuple[Row, ...]
    checks: int
    differences: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(device: CheckedDevice, progress: Progress | None = None) -> Showcase:
    """Replay on `device`, which must be empty and is so again at the end. DifferenceError, DeviceRefused as of a replay."""
    require_empty(device, "the comparison")
    trace = load_trace(SAMPLE)
    touched = np.concatenate([request.blocks for request in trace.requests])
    before, checks, differences = device.settings(), device.checks, device.differences

    def row(policy: str, hits: int, is_device: bool = False) -> Row:
        return Row(policy, hits, hits / len(touched), is_device, policy == "optimal")

    rows = [row("lru", lru.hits(touched, T1_CAPACITY)), row("optimal", optimal.hits(touched, T1_CAPACITY))]
    for policy in POLICIES:
        options = ReplayOptions(policy=policy, t1_capacity=T1_CAPACITY, sample=0)
        rows.append(row(policy, replay(device, trace, options, progress).counters["hits_t1"], is_device=True))
        _empty(device, trace)
    now = device.settings()
    _do(device, *(Set(name, value) for name, value in before.items() if now[name] != value and name != "PTABLE_COMMIT"))
    return Showcase(
        trace.name, len(trace.requests), len(touched), T1_CAPACITY, tuple(sorted(rows, key=lambda row: row.hits)),
        device.checks - checks, device.differences - differences,
    )  # fmt: skip


def _empty(device: CheckedDevice, trace: Trace) -> None:
    touched = np.concatenate([request.blocks for request in trace.requests])
    first, last = int(touched.min()), int(touched.max())
    _do(device, Unload(va_of(first, device.block_bytes), (last - first + 1) * device.block_bytes))


def _do(device: CheckedDevice, *commands: Set | Unload) -> None:
    for command, result in zip(commands, device.execute_many(list(commands)), strict=True):
        if result.code != "OK":
            raise DeviceRefused(result.code, f"the device refused {command}: {result.code}")


def render(found: Showcase, console: Console) -> None:
    """A line a policy, the device's emphasised."""
    console.print("[bold cyan]What for[/]", highlight=False)
    console.print(f"  {counted(found.requests, 'request')} of {found.trace} touch {found.touches:,} blocks.", highlight=False)
    console.print(f"  How many find them in a tier 1 of {counted(found.t1_capacity, 'place')}?", highlight=False)
    for row in found.rows:
        label = f"device, {row.policy}" if row.is_device else row.policy
        knows = ", which knows the future" if row.uses_future else ""
        console.print(f"  {row.hit_rate:7.2%}  {label}{knows}", style="bold" if row.is_device else None, highlight=False)
    if found.checks and not found.differences:
        last = f"hardware and reference agree: {found.checks:,} checks, 0 differences"
    else:
        last = "nothing was compared: there is no hardware here, or checks are off"
    console.print(last, highlight=False, markup=False, soft_wrap=True)
