"""docs/own-benches.md: what it shows runs as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvfpga import rtl
from kvfpga.contract.errors import TargetError, UsageError
from tests.helpers import pages
from tests.helpers.places import DOCS
from tests.rtl.cocotb import dut_build

BENCH, RUNNER, SIGNALS = pages.code(DOCS / "own-benches.md", "python")


@pytest.fixture
def folder(tmp_path):
    for name, text in {"test_device.py": BENCH, "run.py": RUNNER, "signals.py": SIGNALS}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """As in a shell with the virtual environment on its PATH and nothing else said."""
    ours = "MAKEFLAGS", "VERILATOR_ROOT", "PYTEST", "KVFPGA_ASSERTIONS"  # the runner of cocotb behaves otherwise under pytest
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    plain["PATH"] = f"{Path(sys.executable).parent}:{plain['PATH']}"
    done = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(results: Path) -> list[str]:
    return [case.get("name") for case in ElementTree.parse(results).iter("testcase") if case.find("failure") is None]


@pytest.mark.xdist_group("cocotb")  # with those who compile Verilator's own code
def test_cocotb_by_its_runner(folder):
    (folder / "sim_build").mkdir()
    dut_build.bring_runtime(folder / "sim_build")
    run(folder, sys.executable, "run.py")
    assert passed(next(folder.rglob("results.xml"))) == ["identity"]


def test_pyverilator(folder):
    said = run(folder, sys.executable, "signals.py")
    assert "2'h0" in said and "u_telemetry" in said
    waveform = (folder / "device.vcd").read_text()
    assert waveform.count("\n#") > 500 and "s_axil_rdata" in waveform


def test_what_pyverilator_cannot_do_here_is_said_before_anything_changes():
    sim = rtl.signals(vcd=False)
    with pytest.raises(UsageError, match="cannot write a VCD"):
        sim.start_vcd_trace("none.vcd")
    with pytest.raises(TargetError, match="GTKWave"):
        sim.start_gtkwave()
    sim.io.rst = 1  # without it power-up values would break an assertion
    sim.clock.tick()
    before = int(sim.io.idle)
    sim.clock.tick()
    assert int(sim.io.idle) == before and not sim.gtkwave_active


def test_the_map_is_named():
    assert rtl.registers().read_text().startswith("// kvcpu.rdl")
