"""Speed of kvfpga beside the ways it replaces, all measured in this one run on this machine.

    python -m scripts.bench.simulator                 the full device (65,536 entries, 8 lanes): minutes, most of them building
    python -m scripts.bench.simulator --only reads    register reads only; also: check, process
    python -m scripts.bench.simulator --json          one JSON object on stdout instead of the table

reads    register reads per second: `VerilatorSim.read32`, a `Batch`; beside cocotb with cocotbext-axi's AxiLiteMaster on
         the same RTL and Verilator (scripts/bench/cocotb_reads.py), pyverilator driven signal by signal, and a plain C++ loop
         around the same model
check    a STEP over a full directory in lockstep, beside the same without the check; and where the time of each part goes
process  one `kvfpga step N`, from the start of the process to its end, beside `python -c "import numpy"`

Every figure is a median of several rounds; what is compared alternates within a round. Reads and checks are timed by the
processor time of their process, which on an idle machine is the wall time (nothing in them waits) and on a busy one still
compares like with like; processes by the wall. The exit code is 0 whatever the figures: time is no test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from kvfpga.contract.commands import Load, Set, Step
from kvfpga.contract.parameters import DEFAULT, Parameters
from kvfpga.device.device import Device
from kvfpga.device.regmap import REGISTERS, TELEMETRY
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim import build as verilator_build
from kvfpga.transport.sim.verilated import VerilatorSim

OFFSET = REGISTERS["SCRATCH"].offset
ROW, ROW_WORDS = REGISTERS["T_CURRENT_STEP"].offset, 2 * len(TELEMETRY)
"""The longest row of registers side by side."""
BLOCK, VA = 16384, 0x7F00_0000_0000
SECTIONS = ("reads", "check", "process")


class Sizes(NamedTuple):
    """How much of each is done."""

    entries: int = DEFAULT.entries
    lanes: int = DEFAULT.lanes
    data_bits: int = 512
    reads: int = 200_000
    slow_reads: int = 2_000
    """by cocotb and by pyverilator, which would need minutes for `reads` of them"""
    steps: int = 10
    processes: int = 10
    repeat: int = 5


class Figure(NamedTuple):
    """`value` of something; `ratio` to the figure named `beside`. `aim`: what the ratio (the value, where there is nothing
    beside it) should be at least, or at most if `at_most`."""

    section: str
    name: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None
    aim: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        found = self.value if self.ratio is None else self.ratio
        return found <= self.aim if self.at_most else found >= self.aim

    def as_json(self) -> dict:
        return self._asdict() | {"met": self.met}


Say = Callable[[str], None]


# ---- register reads ------------------------------------------------------------------------------------------------
def bench_reads(sizes: Sizes, say: Say) -> list[Figure]:
    say("cocotb with cocotbext-axi: building its model, once per design")
    cocotb = cocotb_reads(sizes)
    say("register reads of kvfpga, pyverilator and the plain loop")
    with VerilatorSim(sizes.entries, sizes.lanes, sizes.data_bits) as sim:
        ways = {
            "single": (sizes.reads, lambda count: single_reads(sim, count)),
            "batched": (sizes.reads, batched_reads(sim, sizes.reads)),
            "plain": (sizes.reads, lambda count: sim.plain_reads(OFFSET, count)),
            "pyverilator": (sizes.slow_reads, lambda count: signal_reads(sim, count)),
        }
        rates = {name: [] for name in ways}
        for _ in range(sizes.repeat):
            for name, (count, run) in ways.items():
                rates[name].append(count / timed(run, count))
    found = {name: median(rate) for name, rate in rates.items()}

    def figure(name, way, beside="", other=None, aim=None):
        return Figure("reads", name, found[way], "reads/s", beside, other and found[way] / other, aim)

    single, batched = median(cocotb["single"]), median(cocotb["batched"])
    return [
        Figure("reads", "cocotb, a read at a time", single, "reads/s"),
        Figure("reads", f"cocotb, {ROW_WORDS} words a call", batched, "reads/s"),
        figure("pyverilator, signal by signal", "pyverilator"),
        figure("plain C++ loop", "plain"),
        figure("kvfpga read32", "single", "cocotb, a read at a time", single, 50),
        figure("kvfpga read32", "single", "pyverilator, signal by signal", found["pyverilator"], 20),
        figure("kvfpga Batch", "batched", "cocotb, a read at a time", single, 200),
        figure("kvfpga Batch", "batched", f"cocotb, {ROW_WORDS} words a call", batched),
        figure("kvfpga Batch", "batched", "plain C++ loop", found["plain"], 0.9),
    ]


def single_reads(sim: VerilatorSim, count: int) -> None:
    read = sim.read32
    for _ in range(count):
        read(OFFSET)


def batched_reads(sim: VerilatorSim, count: int) -> Callable[[int], object]:
    batch = Batch()
    for _ in range(count):
        batch.read(OFFSET)
    return lambda _: sim.run(batch)


def signal_reads(sim: VerilatorSim, count: int) -> None:
    """AXI4-Lite by hand, as one writes it with pyverilator: every signal set and looked at from Python."""
    io, evaluate = sim.sim.io, sim.sim.eval
    io.s_axil_rready = 1
    for _ in range(count):
        io.s_axil_araddr = OFFSET
        io.s_axil_arvalid = 1
        done = False
        while not done:
            io.clk = 0
            evaluate()
            taken, done = io.s_axil_arready, io.s_axil_rvalid
            if done:
                io.s_axil_rdata  # noqa: B018  the word itself
            io.clk = 1
            evaluate()
            if taken:
                io.s_axil_arvalid = 0


def cocotb_reads(sizes: Sizes) -> dict[str, list[float]]:
    """Words per second, as scripts/bench/cocotb_reads.py says."""
    from tests.rtl.cocotb import dut_build

    dut_build.PARAMETERS = Parameters(sizes.entries, sizes.lanes, sizes.data_bits)
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        out, log = Path(folder) / "rates.json", Path(folder) / "cocotb.log"
        task = {"offset": OFFSET, "first": ROW, "words": ROW_WORDS, "count": sizes.slow_reads, "repeat": sizes.repeat}
        with quiet():
            dut_build.PortsOnly().test(
                test_module="scripts.bench.cocotb_reads", hdl_toplevel=verilator_build.TOP, hdl_toplevel_lang="verilog",
                build_dir=dut_build.model(), test_dir=folder, results_xml=f"{folder}/results.xml", log_file=log,
                extra_env={"KVFPGA_BENCH": json.dumps(task | {"out": str(out)}), "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        if not out.exists():
            raise SystemExit(f"the cocotb simulation failed:\n{log.read_text()[-3000:]}")
        return json.loads(out.read_text())


# ---- the check -----------------------------------------------------------------------------------------------------
def bench_check(sizes: Sizes, say: Say) -> list[Figure]:
    with VerilatorSim(sizes.entries, sizes.lanes, sizes.data_bits) as sim:
        pair = Lockstep(Device(sim), ReferenceModel(sizes.entries))
        say(f"loading {sizes.entries} blocks")
        fill(pair)
        say(f"STEP over {sizes.entries} entries with and without the check")
        checked, unchecked, parts = [], [], {}
        step = 0
        for _ in range(sizes.repeat * sizes.steps):
            for pair.check, times in ((True, checked), (False, unchecked)):
                step += 1
                times.append(timed(pair.execute, Step(step)))
        pair.check = True
        pair.verify()

        def part(name: str, run: Callable, *arguments) -> None:
            parts.setdefault(name, []).append(timed(run, *arguments))

        cycles = {}
        for _ in range(sizes.steps):
            step += 1
            before = sim.clock_cycles
            part("device: STEP, result, completions", pair.device.execute, Step(step))
            cycles["STEP"] = sim.clock_cycles - before
            part("model: STEP", pair.model.execute, Step(step))
            before = sim.clock_cycles
            part("device: DIGEST", pair.device.digest)
            cycles["DIGEST"] = sim.clock_cycles - before
            part("model: digest", pair.model.digest)
            before = sim.clock_cycles
            part("device: telemetry", pair.device.telemetry)
            cycles["telemetry"] = sim.clock_cycles - before
    bare, full = median(unchecked), median(checked)
    return [
        Figure("check", "STEP without check", bare * 1e3, "ms"),
        Figure("check", "STEP with the full check", full * 1e3, "ms", "STEP without check", full / bare, 1.5, True),
        *(Figure("check", name, median(times) * 1e3, "ms") for name, times in parts.items()),
        *(Figure("check", f"cycles of {name}", count, "cycles") for name, count in cycles.items()),
    ]


def fill(pair: Lockstep) -> None:
    """Every entry valid, in T1, and no STEP moves any."""
    pair.check = False
    pair.execute_many([Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF)])
    for first in range(0, pair.entries, 4096):
        pair.execute_many([block(n) for n in range(first, min(first + 4096, pair.entries))])


def block(n: int) -> Load:
    return Load(1 + n % 7, n // 7 % 4, n // 28 % 4, n // 112 * 32, n // 112 * 32 + 31, VA + n * BLOCK)


# ---- one process ---------------------------------------------------------------------------------------------------
def bench_process(sizes: Sizes, say: Say) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        few, full = (
            session(Path(folder), sizes, name, count, say) for name, count in (("few", 64), ("full", sizes.entries))
        )
        say("processes")
        times = {"few": [], "full": [], "numpy": [], "python": []}
        used = {name: [] for name in times}
        for step in range(1, sizes.processes + 1):
            for name, command in (
                ("few", [*few, "step", str(step)]), ("full", [*full, "step", str(step)]),
                ("numpy", [sys.executable, "-c", "import numpy"]), ("python", [sys.executable, "-c", ""]),
            ):  # fmt: skip
                before = children()
                times[name].append(timed(process, command, clock=time.perf_counter))
                used[name].append(children() - before)
    found = {name: median(values) for name, values in times.items()}
    used = {name: median(values) for name, values in used.items()}
    numpy, step, step_full = (
        'python -c "import numpy"',
        "kvfpga step, 64 blocks loaded",
        f"kvfpga step, {sizes.entries} blocks loaded",
    )
    return [
        Figure("process", 'python -c ""', found["python"], "s"),
        Figure("process", numpy, found["numpy"], "s"),
        Figure("process", step, found["few"], "s", aim=0.5, at_most=True),
        Figure("process", step, found["few"], "s", numpy, found["few"] / found["numpy"]),
        Figure("process", step_full, found["full"], "s", aim=0.5, at_most=True),
        Figure("process", f"processor time of {numpy}", used["numpy"], "s"),
        Figure("process", f"processor time of {step}", used["few"], "s"),
        Figure("process", f"processor time of {step_full}", used["full"], "s"),
    ]


def children() -> float:
    """Seconds of processor time that ended child processes have used."""
    used = os.times()
    return used.children_user + used.children_system


def session(folder: Path, sizes: Sizes, name: str, blocks: int, say: Say) -> list[str]:
    """The beginning of a `kvfpga` command line on a new session with that many blocks, none of which a STEP moves."""
    command = [sys.executable, "-m", "kvfpga.cli.main", "--entries", str(sizes.entries), "--lanes", str(sizes.lanes)]
    command += ["--session", str(folder / name)]
    say(f"a session with {blocks} blocks")
    rows = folder / f"{name}.csv"
    loads = [block(n) for n in range(blocks)]
    lines = [f"{c.request},{c.layer},{c.head},{c.token_start}:{c.token_end},{c.va}" for c in loads]
    rows.write_text("\n".join(["request,layer,head,tokens,va", *lines]) + "\n")
    process([*command, "reset", "--raw"])
    process([*command, "weights", "set", "--evict", "0", "--prefetch", "65535"])
    process([*command, "load", str(rows)])
    return command


def process(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[-3:])} failed:\n{done.stderr[-3000:]}")


# ---- all of it -----------------------------------------------------------------------------------------------------
def timed(run: Callable, *arguments, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one call."""
    start = clock()
    run(*arguments)
    return clock() - start


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What others print on stdout goes nowhere."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def measure(sizes: Sizes, sections: tuple[str, ...] = SECTIONS, say: Say = lambda text: None) -> list[Figure]:
    # Building is not measured, so it comes first.
    say("building the model, once per design")
    verilator_build.model(Parameters(sizes.entries, sizes.lanes, sizes.data_bits))
    benches = {"reads": bench_reads, "check": bench_check, "process": bench_process}
    return [figure for name in sections for figure in benches[name](sizes, say)]


