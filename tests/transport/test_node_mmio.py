"""`--target kvcpu:NODE` without a kernel: the translation between registers and commands on a fake of the driver, and the bytes
of its ioctls by a C program with its header. The driver itself is tested in a guest (`python -m scripts.guest --cli`)."""

from __future__ import annotations

import errno
import subprocess
from collections import deque
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from kvfpga import node_mmio
from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import BusError, DifferenceError, NoMemoryError, TargetError, UsageError
from kvfpga.device.codec import bits
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, BAR2_VAS, DOORBELLS, PTABLE, QUERY, REGISTERS, SCORES, Opcode
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.targets.target import parse_target
from kvfpga.transport.kvcpu import node as kvcpu
from kvfpga.transport.kvcpu.node import Answer, Move
from tests.helpers.fake_device import FakeDevice
from tests.helpers.places import ROOT
from tests.helpers.random_commands import random_commands

ENTRIES = 256
FIELDS, RECORD = REGISTERS["RESULT_STATUS"].fields, REGISTERS["COMPLETION"].fields


class FakeNode:
    """What the driver does for a `Node`, on a fake device whose queues it empties."""

    def __init__(self, path: str):
        self.device = FakeDevice(ENTRIES)
        self.ran: list[list[tuple[int, int, int]]] = []
        self._moves: deque[Move] = deque()

    def run(self, writes: list[tuple[int, int, int]]) -> Answer:
        self.ran.append(writes)
        for offset, size, value in writes:
            (self.device.write64 if size == 8 else self.device.write32)(offset, value)
        status, matched, low, high, index, cycles = self.device.read_burst(REGISTERS["RESULT_STATUS"].offset, 6).tolist()
        while (record := self.device.read64(REGISTERS["COMPLETION"].offset)) >> 31 & 1:
            at = {name: bits(record, field) for name, field in RECORD.items()}
            self._moves.append(
                Move(at["index"], bool(at["channel"]), at["from_tier"], at["to_tier"], bool(at["error"]), at["step"])
            )
        entry = index if bits(status, FIELDS["has_index"]) else None
        return Answer(bits(status, FIELDS["code"]), matched, entry, bits(status, FIELDS["tier"]), high << 32 | low, cycles)

    def read(self, offset: int, count: int) -> list[int]:
        return self.device.read_burst(offset, count).tolist()

    def write(self, offset: int, values: list[int]) -> None:
        self.device.write_burst(offset, values)

    def directory(self, place: int, count: int) -> list[int]:
        return self.device.read_burst(BAR2_ENTRIES + 4 * place, count).tolist()

    def idle(self) -> None:
        pass

    def reset(self) -> None:
        self.device.write32(REGISTERS["CTRL"].offset, 5)

    def moves(self) -> deque[Move]:
        return self._moves

    def close(self) -> None:
        pass


@pytest.fixture
def mmio(monkeypatch):
    monkeypatch.setattr(node_mmio, "Node", FakeNode)
    return parse_target("kvcpu:/dev/kvcpu0").open_mmio()


@pytest.fixture
def pair(mmio):
    return Lockstep(Device(mmio), ReferenceModel(ENTRIES))


def blocks(pair, count: int) -> None:
    for i in range(count):
        pair.load(1, 0, 0, (32 * i, 32 * i + 31), 16384 * i)


def test_random_commands_agree_with_the_reference(pair):
    """Every command but SCORE; results, triggers, counters, directory."""
    pair.reset()
    commands = [c for c in random_commands(5, 300) if not isinstance(c, cmd.Score)]
    for command in commands:
        pair.execute(command)
    assert pair.checks > 200 and pair.differences == 0


def test_a_command_carries_its_operands_whatever_was_written_before(mmio, pair):
    """Other programs write the same registers in between."""
    blocks(pair, 2)
    loads = [[offset for offset, _, _ in writes] for writes in mmio._node.ran if writes[-1][0] == REGISTERS["LOAD_TIER"].offset]
    assert loads == 2 * [[
        REGISTERS[name].offset
        for name in ("TOUCH_HINT", "LOAD_ID", "LOAD_TOKEN_START", "LOAD_VA", "LOAD_TOKEN_END", "LOAD_TIER")
    ]]  # fmt: skip


