"""boards.py: boards as data, and everything that can be wrong in a file."""

from __future__ import annotations

import pytest
import yaml

from kvfpga.contract.errors import TargetError, UsageError
from kvfpga.targets import boards
from kvfpga.targets.target import Target, parse_target
from kvfpga.transport.sim import build as verilator_build

GOOD = {
    "target": "xdma:/dev",
    "build": {"entries": 1024, "lanes": 4, "data_bits": 128},
    "bars": {"bar0": 0x10000, "bar2": 0x800000, "bytes": 0x1000000},
    "memory_offset": 0x100000000,
    "tiers": [0, 0x10000000, 0x20000000, 0x30000000],
    "program": {"bitstream": "a.bit", "board": "x", "cable": "y"},
}


def write(folder, content, name="lab.yaml"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize("name", sorted(boards.known()))
def test_the_boards_that_come_with_kvfpga_are_right(name):
    found = boards.find_board(name)
    assert found.name == name and found.description
    assert found.expected_build_id() == verilator_build.build_id(found.parameters)
    assert parse_target(None, board=found).text == found.target


def test_everything_in_a_file_arrives(tmp_path):
    found = boards.load(write(tmp_path, GOOD))
    assert (found.name, found.target) == ("lab", "xdma:/dev")
    assert (found.parameters.entries, found.parameters.lanes, found.parameters.data_bits) == (1024, 4, 128)
    assert (found.parameters.block_tokens, found.parameters.head_dim) == (32, 128)
    assert found.bar_offsets == (0x10000, 0x800000) and found.bar_bytes == 0x1000000
    assert found.memory_offset == 1 << 32 and found.tiers[3] == 0x30000000
    assert (str(found.bitstream), found.program_board, found.program_cable) == ("a.bit", "x", "y")


@pytest.mark.parametrize(
    "change, line, words",
    [
        ({"target": "usb:1"}, 1, ["target", "usb:1", "uart:PORT[@BAUD] or xdma:DIR"]),
        ({"build": {"entries": 300, "lanes": 4, "data_bits": 128}}, 3, ["build.entries", "300", "256, 512"]),
        ({"build": {"entries": 256, "lanes": 3, "data_bits": 128}}, 4, ["build.lanes", "3", "1, 2, 4, 8, 16"]),
        ({"build": {"entries": 256, "lanes": 4}}, 2, ["build.data_bits is missing", "32, 64"]),
        ({"build": {"entries": 256, "lanes": 4, "data_bits": 128, "speed": 3}}, 6, ["build.speed is no key", "head_dim"]),
        ({"build": {"entries": 256, "lanes": 4, "data_bits": 128, "head_dim": 1}}, 2, ["128 bytes", "256 to 65536"]),
        ({"bars": {"bar0": 2}}, 7, ["bars.bar0", "multiple of 4"]),
        ({"tiers": [0, 1, 2]}, 11, ["tiers", "four addresses"]),
        ({"tiers": [0, 16384, 20000, 65536]}, 11, ["tiers", "multiple of the 16384 bytes"]),
        ({"program": {"wire": "x"}}, 17, ["program.wire is no key", "cable"]),
        ({"colour": "red"}, 20, ["colour is no key", "program"]),
        ({"memory_offset": -1}, 10, ["memory_offset", "-1", "0x0"]),
        ({"target": "uart:/dev/ttyUSB0"}, 6, ["bars", "serial port"]),
    ],
)
def test_what_is_wrong_is_told_with_line_key_and_what_is_allowed(tmp_path, change, line, words):
    path = write(tmp_path, GOOD | change)
    with pytest.raises(UsageError) as error:
        boards.load(path)
    first = error.value.message.splitlines()[0]
    assert str(path) in first and f"line {line}:" in first
    for word in words:
        assert word in first


def test_all_problems_are_told_at_once(tmp_path):
    path = write(tmp_path, GOOD | {"target": "x", "colour": 1, "tiers": 3})
    with pytest.raises(UsageError) as error:
        boards.load(path)
    assert len(error.value.message.splitlines()) == 3


@pytest.mark.parametrize("content", ["a: [1", "", "- 1", "\tx: 1", "target: uart:/dev/x", "? [a]\n: 1"])
def test_files_that_are_no_board_are_usage_errors(tmp_path, content):
    with pytest.raises(UsageError, match="board file"):
        boards.load(write(tmp_path, content))
    with pytest.raises(UsageError, match="No such file"):
        boards.load(tmp_path / "missing.yaml")


def test_own_boards_are_found_before_the_others(tmp_path, monkeypatch):
    write(tmp_path, GOOD, "ulx3s.yaml")
    monkeypatch.setenv("KVFPGA_BOARDS", str(tmp_path))
    boards.find_board.cache_clear()
    assert boards.find_board("ulx3s").target == "xdma:/dev"
    boards.find_board.cache_clear()
    with pytest.raises(UsageError, match="there are .*u250.*ulx3s"):
        boards.find_board("nothing")


def test_a_board_has_its_own_size():
    found = boards.find_board("ulx3s")
    with pytest.raises(UsageError, match="has the size that was built"):
        parse_target("sim", 512, board=found)
    assert parse_target("sim", board=found).parameters == found.parameters
    assert parse_target("uart:/dev/other@115200", board=found).text == "uart:/dev/other@115200"


@pytest.mark.parametrize("text", ["uart:", "xdma:", "uart:/dev/x@fast", "uart:/dev/x@1", "uart:/dev/x@"])
def test_bad_addresses_are_usage_errors(text):
    with pytest.raises(UsageError):
        parse_target(text)


# ---- the design on the board -------------------------------------------------------------------------------------------
def identified(**changes):
    """A device that says it is the ULX3S build, but for `changes`."""
    from types import SimpleNamespace

    from kvfpga.device.device import Identity

    p = boards.find_board("ulx3s").parameters
    said = dict(version="2.0", build_id=verilator_build.build_id(p), entries=p.entries, lanes=p.lanes,
                block_tokens=p.block_tokens, head_dim=p.head_dim, block_bytes=p.block_bytes, data_bits=p.data_bits,
                lookup_ports=3, fifo_depth=16, classes=p.classes, nmce=0, doorbells=0xE000)  # fmt: skip
    return SimpleNamespace(identity=Identity(**said | changes), mmio=SimpleNamespace(name="uart:x"))


@pytest.mark.parametrize("with_file", [True, False])
def test_the_right_build_is_accepted_and_another_refused(with_file):
    target = Target("uart", address="x", board=boards.find_board("ulx3s") if with_file else None)
    target.check_build(identified())
    with pytest.raises(TargetError, match="runs build 0x0000000000000001") as error:
        target.check_build(identified(build_id=1))
    assert "bitstream" in error.value.remedy


def test_a_board_of_another_size_than_its_file_says_is_refused():
    with pytest.raises(TargetError, match="lanes = 8, the board file .* says 1"):
        Target("uart", address="x", board=boards.find_board("ulx3s")).check_build(identified(lanes=8))


def test_a_trusted_build_is_named_in_the_board_file(tmp_path):
    path = write(tmp_path, GOOD | {"build": GOOD["build"] | {"id": 77}})
    assert boards.load(path).expected_build_id() == 77
