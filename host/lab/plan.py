"""From the requests of a request trace to the commands of a device: what `kvfpga replay` sends, and why.

For every request in order of arrival:

- time → steps: one decode step every `step_ms` of trace time. While any request is active each step is a STEP of its
  own (R15); idle time is skipped in one STEP. A request is active for as many steps as it has output tokens.
- block ids → entries: `key_of` and `va_of` give every block id a key and a virtual address of its own; consecutive
  ids are consecutive addresses. request_id 0, the shared prefix that others fall back on (R12), is not used.
- each block in the order of the trace: TOUCH (R13), and where that misses LOAD (R11), with the hint that the policy has for it.
- classes: at a request's end CLASS (R42) for those of its blocks that no later request has touched, where the policy has classes
  for then (device_policy.py), in as few ranges as there can be (policy/class_ranges.py).
- announced: where the policy has it, PREFETCH (R19) of a request's blocks for the step at which it arrives, before that STEP.
- active: once loaded, the request's blocks are shared (R20), and released at its end: its consecutive blocks are one
  SHARE and one RELEASE by range. Some policies share nothing (device_policy.py).
- full: where a LOAD would find no free entry, the blocks that have been out of use longest are unloaded first (R21),
  `unload_batch` at a time, never those of an active request. Blocks that find no room even then are only counted.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from ..contract.commands import Class, Command, Load, Prefetch, Release, Share, Step, Touch, Unload, order_in
from ..policy.class_ranges import class_ranges, runs_of
from .device_policy import DevicePolicy
from .trace_formats import Run
from .traces import Request

VA_BASE = 0x10_0000_0000
MAX_STEP = (1 << 32) - 1
"""A request that is active beyond it cannot be planned; `Planner.end_of` tells beforehand."""


def key_of(block: int, block_tokens: int) -> tuple[int, int, int, int]:
    """(request, layer, head, token_start) of a block id: 256 consecutive ids are one request's consecutive tokens."""
    chain, position = divmod(block, 256)
    chain, request = divmod(chain, 0xFFFF)
    chain, head = divmod(chain, 256)
    far, layer = divmod(chain, 256)
    return request + 1, layer, head, (far * 256 + position) * block_tokens


def va_of(block: int, block_bytes: int) -> int:
    return VA_BASE + block * block_bytes


class Action(NamedTuple):
    """A command, and the block ids that it touches, loads or unloads (empty for the others)."""

    command: Command
    blocks: tuple[int, ...] = ()


class Active(NamedTuple):
    """A request that is active: its last step, its arrival number, its blocks as runs, and (class, order) of each that has one
    for the request's end. In the order in which requests end."""

    end: int
    number: int
    runs: list[Run]
    classes: dict[int, tuple[int, int]]


class Planner:
    """Turns requests into commands. It knows which blocks the directory holds because it put them there; where they are
    among the tiers is the device's own affair."""

    def __init__(
        self,
        entries: int,
        block_tokens: int,
        block_bytes: int,
        policy: DevicePolicy,
        step_ms: float = 100.0,
        unload_batch: int = 256,
        step: int = 0,
    ):
        self.block_tokens = block_tokens
        self.block_bytes = block_bytes
        self.policy = policy
        self.step_ms = step_ms
        self.unload_batch = unload_batch
        self.first_step = self.step = step
        self.free = entries
        self.users: dict[int, int] = {}  # resident block → active requests that use it
        self.idle: OrderedDict[int, None] = OrderedDict()  # resident blocks without any, longest out of use first
        self.touched_by: dict[int, int] = {}  # resident block → arrival number of the last request that touched it
        self.active: list[Active] = []  # a heap
        self.arrivals = 0
        self.steps = 0
        self.unplaced = 0

    def advance(self, request: Request, beside: Iterable[Request] = ()) -> Iterator[Action]:
        """Everything from where the plan stands to the step at which the request arrives. `beside`: those behind it that arrive
        at the same one."""
        target = self.arrival_of(request)
        while self.step < target:
            step = self.step + 1 if self.active else target
            if self.policy.announces and step == target:
                for coming in (request, *beside):
                    for first, count in runs_of(set(coming.blocks.tolist())):
                        yield Action(Prefetch(*self._range(first, count), target))
            yield from self._step_to(step)

    def arrive(self, request: Request) -> Iterator[Action]:
        """At that step, everything until the request is active."""
        self.arrivals += 1
        blocks = request.blocks.tolist()
        hints = self.policy.hints(request)
        mine = [block for block in dict.fromkeys(blocks) if block in self.users]
        for block in mine:  # before anything is unloaded to make room
            self._use(block)
        for block, hint in zip(blocks, hints, strict=True):
            yield Action(Touch(*key_of(block, self.block_tokens), hint), (block,))
            if block in self.users:
                continue
            if not self.free:
                yield from self._make_room()
            if not self.free:
                self.unplaced += 1
                continue
            self.free -= 1
            self.users[block] = 1
            mine.append(block)
            yield Action(self._load(block, hint), (block,))
        self.touched_by.update(dict.fromkeys(mine, self.arrivals))
        last = zip(blocks, zip(self.policy.completion(request), map(order_in, hints)))
        runs = runs_of(mine)
        if self.policy.shares:
            for first, count in runs:
                yield Action(Share(*self._range(first, count)))
        heapq.heappush(self.active, Active(self.end_of(request), self.arrivals, runs, dict(last)))

    def end_of(self, request: Request) -> int:
        """The step at which a request is released."""
        return self.arrival_of(request) + max(1, request.output_length)

    def finish(self) -> Iterator[Action]:
        """The requests still active come to their ends, without the steps between."""
        while self.active:
            yield from self._step_to(self.active[0].end)

    def arrival_of(self, request: Request) -> int:
        """The step at which a request arrives."""
        return self.first_step + int(request.timestamp_ms / self.step_ms)

    def _step_to(self, step: int) -> Iterator[Action]:
        self.step = step
        self.steps += 1
        yield Action(Step(step))
        while self.active and self.active[0].end <= step:
            _, number, runs, classes = heapq.heappop(self.active)
            for first, count in runs if self.policy.shares else ():
                yield Action(Release(*self._range(first, count)))
            mine = sorted(block for block in classes if self.touched_by.get(block) == number)
            for first, count, *hint in class_ranges((block, *classes[block]) for block in mine):
                yield Action(Class(*self._range(first, count), *hint))
            # Last block first: the front of a prefix is of use without its end, but not the other way round.
            for first, count in reversed(runs):
                for block in range(first + count - 1, first - 1, -1):
                    self._leave(block)

    def _make_room(self) -> Iterator[Action]:
        coldest = list(islice(self.idle, self.unload_batch))
        for block in coldest:
            del self.idle[block], self.users[block], self.touched_by[block]
        self.free += len(coldest)
        for first, count in runs_of(coldest):
            yield Action(Unload(*self._range(first, count)), tuple(range(first, first + count)))

    def _use(self, block: int) -> None:
        if not self.users[block]:
            del self.idle[block]
        self.users[block] += 1

    def _leave(self, block: int) -> None:
        self.users[block] -= 1
        if not self.users[block]:
            self.idle[block] = None

    def _load(self, block: int, hint: int) -> Load:
        request, layer, head, start = key_of(block, self.block_tokens)
        va = va_of(block, self.block_bytes)
        return Load(request, layer, head, start, start + self.block_tokens - 1, va, hint=hint)

    def _range(self, first: int, count: int) -> tuple[int, int]:
        return va_of(first, self.block_bytes), count * self.block_bytes
