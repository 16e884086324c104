"""The device at pin level: the benches of tests/cocotb, each in one simulation with every random pause seeded.

The RTL runs under cocotb with the masters and the memory of cocotbext-axi, an AXI that nobody here wrote, so that device and
fpga/sim cannot share a misunderstanding. A bench counts as passed only with as many passed tests as it has.
"""

import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "cocotb"
BENCHES = sorted(path.stem for path in FOLDER.glob("bench_*.py") if not path.stem.startswith("bench_uart"))


@pytest.fixture(scope="module")
def dut_build():
    sys.path.append(str(FOLDER))
    import dut_build

    dut_build.model()
    return dut_build


@pytest.mark.parametrize("bench", BENCHES)
def test_bench(dut_build, bench, tmp_path):
    tests = re.findall(r"^@cocotb\.test.*\nasync def (\w+)", (FOLDER / f"{bench}.py").read_text(), re.MULTILINE)
    passed = dut_build.run(bench, tmp_path)
    assert tests and sorted(passed) == sorted(tests)
