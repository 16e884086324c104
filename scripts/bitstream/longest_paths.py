"""Which paths of the ULX3S build will be long: told from the netlist, in a minute or two and before anything is placed.

    python -m scripts.bitstream.longest_paths                     synthesises, then shows the 30 longest
    python -m scripts.bitstream.longest_paths --netlist FILE      of a build that is there: kvcpu_ulx3s.json in its folder
    python -m scripts.bitstream.longest_paths --count 60 --json   more of them, as one JSON object

Paths from one register to another, by name, are one line: how long the longest of them is, how many end so, and what it
passes, with fan-out and the time in ns at which it is there; a `+` is a carry chain. An estimate: logic takes what nextpnr's
database says for speed grade 6, and a wire what wires took in routed builds. Those to carry chains and block RAMs are the long
ones, as these have few places where they can lie: they were on the path that limited each routed build that was looked at. Place
and route does better or worse than this by some ns, so what counts is the order: of the paths that limited two builds, at 77
and 74 MHz, this put one 12th and one 14th.

Exit code 3 where synthesis fails.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from kvfpga.cli.ending import complain
from kvfpga.contract.errors import KvfpgaError, UsageError
from kvfpga.transport.sim.build import rtl_root
from scripts.bitstream.build_ulx3s import NAME, synthesise

# ---- ns: from a cell's input to its output, to the output of what holds a value, before the clock -----------------------------
LUT = 0.24
CARRY_IN, CARRY_STEP, CARRY_OUT = 0.45, 0.07, 0.44
MULTIPLY = 3.9
CLOCK_TO = {"TRELLIS_FF": 0.52, "DP16KD": 5.7}
SETUP = {"LSR": 0.42}

# ---- ns of a wire: any, more for a doubled fan-out, at a carry chain, at a block RAM; from a LUT to the register beside it
WIRE, DOUBLED, AT_CHAIN, AT_MEMORY, BESIDE = 0.95, 0.15, 1.3, 0.8, 0.13
# Wires inside a slice or between neighbours, made for that.
DEDICATED = {("LUT4", "PFUMX"), ("PFUMX", "L6MUX21"), ("L6MUX21", "L6MUX21")}
SELECTS = ("C0", "SD")  # of PFUMX and L6MUX21: an ordinary wire

# Where a path may end: at data, enable and reset of a register, at all of a memory but clock and reset.
REGISTER_ENDS = ("DI", "M", "CE", "LSR")
MEMORY_CLOCKS = ("CLKA", "CLKB", "RSTA", "RSTB", "WCK", "RAD")


class Step(NamedTuple):
    """An output on a path. `fan_out` inputs see it, `at` ns behind the clock's edge."""

    name: str
    chain: bool
    fan_out: int
    at: float


class Way(NamedTuple):
    """The longest path between two registers, and how many inputs of the second, by its name, have one like it."""

    ns: float
    start: str
    end: str
    ends: int
    steps: list[Step]


