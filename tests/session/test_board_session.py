"""session/board.py and blackbox/board.py: what outlives a command when the device does so by itself.

The board is a fake that lives across "processes"; test_virtual_uart.py and test_virtual_xdma.py have RTL behind real transports.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import DifferenceError, SessionError, TargetError
from kvfpga.device.regmap import REGISTERS
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.session.open import open_session
from kvfpga.session.purpose import Purpose
from kvfpga.targets.target import Target
from tests.helpers.command_line import BLOCK, Kvfpga
from tests.helpers.fake_device import FakeDevice
from tests.helpers.keys import plain_scores, random_block, random_query

VA = 0x7F000000


class FakeBoard(FakeDevice):
    """Its memory holds bytes that nobody wrote, as a board's does, and closing it does not end it."""

    blank_memory = False
    name = "uart:fake"
    silent_from_mark = False
    """Its answers are lost once a session has put an odd number into SCRATCH."""

    def __init__(self):
        super().__init__(256)
        noise = np.random.default_rng(7)
        for index in range(8):
            for tier in range(4):
                self.memory.memory_write((tier * 256 + index) * BLOCK, noise.bytes(BLOCK))

    def write32(self, offset, value):
        super().write32(offset, value)
        if self.silent_from_mark and offset == REGISTERS["SCRATCH"].offset and value & 1:
            raise TargetError("the bridge has stopped answering")


@pytest.fixture
def board(monkeypatch):
    board = FakeBoard()
    monkeypatch.setattr(Target, "open_mmio", lambda self, wave=None, restore=None: board)
    monkeypatch.setattr(Target, "check_build", lambda self, device: None)
    return board


@pytest.fixture
def kv(board, tmp_path):
    kv = Kvfpga(tmp_path / "session")
    kv.options = ["--target", "uart:fake", "--session", str(tmp_path / "session")]
    return kv


def load(n, *more):
    va = VA + BLOCK * n
    return ["load", "--request", 1, "--layer", 2, "--head", 3, "--tokens", f"{32 * n}:{32 * n + 31}", "--va", va, *more]


# ---- going on ----------------------------------------------------------------------------------------------------------
def test_a_new_session_resets_the_board_and_says_so(kv, board):
    board.model.execute(cmd.Step(9))
    kv("step", 1)
    assert "board reset, preset balanced" in kv.err
    assert kv("telemetry")["current_step"] == 1


def test_the_reference_goes_on_with_the_board(kv, board):
    kv("reset")
    for n in range(3):
        assert kv(*load(n))["index"] == n
    kv("step", 40)
    kv("evict", VA, BLOCK)
    assert kv("verify")["checked"]
    assert kv("step", 41)["checked"]


def test_bytes_that_the_memory_held_before_travel_with_the_block(kv, board):
    """A LOAD without data is of whatever the slot holds: the reference cannot know it, and must not take it for zero."""
    kv("reset")
    kv(*load(0))
    kv("evict", VA, BLOCK)
    kv("prefetch", VA, BLOCK, 3)
    assert kv("verify")["differences"] == 0
    assert board.memory.memory_read(2 * 256 * BLOCK, BLOCK) == board.memory.memory_read(256 * BLOCK, BLOCK) != bytes(BLOCK)


def test_queries_stay_on_the_board_and_in_the_reference(kv, board, tmp_path):
    """Those that nobody has written in this session too: a reset leaves them, so the reference takes what the board has."""
    board.model.queries[:] = np.arange(64 * 128, dtype=np.uint16).reshape(64, 128)
    np.save(tmp_path / "query.npy", random_query(3))
    np.save(tmp_path / "block.npy", random_block(3))
    kv("reset")
    kv(*load(0, "--data", tmp_path / "block.npy"))
    assert kv("score", 1, 2, 3, 5, "--slot", 1)["checked"]
    kv("query", "write", 9, tmp_path / "query.npy")
    found = kv("score", 1, 2, 3, 5, "--slot", 9)
    assert np.allclose(np.array(found["score_bits"], np.uint32).view(np.float32), plain_scores(random_query(3), random_block(3)))
    assert kv("query", "read", 1)["query_bits"] == list(range(128, 256)) and kv("verify")["differences"] == 0
    board.model.write_query(9, board.model.queries[1])
    kv("verify", code=4)
    assert "query in slot 9" in kv.err
    kv("sync")
    assert kv("score", 1, 2, 3, 5, "--slot", 9)["checked"]