def table(figures: list[Figure], sizes: Sizes):
    """For people (rich)."""
    from rich.table import Table

    shown = Table(
        title=f"ENTRIES={sizes.entries}, LANES={sizes.lanes}, DATA_BITS={sizes.data_bits}", title_justify="left"
    )
    for name in ("figure", "value", "", "beside", "ratio", "aim", ""):
        shown.add_column(name, justify="right" if name in ("value", "ratio", "aim") else "left")
    section = ""
    for figure in figures:
        if section not in ("", figure.section):
            shown.add_section()
        section = figure.section
        ratio = "" if figure.ratio is None else f"{figure.ratio:,.2f}" if figure.ratio < 10 else f"{figure.ratio:,.0f}"
        aim = "" if figure.aim is None else f"{'<' if figure.at_most else '≥'} {figure.aim:g}"
        verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
        value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:,.3g}"
        shown.add_row(figure.name, value, figure.unit, figure.beside, ratio, aim, verdict)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Sizes()
    parser.add_argument("--entries", type=int, default=default.entries, help="(%(default)s)")
    parser.add_argument("--lanes", type=int, default=default.lanes, help="(%(default)s)")
    parser.add_argument("--repeat", type=int, default=default.repeat, help="rounds of each measurement (%(default)s)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of the table")
    options = parser.parse_args()
    from rich.console import Console

    sizes = default._replace(entries=options.entries, lanes=options.lanes, repeat=options.repeat)
    console = Console(stderr=True)
    with console.status("starting") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                print(text, file=sys.stderr)

        figures = measure(sizes, tuple(options.only or SECTIONS), say)
    if options.json:
        print(
            json.dumps({"parameters": sizes._asdict(), "figures": [figure.as_json() for figure in figures]}, indent=2)
        )
    else:
        Console(width=max(120, Console().width)).print(table(figures, sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
