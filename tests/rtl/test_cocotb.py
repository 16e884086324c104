"""The device at pin level: the benches of tests/rtl/cocotb, each in one simulation with every random pause seeded.

The RTL runs under cocotb with the masters and the memory of cocotbext-axi, an AXI that nobody here wrote, so that device and
fpga/sim cannot share a misunderstanding. A bench counts as passed only with as many passed tests as it has.
"""

import re

import pytest

from tests.rtl.cocotb import dut_build

pytestmark = pytest.mark.xdist_group("cocotb")  # one after the other: they share a model
BENCHES = sorted(path.stem for path in dut_build.HERE.glob("bench_*.py") if not path.stem.startswith("bench_uart"))


@pytest.mark.parametrize("bench", BENCHES)
def test_bench(bench, tmp_path):
    tests = re.findall(r"^@cocotb\.test.*\nasync def (\w+)", (dut_build.HERE / f"{bench}.py").read_text(), re.MULTILINE)
    passed = dut_build.run(bench, tmp_path)
    assert tests and sorted(passed) == sorted(tests)