class Netlist:
    """A flat module as Yosys writes it for ECP5, with the time at which each bit is there."""

    def __init__(self, module: dict):
        self.cells: dict[str, dict] = module["cells"]
        self.driver: dict[int, tuple[str, str]] = {}  # bit: cell and output
        self.fan_out: Counter[int] = Counter()
        self.names: dict[int, str] = {}
        self._at: dict[int, tuple[float, int | None]] = {}  # and the bit in front of it on the longest way
        self._open: set[int] = set()  # being worked out
        for name, net in module["netnames"].items():
            for bit in net["bits"]:
                if bit not in self.names or (not net.get("hide_name") and len(name) < len(self.names[bit])):
                    self.names[bit] = name
        for cell, what in self.cells.items():
            for port, bits in what["connections"].items():
                for bit in (b for b in bits if isinstance(b, int)):
                    if what["port_directions"].get(port) == "output":
                        self.driver[bit] = cell, port
                    else:
                        self.fan_out[bit] += 1

    def kind(self, bit: int) -> str:
        """The type of the cell that drives it."""
        return self.cells[self.driver[bit][0]]["type"] if bit in self.driver else ""

    def wire(self, bit: int, kind: str, port: str) -> float:
        """What the wire takes to that input of such a cell."""
        source = self.kind(bit)
        if ((source, kind) in DEDICATED and port not in SELECTS) or (source == kind == "CCU2C" and port == "CIN"):
            return 0.0
        if kind == "TRELLIS_FF" and port == "DI" and source != "TRELLIS_FF" and self.fan_out[bit] == 1:
            return BESIDE
        ends = (source, kind)
        return WIRE + DOUBLED * math.log2(self.fan_out[bit]) + AT_CHAIN * ("CCU2C" in ends) + AT_MEMORY * ("DP16KD" in ends)

    def inputs(self, cell: str, output: str) -> list[tuple[str, float]]:
        """Those that the output follows within the cycle, and in how many ns."""
        kind, ports = self.cells[cell]["type"], self.cells[cell]["connections"]
        match kind:
            case "LUT4":
                return [(port, LUT) for port in "ABCD"]
            case "PFUMX" | "L6MUX21":
                return [(port, LUT if port in SELECTS else 0.0) for port in ports if port != "Z"]
            case "CCU2C":
                carry = CARRY_STEP if output == "COUT" else CARRY_OUT
                own = CARRY_IN if output == "COUT" else LUT
                low = [] if output == "S0" else [(f"{port}1", own) for port in "ABCD"]
                return [("CIN", carry), *low, *((f"{port}0", own if output != "S1" else CARRY_IN + LUT) for port in "ABCD")]
            case "TRELLIS_DPR16X4":
                return [("RAD", LUT)]
            case "MULT18X18D":
                return [(port, MULTIPLY) for port in ports if re.fullmatch(r"[AB]\d+", port)]
        return []

    def at(self, bit: int) -> float:
        """When it is there, in ns behind the clock's edge; inputs of the chip and constants are there at once."""
        if bit not in self._at:
            self._at[bit] = 0.0, None
            self._open.add(bit)
            if bit in self.driver:
                cell, output = self.driver[bit]
                kind = self.cells[cell]["type"]
                best: tuple[float, int | None] = CLOCK_TO.get(kind, 0.0), None
                for port, delay in self.inputs(cell, output):
                    for source in self.cells[cell]["connections"].get(port, []):
                        if isinstance(source, int) and source not in self._open:  # in a loop, the way back is none
                            way = self.at(source) + self.wire(source, kind, port) + delay, source
                            best = max(best, way, key=lambda way: way[0])
                self._at[bit] = best
            self._open.remove(bit)
        return self._at[bit][0]

    def steps(self, bit: int) -> list[Step]:
        """The longest way to it; of a carry chain only its end."""
        way: list[Step] = []
        at: int | None = bit
        while at is not None:
            chain = self.kind(at) == "CCU2C"
            if not (chain and way and way[-1].chain):
                way.append(Step(self.readable(at), chain, self.fan_out[at], self.at(at)))
            at = self._at[at][1]
        return way[::-1]

    def readable(self, bit: int) -> str:
        """Without what synthesis put behind the name of a register."""
        return re.sub(r"_(TRELLIS|LUT4|CCU2C|PFUMX|L6MUX|DPR|DP16).*", "", self.names.get(bit, str(bit)))

    def ends(self) -> list[tuple[float, str, str, int]]:
        """Where a path ends: ns, cell, input, bit; the longest first."""
        found = []
        for cell, what in self.cells.items():
            match what["type"]:
                case "TRELLIS_FF":
                    ports = REGISTER_ENDS
                case "DP16KD" | "TRELLIS_DPR16X4":
                    ports = tuple(p for p, way in what["port_directions"].items() if way == "input" and p not in MEMORY_CLOCKS)
                case _:
                    continue
            for port in ports:
                for bit in what["connections"].get(port, []):
                    if bit in self.driver:
                        found.append((self.at(bit) + self.wire(bit, what["type"], port) + SETUP.get(port, 0.0), cell, port, bit))
        return sorted(found, key=lambda end: -end[0])

    def longest(self, count: int) -> list[Way]:
        """The longest path between each pair of registers, for that many pairs."""
        found: dict[tuple[str, str], Way] = {}
        for ns, cell, port, bit in self.ends():
            register = self.cells[cell]["connections"].get("Q", [None])[0]
            end = f"{self.readable(register)}.{port}" if register is not None else f"{cell}.{port.rstrip('0123456789')}"
            steps = self.steps(bit)
            key = steps[0].name, end
            if key in found:
                found[key] = found[key]._replace(ends=found[key].ends + 1)
            elif len(found) < count:
                found[key] = Way(ns, steps[0].name, end, 1, steps)
        return list(found.values())


def read(path: Path) -> Netlist:
    """The top module of a netlist in JSON."""
    try:
        modules = json.loads(path.read_text())["modules"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no netlist of Yosys: {error}", f"give the {NAME}.json of a build's folder") from None
    top = next((module for module in modules if int(module.get("attributes", {}).get("top", "0"), 2)), None)
    if top is None:
        raise UsageError(f"{path} has no top module", f"give the {NAME}.json of a build's folder")
    return Netlist(top)


def show(paths: list[Way], console: Console) -> None:
    for path in paths:
        way = " | ".join(f"{'+' * step.chain}{step.name[-40:]} ({step.fan_out}) {step.at:.1f}" for step in path.steps)
        console.print(f"{path.ns:5.1f} ns  {path.ends:4}  {path.start} to {path.end}: {way}", highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--netlist", type=Path, help="of an earlier synthesis; without it one is made")
    parser.add_argument("--count", type=int, default=30, help="how many paths (default 30)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    chosen = parser.parse_args()
    try:
        if chosen.netlist:
            netlist = read(chosen.netlist)
        else:
            with tempfile.TemporaryDirectory() as name, Console(stderr=True).status("Yosys: synthesis"):
                synthesise(Path(name), rtl_root())
                netlist = read(Path(name) / f"{NAME}.json")
        paths = netlist.longest(chosen.count)
    except KvfpgaError as error:
        complain(error, "longest_paths")
        return error.exit_code
    if chosen.json:
        print(json.dumps({"paths": [path._asdict() | {"steps": [step._asdict() for step in path.steps]} for path in paths]}))
    else:
        show(paths, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
