"""What a lockstep run reaches: lines and branches of the RTL (Verilator) and of host/ (the package coverage).

    python -m scripts.coverage                              all scenarios of the mutations, and three random scripts
    python -m scripts.coverage --seeds 20 --commands 400    more of these
    python -m scripts.coverage --only saturation --json     one scenario
    python -m scripts.coverage --quick                      those of QUICK, in a third of the time, as a test does in each run

The run is the one that mutations have to get through (scripts/mutation/scenarios.py), in one process, on the core with 256
entries and 4 lanes. **It says what was run, not that anything was checked**: for that there is `make mutate`. Not in it:
toggles and conditions of the RTL, checkpoints, the UART bridge and board tops, other sizes, and whatever of host/ is no
lockstep, such as targets, sessions and the lab, which `make test` tests in many processes. build/coverage gets host/ as
pages (`python/index.html`; none from `--quick`) and the RTL's unreached points (`rtl.txt`). KVFPGA_RTL names another folder to
take the RTL from. Exit code 1 where hardware and reference differ.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.interrupt import interruptible
from scripts.soak.progress import shown
from tests.helpers.places import HOST, ROOT

try:
    import coverage
except ModuleNotFoundError as missing:
    from kvfpga.contract import extras  # only here: what is imported before it begins to measure counts as never run

    raise extras.lacking("coverage", "test", missing) from None

QUICK = (
    "ranges_and_refusals", "settings", "residency", "full_directory", "overflowing_index", "one_key_too_many", "many_counts",
    "scores", "host: refusals", "host: reset", "host: interrupt", "host: scores_that_nobody_takes", "queued", "random 3",
)  # fmt: skip
"""Scenarios that reach nearly all that all of them do: each has points of its own. Slow ones that add one or two are not among
them."""


def measure(options: argparse.Namespace) -> dict:
    """What was run and what differed (see `run`), percentages of host/ by layer, and the sums of both."""
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["KVFPGA_QUICK_BUILD"] = "1"
    os.environ["KVFPGA_ASSERTIONS"] = "0"  # a failed one is a line, too, and none that should be reached
    measured = coverage.Coverage(data_file=None, branch=True, source=[str(HOST)])
    measured.start()  # before anything of kvfpga is imported
    try:
        found = run(options.seeds, options.commands, options.only or (QUICK if options.quick else ()), options.out)
    finally:
        measured.stop()
    (options.out / "rtl.txt").write_text("".join(f"{line}\n" for line in found["unreached"]))
    if not options.quick:
        measured.html_report(directory=str(options.out / "python"), title="host/ in a lockstep run")
    layers = python_coverage(measured, options.out / "python.json")
    found["python"] = {layer: round(100 * some / all_, 1) for layer, (some, all_) in layers.items()}
    found["total"] = {kind: total(row[kind] for row in found["rtl"].values()) for kind in ("line", "branch")}
    found["total"]["python"] = total(layers.values())
    return found


def run(seeds: int, commands: int, only: Sequence[str], out: Path) -> dict:
    """Runs the scenarios: by module of the RTL what was reached; `unreached` points; what differed."""
    from kvfpga.cli.ending import complain
    from kvfpga.contract.errors import KvfpgaError
    from kvfpga.contract.parameters import Parameters
    from kvfpga.targets.target import rtl_sources
    from kvfpga.transport.sim import build
    from scripts.coverage import counting, points
    from scripts.mutation.mutate import run_scenario
    from scripts.mutation.scenarios import ENTRIES, scenarios
    from tests.helpers.small_device import DATA_BITS, LANES

    try:
        sources = rtl_sources() or build.rtl_sources()
        build.model(Parameters(ENTRIES, LANES, DATA_BITS), sources, design=counting.COUNTING)
    except KvfpgaError as error:
        complain(error, "coverage")
        sys.exit(error.exit_code)
    counting.CountingSim.points = out / "points.dat"
    chosen = [scenario for scenario in scenarios(seeds, commands) if not only or scenario.name in only]
    if unknown := set(only) - {scenario.name for scenario in chosen}:
        sys.exit(f"no scenario is called {' or '.join(sorted(unknown))}; they are in scripts/mutation/scenarios.py")
    done, differs = 0, []
    for scenario in shown(chosen, "scenarios"):
        lines, evidence = run_scenario(scenario, sources)
        done += lines
        differs += [f"{scenario.name}: {evidence}"] if evidence else []
    reached = counting.CountingSim.reached
    ran = {"scenarios": len(chosen), "commands": done, "differs": differs}
    return ran | {"rtl": points.by_module(reached), "unreached": points.unreached(reached)}


def python_coverage(measured: coverage.Coverage, report: Path) -> dict[str, list[int]]:
    """Lines and branches, by layer of host/: reached, and all."""
    measured.json_report(outfile=str(report))
    sums: dict[str, list[int]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        place = Path(name).resolve().relative_to(HOST)
        row = sums.setdefault(place.parts[0], [0, 0])
        of = file["summary"]
        row[0] += of["covered_lines"] + of["covered_branches"]
        row[1] += of["num_statements"] + of["num_branches"]
    return {layer: row for layer, row in sorted(sums.items()) if row[1]}


def total(rows: Iterable[Sequence[int]]) -> list[int]:
    return [sum(part) for part in zip(*rows)]


def percent(some: int, all_: int) -> str:
    return f"{100 * some / all_:.1f}% of {all_}" if all_ else "none"


def show(found: dict) -> None:
    console = Console()
    table = Table(title=f"RTL: {found['scenarios']} scenarios, {found['commands']:,} commands")
    for column in ("module", "lines", "branches"):
        table.add_column(column, justify="left" if column == "module" else "right")
    for name, row in found["rtl"].items():
        table.add_row(name, percent(*row["line"]), percent(*row["branch"]))
    table.add_section()
    table.add_row("all", percent(*found["total"]["line"]), percent(*found["total"]["branch"]))
    console.print(table)
    table = Table(title="host/: lines and branches")
    table.add_column("layer")
    table.add_column("reached", justify="right")
    for layer, share in found["python"].items():
        table.add_row(layer, f"{share:.1f}%")
    table.add_section()
    table.add_row("all", percent(*found["total"]["python"]))
    console.print(table)
    for line in found["differs"]:
        console.print(line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="so many random scripts (default 3)")
    parser.add_argument("--commands", type=int, default=200, help="of each random script (default 200)")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="only the scenarios that reach most, and no pages of host/")
    default = ROOT / "build" / "coverage"
    parser.add_argument("--out", type=Path, default=default, metavar="FOLDER", help="where files go (default build/coverage)")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found))
    else:
        show(found)
        pages = "" if options.quick else f"; pages of host/: {options.out / 'python' / 'index.html'}"
        print(f"unreached points of the RTL: {options.out / 'rtl.txt'}{pages}")
    return int(bool(found["differs"]))


if __name__ == "__main__":
    sys.exit(interruptible(main))
