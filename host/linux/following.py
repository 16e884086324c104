"""Lockstep behind a driver: the reference model does what the guest's driver makes the device do, and both are compared.

The driver writes registers when it likes, several commands at once, and takes results when it likes. So nothing is asked of the
device that it does not do anyway: the accesses that were noted (transport/sim/guest.py) are read back into commands
(device/codec.py) when the device is idle, the model runs them, and what has come back is compared:

    results and completion records    those that the guest took off their queues, in order
    scores                            the words of SCORES that the guest read
    telemetry, directory              at every look; the directory by the PASS_DIGEST (R25) of the last STEP, and as BAR2
                                      shows it, ENTRIES_AT_ONCE at a look, in turn where there are more
    bytes                             of each block that has moved, as the device saw them

What a block in the guest's memory holds is the guest's affair: where the device fetches one, the model takes over what it
found.

Where a queue has overflown, as it does for a driver that never reads it, nobody can say which answer belongs to which command:
they are compared again once the queue was empty. With strict=0 commands run alone (`WordKind.IN_ORDER`): else the state would
depend on memory timing (R22), and no model could follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..contract import script
from ..contract.commands import EVICT, PREFETCH, Command, Result, Step, Trigger
from ..contract.errors import IdleTimeout, TargetError
from ..device.answers import SHOWS_PLACE, empty_queues, score_word
from ..device.codec import OPERANDS, RESET_BIT, bits, commands_of, opcode_of
from ..device.registers import BY_OFFSET, HIGH_WORDS, is_score, query_word, table_word
from ..device.regmap import DOORBELLS, PTABLE, QUERY, REGISTERS, SCORES, Code, Opcode
from ..lockstep.compare import differing
from ..lockstep.report import Difference
from ..transport.mmio import Simulation
from ..transport.sim.guest import BAR0_BYTES, WINDOW, Access, GuestPort, Places, WordKind

if TYPE_CHECKING:
    from ..blackbox.simulation import SimulationBlackBox
    from ..lockstep.lockstep import Lockstep

ENTRIES_AT_ONCE = 1024
RESULT, COMPLETION = REGISTERS["RESULT_STATUS"], REGISTERS["COMPLETION"]
TAKES_RESULT = REGISTERS["RESULT_CYCLES"]
RESULT_WORDS = (TAKES_RESULT.offset - RESULT.offset) // 4
STATUS = REGISTERS["STATUS"]
RESULT_READY = STATUS.fields["result_ready"]
PLACES = Places(
    RESULT.offset, RESULT_WORDS, STATUS.offset, 1 << STATUS.fields["dma_busy"].low, 1 << RESULT_READY.low
)  # fmt: skip
PATIENCE = 20_000
"""Cycles after which a device that is not idle may be waiting for room."""
RESULTS_KEPT = 32
"""Results that the device's queue holds; a further one drops the oldest."""


class Awaited(NamedTuple):
    """A result that the guest has not taken yet. `result` None: of what is no command of the model's (DIGEST)."""

    opcode: Opcode
    command: Command | None
    result: Result | None


class Answered(NamedTuple):
    """A result that the guest took: words from RESULT_STATUS on."""

    words: list[int]


class Record(NamedTuple):
    """A completion record that the guest took."""

    value: int


class Queued(NamedTuple):
    """A write that rang a doorbell or set a setting, and the commands that it is."""

    opcode: Opcode
    commands: list[Command]


Event: TypeAlias = Queued | Answered | Record | Access


