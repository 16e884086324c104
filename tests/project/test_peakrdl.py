"""fpga/regs/kvcpu.rdl in other hands: stock PeakRDL reads the map, and what it writes comes back the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, RegNode

from tests.helpers.places import ROOT

REGS = ROOT / "fpga" / "regs"
MAP, PROPERTIES = REGS / "kvcpu.rdl", REGS / "kvcpu_properties.rdl"
OURS = ("operand", "doorbell", "config", "telemetry", "takes", "buffer_reads", "buffer_writes")


def peakrdl(*words: object) -> None:
    done = subprocess.run([sys.executable, "-m", "peakrdl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def read(*files: object) -> AddrmapNode:
    compiler = RDLCompiler()
    for file in files:
        compiler.compile_file(str(file))
    return compiler.elaborate().top


def registers(top: AddrmapNode) -> dict[str, RegNode]:
    """By name below the top, which tools call as they like."""
    return {node.get_path().partition(".")[2]: node for node in top.descendants() if isinstance(node, RegNode)}


def field(node: FieldNode) -> tuple:
    return node.inst_name, node.msb, node.lsb, node.get_property("sw"), node.get_property("onwrite"), node.get_property("reset")


def layout(top: AddrmapNode) -> dict[str, tuple]:
    """What a driver is written from."""
    return {
        name: (node.absolute_address, node.size, node.get_property("name"), *map(field, node.fields()))
        for name, node in registers(top).items()
    }


def properties(top: AddrmapNode) -> dict[str, dict]:
    return {name: {key: node.get_property(key, default=None) for key in OURS} for name, node in registers(top).items()}


@pytest.mark.parametrize(
    ("command", "output"),
    [("html", "html/index.html"), ("markdown", "map.md"), ("c-header", "map.h"), ("uvm", "map.sv")],
)  # fmt: skip
@pytest.mark.parametrize("top", ["kvcpu_space", "kvcpu"])
def test_an_exporter_takes_the_map(command, output, top, tmp_path):
    peakrdl(command, MAP, "-t", top, "-o", tmp_path / output.partition("/")[0])
    assert (tmp_path / output).stat().st_size > 1000


def test_regblock_takes_the_registers(tmp_path):
    """As they are, with all of them in the block: what this project leaves to other modules does not have to be known."""
    peakrdl("regblock", MAP, "-t", "kvcpu", "--cpuif", "axi4-lite-flat", "-o", tmp_path)
    assert "STEP_ADVANCE" in (tmp_path / "kvcpu.sv").read_text()


def test_round_trip_through_ip_xact(tmp_path):
    peakrdl("ip-xact", MAP, "-o", tmp_path / "map.xml")
    peakrdl("systemrdl", tmp_path / "map.xml", "-o", tmp_path / "map.rdl")
    back, original = layout(read(tmp_path / "map.rdl")), layout(read(MAP))
    assert len(original) > 100
    assert back == original


def test_round_trip_through_systemrdl_keeps_our_properties(tmp_path):
    peakrdl("systemrdl", MAP, "-o", tmp_path / "map.rdl")
    back, original = read(PROPERTIES, tmp_path / "map.rdl"), read(MAP)
    assert layout(back) == layout(original)
    assert properties(back) == properties(original)
    assert properties(back)["BAR0.BOOST_LEN"]["doorbell"] == "HOT"
