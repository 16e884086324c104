"""Replay a request trace on a device: real requests become directory entries, decode steps and hints.

`replay` takes a device in lockstep (a `CheckedDevice`) and a trace, and answers with a summary. What is
sent for each request, plan.py says.

`sample` blocks, spread evenly over all blocks of the run, get a pattern of their own written into memory when they are
loaded. Whenever the device has moved one of them, all its bytes are read back from where it must be now (D8); at the
end, so are those still in the directory. Bytes that differ raise `DifferenceError`, as any difference in lockstep does.

The directory must be empty at the start. The device's policy is the one that the options name; without a name, what is in force
is used as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contract import script
from ..contract.commands import EVICT, Load, Result, Set, Step, Touch, Unload
from ..contract.errors import DeviceRefused, DifferenceError, UsageError
from ..contract.wording import counted
from ..policy.programs import t1_capacity
from . import device_policy
from .checked_device import CheckedDevice, check_block, require_empty
from .device_policy import ANNOUNCED, LEARNING, DevicePolicy, Hinted
from .hinting import learnt
from .plan import MAX_STEP, Action, Planner
from .policies.table import POLICIES, Baselines, baselines
from .stream import of as stream_of
from .traces import Request, Trace, load_trace
from .workload import block_pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from ..policy.hints import Hints

BATCH_COMMANDS = 256
"""Commands that go to the device together, at least, unless something must happen in between."""

Progress = Callable[[int, int, str], None]
"""Called after every request with (requests done, requests in all, a short note)."""


@dataclass(frozen=True)
class ReplayOptions:
    """How to replay. `limit`: requests, None for all. `time_unit` of the trace's timestamps: "s", "ms", None for what its format
    says. `policy`: one of device_policy.NAMES, None for the one in force. `t1_capacity`: None for 4,096, or all of a smaller
    device. `check_every`: commands between two checks of the device against the reference; 1 for a check after every command, 0
    for one at the end of each request. `Lockstep.run_through` says what a check looks at."""

    limit: int | None = None
    time_unit: str | None = None
    policy: str | None = None
    t1_capacity: int | None = None
    step_ms: float = 100.0
    sample: int = 1000
    check_every: int = 1
    unload_batch: int = 256

    def __post_init__(self) -> None:
        if self.policy is not None:
            device_policy.check(self.policy)
        least = {"t1_capacity": 0, "sample": 0, "check_every": 0, "unload_batch": 1, "step_ms": 0.001}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and not value >= smallest:
                raise UsageError(f"{name} is {value}", f"give {smallest} or more")


# ---- where the sampled bytes are ------------------------------------------------------------------------------------


class Sampler:
    """Follows each block from entry to entry and tier to tier by results alone, and checks the sampled ones' bytes."""

    def __init__(self, device: CheckedDevice, blocks: frozenset[int], t1_capacity: int):
        settings = device.settings()
        self.device = device
        self.blocks = blocks
        self.tier_base = [settings[f"TIER_BASE{tier}"] for tier in range(4)]
        self.evict_tier = settings["EVICT_TIER"]
        self.t1_capacity = t1_capacity
        self.t1_used = 0
        self.index_of: dict[int, int] = {}  # resident block → entry
        self.block_at: dict[int, int] = {}  # entry → block
        self.tier_at: dict[int, int] = {}  # entry → tier
        self.loaded: set[int] = set()  # sampled blocks, over the whole run
        self.moved: set[int] = set()
        self.moves = 0  # migrations of sampled blocks
        self.bytes_compared = 0

    def account(self, actions: list[Action], results: list[Result]) -> None:
        """Follow a chunk of executed commands. None may have moved a sampled block that was loaded in it."""
        to_check: set[int] = set()
        for (command, blocks), result in zip(actions, results, strict=True):
            for trigger in result.triggers:
                self.t1_used += -1 if trigger.channel == EVICT else 1
                self.tier_at[trigger.index] = trigger.to_tier
                block = self.block_at.get(trigger.index)
                if block is None:
                    raise DifferenceError(f"entry {trigger.index} was moved, and nothing was loaded there")
                if block in self.blocks:
                    self.moves += 1
                    self.moved.add(block)
                    to_check.add(block)
            if isinstance(command, Load):
                self._load(blocks[0], result.index)
            elif isinstance(command, Unload):
                for block in blocks:
                    self._unload(block)
                to_check.difference_update(blocks)
        for block in sorted(to_check):
            self.check(block)

    def check_all(self) -> None:
        """Every sampled block that is in the directory now."""
        for block in sorted(self.blocks & self.index_of.keys()):
            self.check(block)

    def check(self, block: int) -> None:
        index = self.index_of[block]
        check_block(self.device, f"block {block} (entry {index}, tier {self.tier_at[index]})", self._addr(block), block)
        self.bytes_compared += self.device.block_bytes

    def _load(self, block: int, index: int | None) -> None:
        if index is None:
            raise DifferenceError(f"the load of block {block} was accepted, but left no entry index (R5)")
        to_t1 = self.t1_used < self.t1_capacity  # else the LOAD lands in EVICT_TIER (R11)
        self.t1_used += to_t1
        self.index_of[block] = index
        self.block_at[index] = block
        self.tier_at[index] = 1 if to_t1 else self.evict_tier
        if block in self.blocks:
            self.loaded.add(block)
            self.device.memory_write(self._addr(block), block_pattern(block, self.device.block_bytes))

    def _unload(self, block: int) -> None:
        index = self.index_of.pop(block)
        del self.block_at[index]
        self.t1_used -= self.tier_at.pop(index) == 1

    def _addr(self, block: int) -> int:
        index = self.index_of[block]
        return self.tier_base[self.tier_at[index]] + index * self.device.block_bytes


