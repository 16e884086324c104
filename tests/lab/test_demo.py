"""`kvfpga demo`: the story shows every kind of move, its table is true, and its last line only comes when it is."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from kvfpga.contract.commands import Load, Set, Step
from kvfpga.contract.errors import DifferenceError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import demo
from kvfpga.lockstep.reference import Reference


class Dut(Reference):
    """The reference, which counts a check per command as Lockstep does when it has hardware beside it."""

    def __init__(self, entries=256):
        super().__init__(ReferenceModel(entries))

    def execute_many(self, commands):
        self.checks += 1
        return super().execute_many(commands)


def tell(dut, as_json=False):
    out = io.StringIO()
    summary = demo.run(dut, Console(file=out, width=100), as_json)
    return summary, out.getvalue()


def test_every_kind_of_move_happens():
    summary, _ = tell(Dut())
    reasons = " ".join(move.why for move in summary.moves)
    for reason in (
        "STEP: P 19904 < EVICT_THRESH 20000",
        "STEP: P 65535 > PREFETCH_THRESH 60000",
        "STEP: armed, and S>0 as |246 - 500| < W 255",
        "PREFETCH: at once",
        "EVICT: at once",
        "demand: touched in tier 2",
    ):
        assert reason in reasons
    assert summary.counters["denials"] and summary.counters["guards"]
    assert 0 in {move.bytes for move in summary.moves if move.channel == "evict"}  # a clean one


def test_the_table_agrees_with_the_counters():
    """Bytes per move are told from the entries before the command, the totals by the device."""
    summary, _ = tell(Dut())
    for channel in ("evict", "prefetch"):
        moves = [move for move in summary.moves if move.channel == channel]
        assert len(moves) == summary.counters[f"{channel}_triggers"]
        assert sum(move.bytes for move in moves) == summary.counters[f"{channel}_bytes"]


def test_the_last_line():
    summary, text = tell(Dut())
    assert text.rstrip("\n").splitlines()[-1] == f"hardware and reference agree: {summary.checks} checks"
    assert summary.checks == summary.commands


def test_no_agreement_is_claimed_where_nothing_was_compared():
    summary, text = tell(Reference(ReferenceModel(256)))
    assert summary.checks == 0
    assert "agree" not in text
    assert text.rstrip("\n").splitlines()[-1].startswith("nothing was compared")


def test_as_json_nothing_is_told():
    summary, text = tell(Dut(), as_json=True)
    assert text == ""
    found = json.loads(json.dumps(summary.to_json()))
    assert found["command"] == "demo" and found["checked"] is True and found["differences"] == 0
    assert found["moves"][0] == {
        "step": 142, "command": "step 142", "block": "Bob 1", "index": 7, "channel": "evict", "from": 1, "to": 2,
        "why": "STEP: P 19904 < EVICT_THRESH 20000", "bytes": 16384,
    }  # fmt: skip


def test_the_verilated_device_agrees(lockstep):
    summary, text = tell(lockstep)
    assert summary.moves == tell(Dut())[0].moves
    assert text.rstrip("\n").splitlines()[-1] == f"hardware and reference agree: {summary.commands} checks"


def test_the_size_of_the_device_does_not_matter():
    assert tell(Dut(256))[0].moves == tell(Dut(65536))[0].moves


def test_the_device_is_left_empty_with_its_settings():
    dut = Dut()
    for command in (Set("EVICT_TIER", 3), Set("WINDOW", 9), Set("T1_CAPACITY", 77)):
        dut.execute(command)
    before = dut.settings()
    tell(dut)
    assert dut.settings() == before
    assert dut.telemetry()["valid_entries"] == 0


def test_a_device_that_has_made_steps_before_tells_the_same():
    dut = Dut()
    dut.execute(Step(1000))
    later, text = tell(dut)
    moves = tell(Dut())[0].moves
    assert [(m.step - 1000, m.block, m.channel) for m in later.moves] == [(m.step, m.block, m.channel) for m in moves]
    assert "step 1500" in text


def test_a_device_that_is_not_empty_is_refused():
    dut = Dut()
    dut.execute(Load(1, 0, 0, 0, 31, 0))
    with pytest.raises(UsageError, match="the demo starts from an empty one"):
        tell(dut)


def test_a_wrong_byte_ends_the_demo_without_its_last_line():
    class Faulty(Dut):
        def memory_read(self, addr, size):
            data = bytearray(super().memory_read(addr, size))
            data[777] ^= 1
            return bytes(data)

    out = io.StringIO()
    with pytest.raises(DifferenceError, match="does not hold its own bytes: byte 777"):
        demo.run(Faulty(), Console(file=out))
    assert "agree" not in out.getvalue()


def test_a_difference_of_lockstep_goes_through():
    class Differs(Dut):
        def execute_many(self, commands):
            if isinstance(commands[0], Step):
                raise DifferenceError("they differ")
            return super().execute_many(commands)

    with pytest.raises(DifferenceError, match="they differ"):
        tell(Differs())