def test_tables_queries_and_reset_go_through_the_node(pair):
    pair.ranked(np.full((256, 64), 7, np.uint8), fill_age=2)
    pair.write_queries(3, np.arange(128, dtype=np.uint16)[None])
    assert (pair.read_queries(3, 1) == np.arange(128)).all()
    verified = pair.verify()
    assert (verified.entries, verified.blocks) == (ENTRIES, 0)
    pair.reset()
    assert pair.settings()["POLICY"] == 0 and pair.verify().entries == ENTRIES


def test_what_another_program_does_is_a_difference(mmio, pair):
    pair.step(3)
    mmio._node.device.model.execute(cmd.Step(9))
    with pytest.raises(DifferenceError):
        pair.step(10)


def test_sync_takes_the_state_over_without_bytes(mmio, pair):
    mmio._node.device.model.execute(cmd.Load(1, 0, 0, 0, 31, 0x1000))
    assert pair.sync() == 1
    assert pair.step(5).matched == 1


@pytest.mark.parametrize("name", ["BOOST_ADDR", "TIER_BASE2", "IRQ_ENABLE", "ERROR", "SCORE_FLAGS", "RING_STEP_FAST"])
def test_registers_that_the_driver_keeps_are_refused_with_value_and_remedy(mmio, name):
    register = REGISTERS[name]
    with pytest.raises(UsageError, match=f"0x5 to {name}") as caught:
        (mmio.write64 if register.width == 64 else mmio.write32)(register.offset, 5)
    assert "whole commands" in caught.value.message and "kvfpga --help" in caught.value.remedy


@pytest.mark.parametrize("refused", [
    lambda pair: pair.set(TIER_BASE2=0), lambda pair: pair.execute(cmd.Score(1, 0, 0, 0, 0, 0)),
    lambda pair: pair.overlap_scores([cmd.Score(1, 0, 0, 0, 0, 0)]), lambda pair: pair.write_register("BOOST_ADDR", 5),
])  # fmt: skip
def test_a_refusal_leaves_session_and_reference_as_they_were(pair, refused):
    """Nothing was begun, so nothing is in doubt (D11)."""
    pair.recorder = Mock()
    with pytest.raises(UsageError, match="does not go through the node"):
        refused(pair)
    assert pair.recorder.mock_calls == [] and pair.commands == 0
    pair.recorder = None
    assert pair.step(3).code == "OK"


def test_scores_are_refused(mmio):
    with pytest.raises(UsageError, match="takes the result of a SCORE"):
        mmio.read32(SCORES)


@pytest.mark.parametrize("offset", [0x0004, 0x0070, 0x2FFC, DOORBELLS.start, BAR2_ENTRIES + 32 * ENTRIES, BAR2_VAS + 8 * ENTRIES])
def test_unmapped_words_are_not_asked_for(mmio, offset):
    with pytest.raises(BusError, match="not sent"):
        mmio.read32(offset)


def test_blocks_have_no_bytes_here(pair):
    for call in (lambda: pair.memory_read(0, 16), lambda: pair.memory_write(0, b"x" * 16)):
        with pytest.raises(NoMemoryError, match="bytes of blocks"):
            call()
    with pytest.raises(NoMemoryError):
        pair.load(1, 0, 0, (0, 31), 0x1000, data=bytes(16384))
    assert pair.telemetry()["valid_entries"] == 0  # refused before the block was loaded


def test_result_and_completion_stand_in_their_registers(mmio):
    """R5, R16: oldest first, taken by reading."""
    Device(mmio).execute_many([cmd.Load(1, 0, 0, 0, 31, 0), cmd.Load(1, 0, 0, 32, 63, 16384)])
    for name in ("IMEVICT_ADDR", "IMEVICT_LEN"):
        mmio._in_batch = True
        mmio.write64(REGISTERS[name].offset, 32768 if name.endswith("LEN") else 0)
    status = REGISTERS["STATUS"].fields
    word = mmio.read32(REGISTERS["STATUS"].offset)
    assert bits(word, status["result_ready"]) == bits(word, status["completion_ready"]) == 1
    result = mmio.read32(REGISTERS["RESULT_STATUS"].offset)
    assert (bits(result, FIELDS["opcode"]), bits(result, FIELDS["valid"])) == (Opcode.EVICT, 1)
    assert mmio.read32(REGISTERS["COMPLETION_LEVEL"].offset) == 2
    records = [mmio.read64(REGISTERS["COMPLETION"].offset) for _ in range(3)]
    assert {record & 0xFFFF for record in records[:2]} == {0, 1} and records[2] == 0  # the fake may reorder them
    mmio.read32(REGISTERS["RESULT_CYCLES"].offset)
    assert mmio.read32(REGISTERS["RESULT_STATUS"].offset) == 0