def test_looking_at_scores_counts_and_so_the_session_keeps_it(kv, board):
    kv("reset")
    kv("reg", "read", 0x3000)
    assert kv("step", 1)["checked"] and kv("telemetry")["result_bytes"] == 4


def test_many_loads_in_one_batch_each_take_their_slot(board):
    from kvfpga.device.device import Device
    from kvfpga.hepc_ref import ReferenceModel

    pair = Lockstep(Device(board), ReferenceModel(256))
    pair.execute(cmd.Set("T1_CAPACITY", 2))
    loads = [cmd.Load(1, 2, 3, 32 * n, 32 * n + 31, VA + BLOCK * n) for n in range(6)]
    pair.execute_many([*loads[:3], cmd.Unload(VA, BLOCK), *loads[3:], loads[0], cmd.Evict(VA, 9 * BLOCK)])
    assert pair.verify().blocks == 6


# ---- what can come between ---------------------------------------------------------------------------------------------
REFUSED = pytest.mark.parametrize("words", [["step", 50], ["verify"], load(5)])


@REFUSED
def test_a_reset_behind_its_back_is_noticed(kv, board, words):
    kv("reset")
    kv(*load(0))
    board.write32(0x5C, 5)  # CTRL: soft reset
    assert kv(*words, code=3) == []
    assert "reset behind its back" in kv.err and "kvfpga reset" in kv.err and "kvfpga sync" in kv.err
    kv("reset")
    assert kv("step", 50)["checked"]


@REFUSED
def test_another_user_of_the_board_is_noticed(kv, board, tmp_path, words):
    kv("reset")
    other = Kvfpga(tmp_path)
    other.options = ["--target", "uart:fake", "--session", str(tmp_path / "other")]
    assert other(*words, code=3) == [] and "in use by another session" in other.err
    other("reset")
    other(*load(7))
    assert kv(*words, code=3) == [] and "another session or program" in kv.err
    kv("sync")
    assert kv("step", 60)["matched"] == 1


def test_a_command_that_was_cut_off_is_noticed(kv, board, tmp_path):
    kv("reset")
    with open_session(Target("uart", address="fake"), tmp_path / "session") as session:
        session.open().execute(cmd.Step(3))  # and never saved
    assert kv("step", 50, code=3) == [] and "cut off" in kv.err
    kv("sync")
    assert kv("telemetry")["current_step"] == 3
    assert kv("step", 50)["checked"]


@pytest.mark.parametrize("remedy", ["sync", "reset"])
@pytest.mark.parametrize("left", [1, 5])
def test_a_result_that_somebody_left_is_gone_after_the_remedy(kv, board, remedy, left):
    """The message names both."""
    kv("reset")
    kv(*load(0))
    for n in range(left):
        board.write32(REGISTERS["STEP_FAST"].offset, 7 + n)
    board.write32(REGISTERS["IMEVICT_ADDR"].offset, VA)  # and a completion record
    board.write32(REGISTERS["IMEVICT_ADDR"].offset + 4, 0)
    board.write32(REGISTERS["IMEVICT_LEN"].offset, BLOCK)
    board.write32(REGISTERS["IMEVICT_LEN"].offset + 4, 0)
    assert kv("step", 50, code=3) == []
    assert "kvfpga sync" in kv.err and "kvfpga reset" in kv.err
    assert kv(remedy)["matched"] == (1 if remedy == "sync" else 0)
    assert kv("step", 50)["matched"] == (1 if remedy == "sync" else 0)
    assert kv("prefetch", VA, BLOCK, 60)["checked"] and kv("verify")["checked"]


@pytest.mark.parametrize("begun", [["step", 1], ["sync"]])
def test_the_first_command_of_a_session_that_was_cut_off_is_its_own(kv, board, begun):
    """The board carries the number of a session that nothing is stored of yet: it is no other session's."""
    board.silent_from_mark = True
    kv(*begun, code=3)
    board.silent_from_mark = False
    assert kv("step", 2, code=3) == [] and "cut off" in kv.err and "another session" not in kv.err
    kv("sync")
    assert kv("step", 3)["checked"]


def test_a_command_that_was_not_understood_changes_nothing(kv, board, tmp_path):
    kv("reset")
    (tmp_path / "bad.csv").write_text("request,layer\n1,2\n")
    kv("load", tmp_path / "bad.csv", code=2)
    assert kv("step", 50)["checked"]


def test_another_build_on_the_board_is_noticed(kv, board):
    kv("reset")
    board.constants["BUILD_ID"] ^= 1
    assert kv("step", 50, code=3) == [] and "another build" in kv.err


