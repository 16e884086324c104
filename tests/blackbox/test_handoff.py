"""blackbox/handoff.py: a difference on a "board" is had again in simulation, shrunk, and recorded as a waveform.

The board is a simulation of its own that lives across "processes" behind the uart kind: with RTL that is wrong, or with right RTL
behind a wire that is. test_virtual_uart.py has the real transport.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from kvfpga.blackbox.handoff import _shrink
from kvfpga.contract.errors import UsageError
from kvfpga.device.device import Identity
from kvfpga.targets.target import Target, rtl_sources
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.command_line import BLOCK, Kvfpga
from tests.helpers.keys import random_block, random_query

VA = 0x7F000000


class SimulatedBoard(VerilatorSim):
    """Of the size that the command line simulates, so that the models are those of tests/cli/test_cli_sim.py.
    `spoil(offset, word)` is what the wire makes of a word that is read."""

    name = "uart:sim"
    blank_memory = False
    spoil = None

    def run(self, batch):
        answer = super().run(batch)
        if self.spoil:
            place = 0
            for op in batch:
                for i in range(op.value if op.kind == 0 else 0):
                    answer.words[place] = self.spoil(op.offset + 4 * i, int(answer.words[place]))
                    place += 1
        return answer

    def close(self):
        pass


@pytest.fixture
def one_design(mutant, monkeypatch):
    """Board and RTL are of one design, the wrong one, of which a model that writes waveforms is built already."""
    monkeypatch.setenv("KVFPGA_RTL", str(mutant))


@pytest.fixture
def kv(tmp_path, monkeypatch, request):
    board = None
    real = Target.open_mmio

    def open_mmio(self, wave=None, restore=None):
        nonlocal board
        if self.kind != "uart":
            return real(self, wave, restore)
        if board is None:
            board = SimulatedBoard(256, 8, 512, sources=rtl_sources())
        return board

    monkeypatch.setattr(Target, "open_mmio", open_mmio)
    kv = Kvfpga(tmp_path / "session")
    kv.options = ["--target", "uart:sim", "--session", str(tmp_path / "session")]
    kv.board = lambda: board
    yield kv
    if board:
        VerilatorSim.close(board)


def load(n):
    return f"load --request 1 --layer 2 --head 3 --tokens {32 * n}:{32 * n + 31} --va {VA + BLOCK * n}"


SCRIPT = [*[load(n) for n in range(12)], *[f"step {n}" for n in range(1, 10)], f"evict {VA} {4 * BLOCK}",
          f"share {VA + 5 * BLOCK} 1", "step 20", f"share {VA + 5 * BLOCK} 1", f"hot {VA} {9 * BLOCK}", "step 22",
          f"release {VA + 5 * BLOCK} 1"]  # fmt: skip


def fail(kv, tmp_path):
    (tmp_path / "script.kvfpga").write_text("reset --raw\n" + "\n".join(SCRIPT) + "\n")
    kv("run", tmp_path / "script.kvfpga", code=4)
    (folder,) = (tmp_path / "session" / "failures").iterdir()
    return folder


@pytest.mark.xdist_group("mutant")
@pytest.mark.usefixtures("one_design")
def test_a_wrong_design_shows_in_simulation_with_the_fewest_commands(kv, tmp_path):
    folder = fail(kv, tmp_path)
    found = kv("handoff", folder)
    assert found["shows"] is True and "ref_count" in found["difference"]
    assert found["first_calls"] == []  # board and RTL are the same design
    kinds = [line.split()[0] for line in found["minimal"]]
    assert kinds == ["load", "share", "release"]
    assert (folder / "minimal.kvfpga").read_text().splitlines() == found["minimal"]
    assert (folder / "waveform.fst").stat().st_size > 1000
    assert json.loads((folder / "handoff.json").read_text()) == found

    # the shortest list makes the difference on a simulation of its own
    again = Kvfpga(tmp_path / "again")
    again.options = ["--target", "sim", "--entries", "256", "--session", str(tmp_path / "again")]
    again("reset", "--raw")
    again("run", folder / "minimal.kvfpga", code=4)


@pytest.mark.xdist_group("mutant")
@pytest.mark.usefixtures("one_design")
def test_the_ranked_policy_goes_along(kv, tmp_path):
    """Tables are written again in simulation, whole or by the word."""
    shared = f"{VA + 5 * BLOCK} 1"
    script = [
        "policy ranked --table age --fill-age 9", "reg write 0x4000 0x01020304", "reg write PTABLE_COMMIT 1",
        *map(load, range(12)), f"class {VA} {12 * BLOCK} --class 3", "config --t1-capacity 4", "step 1",
        f"share {shared}", f"share {shared}", f"release {shared}",
    ]  # fmt: skip
    (tmp_path / "script.kvfpga").write_text("reset --raw\n" + "\n".join(script) + "\n")
    kv("run", tmp_path / "script.kvfpga", code=4)
    (folder,) = (tmp_path / "session" / "failures").iterdir()
    lines = (folder / "commands.kvfpga").read_text().splitlines()
    assert any(line.startswith("policy table ") for line in lines) and "reg write 0x4000 0x1020304" in lines
    found = kv("handoff", "--no-shrink", folder)
    assert found["shows"] is True and "ref_count" in found["difference"]
    assert found["first_calls"] == []


@pytest.mark.xdist_group("mutant")
@pytest.mark.usefixtures("one_design")
def test_what_only_the_board_does_is_told_by_the_register(kv, tmp_path):
    """Bit 3 of RESULT_MATCHED is stuck on the way to the host."""
    from kvfpga.device.regmap import REGISTERS

    kv("reset", "--raw")
    place = REGISTERS["RESULT_MATCHED"].offset
    kv.board().spoil = lambda offset, word: word | 8 if offset == place else word
    kv(*load(0).split(), code=4)
    (folder,) = (tmp_path / "session" / "failures").iterdir()
    found = kv("handoff", folder)
    assert found["shows"] is False and found["minimal"] == []
    assert {"where": "RESULT_MATCHED", "board": "0x00000009", "rtl": "0x00000001"}.items() <= found["first_calls"][0].items()
    assert (folder / "waveform.fst").stat().st_size > 1000
    text = kv.text("handoff", "--no-shrink", folder)
    assert "does not show" in text and "RESULT_MATCHED" in text and "timing" in text


@pytest.mark.xdist_group("mutant")
@pytest.mark.usefixtures("one_design")
def test_queries_and_scores_go_along(kv, tmp_path):
    """The query that a reset has left is there again, so that only the spoilt word differs from what the board had."""
    from kvfpga.device.regmap import REGISTERS

    for number in (1, 2):
        np.save(tmp_path / f"query{number}.npy", random_query(number))
    np.save(tmp_path / "block.npy", random_block(1))
    kv("query", "write", 4, tmp_path / "query1.npy")
    kv("reset", "--raw")
    kv("query", "write", 5, tmp_path / "query2.npy")
    kv(*load(0).split(), "--data", tmp_path / "block.npy")
    place = REGISTERS["RESULT_MATCHED"].offset
    kv.board().spoil = lambda offset, word: word | 8 if offset == place else word
    script = tmp_path / "scores.kvfpga"
    script.write_text("score 1 2 3 5 --slot 4 --exp\n")
    kv("run", script, code=4)
    (folder,) = (tmp_path / "session" / "failures").iterdir()
    lines = [line.split() for line in (folder / "commands.kvfpga").read_text().splitlines()]
    assert [words[:3] for words in lines[:3]] == [["query", "write", "4"], ["reset", "--raw"], ["query", "write", "5"]]
    found = kv("handoff", "--no-shrink", folder)
    assert found["shows"] is False
    assert {call["where"] for call in found["first_calls"]} == {"RESULT_MATCHED"}


@pytest.mark.xdist_group("mutant")
def test_a_recording_of_a_whole_run_is_compared_with_the_rtl(kv, tmp_path):
    script = tmp_path / "script.kvfpga"
    script.write_text("reset\n" + "\n".join(SCRIPT) + "\n")
    kv.options += ["--record", str(tmp_path / "calls.jsonl")]
    kv("run", script)
    del kv.options[-2:]
    assert kv("handoff", tmp_path / "calls.jsonl")["first_calls"] == []
    lines = (tmp_path / "calls.jsonl").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"words":[' in line and '"words":[]' not in line)
    entry = json.loads(lines[at])
    entry["answer"]["words"][0] ^= 1 << 20
    lines[at] = json.dumps(entry)
    (tmp_path / "calls.jsonl").write_text("\n".join(lines) + "\n")
    assert kv("handoff", tmp_path / "calls.jsonl")["first_calls"][0]["line"] == at + 1


@pytest.mark.parametrize("content", ["", "{}", '{"call": "open"}\n'])
def test_what_is_no_recording_or_failure_is_a_usage_error(kv, tmp_path, content):
    (tmp_path / "x.jsonl").write_text(content)
    kv("handoff", tmp_path / "x.jsonl", code=2)
    (tmp_path / "folder").mkdir()
    kv("handoff", tmp_path / "folder", code=2)
    (tmp_path / "folder" / "board.json").write_text(content)
    kv("handoff", tmp_path / "folder", code=2)
    assert "failure folder" in kv.err


def test_shrinking_finds_what_is_needed():
    tried = []

    def fails(items):
        tried.append(items)
        return {3, 17, 40} <= set(items)

    assert _shrink(list(range(50)), fails, lambda *_: None) == [3, 17, 40]
    assert len(tried) < 150


def test_handoff_needs_a_history_that_goes_back_to_a_reset(tmp_path):
    from kvfpga.blackbox.handoff import investigate

    facts = {"identity": dict.fromkeys(Identity._fields, 0),
        "history": {"number": 0, "lines": [0, 0], "bytes": [0, 0], "whole": False}, "failing": 0}  # fmt: skip
    (tmp_path / "board.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="last `sync`"):
        investigate(tmp_path)
