"""Hardware and reference model side by side, compared after every command (the project's main promise).

`Lockstep.execute` runs a command on both and compares four things: the result with its triggers, every telemetry value
that does not depend on time, the DIGEST of the whole directory (R24), and the bytes of every block that was moved. The
first disagreement raises `DifferenceError`, after the digest was bisected to the entries that differ.

`Lockstep.run_through` does that for many commands in a few calls into the device. Results, counters and moved bytes are compared
where the caller says; the directory by the PASS_DIGEST (R25) of the next STEP, which costs nothing, and by one DIGEST behind the
last: so every command's state is looked at, but commands between two looks are looked at together. A report names the last of
them, and its failure folder the one that did it, found by running them again (blackbox/simulation.py).

`reference.Reference` has the same surface without hardware.

    lockstep = Lockstep(Device(mmio), ReferenceModel(entries=256))
    lockstep.execute(Step(120)).triggers
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract import script
from ..contract.commands import Command, Load, Result, Score, Step
from ..contract.errors import BusError, TargetError, UsageError
from ..contract.wording import counted
from ..device.answers import State, empty_queues
from ..device.codec import OPERANDS
from ..device.device import BURST_ENTRIES, NOWHERE, Device, Look, Stretch
from ..device.entries import decode_entries, dump_entries
from ..device.registers import is_score, query_word, table_word
from ..device.regmap import REGISTERS
from .compare import BLOCKS_AT_ONCE, Comparison, differing, differing_results
from .report import Difference, Report, Verified
from .scored import explained, follow
from .surface import Surface

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from ..hepc_ref import ReferenceModel
    from .recorder import Recorder

    Answer = TypeVar("Answer")

START = "start"
"""The command of a report on what a STEP found that no command of this process was before."""
RESET = "reset --raw"
DUMP_ENTRIES = 256
"""Entries that `dump` reads at once, before it looks whether there are more."""


class _Expected(NamedTuple):
    """What the model says of commands: their results, the state behind them where it is compared, and the PASS_DIGEST of the
    first where that is read."""

    stretch: Stretch
    results: list[Result]
    state: State | None
    passed: int | None


class Lockstep(Surface):
    """`check` False: the model follows, nothing is compared. `blocks` False: moved bytes are not read back.
    `recorder` keeps what a failure folder needs (None: a difference is raised and nothing written)."""

    def __init__(
        self,
        device: Device,
        model: ReferenceModel,
        check: bool = True,
        recorder: Recorder | None = None,
        blocks: bool = True,
    ):
        if (device.entries, device.block_bytes, device.nmce) != (model.entries, model.block_bytes, model.nmce):
            raise UsageError(
                f"the device has {device.entries} entries of {device.block_bytes} bytes and nmce={device.nmce}, "
                f"the reference {model.entries} of {model.block_bytes} and nmce={model.nmce}"
            )
        self.device = device
        self.model = model
        self.comparison = Comparison(device, model)
        self.check = check
        self.recorder = recorder
        self.blocks = blocks
        self._moved: set[tuple[int, int]] = set()  # (tier, index) of blocks that were moved since the last check
        self._last: Command | str = START  # that both have run
        self.entries, self.block_bytes = device.entries, device.block_bytes
        self.commands = 0
        self.checks = 0
        self.differences = 0

    @property
    def checked(self) -> bool:
        """Was the last result compared?"""
        return self.check

    # ---- commands --------------------------------------------------------------------------------------------------
    def execute(self, command: Command) -> Result:
        """Run `command` on both; the device's result. Raises `DifferenceError` where they disagree."""
        return self.execute_many([command])[0]

    def execute_many(self, commands: Sequence[Command]) -> list[Result]:
        """The same for several in one batch: all results are compared, the state once at the end."""
        return [result for results in self.run_through(commands, [len(commands)]) for result in results]

    def run_through(self, commands: Sequence[Command], checks: Iterable[int]) -> Iterator[list[Result]]:
        """The same with checks in between, behind as many commands as `checks` says, ascending; the directory as the file's
        header says.

        Yields the results of the next commands as soon as there are some; the device then stands right behind the last of
        them. As many as possible go to the device at once: blocks that were moved are what a check must wait for, because
        the next command may move them again. To be gone through to its end.
        """
        if not commands:
            return
        for part, due in self._parts(commands, list(checks)):
            look = where_to_look(part, due, self.model.step) if self.check else NOWHERE
            stretches = self.device.stretches(part, look)  # what cannot be sent is said before anything is noted
            if self.recorder:
                self.recorder.before(self, part)
            ready: list[_Expected] = []
            for stretch in stretches:
                ready.append(self._expect(stretch))
                if self._moved and stretch.telemetry:
                    yield self._catch_up(ready)
                    ready = []
            if ready:
                yield self._catch_up(ready)

    def overlap_scores(self, commands: Sequence[Score]) -> list[Result]:
        """Run SCOREs of which two are under way at a time (device/overlap.py): all results are compared, the state once at the
        end."""
        from ..device import overlap

        if not commands:
            return []
        self.device.stretches(commands[:1])  # what the target does not take is said before anything is noted
        if self.recorder:
            self.recorder.before(self, commands)
        expected = [follow(self.model, command) for command in commands]
        self.commands += len(commands)
        results = self._guarded(lambda: overlap.run(self.device, commands), commands[-1])
        self._last = commands[-1]
        if self.check:
            if self.blocks:
                self._moved.update((t.to_tier, t.index) for result in expected for t in result.triggers)
            shown = self.device.run(self.device.stretches([], Look([0], [0])))[1].states[0]
            differences = differing_results(commands, results, expected)
            differences += self._differing_state(shown, State(self.model.telemetry(), self.model.digest()), last=True)
            self.conclude(commands[-1], differences)
        return explained(results, expected)

    def _expect(self, stretch: Stretch) -> _Expected:
        """Let the model run the commands first."""
        passed = self.model.digest() if stretch.passed else None
        results = [follow(self.model, command) for command in stretch.commands]
        if self.check and self.blocks:
            self._moved.update((t.to_tier, t.index) for result in results for t in result.triggers)
        state = State(self.model.telemetry(), self.model.digest() if stretch.digest else None) if stretch.telemetry else None
        return _Expected(stretch, results, state, passed)

    def _catch_up(self, ready: Sequence[_Expected]) -> list[Result]:
        """Let the device do what the model has done, and compare: the first stretch that differs is reported."""
        commands = [command for expected in ready for command in expected.stretch.commands]
        self.commands += len(commands)
        results, shown = self._guarded(lambda: self.device.run([expected.stretch for expected in ready]), commands[-1])
        before, self._last = self._last, commands[-1]
        if not self.check:
            return explained(results, [result for expected in ready for result in expected.results])
        done, states, passed = 0, iter(shown.states), iter(shown.passed)
        for expected in ready:
            first, done = done, done + len(expected.results)
            behind = len(commands) - done
            if expected.passed is not None:
                left_by = commands[first - 1] if first else before
                self._look_back(left_by, next(passed), expected.passed, behind=len(commands) - first)
            differences = []
            if results[first:done] != expected.results:
                differences += differing_results(commands[first:done], results[first:done], expected.results)
            if expected.state:
                differences += self._differing_state(next(states), expected.state, last=not behind)
            if differences or expected.state:
                self.conclude(commands[done - 1], differences, behind=behind)
        return explained(results, [result for expected in ready for result in expected.results])

    def _differing_state(self, found: State, expected: State, last: bool) -> list[Difference]:
        """`last`: no command has run since, so blocks that were moved are where `expected` has them."""
        differences = differing("telemetry", found.telemetry, expected.telemetry)
        hashes = (found.digest, expected.digest)
        if differences and None in hashes:  # nothing will run behind this, so the directory is looked at now
            hashes = (self.device.digest(), self.model.digest())
        if hashes[0] != hashes[1]:
            differences += self.comparison.entries_behind(*hashes)
        if last:
            differences += self.comparison.blocks(sorted(self._moved))
            self._moved.clear()
        return differences

    def _look_back(self, command: Command | str, found: int, expected: int, behind: int) -> None:
        """Compare the PASS_DIGEST of the STEP behind `command`."""
        if found != expected:
            differences = self.comparison.entries_behind(found, expected, "PASS_DIGEST")
            note = "the next STEP saw it: any command since the check before may have done it"
            self._report(command, differences, behind, [note])

    def _parts(self, commands: Sequence[Command], checks: Sequence[int]) -> Iterator[tuple[Sequence[Command], Sequence[int]]]:
        """What the recorder is told of at once, and the checks in it. A board's recorder keeps the calls of one part, so there a
        check ends it; and so does what may have changed the memory, which must be looked at before a LOAD."""
        if self.device.mmio.blank_memory:
            yield commands, checks
            return
        first = 0
        for end in dict.fromkeys([*checks, len(commands)]):
            for part in _split_at_loads(commands[first:end]):
                self._adopt_memory(part)
                first += len(part)
                yield part, [len(part)] if first in checks else []

    def _adopt_memory(self, commands: Sequence[Command]) -> None:
        """A LOAD without data takes over whatever its slot of a board's memory holds, so the model must hold the same. The
        slots are the lowest free ones, in the tier asked for or, where T1 is full, in EVICT_TIER (R11)."""
        loads = [command for command in commands if type(command) is Load]
        if not loads or not self.reaches_memory:
            return
        tiers, indices = {load.tier for load in loads if load.tier <= 3}, self.model.free_indices(len(loads))
        if 1 in tiers:
            tiers.add(self.model.settings()["EVICT_TIER"])
        slots = [(tier, index) for tier in sorted(tiers) for index in indices]
        if not slots:
            return
        addresses = [self.model.slot_address(*slot) for slot in slots]
        found = self.device.mmio.memory_read_blocks(np.array(addresses, np.uint64), self.block_bytes)
        for addr, (tier, index), row in zip(addresses, slots, found):
            data = row.tobytes()
            if data != self.model.block_content(tier, index):
                self.model.memory_write(addr, data)
                if self.recorder:
                    self.recorder.adopted(addr, data)

    def _guarded(self, run: Callable[[], Answer], last: Command) -> Answer:
        """What the device cannot finish deserves a failure folder as well."""
        try:
            return run()
        except TargetError as error:
            if self.recorder:
                report = Report(script.line(last), self.commands, [], [f"the device did not finish: {error.message}"])
                self.recorder.write(report)
                error.remedy = "; ".join(filter(None, [error.remedy, *report.pointers()]))
            if isinstance(error, BusError):  # which otherwise means a plain access that changed nothing
                raise TargetError(f"a command met a {error.message}", error.remedy) from error
            raise

    def conclude(self, command: Command | str, differences: list[Difference], behind: int = 0) -> None:
        """A check is done, of what `command` left. DifferenceError where anything differs. `behind`: commands that the device had
        run behind this one when it was looked at."""
        self.checks += 1
        if differences:
            self._report(command, differences, behind, [])

    def _report(self, command: Command | str, differences: list[Difference], behind: int, notes: list[str]) -> None:
        """Raises DifferenceError."""
        self.differences += len(differences)
        text = command if isinstance(command, str) else script.line(command)
        notes += [f"entries are as {counted(behind, 'command')} more left them"] if behind else []
        report = Report(text, self.commands - behind, differences, notes)
        if self.recorder:
            self.recorder.write(report)
        raise report.error()

    # ---- comparing -------------------------------------------------------------------------------------------------
    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        """Full read-back (`kvfpga verify`): every entry and va field by field, telemetry, settings, PTABLE, the query buffer, and
        the bytes of every valid block, and of its copy in EVICT_TIER where it is clean. `progress(done, total)` counts both."""
        model = self.model
        fields = model.entries_array()
        indices = np.flatnonzero(fields["valid"])
        blocks = [(int(fields["tier"][i]), int(i)) for i in indices]
        clean = indices[(fields["dirty"][indices] == 0) & (fields["tier"][indices] == 1)]
        blocks += [(model.settings()["EVICT_TIER"], int(i)) for i in clean]
        blocks = blocks if self.reaches_memory else []
        total, done = self.entries + len(blocks), 0

        def count(amount: int) -> None:
            nonlocal done
            done += amount
            if progress:
                progress(done, total)

        differences = differing("telemetry", self.device.telemetry(), model.telemetry())
        differences += differing("settings", self.device.settings(), model.settings())
        hits = sum(model.telemetry()[f"hits_t{tier}"] for tier in range(4))
        found = self.device.read_registers(["RTBD_HIT_COUNT", "RTBD_MISS_COUNT"])
        expected = {"RTBD_HIT_COUNT": hits, "RTBD_MISS_COUNT": model.telemetry()["misses"]}
        differences += differing("register", found, expected)
        differences += self.comparison.tables()
        differences += self.comparison.queries()
        for lo in range(0, self.entries, BURST_ENTRIES):
            hi = min(lo + BURST_ENTRIES, self.entries)
            differences += self.comparison.entries(lo, hi)
            count(hi - lo)
        differences += self.comparison.blocks(blocks, count)
        self.conclude("verify", differences)
        return Verified(self.entries, len(blocks), self.block_bytes)

    # ---- what both hold --------------------------------------------------------------------------------------------
    def telemetry(self) -> dict[str, int]:
        return self.device.telemetry()

    def settings(self) -> dict[str, int]:
        return self.device.settings()

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        return self.device.digest(lo, hi)

    def dump(self) -> list[dict[str, Any]]:
        """The device's valid entries as contract section 8 prints them. What lies behind the last one is not read."""
        expected = self.device.telemetry()["valid_entries"]
        found: list[dict[str, Any]] = []
        for lo in range(0, self.entries, DUMP_ENTRIES):
            if len(found) >= expected:
                break
            found += dump_entries(*self.device.read_entries(lo, min(lo + DUMP_ENTRIES, self.entries)), lo)
        return found

    def entry(self, index: int) -> dict[str, int]:
        """All fields and va of one entry of the device; all zero where it is not valid."""
        raw, vas = self.device.read_entries(index, index + 1)
        return {name: int(column[0]) for name, column in decode_entries(raw).items()} | {"va": int(vas[0])}

    def read_entries(self, lo: int, hi: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """(uint32[hi-lo, 8], uint64[hi-lo]): the device's entries and vas as BAR2 shows them."""
        return self.device.read_entries(lo, hi)

    @property
    def reaches_memory(self) -> bool:
        return self.device.mmio.reaches_memory

    def memory_read(self, addr: int, size: int) -> bytes:
        """Bytes of the device's memory."""
        return self.device.mmio.memory_read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        """Write the same bytes to both."""
        self.require_memory()
        if self.recorder:
            self.recorder.before_memory(self, addr, data)
        self.device.mmio.memory_write(addr, data)
        self.model.memory_write(addr, data)

    def read_table(self) -> NDArray[np.uint8]:
        """uint8[classes, 64]: the codes in the device's idle bank of PTABLE (R45)."""
        return self.device.read_table()

    def write_table(self, codes: NDArray[np.uint8]) -> None:
        """Write them to both, into the idle bank."""
        if self.recorder:
            self.recorder.before_table(self, codes.tobytes())
        self.device.write_table(codes)
        self.model.write_table(codes)

    def read_queries(self, slot: int, count: int) -> NDArray[np.uint16]:
        """uint16[count, HEAD_DIM]: the bits of the queries in the device's slots from `slot` on (R30)."""
        return self.device.read_queries(slot, count)

    def write_queries(self, slot: int, bits: NDArray[np.uint16]) -> None:
        """Write them to both."""
        if self.recorder:
            self.recorder.before_queries(self, slot, bits)
        self.device.write_queries(slot, bits)
        for place, row in enumerate(bits, start=slot):
            self.model.write_query(place, row)

    def reset(self) -> None:
        """Both to their reset values (R4, R6), the operands to 0; memory and query buffer keep what they hold (D20, R30)."""
        self.device.soft_reset()
        self.model.reset()
        self._last = RESET
        if self.device.nmce and not self.device.mmio.blank_memory:  # as of memory, nobody knows what a board's holds
            self.model.queries[:] = self.device.read_queries()
        if self.recorder:
            self.recorder.was_reset()
            if self.model.queries.any():
                self.recorder.kept_queries(self.model.queries)
        if self.check:
            differences = differing("telemetry", self.device.telemetry(), self.model.telemetry())
            differences += differing("settings", self.device.settings(), self.model.settings())
            differences += differing("operand", self.device.operands(), dict.fromkeys(OPERANDS, 0))
            if self.device.digest() != self.model.digest():
                differences += self.comparison.entries_behind(self.device.digest(), self.model.digest())
            self.conclude(RESET, differences)

    def sync(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Take the device's state as the reference's: entries, settings, counters, PTABLE, the query buffer, and the bytes of
        every valid block and of clean copies. The number of valid entries."""
        empty_queues(self.device.mmio)
        tables = self.device.read_tables()
        settings = self.device.settings()
        raw, vas = self.device.read_entries()
        queries = self.device.read_queries() if self.device.nmce else None
        self.model.adopt(raw, vas, settings, self.device.telemetry(), tables, queries)
        self._last = "sync"
        fields = decode_entries(raw)
        indices = np.flatnonzero(fields["valid"])
        clean = indices[(fields["dirty"][indices] == 0) & (fields["tier"][indices] == 1)]
        bases = np.array([settings[f"TIER_BASE{tier}"] for tier in range(4)], np.uint64)
        sizes = np.uint64(self.block_bytes)
        places = bases[fields["tier"][indices].astype(np.intp)] + indices.astype(np.uint64) * sizes
        copies = bases[settings["EVICT_TIER"]] + clean.astype(np.uint64) * sizes
        addresses = np.concatenate([places, copies]) if self.reaches_memory else places[:0]
        for first in range(0, addresses.size, BLOCKS_AT_ONCE):
            part = addresses[first : first + BLOCKS_AT_ONCE]
            for addr, block in zip(part.tolist(), self.device.mmio.memory_read_blocks(part, self.block_bytes)):
                self.model.memory_write(addr, block.tobytes())
            if progress:
                progress(first + len(part), addresses.size)
        if self.recorder:
            self.recorder.taken_over()
        return indices.size

    # ---- registers -------------------------------------------------------------------------------------------------
    def read_register(self, name: str) -> int:
        register = REGISTERS[name]
        mmio = self.device.mmio
        return mmio.read64(register.offset) if register.width == 64 else mmio.read32(register.offset)

    def write_register(self, name: str, value: int) -> None:
        """A register that is neither doorbell nor setting: those are commands (`codec.commands_of`)."""
        self._write(REGISTERS[name].offset, value, REGISTERS[name].width)

    def read_word(self, address: int) -> int:
        found = self.device.mmio.read32(address)
        if self.device.nmce and is_score(address):
            self.model.scores_read(4)
        return found

    def write_word(self, address: int, value: int) -> None:
        self._write(address, value, 32)

    def _write(self, offset: int, value: int, width: int) -> None:
        mmio = self.device.mmio
        mmio.check_write(offset, value, alone=True)
        if self.recorder:
            self.recorder.register_written(offset, value, width)
        (mmio.write64 if width == 64 else mmio.write32)(offset, value)
        if (place := table_word(offset, self.model.classes)) is not None:
            self.model.write_table_word(place, value)
        elif (place := query_word(offset, self.device.identity.head_dim)) is not None:
            self.model.write_query_word(place, value)

    def close(self) -> None:
        self.closed = True
        if self.recorder:
            self.recorder.close()
        self.device.mmio.close()
        if self.closing:
            self.closing()


def where_to_look(commands: Sequence[Command], checks: Sequence[int], step: int) -> Look:
    """How the device is looked at behind each of `checks` commands, at the current `step`: its directory by the next STEP that
    it accepts (a refused one has no pass), else by one DIGEST behind the last of them. A STEP that comes first is asked as
    well: what was right when the device was last looked at need not be any more."""
    steps = []
    for place, command in enumerate(commands):
        if type(command) is Step and step <= command.step < 1 << 32:
            steps.append(place)
            step = command.step
    looks = [0, *checks] if steps[:1] == [0] and checks else checks
    seen_by = dict.fromkeys(steps[at] for at in (bisect_left(steps, check) for check in looks) if at < len(steps))
    unseen = [check for check in checks[-1:] if not steps or check > steps[-1]]
    return Look(checks, unseen, [*seen_by])


def _split_at_loads(commands: Sequence[Command]) -> list[Sequence[Command]]:
    """Parts in which no LOAD comes behind anything that may have changed which slots are free or what they hold."""
    parts, first = [], 0
    for place in range(1, len(commands)):
        if type(commands[place]) is Load and type(commands[place - 1]) is not Load:
            parts.append(commands[first:place])
            first = place
    return [*parts, commands[first:]]
