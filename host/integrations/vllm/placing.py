"""Blocks of a running server on a device under a policy: requests as they come, go on and end become commands.

    placement = Placement(device, "ranked", t1_capacity=64)
    placement.announce("7", names)              # PREFETCH before each STEP, until it arrives or is withdrawn
    placement.advance(step)                     # the STEPs up to there
    request = placement.arrive(names, tokens)   # for each block TOUCH, and LOAD where that misses
    placement.grow(request, more)               # the same for further blocks, which its answer fills
    placement.complete(request, tokens)         # CLASS, for the blocks that no later request has touched
    placement.flush()                           # run what was planned

Blocks have names, whatever a runtime calls contents that are the same; the names of a request are those of its prompt in order.
What is sent is what a replay sends (`kvfpga replay`): the learner (policy/learner.py) keeps the directory, so a block's slot
there is its slot in the window (window.py); tables are put in force as they are learnt; the linear policy has blocks shared while
requests use them. An LRU cache of as many blocks as tier 1 has places is told the same touches.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...contract import commands as cmd
from ...contract.commands import Command, Load, Touch, hint_of
from ...contract.errors import UsageError
from ...contract.wording import counted
from ...policy import programs
from ...policy.by_age import ByAge
from ...policy.class_ranges import class_ranges, runs_of
from ...policy.classes import plan
from ...policy.constants import DEFAULT
from ...policy.learner import Learner, Told
from ...policy.lru import Lru
from ...policy.ranked import EXPECTED
from .window import REF_LIMIT, VA_BASE, Mirrored, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

UNLOAD_BATCH = 256
"""Blocks that leave a full directory together, at most an eighth of it."""

Name = Hashable


class Held(NamedTuple):
    """The block of a slot, and its entry."""

    name: Name
    request: int
    token_start: int
    tokens: int


@dataclass
class Request:
    """One that is active: what was told of its prompt, and of each piece that it has grown by. `epoch`: how often everything had
    been cleared before."""

    number: int
    epoch: int
    pieces: list[Told] = field(default_factory=list)


@dataclass
class Decisions:
    """`touches` of blocks by requests: `hits` of them found the block in tier 1, `lru_hits` would have in an LRU cache of that
    size. `unplaced`: blocks for which the directory had no room. `evictions`, `prefetches`: what the device moved. `announced`:
    requests; `finals`: of those that ended, the ones said to be the last of their session; `classed`: blocks that got another
    class at the end of their request."""

    requests: int = 0
    touches: int = 0
    hits: int = 0
    lru_hits: int = 0
    loads: int = 0
    unloads: int = 0
    unplaced: int = 0
    steps: int = 0
    tables: int = 0
    evictions: int = 0
    prefetches: int = 0
    announced: int = 0
    finals: int = 0
    classed: int = 0

    def since(self, earlier: Decisions) -> Decisions:
        return Decisions(*(getattr(self, one.name) - getattr(earlier, one.name) for one in fields(self)))

    def rate(self, of: str) -> float:
        """The share of the touches."""
        return float(getattr(self, of)) / self.touches if self.touches else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"hit_rate": self.rate("hits"), "lru_hit_rate": self.rate("lru_hits")}


class Placement:
    """`policy`: one of programs.NAMES. `t1_capacity`: None for the usual one. `announces`, `final`: will requests be announced,
    and those that end a session be named? UsageError where the device has too few classes for the latter."""

    def __init__(
        self, device: Lockstep | Reference, policy: str = programs.LEARNT, t1_capacity: int | None = None, step_ms: float = 100.0,
        announces: bool = False, final: bool = False, va_base: int = VA_BASE,
    ):  # fmt: skip
        if policy not in programs.NAMES:
            raise UsageError(f"there is no policy {policy!r} to place by", f"policies: {', '.join(programs.NAMES)}")
        if not step_ms >= 0.001:
            raise UsageError(f"decode steps of {step_ms:g} ms", "give 0.001 or more")
        if policy == programs.LEARNT:
            plan(device.model.classes, DEFAULT, step_ms, final)  # refuses too few classes before anything is sent
        self.device, self.policy, self.step_ms = device, policy, step_ms
        self.t1_capacity = programs.t1_capacity(t1_capacity, device.entries)
        self.window = Window(device, va_base)
        self.decisions = Decisions()
        self.step = device.telemetry()["current_step"]
        self._ranked, self._announces, self._final = programs.is_ranked(policy), announces, final
        self._block_tokens = device.model.block_tokens
        self._brain: Learner | ByAge | None = None
        self._lru = Lru(self.t1_capacity)
        self._ids: dict[Name, int] = {}  # of the blocks in the directory, rising along a prompt
        self._next_id = 0
        self._at: dict[int, Held] = {}  # by slot
        self._announced: dict[Hashable, Sequence[Name]] = {}
        self._active = self._epoch = 0
        self._fresh = False  # touched since the last STEP: the next one decides about it
        self._table: NDArray[np.uint8] | None = None
        self._planned: list[Command] = []
        self._misses: set[int] = set()  # places in `_planned` of TOUCHes that find nothing
        self._gone: list[Name] = []
        self._read = Decisions()  # when `interval` was last asked
        self.window.run([cmd.Set("T1_CAPACITY", self.t1_capacity), *programs.settings(policy, announces)])

    @property
    def held(self) -> int:
        return len(self._at)

    @property
    def planned(self) -> int:
        """Commands that wait for `flush`."""
        return len(self._planned)

    def gone(self) -> list[Name]:
        """The blocks that have left the directory since this was last asked."""
        found, self._gone = self._gone, []
        return found

    # ---- requests ----------------------------------------------------------------------------------------------------
    def announce(self, request: Hashable, names: Sequence[Name]) -> None:
        """A request is queued. Until it is withdrawn, its blocks are expected at each next step."""
        self.decisions.announced += request not in self._announced
        self._announced[request] = names

    def withdraw(self, request: Hashable) -> None:
        """It arrives now, or never will."""
        self._announced.pop(request, None)

    def arrive(self, names: Sequence[Name], tokens: int, block_tokens: int) -> Request:
        """A request with a prompt of `tokens` touches these blocks, each of `block_tokens`."""
        brain = self._brain = self._brain or self._made(block_tokens)
        if (table := brain.table(self.step)) is not None:
            self._put_in_force(table)
        self.decisions.requests += 1
        self._active += 1
        request = Request(1 + (self.decisions.requests - 1) % 0xFFFF, self._epoch)
        self._place(request, brain.arrive(self.step, self._numbered(names), tokens), names, block_tokens)
        return request

    def grow(self, request: Request, names: Sequence[Name], block_tokens: int, generated: bool = True) -> None:
        """It touches further blocks: what it has generated, or the rest of a prompt that comes in pieces."""
        if request.epoch != self._epoch:
            return  # its beginning is void
        told = self._told().grow(request.pieces[-1], self.step, self._numbered(names), generated)
        self._place(request, told, names, block_tokens)

    def complete(self, request: Request, output_tokens: int, final: bool = False) -> None:
        """It has ended. `final`: somebody says that its session has, too."""
        if request.epoch != self._epoch:
            return
        self._active -= 1
        self.decisions.finals += final
        brain = self._told()
        for told in request.pieces:
            classes = brain.complete(told, self.step, output_tokens, final)
            self._release(told)
            if (classes != told.classes).any():
                self._class(told, classes)

    def advance(self, step: int) -> None:
        """The decode steps up to this one: each is a STEP while a request is active, and behind a touch; idle time is skipped in
        one."""
        while self.step < step:
            self.step = self.step + 1 if self._active or self._fresh else step
            if self._announced:
                self._expect(self.step)
            self._fresh = False
            self.decisions.steps += 1
            self._planned.append(cmd.Step(self.step))

    def clear(self) -> None:
        """The contents of all blocks are void. What was learnt of them stays."""
        users = self._users()
        for slot in self._at:
            self._planned += [cmd.Release(*self.window.range(slot))] * users(slot)
        if self._at:
            self._planned.append(cmd.Unload(self.window.va_base, self.window.va_bytes))
        self.decisions.unloads += len(self._at)
        if self._brain:
            self._brain.forget(self.step)
        self._gone += [held.name for held in self._at.values()]
        self._ids.clear()
        self._at.clear()
        self._announced.clear()
        self._lru.clear()
        self._active = 0
        self._epoch += 1

    # ---- what they come to -------------------------------------------------------------------------------------------
    def _made(self, block_tokens: int) -> Learner | ByAge:
        entries, classes = self.window.slots, self.device.model.classes
        batch = min(UNLOAD_BATCH, max(1, entries // 8))
        if self.policy != programs.LEARNT:
            return ByAge(block_tokens, entries=entries, unload_batch=batch, classes=classes if self._ranked else None)
        return Learner(
            block_tokens, step_ms=self.step_ms, entries=entries, unload_batch=batch, classes=classes, final=self._final
        )

    def _told(self) -> Learner | ByAge:
        if self._brain is None:
            raise UsageError("no request has arrived yet", "`arrive` first")
        return self._brain

    def _numbered(self, names: Sequence[Name]) -> NDArray[np.int64]:
        for name in names:
            if name not in self._ids:
                self._ids[name] = self._next_id
                self._next_id += 1
        return np.array([self._ids[name] for name in names], dtype=np.int64)

    def _put_in_force(self, table: NDArray[np.uint8]) -> None:
        """From here on. The window of PTABLE is written at once, so what was planned must have run before (R45)."""
        if self._announces:
            table = table.copy()
            table[:, 0] = EXPECTED
        self.flush()
        self.device.write_table(table)
        self._planned.append(cmd.Set("PTABLE_COMMIT", 1))
        self._table = table
        self.decisions.tables += 1

    def _place(self, request: Request, told: Told, names: Sequence[Name], block_tokens: int) -> None:
        request.pieces.append(told)
        arrival = told.arrival
        for slot in (leaving := arrival.unloaded.tolist()):
            self._leave(slot)
        hints = [0] * len(names)
        if self._ranked:
            hints = [hint_of(*hint) for hint in zip(told.classes.tolist(), told.orders.tolist(), strict=True)]
        self._fresh = True
        self.decisions.touches += len(names)
        self.decisions.lru_hits += sum(map(self._lru.touch, names))
        tokens = min(block_tokens, self._block_tokens)
        for place, (name, slot, hint) in enumerate(zip(names, arrival.slots.tolist(), hints), start=arrival.depth):
            if slot < 0:
                self.decisions.unplaced += 1
                if self._ids.pop(name, None) is not None:
                    self._gone.append(name)
                continue
            is_new = slot not in self._at
            if is_new:
                self._misses.add(len(self._planned))
                self._at[slot] = Held(name, request.number, place * self._block_tokens & 0xFFFF_FFFF, tokens)
            held = self._at[slot]
            key, start = self.window.id(held.request, slot), held.token_start
            self._planned.append(Touch(*key, start, hint))
            if is_new:
                self.decisions.loads += 1
                self._unload(leaving)
                leaving = []
                self._planned.append(Load(*key, start, start + held.tokens - 1, self.window.va(slot), hint=hint))
        if not self._ranked:
            users = self._told().history.directory.users
            for run in runs_of(arrival.own[users[arrival.own] <= REF_LIMIT].tolist()):
                self._planned.append(cmd.Share(*self.window.range(*run)))

    def _release(self, told: Told) -> None:
        """Its blocks have a user less."""
        if not self._ranked:
            own = told.arrival.own
            users = self._told().history.directory.users
            for run in runs_of(own[users[own] < REF_LIMIT].tolist()):
                self._planned.append(cmd.Release(*self.window.range(*run)))

    def _class(self, told: Told, classes: NDArray[np.uint8]) -> None:
        """Give the blocks that no later request has touched these classes, and the orders that they have."""
        arrival, toucher = told.arrival, self._told().history.toucher
        hints = dict(zip(arrival.slots.tolist(), zip(classes.tolist(), told.orders.tolist(), strict=True), strict=True))
        mine = sorted(slot for slot in hints if slot >= 0 and toucher[slot] == arrival.serial)
        self.decisions.classed += len(mine)
        for first, count, *hint in class_ranges((slot, *hints[slot]) for slot in mine):
            self._planned.append(cmd.Class(*self.window.range(first, count), *hint))

    def _expect(self, step: int) -> None:
        """PREFETCH, with the last STEP before it, of all that is announced and in the directory."""
        expected = {self._ids[name] for names in self._announced.values() for name in names if name in self._ids}
        if not expected:
            return
        for run in runs_of(self._told().history.directory.find(list(expected)).tolist()):
            self._planned.append(cmd.Prefetch(*self.window.range(*run), step))

    def _leave(self, slot: int) -> None:
        name = self._at.pop(slot).name
        del self._ids[name]
        self._gone.append(name)

    def _unload(self, slots: list[int]) -> None:
        """Behind the TOUCH of what wants the room, as in a replay: what is touched before it finds tier 1 as it was."""
        self.decisions.unloads += len(slots)
        for run in runs_of(slots):
            self._planned.append(cmd.Unload(*self.window.range(*run)))

    # ---- the device --------------------------------------------------------------------------------------------------
    def flush(self) -> None:
        """Run what was planned. DeviceRefused where somebody else has changed the directory."""
        commands, misses = self._planned, self._misses
        self._planned, self._misses = [], set()
        for command, result in zip(commands, self.window.run(commands, misses) if commands else (), strict=True):
            if type(command) is Touch:
                self.decisions.hits += result.tier == 1
            evictions = sum(trigger.channel == cmd.EVICT for trigger in result.triggers)
            self.decisions.evictions += evictions
            self.decisions.prefetches += len(result.triggers) - evictions

    def verify(self) -> int:
        """Read the directory and hold it against what was placed: the number of blocks, DifferenceError where they differ."""
        self.flush()
        users = self._users()
        self.window.compare(
            {slot: Mirrored(held.request, held.token_start, held.tokens, users(slot)) for slot, held in self._at.items()}
        )
        return len(self._at)

    def _users(self) -> Any:
        """ref_count of a slot: the linear policy shares what is in use."""
        brain = self._brain
        if self._ranked or brain is None:
            return lambda slot: 0
        users = brain.history.directory.users
        return lambda slot: min(int(users[slot]), REF_LIMIT)

    def figures(self) -> dict[str, Any]:
        """All decisions so far, and what the last STEP decided by."""
        self.flush()
        telemetry = self.device.telemetry()
        last = {name: telemetry[name] for name in ("theta", "pool", "outside", "ranked_steps", "t1_used")}
        own = {"policy": self.policy, "t1_capacity": self.t1_capacity, "step": self.step}
        return own | self.decisions.to_json() | last | {"ranks": self._ranks()}

    def interval(self) -> dict[str, Any]:
        """The same, with decisions since this was last asked."""
        self.flush()
        since, self._read = self.decisions.since(self._read), Decisions(**asdict(self.decisions))
        return self.figures() | since.to_json()

    def _ranks(self) -> list[int] | None:
        """The lowest, the middle and the highest priority (R44) of the blocks in tier 1, by the reference."""
        directory = self.device.model.directory
        found = np.sort(directory.priority[directory.valid & (directory.tier == 1)])
        return [int(found[0]), int(found[len(found) // 2]), int(found[-1])] if len(found) else None

    def __repr__(self) -> str:
        d = self.decisions
        return f"<Placement {self.policy}: {counted(d.requests, 'request')}, {counted(d.touches, 'touch', 'touches')}>"