# ---- the node itself -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOENT, ["is not there", "insmod"]), (errno.EACCES, ["may not be used", "root"]),
])  # fmt: skip
def test_a_node_that_cannot_be_opened(monkeypatch, number, words):
    def refuse(*arguments: Any) -> int:
        raise OSError(number, "so")

    monkeypatch.setattr(kvcpu.os, "open", refuse)
    with pytest.raises(TargetError) as caught:
        kvcpu.Node("/dev/kvcpu7")
    assert "/dev/kvcpu7" in caught.value.message
    assert all(word in caught.value.message + caught.value.remedy for word in words)


def test_a_file_that_is_no_node_of_the_driver(tmp_path):
    (tmp_path / "node").touch()
    with pytest.raises(TargetError, match="does not run commands by their registers") as caught:
        kvcpu.Node(str(tmp_path / "node"))
    assert "serve --uapi" in caught.value.remedy


def test_closing_again_leaves_other_files_alone(monkeypatch, tmp_path):
    path = tmp_path / "node"
    path.write_bytes(bytes(kvcpu.DIRECTORY_BYTES))
    monkeypatch.setattr(kvcpu.fcntl, "ioctl", lambda *_: 0)
    node = kvcpu.Node(str(path))
    assert node.directory(0, 2) == [0, 0]
    node.close()
    with open(tmp_path / "other", "w") as other:  # which gets the number that has become free
        node.close()
        other.write("still open")


def test_numbers_and_structures_are_those_of_the_drivers_header(tmp_path):
    members = {
        "kvcpu_register": "offset bytes value",
        "kvcpu_run": "version flags count reserved writes code matched index tier phys_addr cycles",
        "kvcpu_access": "version flags offset count words",
        "kvcpu_event": "type lost cookie error matched cycles index from_tier to_tier prefetch reserved step",
    }
    fields = {name: text.split() for name, text in members.items()}
    offsets = "".join(
        f'printf("%zu ", offsetof(struct {name}, {member}));' for name, members in fields.items() for member in members
    )
    sizes = "".join(f'printf("%zu ", sizeof(struct {name}));' for name in fields)
    numbers = "".join(f'printf("%lu ", (unsigned long)KVCPU_{name});' for name in ("RUN", "ACCESS", "IDLE", "RESET"))
    others = 'printf("%u %u %u", KVCPU_RING_STEP, KVCPU_RING_STEP_FAST, KVCPU_WRITES);'
    source = tmp_path / "print.c"
    head = "#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvcpu.h>\nint main(void) {"
    source.write_text(f"{head} {numbers} {sizes} {offsets} {others} }}\n")
    subprocess.run(["gcc", f"-I{ROOT}/driver/include/uapi", "-o", tmp_path / "print", source], check=True)
    said = [int(word) for word in subprocess.run([tmp_path / "print"], check=True, capture_output=True).stdout.split()]
    layouts = (kvcpu._REGISTER, kvcpu._RUN, kvcpu._ACCESS, kvcpu._EVENT)
    assert said[:4] == [kvcpu.RUN, kvcpu.ACCESS, kvcpu.IDLE, kvcpu.RESET]
    assert said[4:8] == [layout.size for layout in layouts]
    expected = []
    for layout, names in zip(layouts, fields.values()):
        sizes_of = {"I": 4, "Q": 8, "i": 4, "B": 1}
        places = np.cumsum([0, *(sizes_of[letter] for letter in layout.format.lstrip("="))])
        expected += places[: len(names)].tolist()
    assert said[8:-3] == expected
    most = max(len(names) for names in node_mmio._BEFORE.values()) + 1
    rings = [REGISTERS[name].offset - DOORBELLS.start for name in ("RING_STEP", "RING_STEP_FAST")]
    assert said[-3:-1] == rings and said[-1] >= most


def test_windows_are_written_at_once(mmio, monkeypatch):
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(mmio._node, "write", lambda offset, values: calls.append((offset, len(values))))
    mmio.write_burst(PTABLE, range(64))
    mmio.write_burst(QUERY, range(64))
    assert calls == [(PTABLE, 64), (QUERY, 64)]