def kinds(one_by_one: bool, has_doorbells: bool) -> dict[int, WordKind]:
    """What the register loop has to know of the words of BAR0. `one_by_one`: a command waits for the one before it.
    `has_doorbells`: is their page there?"""
    found = dict.fromkeys(range(0, BAR0_BYTES, 4), WordKind(0))
    for register in REGISTERS.values():
        if register.width == 64:
            found[register.offset] |= WordKind.HALF
        if register.name in OPERANDS or register.doorbell or register.config:
            for offset in range(register.offset, register.offset + register.width // 8, 4):
                found[offset] |= WordKind.NOTE_WRITE
        if one_by_one and (register.doorbell or register.config):
            found[register.offset + (4 if register.width == 64 else 0)] |= WordKind.IN_ORDER
    found[REGISTERS["CTRL"].offset] |= WordKind.IN_ORDER | WordKind.LOOK_BEHIND
    found[TAKES_RESULT.offset] |= WordKind.TAKES_RESULT
    found[COMPLETION.offset] |= WordKind.NOTE_READ | WordKind.IF_VALID
    found[COMPLETION.offset + 4] |= WordKind.NOTE_READ
    for offset in range(SCORES, BAR0_BYTES, 4):
        if is_score(offset):
            found[offset] |= WordKind.NOTE_READ | WordKind.SHOWS_RESULT
        is_ring = has_doorbells and offset in DOORBELLS
        if offset >= PTABLE and not is_ring:  # the windows, whose words belong to the commands around them
            found[offset] |= WordKind.IN_ORDER | WordKind.NOTE_WRITE
    return found


class Follower:
    """A `vfio.Watcher` for `lockstep`. `box` gets what is needed to have a difference again."""

    def __init__(self, lockstep: Lockstep, box: SimulationBlackBox):
        self.lockstep, self.model, self.box = lockstep, lockstep.model, box
        self._kept: list[Access] = []  # noted, and not followed yet
        self._strict = True
        self._has_doorbells = lockstep.read_register("CAP_DOORBELLS") != 0
        self._clear()

    def _clear(self) -> None:
        """As after a reset."""
        self._operands = dict.fromkeys(OPERANDS, 0)
        self._low: dict[str, int] = {}
        self._results: deque[Awaited] = deque()
        self._records: deque[tuple[Command, set[Trigger]]] = deque()
        self._unsure = {"results_lost": False, "completions_lost": False}
        self._lost = dict.fromkeys(self._unsure, 0)
        self._record_low = 0
        self._next_entry = 0
        self._moved: set[tuple[int, int]] = set()
        self._last: Command | str = "reset --raw"

    @property
    def awaits_results(self) -> bool:
        """Are there commands whose results the guest has not taken, as far as was looked?"""
        return bool(self._results)

    # ---- Watcher -----------------------------------------------------------------------------------------------------
    def begin(self, port: GuestPort) -> None:
        self._take_up_reset()
        self._strict = True
        port.note(kinds(False, self._has_doorbells), PLACES)

    def was_reset(self) -> None:
        self._take_up_reset()

    def look(self, port: GuestPort) -> None:
        self.keep(port)
        port.was_looked_at()
        notes, self._kept = self._kept, []
        telemetry = self.lockstep.device.telemetry()
        self._note_losses(telemetry)
        differences = self._follow(notes) if notes else []
        if telemetry["dma_errors"]:
            raise TargetError(
                "the memory answered a DMA of the guest's device with an error, and the reference cannot follow that",
                "have TIER_BASE2 and TIER_BASE3 point at memory that the guest has: 2^40 + its physical address",
            )
        differences += self._differing_state(telemetry)
        self.lockstep.conclude(self._last, differences)
        self._find_ends()
        self.box.agree(self.lockstep)
        strict = bool(self.model.settings()["STRICT"])
        if strict != self._strict:
            port.note(kinds(not strict, self._has_doorbells), PLACES)
            self._strict = strict

    def keep(self, port: GuestPort) -> None:
        self._kept += port.take_notes()

    def settle(self) -> None:
        """Wait until the device is idle. A SCORE that waits for room gets it, as nobody else takes results any more."""
        mmio = self.lockstep.device.mmio
        assert isinstance(mmio, Simulation)
        for _ in range(mmio.idle_budget // PATIENCE):
            try:
                mmio.wait_idle(PATIENCE)
                return
            except IdleTimeout:
                if bits(self.lockstep.read_register("STATUS"), RESULT_READY):
                    mmio.read_burst(RESULT.offset, RESULT_WORDS + 1)
        mmio.wait_idle()

    def finish(self) -> None:
        """Leave the device as a command of the command line expects it: with empty queues."""
        empty_queues(self.lockstep.device.mmio)

    def _take_up_reset(self) -> None:
        self._clear()
        self.model.reset()
        self.box.was_reset()
        self.box.agree(self.lockstep)

    # ---- from accesses to commands -----------------------------------------------------------------------------------
    def _events(self, notes: list[Access]) -> Iterator[Event]:
        """What the accesses mean; those that are only an access come as they are."""
        result: list[int] = []
        for access in notes:
            name = BY_OFFSET.get(access.offset) or HIGH_WORDS.get(access.offset)
            if access.offset in DOORBELLS and not self._has_doorbells:
                name = None  # the query buffer is there
            if not access.is_write:
                if access.offset == TAKES_RESULT.offset:
                    yield Answered(result)
                    result = []
                elif RESULT.offset <= access.offset < TAKES_RESULT.offset:
                    result.append(access.value)
                elif access.offset == COMPLETION.offset:
                    self._record_low = access.value
                elif access.offset == COMPLETION.offset + 4:
                    if self._record_low:
                        yield Record(self._record_low | access.value << 32)
                    self._record_low = 0
                else:
                    yield access
            elif name is None:
                yield access
            elif (value := self._whole(name, access)) is not None:
                yield from self._written(name, value)

    def _whole(self, name: str, access: Access) -> int | None:
        """What the register holds behind a write; None where that was the low word of 64 bits, which waits (R1)."""
        register = REGISTERS[name]
        if register.width == 32:
            return access.value
        if access.offset == register.offset:
            self._low[name] = access.value
            return None
        low = self._low.pop(name, self._operands.get(name, 0) & 0xFFFFFFFF)
        return access.value << 32 | low

    def _written(self, name: str, value: int) -> Iterator[Event]:
        register = REGISTERS[name]
        if name in self._operands:
            self._operands[name] = value
        if name == "CTRL" and value & RESET_BIT:
            yield Queued(Opcode.NOP, [])
            return
        commands = commands_of(register, value, lambda operand: self._operands[operand])
        if commands:
            yield Queued(opcode_of(commands[0]), commands)
        elif register.doorbell:
            yield Queued(Opcode[register.doorbell], [])

    # ---- following ---------------------------------------------------------------------------------------------------
    def _follow(self, notes: list[Access]) -> list[Difference]:
        events = [*self._events(notes)]
        passes = self._last_pass(events)
        differences: list[Difference] = []
        touched: dict[str, set[int]] = {"table": set(), "query": set()}
        for place, event in enumerate(events):
            match event:
                case Access():
                    differences += self._access(event, touched)
                case Queued(Opcode.NOP):
                    self._take_up_reset()
                    # The counters of lost answers are 0 again: were some lost since the last look, what the guest took before
                    # the reset was compared with the wrong commands, and nothing tells any more.
                    differences, touched = [], {"table": set(), "query": set()}
                case Queued(opcode, commands):
                    self._record_windows(touched)
                    expected = self.model.digest() if place == passes else None
                    self._run(opcode, commands)
                    if expected is not None:
                        differences += self._differing_pass(expected)
                case Answered(words):
                    differences += self._differing_result(words)
                case Record(value):
                    differences += self._differing_record(value)
        self._record_windows(touched)
        return differences

    def _last_pass(self, events: list[Event]) -> int:
        """The place of the last STEP that the device accepts, whose PASS_DIGEST is there now; -1 where there is none, or a reset
        behind it."""
        step, found = self.model.step, -1
        for place, event in enumerate(events):
            if not isinstance(event, Queued):
                continue
            if event.opcode is Opcode.NOP:
                step, found = 0, -1
            for command in event.commands:
                if isinstance(command, Step) and step <= command.step < 1 << 32:
                    step, found = command.step, place
        return found

    def _run(self, opcode: Opcode, commands: list[Command]) -> None:
        result = None
        for command in commands:
            result = self.model.execute(command)
            self._last = command
            self.lockstep.commands += 1
            if result.triggers:
                self._adopt(result.triggers)
                self._moved.update((t.to_tier, t.index) for t in result.triggers)
                self._records.append((command, set(result.triggers)))
        if commands:
            self.box.done(commands)
        self._results.append(Awaited(opcode, commands[-1] if commands else None, result))
        if opcode is Opcode.SET and len(commands) == 2 and len(self._results) > RESULTS_KEPT:
            self._unsure["results_lost"] = True  # cleared with the other counters, whatever it has been

    def _adopt(self, triggers: tuple[Trigger, ...]) -> None:
        """Blocks that came out of the guest's memory hold what the device found there."""
        for trigger in triggers:
            source = self.model.slot_address(trigger.from_tier, trigger.index)
            if trigger.channel == PREFETCH and WINDOW <= source < 2 * WINDOW:
                found = self.lockstep.device.mmio.memory_read(source, self.model.block_bytes)
                for addr in (source, self.model.slot_address(trigger.to_tier, trigger.index)):
                    if self.model.memory_read(addr, len(found)) != found:
                        self.model.memory_write(addr, found)
                        self.box.memory_done(addr, found)

    def _access(self, access: Access, touched: dict[str, set[int]]) -> list[Difference]:
        if not access.is_write:
            self.model.scores_read(4)
            return self._differing_score(access)
        if (place := table_word(access.offset, self.model.classes)) is not None:
            self.model.write_table_word(place, access.value)
            touched["table"].add(0)
        elif (place := query_word(access.offset, self.lockstep.device.identity.head_dim)) is not None:
            self.model.write_query_word(place, access.value)
            touched["query"].add((access.offset - QUERY) // (2 * self.lockstep.device.identity.head_dim))
        return []

    def _record_windows(self, touched: dict[str, set[int]]) -> None:
        """Tell the recorder of what was written into the windows, before a command makes use of it."""
        if touched["table"]:
            self.box.table_done(self.model.read_table().tobytes())
        for slot in sorted(touched["query"]):
            self.box.query_done(slot, self.model.queries[slot])
        for places in touched.values():
            places.clear()

    # ---- comparing ---------------------------------------------------------------------------------------------------
    def _differing_state(self, telemetry: dict[str, int]) -> list[Difference]:
        found = differing("telemetry", telemetry, self.model.telemetry())
        limit = self.model.directory.limit
        first = self._next_entry if self._next_entry < limit else 0
        last = min(first + ENTRIES_AT_ONCE, limit)
        found += self.lockstep.comparison.entries(first, last)
        self._next_entry = last
        found += self.lockstep.comparison.blocks(sorted(self._moved))
        self._moved.clear()
        return found

    def _differing_pass(self, expected: int) -> list[Difference]:
        found = self.lockstep.read_register("PASS_DIGEST")
        return [] if found == expected else [Difference("digest", "PASS_DIGEST", found, expected)]

    def _differing_result(self, words: list[int]) -> list[Difference]:
        if self._unsure["results_lost"]:
            return []
        if not self._results:
            return [Difference("result", "RESULT_STATUS", words[0], "none")]
        awaited = self._results.popleft()
        status, fields = words[0], RESULT.fields
        where = f"result of {script.line(awaited.command) if awaited.command else awaited.opcode.name}"
        opcode = bits(status, fields["opcode"])
        if opcode != awaited.opcode:
            return [Difference(where, "opcode", opcode, awaited.opcode.value)]
        if awaited.result is None or awaited.command is None:
            return []
        expected = {name: getattr(awaited.result, name) for name in ("code", "matched", "index")}
        index = words[(REGISTERS["RESULT_INDEX"].offset - RESULT.offset) // 4] if bits(status, fields["has_index"]) else None
        code = bits(status, fields["code"])
        found = {"code": _CODES.get(code, code), "matched": words[1], "index": index}
        if index is not None and isinstance(awaited.command, SHOWS_PLACE):
            expected["tier"], found["tier"] = awaited.result.tier, bits(status, fields["tier"])
        return differing(where, found, expected)

    def _differing_score(self, access: Access) -> list[Difference]:
        """A word of SCORES, which shows the oldest SCORE that was neither refused nor taken. Where its result is not the next
        one, it may not have been there yet."""
        if self._unsure["results_lost"]:
            return []
        scored = next((awaited.result for awaited in self._results if awaited.result and awaited.result.scores), None)
        if scored and self._results[0].result is not scored:
            return []
        offset = access.offset - SCORES
        expected = score_word(scored.scores if scored else None, offset)
        if access.value == expected:
            return []
        return [Difference(f"SCORES behind {self._results[0].command if scored else 'nothing'}", f"word {offset:#x}",
                           f"{access.value:#x}", f"{expected:#x}")]  # fmt: skip

    def _differing_record(self, value: int) -> list[Difference]:
        if self._unsure["completions_lost"]:
            return []
        part: Callable[[str], int] = lambda name: bits(value, COMPLETION.fields[name])  # noqa: E731
        found = Trigger(part("index"), (EVICT, PREFETCH)[part("channel")], part("from_tier"), part("to_tier"))
        command, awaited = self._records[0] if self._records else ("nothing", set())
        if found not in awaited:
            return [Difference(f"completion of {command}", f"block {found.index}", f"{found.channel} {found.from_tier}→"
                               f"{found.to_tier}", "none")]  # fmt: skip
        awaited.remove(found)
        if not awaited:
            self._records.popleft()
        return []

    # ---- queues that have overflown ----------------------------------------------------------------------------------
    def _note_losses(self, telemetry: dict[str, int]) -> None:
        for name in self._unsure:
            self._unsure[name] |= telemetry[name] > self._lost[name]
            self._lost[name] = telemetry[name]

    def _find_ends(self) -> None:
        """An empty queue is a new beginning for its answers."""
        if self._unsure["results_lost"]:
            self._unsure["results_lost"] = bool(bits(self.lockstep.read_register("STATUS"), RESULT_READY))
            self._results.clear()
        if self._unsure["completions_lost"]:
            self._unsure["completions_lost"] = self.lockstep.read_register("COMPLETION_LEVEL") > 0
            self._records.clear()


_CODES = {code.value: code.name for code in Code}
