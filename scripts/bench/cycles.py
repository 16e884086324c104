"""Measure in clock cycles what the design promises, on the Verilated RTL: contract section 6 and the aims of the project.

    python -m scripts.bench.cycles            a table; builds all sizes once, which takes minutes the first time
    python -m scripts.bench.cycles --json     one JSON object per line: group, what, value, unit, aim (null: none), reached
    python -m scripts.bench.cycles --small    ENTRIES 256 and 1024 only

Exit code 1 where an aim is missed. Every figure is a difference or a counter of the device itself, never wall time, so that
it is the same on every machine. tests/rtl/test_cycles.py holds the small sizes to the same aims.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass

from kvfpga.claims import BESIDE, MOVED, scores
from kvfpga.claims import cycles as measures
from kvfpga.claims.cycles import FEW, FILL, MANY, fill, run, span
from kvfpga.contract.commands import Evict, Hot, Load, Lookup, Prefetch, Set, Share, Step, Touch, Unload
from kvfpga.device.device import Device
from kvfpga.device.regmap import REGISTERS
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim.verilated import VerilatorSim
from scripts.interrupt import interruptible

SMALL, ALL = (256, 1024), (256, 1024, 4096, 16384, 65536)
LANES = (1, 4, 8, 16)
TRIGGER_AIM, LOOKUP_AIM = 12, 8
MEMORIES = {"at full rate": (0, 0), "with 20 to 60 cycles latency": (20, 60)}
WIDTHS = (128, 512)


@dataclass(frozen=True)
class Figure:
    """One measured number. `aim` says in words what it should be, `reached` whether it is; both None where there is none."""

    group: str
    what: str
    value: float
    unit: str
    aim: str | None = None
    reached: bool | None = None


def open_device(
    entries: int = 256, lanes: int = 4, data_bits: int | None = None, latency: tuple[int, int] = (4, 24)
) -> Device:  # fmt: skip
    """A device that moves nothing by itself. Without `data_bits`, a build that others use as well."""
    device = Device(VerilatorSim(entries, lanes, data_bits or (512 if lanes == 8 else 128), seed=1, latency=latency))
    measures.quiet(device)
    return device


def quiet(device: Device) -> None:
    run(device, Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF))


# ---- STEP to first trigger --------------------------------------------------------------------------------------------


def step_to_trigger(entries: int, lanes: int, blocks: int = FILL, register: str = "STEP_FAST") -> int:
    """Cycles from the write handshake of a STEP to the first eviction that it triggers, among `blocks` blocks in tier 1."""
    with closing(open_device(entries, lanes).mmio) as sim:
        device = Device(sim)
        fill(device, blocks, tier=1)
        run(device, Set("EVICT_THRESH", 0xFFFF))
        batch = Batch()
        device.append_write(batch, register, 300)
        batch.wait_idle()
        sim.run(batch)
        telemetry = device.telemetry()
        assert telemetry["evict_triggers"] == blocks
        return telemetry["step_to_trigger_cycles"]


def trigger_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    group = "STEP handshake to first trigger"
    for register, what in (("STEP_FAST", "32-bit alias"), ("STEP_ADVANCE", "64-bit register")):
        found = {entries: step_to_trigger(entries, 8, register=register) for entries in sizes}
        for entries, cycles in found.items():
            reached = cycles <= TRIGGER_AIM and len(set(found.values())) == 1
            yield Figure(group, f"{what}, ENTRIES={entries}", cycles, "cycles", f"≤ {TRIGGER_AIM}, the same for all", reached)
    for lanes in LANES:
        cycles = step_to_trigger(256, lanes)
        reached = cycles <= TRIGGER_AIM
        yield Figure(group, f"32-bit alias, ENTRIES=256, LANES={lanes}", cycles, "cycles", f"≤ {TRIGGER_AIM}", reached)


# ---- cycles per entry in a pass -----------------------------------------------------------------------------------------


def pass_cost(lanes: int, entries: int = 1024) -> tuple[float, float]:
    """(slope, constant) of the cycles of a STEP over the number of used entries."""
    with closing(open_device(entries, lanes).mmio) as sim:
        return measures.pass_cost(Device(sim), entries)


def pass_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    for lanes in LANES:
        slope, constant = pass_cost(lanes)
        reached = slope <= 1 / lanes
        yield Figure("STEP pass", f"LANES={lanes}, each used entry", slope, "cycles", f"1/{lanes}", reached)
        yield Figure("STEP pass", f"LANES={lanes}, constant", constant, "cycles")
    few = {entries: pass_of(entries, FILL) for entries in sizes}
    for entries, cycles in few.items():
        reached = len(set(few.values())) == 1
        what = f"{FILL} used entries, ENTRIES={entries}, LANES=8"
        yield Figure("STEP pass", what, cycles, "cycles", "the same for all", reached)
    largest = max(sizes)
    cycles = pass_of(largest, largest)
    aim = largest / 8 + 32
    yield Figure("STEP pass", f"full, ENTRIES={largest}, LANES=8", cycles, "cycles", f"≤ {aim:.0f}", cycles <= aim)


def pass_of(entries: int, used: int) -> int:
    with closing(open_device(entries, 8).mmio) as sim:
        fill(Device(sim), used, tier=0)
        return run(Device(sim), Step(1))[0].cycles


# ---- lookups --------------------------------------------------------------------------------------------------------------


def lookup_ports(entries: int = 256, lanes: int = 4) -> dict[str, float]:
    """Latency, and lookups accepted per cycle with both ports asking."""
    with closing(open_device(entries, lanes).mmio) as sim:
        return measures.lookup_ports(Device(sim))


def lookup_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    for entries in (min(sizes), max(sizes)):
        found = lookup_ports(entries, 8)
        for what in ("hit", "miss", "fall back to request 0"):
            reached = found[what] <= LOOKUP_AIM
            yield Figure("Lookup ports", f"{what}, ENTRIES={entries}", found[what], "cycles", f"≤ {LOOKUP_AIM}", reached)
        for what in ("alone", "during a STEP"):
            rate = round(found[what], 3)
            yield Figure("Lookup ports", f"accepted, {what}, ENTRIES={entries}", rate, "per cycle", "1", rate >= 0.999)


# ---- DMA --------------------------------------------------------------------------------------------------------------------


def dma_rate(data_bits: int, latency: tuple[int, int], evict: bool, prefetch: bool) -> float:
    """Bytes per cycle, all channels together: what more blocks cost beyond the first."""
    spent = []
    for count in (FEW, MANY):
        with closing(open_device(256, 4, data_bits, latency).mmio) as sim:
            spent.append(measures.dma_cycles(Device(sim), evict * count, prefetch * count))
    return (MANY - FEW) * (evict + prefetch) * 16384 / (spent[1] - spent[0])


CHANNELS = {"evict": (True, False), "prefetch": (False, True), "both together": (True, True)}


def dma_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    for data_bits in WIDTHS:
        width = data_bits / 8
        for memory, latency in MEMORIES.items():
            for what, (evict, prefetch) in CHANNELS.items():
                rate = round(dma_rate(data_bits, latency, evict, prefetch), 2)
                name = f"{what}, {data_bits} bits, memory {memory}"
                yield Figure("DMA", name, rate, "bytes per cycle", f"≥ {0.9 * width:.1f} of {width:.0f}", rate >= 0.9 * width)


# ---- scores -----------------------------------------------------------------------------------------------------------


def key_rate(data_bits: int, latency: tuple[int, int], counts: tuple[int, int], moved: int) -> float:
    """Bytes of keys read in a cycle while SCOREs follow each other and each DMA channel moves `moved` blocks."""
    spent = []
    for count in counts:
        with closing(open_device(256, 4, data_bits, latency).mmio) as sim:
            device = Device(sim)
            spent.append(scores.back_to_back(device, count, moved))
    return (counts[1] - counts[0]) * device.block_bytes / 2 / (spent[1] - spent[0])


SCORING = {"back to back": (1, (FEW, MANY), 0), "beside both DMA channels": (3, BESIDE, MOVED)}
"""How many read at the same time, each in its turn; SCOREs, and blocks that each channel moves."""


def score_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    for data_bits in WIDTHS:
        for memory, latency in MEMORIES.items():
            where = f"{data_bits} bits, memory {memory}"
            with closing(open_device(256, 4, data_bits, latency).mmio) as sim:
                yield Figure("SCORE", f"alone, {where}", scores.alone(Device(sim)), "cycles")
            for what, (readers, counts, moved) in SCORING.items():
                rate, aim = round(key_rate(data_bits, latency, counts, moved), 2), 0.9 * data_bits / 8 / readers
                words = f"≥ {aim:.1f} of {data_bits / 8 / readers:.4g}"
                yield Figure("SCORE", f"{what}, {where}", rate, "bytes per cycle", words, rate >= aim)


# ---- what does not depend on the directory's size ---------------------------------------------------------------------------


def fixed_figures(sizes: tuple[int, ...]) -> Iterator[Figure]:
    """Cycles of commands on an almost empty device, of register accesses, and of a reset."""
    group = "Fixed costs"
    with closing(open_device(256, 4).mmio) as sim:
        device = Device(sim)
        fill(device, 8, tier=0)
        block = span(device, 0, 1)
        commands = {
            "STEP over 8 entries": Step(1), "HOT": Hot(*block), "EVICT that moves nothing": Evict(*block), "SHARE": Share(*block),
            "PREFETCH that moves nothing": Prefetch(*block, 1), "SET": Set("WINDOW", 255), "LOOKUP, hit": Lookup(1, 0, 0, 0),
            "LOOKUP, miss": Lookup(2, 0, 0, 0), "TOUCH": Touch(1, 0, 0, 0), "LOAD": Load(3, 0, 0, 0, 31, 0, 0),
            "UNLOAD of one entry": Unload(*span(device, 7, 1)),
        }  # fmt: skip
        for what, command in commands.items():
            yield Figure(group, what, run(device, command)[0].cycles, "cycles")
        scratch = REGISTERS["SCRATCH"].offset
        for what, count, build in (
            ("register read alone", 1, lambda batch: batch.read(scratch)),
            ("register write", 1, lambda batch: batch.write(scratch, 1)),
            ("register read in a burst", 64, lambda batch: batch.burst(REGISTERS["T_CURRENT_STEP"].offset, 64)),
        ):
            batch = Batch()
            build(batch)
            start = sim.clock_cycles
            sim.run(batch)
            yield Figure(group, what, round((sim.clock_cycles - start) / count, 2), "cycles")
    for entries in sizes:
        with closing(open_device(entries, 8).mmio) as sim:
            sim.reset(wait=False)
            yield Figure(group, f"reset until idle, ENTRIES={entries}", sim.wait_idle(), "cycles")


GROUPS = (trigger_figures, pass_figures, lookup_figures, dma_figures, score_figures, fixed_figures)


def show(figures: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Clock cycles of the KV-CPU")
    for name, options in (("", {}), ("value", {"justify": "right"}), ("unit", {}), ("aim", {}), ("reached", {})):
        table.add_column(name, **options)
    for group in dict.fromkeys(figure.group for figure in figures):
        table.add_section()
        table.add_row(f"[bold]{group}")
        for figure in figures:
            if figure.group == group:
                verdict = {None: "", True: "[green]yes", False: "[bold red]no"}[figure.reached]
                table.add_row(f"  {figure.what}", f"{figure.value:g}", figure.unit, figure.aim or "", verdict)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--small", action="store_true", help="ENTRIES 256 and 1024 only")
    options = parser.parse_args()
    figures = []
    for group in GROUPS:
        for figure in group(SMALL if options.small else ALL):
            figures.append(figure)
            if options.json:
                print(json.dumps(asdict(figure), ensure_ascii=False), flush=True)
    if not options.json:
        show(figures)
    return int(any(figure.reached is False for figure in figures))


if __name__ == "__main__":
    sys.exit(interruptible(main))
