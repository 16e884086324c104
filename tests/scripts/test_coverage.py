"""scripts/coverage: what it makes of the points that Verilator writes, and what a quick run of it reaches."""

from __future__ import annotations

import json
import subprocess
import sys

from kvfpga.transport.sim.build import rtl_sources
from scripts.coverage import points
from tests.helpers.places import ROOT

ALL, MODULE = 97.8, 84.0
"""Percent of the points (lines and branches) of the RTL and of each of its files that must be reached; 98.1 and 85.7 were."""
LAYERS = {"hepc_ref.py": 96.0, "device": 78.5, "model": 76.0, "lockstep": 42.5}
"""The same of what a lockstep consists of in host/; 97.2, 79.7, 76.9 and 43.7 were."""


def point(count: int, **fields: object) -> str:
    return "C '" + "".join(f"\x01{name}\x02{value}" for name, value in fields.items()) + f"' {count}\n"


TEXT = "# SystemC::Coverage-3\n" + "".join([
    point(3, f="rtl/a.sv", l=7, n=5, page="v_line/a", o="block", h="TOP.u_a"),
    point(0, f="rtl/a.sv", l=9, n=5, page="v_branch/a", o="if", h="TOP.u_a"),
    point(0, f="rtl/a.sv", l=9, n=6, page="v_branch/a", o="else", h="TOP.u_a"),
    point(2, f="rtl/a.sv", l=9, n=6, page="v_branch/a", o="else", h="TOP.u_b"),
    point(0, f="rtl/b.sv", l=1, n=1, page="v_line/b", o="case", h="TOP.u_c"),
])  # fmt: skip


def test_instances_of_a_module_are_one():
    found = points.read(TEXT)
    assert found[points.Point("a.sv", 9, 6, "branch", "else")] == 2 and len(found) == 4
    assert points.by_module(found) == {
        "a.sv": {"line": (1, 1), "branch": (1, 2)},
        "b.sv": {"line": (0, 1), "branch": (0, 0)},
    }


def test_what_is_never_reached_is_named():
    assert points.unreached(points.read(TEXT)) == ["a.sv:9: branch if", "b.sv:1: line case"]
    assert points.unreached(points.read(TEXT) + points.read(TEXT.replace("' 0", "' 1"))) == []


def percent(*pairs: list[int]) -> float:
    some, all_ = map(sum, zip(*pairs))
    return 100 * some / all_


def test_a_quick_run_reaches_nearly_all_and_make_test_shows_it(tmp_path, record_property):
    command = [sys.executable, "-m", "scripts.coverage", "--quick", "--json", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    lines, branches, python = (found["total"][kind] for kind in ("line", "branch", "python"))
    rtl = f"{percent(lines):.1f}% of {lines[1]:,} lines, {percent(branches):.1f}% of {branches[1]:,} branches"
    layers = ", ".join(f"{layer} {found['python'][layer]}%" for layer in LAYERS)
    record_property("RTL reached in lockstep (Verilator)", rtl)
    whole = f"{percent(python):.1f}% of all {python[1]:,} lines and branches"
    record_property("host/ reached in lockstep (Python)", f"{layers}; {whole}")

    modules = {file: percent(*row.values()) for file, row in found["rtl"].items()}
    files = {path.name for path in rtl_sources() if not path.name.endswith("_pkg.sv")}
    assert modules.keys() == files - {"kvcpu_handshake_check.sv"}  # which has nothing but an assertion
    assert percent(lines, branches) >= ALL and {file: reached for file, reached in modules.items() if reached < MODULE} == {}
    assert {layer: found["python"][layer] for layer, floor in LAYERS.items() if found["python"][layer] < floor} == {}
