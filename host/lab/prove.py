"""Is the compiled device the device? A trace replayed on one in lockstep, every touch compared with what compiled.py says.

A replay in lockstep has device and reference model agree after every request. So a touch that differs here is a mistake of the
compiled device (or, where nothing is checked, of the device).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract.wording import counted
from . import compiled
from . import replay as replays
from .device_policy import ANNOUNCED, LEARNING, RANKED_AGE, check
from .hinting import by_age, learnt
from .replay import ReplayOptions
from .stream import Stream
from .stream import of as stream_of

if TYPE_CHECKING:
    from ..policy.hints import Hints
    from .checked_device import CheckedDevice
    from .compiled import Outcome
    from .replay import Progress, ReplaySummary
    from .traces import Trace


class Apart(NamedTuple):
    """The first touch that differs: the `touch`, its `request` and its `place` there, all counted from 0, its `block` id, and
    whether it hit on the device (else it did on the compiled one)."""

    touch: int
    request: int
    place: int
    block: int
    device_hit: bool

    def __str__(self) -> str:
        ours, theirs = ("hits", "misses") if self.device_hit else ("misses", "hits")
        return (
            f"touch {self.touch}, block {self.block} at place {self.place} of request {self.request}: it {ours} on the device "
            f"and {theirs} on the compiled one"
        )


class Proof(NamedTuple):
    """`device`: what the replay did. `outcome`: what the compiled device did. `different`: touches on which they do not agree,
    `first`: the first of them."""

    device: ReplaySummary
    outcome: Outcome
    different: int
    first: Apart | None

    def to_json(self) -> dict[str, Any]:
        summary = self.device
        return {
            "command": "lab prove",
            "trace": summary.trace,
            "policy": summary.policy,
            "capacity": summary.t1_capacity,
            "entries": summary.entries,
            "step_ms": summary.step_ms,
            "requests": summary.requests,
            "touches": summary.touches,
            "hits": int(summary.hits.sum()),
            "compiled_hits": int(self.outcome.hits.sum()),
            "different_touches": self.different,
            "first": None if self.first is None else self.first._asdict(),
            "checks": summary.checks,
            "differences": summary.differences,
            "checked": summary.checks > 0,
            "seconds": summary.seconds,
        }

    @property
    def verdict(self) -> str:
        touches = counted(self.device.touches, "touch", "touches")
        if self.first is not None:
            return f"{self.different:,} of {touches} differ; the first is {self.first}"
        return f"{touches}, all alike, {self.outcome.hits.sum():,} of them hits"

    def __str__(self) -> str:
        s = self.device
        checks = f"{counted(s.checks, 'check')} against the reference model" if s.checks else "nothing was checked on the way"
        return (
            f"{s.trace}: {counted(s.requests, 'request')}, {s.policy}, T1 of {counted(s.t1_capacity, 'block')}, "
            f"{s.entries:,} entries\nDevice and compiled device: {self.verdict}\n{counted(s.commands, 'command')}, {checks}"
        )


def prove(
    device: CheckedDevice,
    trace: Trace,
    policy: str,
    capacity: int | None = None,
    step_ms: float = 100.0,
    progress: Progress | None = None,
    hints: Hints | None = None,
) -> Proof:
    """Replay the trace on an empty device and on the compiled one. `policy`: one of device_policy.NAMES. `capacity`, `hints`: as
    for `replay`.
    Raises what `replay` does; that touches differ is no error, but what was asked."""
    check(policy)
    options = ReplayOptions(policy=policy, t1_capacity=capacity, step_ms=step_ms, sample=100, check_every=0)
    stream = stream_of(trace)
    size: dict[str, Any] = {"entries": device.entries, "step_ms": step_ms, "unload_batch": options.unload_batch}
    if policy in LEARNING and hints is None:
        tell = progress or (lambda done, total, note: None)

        def told(done: int) -> None:
            tell(done, stream.requests, "learning")

        hints = learnt(stream, classes=device.model.classes, announced=policy == ANNOUNCED, progress=told, **size)
    elif policy == RANKED_AGE:
        hints = by_age(stream)
    summary = replays.replay(device, trace, options, progress, hints)
    capacity = summary.t1_capacity
    if hints is None:
        outcome = compiled.run_linear(stream, policy.removeprefix("linear:"), capacity, **size)
    else:
        outcome = compiled.run_ranked(stream, hints, capacity, **size)
    different = np.flatnonzero(outcome.hits != summary.hits)
    return Proof(summary, outcome, len(different), _apart(stream, summary, int(different[0])) if len(different) else None)


def _apart(stream: Stream, summary: ReplaySummary, touch: int) -> Apart:
    request = int(np.searchsorted(stream.offsets, touch, side="right")) - 1
    block = int(stream.ids[stream.blocks[touch]])
    return Apart(touch, request, touch - int(stream.offsets[request]), block, bool(summary.hits[touch]))
