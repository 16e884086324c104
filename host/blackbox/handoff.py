"""From a board to the simulation: does what a board did wrong show in the Verilated RTL too, and with how few commands?

`investigate` takes the failure folder of a board (blackbox/board.py) and

1. brings a simulation of the same design to the state before the failing commands, makes the recorded MMIO calls there
   and compares the answers, but for what depends on time: the first that differs is where board and RTL part;
2. runs everything since the reset in lockstep on the simulation: does the difference show there?
3. if so, shrinks the list of commands as far as the difference stays (delta debugging: Zeller and Hildebrandt, 2002);
4. leaves minimal.kvfpga, handoff.json and a waveform of the last command in the folder.

A difference that does not show is one of the board alone: timing, pins, memory, the link. `replay_file` does the first step for a
recording of a whole run (`--record FILE`) that began with a reset.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.commands import Command
from ..contract.errors import BuildError, BusError, DifferenceError, TargetError, UsageError
from ..contract.inputs import read_text, strict_json
from ..contract.waveforms import SUFFIXES
from ..contract.wording import counted
from ..device.device import CAPABILITIES, Device, Identity
from ..device.regmap import REGISTERS, TELEMETRY
from ..hepc_ref import ReferenceModel, reference_of
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target, rtl_sources
from ..transport.recording import MALFORMED, Discrepancy, not_recorded, recorded_calls, replay_recording
from .board import BOARD, line
from .history import History, Item, MemoryWrite, QueryWrite, RegisterWrite, TableWrite, Written
from .retrace import HANG_CYCLES, trace
from .seal import check_folder

if TYPE_CHECKING:
    from typing import TypeAlias

    Progress: TypeAlias = Callable[[int, int, str], None]

SHOWN = 20
"""Differing answers that are told."""


@dataclass
class Finding:
    """What `investigate` found. `shows`: the simulation differs from the reference as well (None: not tried). `first_calls`: the
    recorded calls that the RTL answers differently, first ones first. `minimal`: the shortest list of commands that was found
    to make the difference. `notes` for people."""

    shows: bool | None
    difference: str | None
    first_calls: list[dict[str, Any]] = field(default_factory=list)
    commands: int = 0
    minimal: list[str] = field(default_factory=list)
    waveform: str | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"command": "handoff", "code": "OK"} | asdict(self)


# ---- a failure folder --------------------------------------------------------------------------------------------------


def investigate(folder: Path, shrink: bool = True, progress: Progress = lambda done, total, text: None) -> Finding:
    """`progress(done, total, text)`. UsageError where `folder` is no failure folder of a board, SessionError
    where it is damaged."""
    check_folder(folder)
    try:
        facts = strict_json(read_text(folder / BOARD))
        identity = Identity(**facts["identity"])
        history = History(folder, facts["history"])
        history.check()
        items, failing = list(history.old()), facts["failing"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is not the failure folder of a board: {_why(error)}",
            "name a folder that a difference on a board left (its message says which)",
        ) from error
    if not history.whole:
        raise UsageError(
            f"{folder}: what the board went through before its last `sync` is not known, so nothing can be done again",
            "`kvfpga reset` the board and have the difference again",
        )
    target = Target("uart", address=facts["target"]).simulation(identity)
    finding = Finding(None, None, commands=len(items))
    with _Stage(target) as stage:
        if stage.sim.build_id != identity.build_id:
            builds = f"the board runs build {identity.build_id:#018x}, this RTL is {stage.sim.build_id:#018x}"
            finding.notes.append(f"{builds}: they may differ by design")
        progress(0, 3, "replaying the recorded calls")
        stage.prepare(items[: len(items) - failing])
        finding.first_calls = _describe(replay_recording(stage.sim, folder / "mmio.jsonl"), folder / "mmio.jsonl")
        progress(1, 3, "running all commands in lockstep")
        finding.difference = stage.difference(items)
        finding.shows = finding.difference is not None
        minimal = items
        if finding.shows and shrink:
            minimal = _shrink(items, lambda some: stage.difference(some) is not None, progress)
            finding.difference = stage.difference(minimal)
        finding.minimal = [line(item, number, folder).strip() for number, item in enumerate(minimal)] if finding.shows else []
        hangs = stage.hung
    if not finding.shows:
        finding.notes.append(
            "the simulation agrees with the reference: look at what only the board has - timing report, clock and reset, "
            "memory (`kvfpga bringup`), link errors"
        )
    progress(2, 3, "recording a waveform")
    _record(target, minimal, folder, hangs, finding)
    (folder / "minimal.kvfpga").write_text("".join(text + "\n" for text in finding.minimal), "utf-8")
    (folder / "handoff.json").write_text(json.dumps(finding.to_json(), indent=2) + "\n")
    return finding


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"it holds no {BOARD}"
    return f"its {BOARD} or what that names cannot be read"


class _Stage:
    """One simulation, put back to its state after reset before each run."""

    def __init__(self, target: Target):
        self.target = target
        self.sim = target.open_simulation()
        self.hung = False
        self._folder = tempfile.TemporaryDirectory(prefix="kvfpga-")
        self._fresh = Path(self._folder.name) / "fresh.ckpt"
        self.sim.save(self._fresh)

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.sim.close()
        self._folder.cleanup()

    def prepare(self, items: Sequence[Item], check: bool = False) -> None:
        """From reset through all of `items`; `check` compares after each run of commands."""
        self.sim.restore(self._fresh)
        device = Device(self.sim)
        pair = Lockstep(device, reference_of(device.identity.parameters), check)
        commands: list[Command] = []
        for item in items:
            if not isinstance(item, Written):
                commands.append(item)
                continue
            pair.execute_many(commands)
            commands = []
            match item:
                case MemoryWrite(addr, data):
                    pair.memory_write(addr, data)
                case TableWrite():
                    pair.write_table(item.table)
                case QueryWrite(slot, _, _, kept):
                    pair.write_queries(slot, item.queries)
                    if kept:
                        pair.reset()
                case RegisterWrite(offset, value, width):
                    try:
                        if width == 64:
                            self.sim.write64(offset, value)
                        else:
                            pair.write_word(offset, value)
                    except BusError:
                        pass  # it was one on the board, too
        pair.execute_many(commands)

    def difference(self, items: Sequence[Item]) -> str | None:
        """What differs between RTL and reference after `items`, None where nothing does."""
        budget, self.sim.idle_budget = self.sim.idle_budget, 20 * HANG_CYCLES
        try:
            self.prepare(items, check=True)
        except DifferenceError as error:
            return error.message
        except TargetError as error:
            self.hung = True
            return f"the device did not finish: {error.message}"
        finally:
            self.sim.idle_budget = budget
        return None


def _shrink(items: list[Item], fails: Callable[[list[Item]], bool], progress: Progress) -> list[Item]:
    """ddmin: drop ever smaller parts of the list as long as it still fails."""
    items, parts, tried = list(items), 2, 0
    while len(items) >= 2:
        size = -(-len(items) // parts)
        for first in range(0, len(items), size):
            rest = items[:first] + items[first + size :]
            tried += 1
            progress(1, 3, f"{counted(len(items), 'command')} left, {counted(tried, 'try', 'tries')}")
            if rest and fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(items))
    return items


def _record(target: Target, items: Sequence[Item], folder: Path, hangs: bool, finding: Finding) -> None:
    """The last of `items` as a waveform; a .vcd where an .fst cannot be built."""
    for kind in SUFFIXES:
        path = folder / f"waveform{kind}"
        try:
            trace(target, iter(items[:-1]), list(items[-1:]), path, HANG_CYCLES if hangs else None)
        except BuildError as error:
            finding.notes.append(f"no {kind} waveform: {error.message}")
            continue
        finding.waveform = str(path)
        return


# ---- recordings --------------------------------------------------------------------------------------------------------


def replay_file(path: Path) -> Finding:
    """Make all calls of a recording again on a simulation of the design that it was made with."""
    target = Target("uart", address="recorded").simulation(_identity(path))
    with target.open_mmio() as sim:
        found = replay_recording(sim, path)
    return Finding(None, None, _describe(found, path), notes=[f"sources of the RTL: {rtl_sources() or 'those of this kvfpga'}"])


def _identity(path: Path) -> Identity:
    """From the reads that every connection begins with (`Device.identify`)."""
    wanted, found = {"DEVICE_ID": 5, "CAP_ENTRIES": CAPABILITIES}, {}
    try:
        for _, entry in recorded_calls(path):
            for name, words in wanted.items():
                if entry["call"] == "read_burst" and (entry["offset"], entry["words"]) == (REGISTERS[name].offset, words):
                    found[name] = entry["answer"]
            if len(found) == len(wanted):
                break
        _, version, low, high, _ = found["DEVICE_ID"]
        return Identity(f"{version >> 16}.{version & 0xFFFF}", high << 32 | low, *found["CAP_ENTRIES"])
    except MALFORMED as error:
        raise UsageError(
            f"{path} is not a recording of a whole run: {str(error)[:120]}", "record one with `kvfpga --record FILE …`"
        ) from error


def _describe(found: list[Discrepancy], path: Path) -> list[dict[str, Any]]:
    """The first answers that differ, word by word, without those that depend on time."""
    differing = {discrepancy.line: discrepancy for discrepancy in found}
    told = []
    for number, entry in recorded_calls(path) if found else ():
        if number not in differing:
            continue
        recorded, got = differing[number].recorded, differing[number].got
        try:
            for where, board, rtl in _words(entry, recorded, got):
                told.append({"line": number, "call": entry["call"], "where": where, "board": board, "rtl": rtl})
        except MALFORMED as error:
            raise not_recorded(path, number, error) from None
    return told[:SHOWN]


def _words(entry: dict[str, Any], recorded: Any, got: Any) -> Iterator[tuple[str, str, str]]:
    """(where, board's value, RTL's value) of everything in one answer that differs and does not depend on time."""
    match recorded, got:
        case {"words": one, "records": records}, {"words": other, "records": others}:
            offsets = [offset + 4 * i for kind, offset, count, _ in entry["ops"] if kind == "READ" for i in range(count)]
            yield from _registers(offsets, one, other)
            if sorted(records) != sorted(others):  # the two channels may finish in either order
                yield "completion records", f"{len(records)}: {_hex(records)}", f"{len(others)}: {_hex(others)}"
        case list(), list():
            yield from _registers([entry["offset"] + 4 * i for i in range(len(recorded))], recorded, got)
        case int(), int():
            yield from _registers([entry["offset"]], [recorded], [got])
        case _:
            yield entry.get("addr", entry.get("addrs", entry["call"])), str(recorded)[:80], str(got)[:80]


def _registers(offsets: list[int], recorded: list[int], got: list[int]) -> Iterator[tuple[str, str, str]]:
    for offset, one, other in zip(offsets, recorded, got):
        if one != other and offset not in TIME_DEPENDENT:
            yield NAMES.get(offset, f"offset {offset:#x}"), f"{one:#010x}", f"{other:#010x}"


def _hex(records: list[int]) -> str:
    return " ".join(f"{record:#x}" for record in records[:4])


NAMES = {register.offset + 4 * word: name + (" (high word)" if word else "")
         for name, register in REGISTERS.items() for word in range(register.width // 32)}  # fmt: skip
"""Every word of BAR0 by its register."""
_COMPARED = set(ReferenceModel(256).telemetry())
TIME_DEPENDENT = {
    offset for offset, name in NAMES.items()
    if name.startswith(("RESULT_CYCLES", "STATUS", "SCRATCH"))
    or (REGISTERS[name.split()[0]].telemetry or "t1_used") in set(TELEMETRY) - _COMPARED
}  # fmt: skip
"""Words that differ between any two targets: cycle counts, and SCRATCH, which belongs to the session."""