def test_looking_is_allowed_and_does_not_make_the_board_ours(kv, board, tmp_path):
    kv("reset")
    kv(*load(0))
    other = Kvfpga(tmp_path)
    other.options = ["--target", "uart:fake", "--session", str(tmp_path / "other")]
    assert len(other("dump")["entries"]) == 1
    assert "nothing is checked" in other.err
    assert other("reg", "read", "ERROR")["value"] == 0
    assert kv("step", 50)["checked"]


def test_a_script_that_looks_first_is_refused_where_it_would_change(kv, board, tmp_path):
    kv("reset")
    board.write32(0x5C, 5)
    (tmp_path / "s.kvfpga").write_text("telemetry\nstep 3\n")
    kv("run", tmp_path / "s.kvfpga", code=3)
    assert "reset behind its back" in kv.err


def test_damaged_state_is_refused_and_sync_takes_the_board_as_it_is(kv, board, tmp_path):
    kv("reset")
    kv(*load(0))
    (tmp_path / "session" / "uart" / "current").write_text("{")
    assert kv("step", 50, code=3) == []
    kv("sync")
    assert kv("step", 50)["matched"] == 1


def test_purposes_of_an_open_session(board, tmp_path):
    with open_session(Target("uart", address="fake"), tmp_path) as session:
        device = session.open(purpose=Purpose.LOOK)
        board.model.execute(cmd.Step(7))
        session.require(Purpose.RUN)
        assert device.telemetry()["current_step"] == 0
    with open_session(Target("uart", address="fake"), tmp_path) as session:
        with pytest.raises(SessionError):  # nothing was saved
            session.open()


def test_tier_bases_of_the_board_file_are_programmed_by_reset(board, tmp_path):
    (tmp_path / "b.yaml").write_text(
        "target: uart:fake\nbuild: {entries: 256, lanes: 8, data_bits: 128}\ntiers: [0x400000, 0, 0x800000, 0xC00000]\n"
    )
    kv = Kvfpga(tmp_path)
    kv.options = ["--board", str(tmp_path / "b.yaml"), "--session", str(tmp_path / "session")]
    kv("reset")
    assert kv("config")["tier_base"] == [0x400000, 0, 0x800000, 0xC00000]
    assert kv("info")["target"] == "uart:fake"


# ---- differences -------------------------------------------------------------------------------------------------------
def test_a_difference_leaves_what_the_handoff_needs(kv, board, tmp_path):
    kv("reset", "--raw")
    kv(*load(0))
    board.spoil_result = lambda result: replace(result, matched=result.matched + 1)
    kv("step", 5, code=4)
    folder = next((tmp_path / "session" / "failures").iterdir())
    assert f"kvfpga handoff {folder}" in kv.err
    facts = json.loads((folder / "board.json").read_text())
    assert facts["identity"]["entries"] == 256 and facts["failing"] == 1
    script = (folder / "commands.kvfpga").read_text().splitlines()
    assert script[-1] == "step 5" and any(line.startswith("mem write") for line in script)
    calls = [json.loads(line) for line in (folder / "mmio.jsonl").read_text().splitlines()]
    assert calls and all(call["call"] != "open" for call in calls)
    board.spoil_result = lambda result: result
    assert kv("step", 6, code=3) == [] and "met an error" in kv.err  # the board went on, the session did not


def test_after_sync_the_history_is_not_whole(kv, board, tmp_path):
    kv("reset")
    kv("sync")
    board.spoil_result = lambda result: replace(result, matched=9)
    kv("step", 5, code=4)
    assert "before the last `sync` is not known" in kv.err and "kvfpga handoff" not in kv.err


def test_the_python_interface_resets_the_board(board):
    import kvfpga

    board.model.execute(cmd.Step(4))
    with kvfpga.open("uart:fake") as device:
        assert device.telemetry()["current_step"] == 0
        device.execute(cmd.Step(2))
        board.model.execute(cmd.Step(3))
        with pytest.raises(DifferenceError):
            device.execute(cmd.Step(5))


def test_every_call_can_be_recorded(kv, board, tmp_path):
    kv.options += ["--record", str(tmp_path / "calls.jsonl")]
    kv("step", 3)
    calls = [json.loads(line)["call"] for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert calls[0] == "open" and "run" in calls
    kv.options[-1] = str(tmp_path / "no" / "where")
    kv("step", 4, code=2)
