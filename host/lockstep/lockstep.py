"""Hardware and reference model side by side, compared after every command (the project's main promise).

`Lockstep.execute` runs a command on both and compares four things: the result with its triggers, every telemetry value
that does not depend on time, the DIGEST of the whole directory (R24), and the bytes of every block that was moved. The
first disagreement raises `DifferenceError`, after the digest was bisected to the entries that differ.

`reference.Reference` has the same surface without hardware.

    lockstep = Lockstep(Device(mmio), ReferenceModel(entries=256))
    lockstep.execute(Step(120)).triggers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract import script
from ..contract.commands import Command, Load, Result
from ..contract.errors import BusError, TargetError, UsageError
from ..device.device import BURST_ENTRIES, OPERANDS, Device, decode_entries
from ..device.regmap import REGISTERS
from .report import Difference, Report, compare
from .surface import Api

if TYPE_CHECKING:
    from ..blackbox.simulation import BlackBox
    from ..hepc_ref import ReferenceModel

ENTRIES_SHOWN = 16
"""Entries that a report takes apart; more rarely say more."""
BLOCKS_AT_ONCE = 512
"""Blocks compared in one go: 8 MiB from each side."""
DUMP_ENTRIES = 256
"""Entries that `dump` reads at once, before it looks whether there are more."""
DUMP_FIELDS = (
    "request_id", "layer", "head", "token_start", "token_end", "tier", "phys_addr", "va", "priority", "access_step",
    "ref_count", "prefix", "dirty", "R", "F", "pinned", "inflight", "armed",
)  # fmt: skip
"""Fields of a `dump` entry after "index", in the order of contract section 8."""
FLAGS = ("prefix", "dirty", "pinned", "inflight", "armed")


class Verified(NamedTuple):
    """What a full read-back looked at."""

    entries: int
    blocks: int
    block_bytes: int


class Lockstep(Api):
    """`check` False: the model follows, nothing is compared. `blocks` False: moved bytes are not read back.
    `blackbox` keeps what a failure folder needs (None: a difference is raised and nothing written)."""

    def __init__(
        self,
        device: Device,
        model: ReferenceModel,
        check: bool = True,
        blackbox: BlackBox | None = None,
        blocks: bool = True,
    ):
        if (device.entries, device.block_bytes) != (model.entries, model.block_bytes):
            raise UsageError(
                f"the device has {device.entries} entries of {device.block_bytes} bytes, "
                f"the reference {model.entries} of {model.block_bytes}"
            )
        self.device = device
        self.model = model
        self.check = check
        self.blackbox = blackbox
        self.blocks = blocks
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
        if not commands:
            return []
        if not self.device.mmio.blank_memory:
            parts = _split_at_loads(commands)
            if len(parts) > 1:
                return [result for part in parts for result in self.execute_many(part)]
            self._adopt_memory(commands)
        if self.blackbox:
            self.blackbox.before(self, commands)
        self.commands += len(commands)
        if not self.check:
            results = self._guarded(self.device.execute_many, commands)
            for command in commands:
                self.model.execute(command)
            return results
        results, telemetry, digest = self._guarded(self.device.execute_many_checked, commands)
        expected = [self.model.execute(command) for command in commands]
        differences = []
        if results != expected:
            differences += _compare_results(commands, results, expected)
        differences += compare("telemetry", telemetry, self.model.telemetry())
        if digest != self.model.digest():
            differences += self._find_entries(digest)
        if self.blocks:
            moved = {(t.to_tier, t.index) for result in expected for t in result.triggers}
            differences += self._compare_blocks(sorted(moved))
        self._conclude(commands[-1], differences)
        return results

    def _adopt_memory(self, commands: Sequence[Command]) -> None:
        """A LOAD without data takes over whatever its slot of a board's memory holds, so the model must hold the same. The
        slots are the lowest free ones, in the tier asked for or, where T1 is full, in EVICT_TIER (R11)."""
        loads = [command for command in commands if type(command) is Load]
        if not loads:
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
                if self.blackbox:
                    self.blackbox.adopted(addr, data)

    def _guarded(self, run, commands):
        """What the device cannot finish deserves a failure folder as well."""
        try:
            return run(commands)
        except TargetError as error:
            if self.blackbox:
                report = Report(script.line(commands[-1]), self.commands, [], [f"the device did not finish: {error}"])
                self.blackbox.write(report)
                error.remedy = "; ".join(filter(None, [error.remedy, *report.pointers()]))
            if isinstance(error, BusError):  # which otherwise means a plain access that changed nothing
                raise TargetError(f"a command met a {error.message}", error.remedy) from error
            raise

    def _conclude(self, command: Command | str, differences: list[Difference], notes: Iterable[str] = ()) -> None:
        self.checks += 1
        if not differences:
            return
        self.differences += len(differences)
        text = command if isinstance(command, str) else script.line(command)
        report = Report(text, self.commands, differences, list(notes))
        if self.blackbox:
            self.blackbox.write(report)
        raise report.error()

    # ---- comparing -------------------------------------------------------------------------------------------------
    def _find_entries(self, digest: int) -> list[Difference]:
        """Bisect by DIGEST ranges to the entries that differ, and take those apart field by field."""
        found = [Difference("digest", "digest", digest, self.model.digest())]
        pending, indices = [(0, self.entries)], []
        while pending and len(indices) < ENTRIES_SHOWN:
            lo, hi = pending.pop()
            middle = (lo + hi) // 2
            halves = [(a, b) for a, b in ((lo, middle), (middle, hi)) if b > a]
            wrong = [(a, b) for a, b in halves if self.device.digest(a, b) != self.model.digest(a, b)]
            if not wrong:
                found.append(Difference("digest", f"digest of [{lo}, {hi})", "not the sum of its halves", "their sum"))
            indices += [a for a, b in wrong if b == a + 1]
            pending += [(a, b) for a, b in reversed(wrong) if b > a + 1]
        for index in sorted(indices):
            fields = self._compare_entries(index, index + 1)
            found += fields or [Difference(f"entry {index}", "digest", "differs though every field agrees", "the same")]
        return found

    def _compare_entries(self, lo: int, hi: int, raw=None) -> list[Difference]:
        """Fields and va of the entries [lo, hi) that differ; `raw` is what the device was already seen to hold."""
        device, device_vas = self.device.read_entries(lo, hi) if raw is None else raw
        model, model_vas = self.model.read_entries(lo, hi)
        wrong = np.flatnonzero((device != model).any(axis=1) | (device_vas != model_vas))[:ENTRIES_SHOWN]
        if not wrong.size:
            return []
        left, right = decode_entries(device[wrong]), decode_entries(model[wrong])
        left["va"], right["va"] = device_vas[wrong], model_vas[wrong]
        found = []
        for row, index in enumerate(wrong.tolist()):
            one, other = ({name: int(column[row]) for name, column in side.items()} for side in (left, right))
            fields = compare(f"entry {lo + index}", one, other)
            found += fields or [Difference(f"entry {lo + index}", "unused bits", "not zero", "zero")]
        return found

    def _compare_blocks(self, blocks: Sequence[tuple[int, int]], progress=None) -> list[Difference]:
        """Bytes of (tier, index) slots. At most ENTRIES_SHOWN blocks are reported."""
        found = []
        for first in range(0, len(blocks), BLOCKS_AT_ONCE):
            part = blocks[first : first + BLOCKS_AT_ONCE]
            addresses = [self.model.slot_address(*place) for place in part]
            device = self.device.mmio.memory_read_blocks(np.array(addresses, np.uint64), self.block_bytes)
            expected = np.frombuffer(b"".join(self.model.block_content(*place) for place in part), np.uint8)
            wrong = device != expected.reshape(len(part), self.block_bytes)
            for row in np.flatnonzero(wrong.any(axis=1))[: ENTRIES_SHOWN - len(found)].tolist():
                tier, index = part[row]
                offset, count = int(wrong[row].argmax()), int(wrong[row].sum())
                piece = slice(offset, offset + 8)
                found.append(
                    Difference(
                        f"bytes of block {index} in tier {tier}",
                        f"{count} differ, from byte {offset:#x}",
                        device[row, piece].tobytes().hex(" "),
                        self.model.block_content(tier, index)[piece].hex(" "),
                    )  # fmt: skip
                )
            if progress:
                progress(len(part))
        return found

    def verify(self, progress=None) -> Verified:
        """Full read-back (`kvfpga verify`): every entry and va field by field, telemetry, settings, and the bytes of
        every valid block, and of its copy in EVICT_TIER where it is clean. `progress(done, total)` counts both."""
        model = self.model
        fields = model.entries_array()
        indices = np.flatnonzero(fields["valid"])
        blocks = [(int(fields["tier"][i]), int(i)) for i in indices]
        clean = indices[(fields["dirty"][indices] == 0) & (fields["tier"][indices] == 1)]
        blocks += [(model.settings()["EVICT_TIER"], int(i)) for i in clean]
        total, done = self.entries + len(blocks), 0

        def count(amount: int) -> None:
            nonlocal done
            done += amount
            if progress:
                progress(done, total)

        differences = compare("telemetry", self.device.telemetry(), model.telemetry())
        differences += compare("settings", self.device.settings(), model.settings())
        for lo in range(0, self.entries, BURST_ENTRIES):
            hi = min(lo + BURST_ENTRIES, self.entries)
            differences += self._compare_entries(lo, hi)
            count(hi - lo)
        differences += self._compare_blocks(blocks, count)
        self._conclude("verify", differences)
        return Verified(self.entries, len(blocks), self.block_bytes)

    # ---- what both hold --------------------------------------------------------------------------------------------
    def telemetry(self) -> dict[str, int]:
        return self.device.telemetry()

    def settings(self) -> dict[str, int]:
        return self.device.settings()

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        return self.device.digest(lo, hi)

    def dump(self) -> list[dict]:
        """The device's valid entries as contract section 8 prints them. What lies behind the last one is not read."""
        expected, found = self.device.telemetry()["valid_entries"], []
        for lo in range(0, self.entries, DUMP_ENTRIES):
            if len(found) >= expected:
                break
            found += dump_entries(*self.device.read_entries(lo, min(lo + DUMP_ENTRIES, self.entries)), lo)
        return found

    def entry(self, index: int) -> dict[str, int]:
        """All fields and va of one entry of the device; all zero where it is not valid."""
        raw, vas = self.device.read_entries(index, index + 1)
        return {name: int(column[0]) for name, column in decode_entries(raw).items()} | {"va": int(vas[0])}

    def read_entries(self, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """(uint32[hi-lo, 8], uint64[hi-lo]): the device's entries and vas as BAR2 shows them."""
        return self.device.read_entries(lo, hi)

    def memory_read(self, addr: int, size: int) -> bytes:
        """Bytes of the device's memory."""
        return self.device.mmio.memory_read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        """Write the same bytes to both."""
        if self.blackbox:
            self.blackbox.before_memory(self, addr, data)
        self.device.mmio.memory_write(addr, data)
        self.model.memory_write(addr, data)

    def reset(self) -> None:
        """Both to their reset values (R4, R6), the operands to 0; memory keeps its bytes (D20)."""
        self.device.soft_reset()
        self.model.reset()
        if self.blackbox:
            self.blackbox.was_reset()
        if self.check:
            differences = compare("telemetry", self.device.telemetry(), self.model.telemetry())
            differences += compare("settings", self.device.settings(), self.model.settings())
            differences += compare("operand", self.device.operands(), dict.fromkeys(OPERANDS, 0))
            if self.device.digest() != self.model.digest():
                differences += self._find_entries(self.device.digest())
            self._conclude("reset --raw", differences)

    def sync(self, progress=None) -> int:
        """Take the device's state as the reference's: entries, settings, counters, and the bytes of every valid block
        and of clean copies. The number of valid entries."""
        settings = self.device.settings()
        raw, vas = self.device.read_entries()
        self.model.adopt(raw, vas, settings, self.device.telemetry())
        fields = decode_entries(raw)
        indices = np.flatnonzero(fields["valid"])
        clean = indices[(fields["dirty"][indices] == 0) & (fields["tier"][indices] == 1)]
        bases = np.array([settings[f"TIER_BASE{tier}"] for tier in range(4)], np.uint64)
        sizes = np.uint64(self.block_bytes)
        places = bases[fields["tier"][indices].astype(np.intp)] + indices.astype(np.uint64) * sizes
        copies = bases[settings["EVICT_TIER"]] + clean.astype(np.uint64) * sizes
        addresses = np.concatenate([places, copies])
        for first in range(0, addresses.size, BLOCKS_AT_ONCE):
            part = addresses[first : first + BLOCKS_AT_ONCE]
            for addr, block in zip(part.tolist(), self.device.mmio.memory_read_blocks(part, self.block_bytes)):
                self.model.memory_write(addr, block.tobytes())
            if progress:
                progress(first + len(part), addresses.size)
        if self.blackbox:
            self.blackbox.taken_over()
        return indices.size

    # ---- registers -------------------------------------------------------------------------------------------------
    def read_register(self, name: str) -> int:
        register = REGISTERS[name]
        mmio = self.device.mmio
        return mmio.read64(register.offset) if register.width == 64 else mmio.read32(register.offset)

    def write_register(self, name: str, value: int) -> None:
        """A register that is neither doorbell nor setting: those are commands (`registers.equivalent`)."""
        self._write(REGISTERS[name].offset, value, REGISTERS[name].width)

    def read_word(self, address: int) -> int:
        return self.device.mmio.read32(address)

    def write_word(self, address: int, value: int) -> None:
        self._write(address, value, 32)

    def _write(self, offset: int, value: int, width: int) -> None:
        if self.blackbox:
            self.blackbox.register_written(offset, value, width)
        mmio = self.device.mmio
        (mmio.write64 if width == 64 else mmio.write32)(offset, value)

    def close(self) -> None:
        if self.blackbox:
            self.blackbox.close()
        self.device.mmio.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _split_at_loads(commands: Sequence[Command]) -> list[Sequence[Command]]:
    """Parts in which no LOAD comes behind anything that may have changed which slots are free or what they hold."""
    parts, first = [], 0
    for place in range(1, len(commands)):
        if type(commands[place]) is Load and type(commands[place - 1]) is not Load:
            parts.append(commands[first:place])
            first = place
    return [*parts, commands[first:]]


def dump_entries(raw: np.ndarray, vas: np.ndarray, first: int = 0) -> list[dict]:
    """The valid ones of the entries `first`, `first` + 1, … as contract section 8 prints them."""
    fields = decode_entries(raw)
    rows = np.flatnonzero(fields["valid"])
    fields["va"] = vas
    columns = [(rows + first).tolist()]
    for name in DUMP_FIELDS:
        column = fields[name][rows]
        columns.append((column != 0).tolist() if name in FLAGS else column.tolist())
    return [dict(zip(("index", *DUMP_FIELDS), values)) for values in zip(*columns)]


def _compare_results(commands: Sequence[Command], device: list[Result], expected: list[Result]) -> list[Difference]:
    found = []
    for number, (command, one, other) in enumerate(zip(commands, device, expected)):
        if one != other:
            where = "result" if len(commands) == 1 else f"result {number} ({script.line(command)})"
            for name in ("code", "matched", "index", "tier", "phys_addr"):
                if getattr(one, name) != getattr(other, name):
                    found.append(Difference(where, name, getattr(one, name), getattr(other, name)))
            if one.triggers != other.triggers:
                found += _compare_triggers(where, one.triggers, other.triggers)
    return found


def _compare_triggers(where: str, device: tuple, expected: tuple) -> list[Difference]:
    """The triggers that only one side has; where both have the same ones, their order differs."""
    only_device, only_model = set(device) - set(expected), set(expected) - set(device)
    rows = [(t, str_trigger(t), "none") for t in only_device] + [(t, "none", str_trigger(t)) for t in only_model]
    found = [Difference(where, f"trigger of {t.index}", one, other) for t, one, other in sorted(rows)[:ENTRIES_SHOWN]]
    return found or [Difference(where, "triggers", f"{len(device)} in another order", f"{len(expected)}")]


def str_trigger(trigger) -> str:
    return f"{trigger.channel} {trigger.from_tier}→{trigger.to_tier}"
