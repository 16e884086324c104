"""The Linux driver's copies of numbers agree with their source. What the driver does is tested in a guest: `make guest`."""

from __future__ import annotations

import re
import subprocess

import pytest

from kvfpga.device import answers
from kvfpga.device.regmap import Code, Opcode
from kvfpga.linux import ioctls
from scripts.guest.faults import FAULTS


@pytest.fixture(scope="module")
def driver(pytestconfig):
    return pytestconfig.rootpath / "driver"


def numbers(text: str, prefix: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(rf"\b{prefix}(\w+) = (\d+),", text)}


def test_opcodes_are_those_of_the_register_map(driver):
    found = numbers((driver / "kvcpu.h").read_text(), "KVCPU_OP_")
    assert len(found) > 10
    assert found == {name: Opcode[name].value for name in found}


def test_codes_are_those_of_the_register_map(driver):
    found = numbers((driver / "kvcpu.h").read_text(), "KVCPU_(?=OK|ERR_)")
    assert found == {code.name: code.value for code in Code}


def test_the_parts_of_the_scores_window_are_those_of_the_host(driver):
    found = re.findall(r"\bSCORES_(\w+) = (0x\w+),", (driver / "scores.c").read_text())
    assert {name: int(value, 0) for name, value in found} == {
        "EXPS": answers.EXPS, "HALVES": answers.HALVES, "LARGEST": answers.LARGEST, "SUM": answers.LARGEST + 4,
    }  # fmt: skip


def test_the_ioctls_of_existing_tools_are_those_of_the_node_in_user_space(driver, tmp_path):
    """Numbers hold direction, size and structure; a program that is compiled with the header says them."""
    lines = "".join(f'printf("{io.name} %lu\\n", (unsigned long)KVCPU_{io.name});' for io in ioctls.IOCTLS.values())
    (tmp_path / "print.c").write_text(f"#include <stdio.h>\n#include <linux/kvcpu.h>\nint main(void) {{ {lines} }}\n")
    program = tmp_path / "print"
    subprocess.run(["gcc", f"-I{driver}/include/uapi", "-o", program, tmp_path / "print.c"], check=True)
    done = subprocess.run([program], check=True, capture_output=True, text=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert {name: int(value) for name, value in said.items()} == {io.name: io.request for io in ioctls.IOCTLS.values()}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_still_has_its_place(pytestconfig, fault):
    assert (pytestconfig.rootpath / fault.file).read_text().count(fault.right) == 1 and fault.right != fault.wrong