# ---- the run --------------------------------------------------------------------------------------------------------

_COUNTED = (
    "hits_t0", "hits_t1", "hits_t2", "hits_t3", "misses", "evict_triggers", "prefetch_triggers", "evict_bytes",
    "prefetch_bytes", "guards", "denials", "saturations", "release_refusals",
)  # fmt: skip


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did. `counters` are the device's own telemetry (R23) over the run; `baselines` are plain caches of
    `t1_capacity` blocks on the same references; `unplaced` counts blocks for which the directory had no room. `hits`: bool for
    each touch in order, was its block in tier 1? The JSON goes without it."""

    trace: str
    trace_format: str
    time_unit: str
    policy: str
    entries: int
    block_bytes: int
    t1_capacity: int
    step_ms: float
    requests: int
    touches: int
    loads: int
    unloads: int
    unplaced: int
    steps: int
    commands: int
    cycles: int
    seconds: float
    checks: int
    differences: int
    counters: dict[str, int]
    baselines: Baselines
    sampled_blocks: int
    sampled_moved: int
    sampled_moves: int
    sampled_bytes_compared: int
    hits: NDArray[np.bool_] = field(repr=False, compare=False)

    @property
    def t1_hit_rate(self) -> float:
        return self.counters["hits_t1"] / self.touches if self.touches else 0.0

    @property
    def commands_per_second(self) -> float:
        return self.commands / self.seconds if self.seconds else 0.0

    def __repr__(self) -> str:
        return (
            f"<ReplaySummary {self.policy}: {counted(self.requests, 'request')}, {counted(self.touches, 'touch', 'touches')}, "
            f"{100 * self.t1_hit_rate:.1f} % in T1 of {self.t1_capacity}>"
        )

    def _repr_html_(self) -> str:
        """Hit rates beside those of plain caches."""
        from ..contract.showing import html_table

        plain = [(POLICIES[name].label, hits, self.baselines.rate(name)) for name, hits in self.baselines.hits.items()]
        rows = [(f"device, {self.policy}", self.counters["hits_t1"], self.t1_hit_rate), *plain]
        return html_table(("", "hits", "rate"), [(name, hits, f"{100 * rate:.1f} %") for name, hits, rate in rows], repr(self))

    def to_json(self) -> dict[str, Any]:
        """One flat object; rates are fractions of the touches."""
        fields = asdict(self)
        del fields["baselines"], fields["hits"]
        plain = self.baselines
        return {
            "command": "replay",
            **fields.pop("counters"),
            **fields,
            "t1_hit_rate": self.t1_hit_rate,
            **{f"{policy}_hits": plain.hits[policy] for policy in POLICIES},
            **{f"{policy}_hit_rate": plain.rate(policy) for policy in POLICIES},
            "commands_per_second": self.commands_per_second,
            "checked": self.checks > 0,
        }


def replay(
    lockstep: CheckedDevice,
    trace: Trace | str | Path,
    options: ReplayOptions | None = None,
    progress: Progress | None = None,
    hints: Hints | None = None,
) -> ReplaySummary:
    """Replay a trace, or the one at a path. `hints`: what a policy that learns tells the device; learnt from the trace where
    there are none. UsageError for a bad trace or a device that is not empty, DeviceRefused where the device refuses a command,
    DifferenceError where device and reference, or a sampled block and its bytes, disagree."""
    options = options or ReplayOptions()
    if not isinstance(trace, Trace):
        trace = load_trace(trace, options.limit, options.time_unit)
    return _Run(lockstep, trace, options, progress or (lambda done, total, note: None), hints).go()


class _Run:
    def __init__(self, device: CheckedDevice, trace: Trace, options: ReplayOptions, progress: Progress, hints: Hints | None):
        self.device = device
        self.trace = trace
        self.requests = trace.requests
        self.options = options
        self.progress = progress
        self.references = np.concatenate([request.blocks for request in self.requests])
        require_empty(device, "a replay")
        self.t1_capacity = t1_capacity(options.t1_capacity, device.entries)
        self.before = device.telemetry()
        self.policy = self._policy(hints)
        self.planner = Planner(
            device.entries,
            device.model.block_tokens,
            device.block_bytes,
            self.policy,
            options.step_ms,
            options.unload_batch,
            self.before["current_step"],
        )
        self.sampler = Sampler(device, _spread(self.references, options.sample), self.t1_capacity)
        self.commands = self.cycles = self.loads = self.unloads = 0
        self.hits: list[bool] = []
        self.gathered: list[Action] = []  # planned, not yet run
        self.checks: list[int] = []  # behind how many of them the state is compared
        self.bare: set[int] = set()  # sampled blocks among them that are loaded: their bytes are not in memory
        self.unchecked = 0  # commands since the last check, those gathered included
        last = max(map(self.planner.end_of, self.requests))
        if last > MAX_STEP:
            raise UsageError(
                f"the trace ends at step {last}, and steps end at {MAX_STEP}",
                "make the decode step longer, or start on a device that was reset; is the trace's time unit right?",
            )

    def _policy(self, hints: Hints | None) -> DevicePolicy:
        name, classes = self.options.policy, self.device.model.classes
        if name is None:
            return device_policy.in_force(self.device.settings())
        if name not in LEARNING:
            return device_policy.named(name, classes)
        return Hinted(name, self._learnt() if hints is None else hints, classes)

    def _learnt(self) -> Hints:
        """What the learner tells a device of this size along the trace."""
        total = len(self.requests)
        return learnt(
            stream_of(self.trace),
            step_ms=self.options.step_ms,
            entries=self.device.entries,
            unload_batch=self.options.unload_batch,
            classes=self.device.model.classes,
            announced=self.options.policy == ANNOUNCED,
            progress=lambda done: self.progress(done, total, "learning"),
        )

    def go(self) -> ReplaySummary:
        checks, differences = self.device.checks, self.device.differences
        started = time.perf_counter()
        total = len(self.requests)
        self._send(map(Action, [Set("T1_CAPACITY", self.t1_capacity), *self.policy.settings]))
        for done, request in enumerate(self.requests, start=1):
            self._send(self.planner.advance(request, self._beside(done)))
            if (table := self.policy.table(request)) is not None:
                self._put_in_force(table)
            self._send(self.planner.arrive(request))
            if self.unchecked and not self.options.check_every:
                self._check_here()
            if len(self.gathered) >= BATCH_COMMANDS:
                self._flush()
            self.progress(done, total, f"step {self.planner.step:,}, {counted(self.commands, 'command')}")
        self._send(self.planner.finish())
        if self.unchecked:
            self._check_here()
        self._flush()
        self.sampler.check_all()
        seconds = time.perf_counter() - started
        after = self.device.telemetry()
        return ReplaySummary(
            trace=self.trace.name,
            trace_format=self.trace.format,
            time_unit=self.trace.unit,
            policy=self.policy.name,
            entries=self.device.entries,
            block_bytes=self.device.block_bytes,
            t1_capacity=self.t1_capacity,
            step_ms=self.options.step_ms,
            requests=total,
            touches=len(self.references),
            loads=self.loads,
            unloads=self.unloads,
            unplaced=self.planner.unplaced,
            steps=self.planner.steps,
            commands=self.commands,
            cycles=self.cycles,
            seconds=seconds,
            checks=self.device.checks - checks,
            differences=self.device.differences - differences,
            counters={key: after[key] - self.before[key] for key in _COUNTED},
            baselines=baselines(self.references, self.t1_capacity),
            sampled_blocks=len(self.sampler.loaded),
            sampled_moved=len(self.sampler.moved),
            sampled_moves=self.sampler.moves,
            sampled_bytes_compared=self.sampler.bytes_compared,
            hits=np.array(self.hits, bool),
        )

    def _beside(self, number: int) -> Iterator[Request]:
        """The requests from this one on that arrive when the one before it does."""
        step = self.planner.arrival_of(self.requests[number - 1])
        while number < len(self.requests) and self.planner.arrival_of(self.requests[number]) == step:
            yield self.requests[number]
            number += 1

    def _put_in_force(self, table: NDArray[np.uint8]) -> None:
        """From here on. The window is written at once, so what was gathered must have run before (R45)."""
        self._flush()
        self.device.write_table(table)
        self._send([Action(Set("PTABLE_COMMIT", 1))])

    # ---- from actions to batches -------------------------------------------------------------------------------------
    def _send(self, actions: Iterable[Action]) -> None:
        """Gather them, a check behind every `check_every`. The bytes of a sampled block must be in memory before anything can
        move it: a step, or a touch of its own."""
        for action in actions:
            if self.bare and (isinstance(action.command, Step) or not self.bare.isdisjoint(action.blocks)):
                self._flush()
            self.gathered.append(action)
            self.unchecked += 1
            if self.unchecked == self.options.check_every:
                self._check_here()
            if isinstance(action.command, Load):
                self.bare |= self.sampler.blocks.intersection(action.blocks)

    def _check_here(self) -> None:
        self.checks.append(len(self.gathered))
        self.unchecked = 0

    def _flush(self) -> None:
        """Run what was gathered."""
        actions, checks = self.gathered, self.checks
        self.gathered, self.checks, self.bare = [], [], set()
        done = 0
        for results in self.device.run_through([action.command for action in actions], checks):
            self._account(actions[done : done + len(results)], results)
            done += len(results)

    def _account(self, actions: list[Action], results: list[Result]) -> None:
        for (command, blocks), result in zip(actions, results, strict=True):
            self.cycles += result.cycles
            if result.code != "OK":
                raise DeviceRefused(result.code, f"the device refused `{script.line(command)}`: {result.code}")
            if isinstance(command, Touch):
                self.hits.append(result.tier == 1)
            elif isinstance(command, Load):
                self.loads += 1
            elif isinstance(command, Unload):
                self.unloads += len(blocks)
        self.commands += len(actions)
        self.sampler.account(actions, results)


def _spread(references: NDArray[np.int64], count: int) -> frozenset[int]:
    """`count` of the blocks, evenly over their order of first appearance; all, where there are not so many."""
    blocks, first = np.unique(references, return_index=True)
    in_order = blocks[np.argsort(first)]
    if count < len(in_order):
        in_order = in_order[np.arange(count) * len(in_order) // count] if count else in_order[:0]
    return frozenset(in_order.tolist())


# ---- for people -----------------------------------------------------------------------------------------------------


def tables(summary: ReplaySummary) -> tuple[Table, Table]:
    """The summary as two tables: the device beside its peers, then all that happened."""
    from rich.table import Table

    s, counters = summary, summary.counters
    title = f"Tier 1 of {counted(s.t1_capacity, 'block')}, {counted(s.touches, 'touch', 'touches')}"
    rates = Table(title=title, title_justify="left")
    rates.add_column("hits among them")
    rates.add_column("blocks", justify="right")
    rates.add_column("rate", justify="right")
    rates.add_row(f"device, {s.policy}", f"{counters['hits_t1']:,}", f"{s.t1_hit_rate:.2%}", style="bold")
    for name, policy in POLICIES.items():
        rates.add_row(policy.label, f"{s.baselines.hits[name]:,}", f"{s.baselines.rate(name):.2%}")

    copied = counters["evict_bytes"] // s.block_bytes
    done = Table(title=f"{s.trace}: {counted(s.requests, 'request')}", title_justify="left", show_header=False)
    done.add_column()
    done.add_column()
    for label, text in (
        ("format", f"{s.trace_format}, timestamps in {s.time_unit}"),
        ("decode steps", f"{s.steps:,} of {s.step_ms:g} ms"),
        ("hits per tier", ", ".join(f"T{tier} {counters[f'hits_t{tier}']:,}" for tier in range(4))),
        ("misses", f"{counters['misses']:,}"),
        ("loads, unloads", f"{s.loads:,} and {s.unloads:,}" + (f", no room for {s.unplaced:,}" if s.unplaced else "")),
        ("evictions", f"{counters['evict_triggers']:,}, {copied:,} of them copied: {_size(counters['evict_bytes'])}"),
        ("prefetches", f"{counters['prefetch_triggers']:,}: {_size(counters['prefetch_bytes'])}"),
        ("denied, T1 full", f"{counters['denials']:,}"),
        ("guarded, in use", f"{counters['guards']:,}"),
        ("commands", f"{s.commands:,} in {s.seconds:,.1f} s, {s.commands_per_second:,.0f} a second"),
        ("device cycles", f"{s.cycles:,}" if s.cycles else "none: no hardware here"),
        (
            "sampled blocks",
            f"{s.sampled_blocks:,}, {s.sampled_moved:,} of them moved ({counted(s.sampled_moves, 'migration')}): "
            f"{_size(s.sampled_bytes_compared)} read back, all equal",
        ),
        ("checks", f"{s.checks:,}" if s.checks else "none: nothing was compared"),
        ("differences", f"{s.differences:,}"),
    ):
        done.add_row(label, text)
    return rates, done


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
