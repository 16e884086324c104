"""SCORE in the device, by its doorbells and windows: what several of them do to each other, to other commands and to results that
nobody reads, when the memory fails, and in a soft reset. That scores are right to the bit is held elsewhere; here they tell which
block a buffer is of."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from kvfpga.claims import cycles as measures
from kvfpga.contract.commands import Load, Score, Set, Touch
from kvfpga.contract.errors import BusError
from kvfpga.device.device import Device
from kvfpga.device.regmap import QUERY, REGISTERS, SCORES, BusErrorCode, Code, Opcode
from kvfpga.model.nmce import block_scores
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.keys import HEAD_DIM, TOKENS, random_block, random_query
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES, LEAST

BLOCK = 4 * TOKENS * HEAD_DIM
VA = 0x1000_0000
FP16 = np.dtype("<u2")
STEP, SHARE_INDEX = REGISTERS["STEP_FAST"].offset, REGISTERS["RTBD_SHARE"].offset


class Scorer:
    """A device with `blocks` blocks of request 1 in tier 1, block n with random_block(n), and a query in slot n for each."""

    def __init__(self, sim: VerilatorSim, blocks: int = 6):
        self.sim, self.device = sim, Device(sim)
        measures.quiet(self.device)
        for n in range(blocks):
            assert self.device.execute(Load(1, 0, 0, TOKENS * n, TOKENS * n + TOKENS - 1, VA + n * BLOCK)).index == n
            sim.memory_write(self.place(n), random_block(n).tobytes())
            for word, value in enumerate(random_query(n).view("<u4").tolist()):
                sim.write32(QUERY + 2 * HEAD_DIM * n + 4 * word, value)

    def place(self, n: int, tier: int = 1) -> int:
        return (tier * ENTRIES + n) * BLOCK

    def ring(self, n: int, flags: int = 0, request: int = 1) -> None:
        """The doorbell of a SCORE of block n with query n."""
        for name, value in (("ID", request), ("POS", TOKENS * n), ("SLOT", n), ("FLAGS", flags)):
            self.sim.write32(REGISTERS[f"SCORE_{name}"].offset, value)

    def expected(self, n: int, numerators: bool = False):
        return block_scores(random_query(n).view(FP16), random_block(n)[0].view(FP16), TOKENS, numerators)

    def shown(self) -> tuple[int, ...]:
        """The FP32 scores in the window."""
        return tuple(self.sim.read32(SCORES + 4 * row) for row in range(TOKENS))

    def shows(self, n: int | None) -> bool:
        return self.shown() == (self.expected(n).score_bits if n is not None else (0,) * TOKENS)

    def until_result(self, cycles: int = 5000) -> None:
        for _ in range(cycles):
            if self.sim.read32(REGISTERS["RESULT_STATUS"].offset) >> 31:
                return
        raise AssertionError("no result comes")

    def take(self) -> tuple[Opcode, Code, int]:
        """Operation, code and index of the oldest result, which leaves its queue."""
        self.until_result()
        status, index = (self.sim.read32(REGISTERS[name].offset) for name in ("RESULT_STATUS", "RESULT_INDEX"))
        self.sim.read32(REGISTERS["RESULT_CYCLES"].offset)
        return Opcode(status >> 8 & 0x1F), Code(status & 0xFF), index

    def busy(self) -> bool:
        return bool(self.sim.read32(REGISTERS["STATUS"].offset) & 1)


@pytest.fixture(params=[0, 25], ids=["", "stalls"])
def scorer(request):
    with closing(VerilatorSim(ENTRIES, LANES, DATA_BITS, seed=3, stall_percent=request.param)) as sim:
        yield Scorer(sim)


def test_results_come_in_order_and_the_window_shows_the_oldest(scorer):
    scorer.ring(2)
    scorer.ring(0)
    scorer.until_result()
    assert scorer.shows(2)
    assert scorer.take() == (Opcode.SCORE, Code.OK, 2)
    scorer.until_result()
    assert scorer.shows(0)
    assert scorer.take() == (Opcode.SCORE, Code.OK, 0)
    assert scorer.shows(None)


def test_a_third_waits_until_a_buffer_is_free(scorer):
    for n in range(4):
        scorer.ring(n)
    scorer.sim.clock(20_000)
    assert scorer.busy() and scorer.device.telemetry()["blocks_scored"] == 2
    for n in range(4):
        scorer.until_result()
        assert scorer.shows(n)
        assert scorer.take() == (Opcode.SCORE, Code.OK, n)
    scorer.sim.wait_idle()
    assert scorer.device.telemetry()["key_bytes"] == 4 * BLOCK // 2


def test_one_that_is_refused_waits_for_those_before_it(scorer):
    scorer.ring(1)
    scorer.ring(9)  # not there
    scorer.ring(3, flags=2)
    scorer.ring(4)
    codes = [(Code.OK, 1), (Code.ERR_NOT_FOUND, 0), (Code.ERR_RANGE, 0), (Code.OK, 4)]
    assert [scorer.take()[1:] for _ in codes] == codes


def test_other_commands_wait_for_the_last_score(scorer):
    """Also for its result: a STEP that began beside it would be done earlier."""
    scorer.ring(1)
    scorer.ring(2)
    scorer.sim.write32(STEP, 7)
    assert scorer.device.telemetry()["current_step"] == 0
    assert [scorer.take() for _ in range(2)] == [(Opcode.SCORE, Code.OK, 1), (Opcode.SCORE, Code.OK, 2)]
    assert scorer.take()[:2] == (Opcode.STEP, Code.OK)


def test_a_result_that_the_full_queue_drops_gives_its_buffer_back(scorer):
    scorer.ring(1)
    scorer.ring(2)
    for _ in range(31):
        scorer.sim.write32(SHARE_INDEX, ENTRIES)
        scorer.sim.wait_idle()
    assert scorer.device.telemetry()["results_lost"] == 1 and scorer.shows(2)
    for _ in range(2):
        scorer.sim.write32(SHARE_INDEX, ENTRIES)
        scorer.sim.wait_idle()
    assert scorer.device.telemetry()["results_lost"] == 3 and scorer.shows(None)
    for n in (3, 4):
        scorer.ring(n)
    scorer.sim.wait_idle()
    assert scorer.shows(3)


def test_a_block_that_is_not_there_comes_and_is_scored_then(scorer):
    found = scorer.device.execute(Load(1, 0, 0, 320, 351, VA + 20 * BLOCK, tier=2))
    scorer.sim.memory_write(scorer.place(found.index, 2), random_block(10).tobytes())
    scorer.ring(10)
    scorer.sim.wait_idle()
    assert scorer.take() == (Opcode.SCORE, Code.ERR_NOT_RESIDENT, found.index)
    telemetry = scorer.device.telemetry()
    assert (telemetry["prefetch_completions"], telemetry["hits_t2"], telemetry["blocks_scored"]) == (1, 1, 0)
    scorer.sim.write32(QUERY + 2 * HEAD_DIM * 10, 0x3C00)  # 1.0: what the slot holds else is of nobody here
    scorer.ring(10)
    assert scorer.take() == (Opcode.SCORE, Code.OK, found.index)


def test_numerators_only_where_they_are_asked_for(scorer):
    for flags in (1, 0):
        scorer.ring(2, flags)
        scorer.until_result()
        expected = scorer.expected(2, bool(flags))
        words = [scorer.sim.read32(SCORES + offset) for offset in (*range(0x400, 0x400 + 4 * TOKENS, 4), 0xC00, 0xC04)]
        assert words == ([*expected.exp_bits, expected.max_bits, expected.sum_bits] if flags else [0] * (TOKENS + 2))
        halves = [scorer.sim.read32(SCORES + 0x800 + 4 * pair) for pair in range(TOKENS // 2)]
        assert np.array(halves, "<u4").view("<u2").tolist() == list(expected.half_bits)
        scorer.take()


def test_scores_come_beside_moving_blocks(scorer):
    """STRICT 0: blocks leave tier 1 while others are scored, and the keys are those of the block."""
    assert scorer.device.execute(Set("STRICT", 0)).code == "OK"
    for name, value in (("IMEVICT_ADDR", VA + 3 * BLOCK), ("IMEVICT_LEN", 3 * BLOCK)):
        scorer.sim.write32(REGISTERS[name].offset, value & 0xFFFFFFFF)
        scorer.sim.write32(REGISTERS[name].offset + 4, value >> 32)
    for n in (0, 1, 4):
        scorer.ring(n)
    assert scorer.take()[:2] == (Opcode.EVICT, Code.OK)
    for n in (0, 1):
        scorer.until_result()
        assert scorer.shows(n)
        assert scorer.take() == (Opcode.SCORE, Code.OK, n)
    assert scorer.take()[1] == Code.ERR_NOT_RESIDENT
    scorer.sim.wait_idle()
    assert scorer.device.telemetry()["evict_bytes"] == 3 * BLOCK


@pytest.mark.parametrize("row", [0, TOKENS - 1])
def test_a_memory_that_fails_shows_no_scores(scorer, row):
    at = scorer.place(1) + 2 * HEAD_DIM * row
    scorer.sim.memory_fault(at, at)
    scorer.ring(0)
    scorer.ring(1, flags=1)
    scorer.ring(2)
    scorer.until_result()
    assert scorer.shows(0) and scorer.take() == (Opcode.SCORE, Code.OK, 0)
    assert scorer.take() == (Opcode.SCORE, Code.ERR_MEMORY, 1)
    scorer.until_result()
    assert scorer.shows(2) and scorer.take() == (Opcode.SCORE, Code.OK, 2)
    telemetry = scorer.device.telemetry()
    assert (telemetry["blocks_scored"], telemetry["dma_errors"], telemetry["hits_t1"]) == (2, 1, 3)
    error = REGISTERS["ERROR"]
    value = scorer.sim.read32(error.offset)
    assert value & 2 and value >> error.fields["code"].low == BusErrorCode.DMA


@pytest.mark.parametrize("cycles", [0, 20, 60, 130, 400, 700])
def test_a_soft_reset_in_the_middle(scorer, cycles):
    """It waits for what was asked of the memory; jobs and results are gone, queries stay, and the next SCORE is right."""
    scorer.ring(0)
    scorer.ring(1)
    scorer.sim.clock(cycles)
    scorer.sim.write32(REGISTERS["CTRL"].offset, 1)
    scorer.sim.wait_idle()
    assert scorer.sim.read32(REGISTERS["RESULT_STATUS"].offset) >> 31 == 0 and scorer.shows(None)
    telemetry = scorer.device.telemetry()
    assert telemetry["blocks_scored"] == telemetry["key_bytes"] == telemetry["query_bytes"] == 0
    measures.quiet(scorer.device)
    assert scorer.device.execute(Load(1, 0, 0, TOKENS * 2, TOKENS * 2 + TOKENS - 1, VA)).index == 0
    scorer.sim.memory_write(scorer.place(0), random_block(2).tobytes())
    scorer.ring(2)
    scorer.until_result()
    assert scorer.shows(2) and scorer.take() == (Opcode.SCORE, Code.OK, 0)


def test_counters_count_words_of_the_windows(scorer):
    before = scorer.device.telemetry()
    assert before["query_bytes"] == 6 * 2 * HEAD_DIM and before["result_bytes"] == 0
    scorer.sim.write32(QUERY, 1)
    assert scorer.sim.read32(QUERY) == 1
    for offset in (0, 0xFFC):
        scorer.sim.read32(SCORES + offset)
    after = scorer.device.telemetry()
    assert after["query_bytes"] - before["query_bytes"] == 4 and after["result_bytes"] == 8
    assert scorer.device.execute(Set("CLEAR_COUNTERS", 1)).code == "OK"
    telemetry = scorer.device.telemetry()
    assert not any(telemetry[name] for name in ("query_bytes", "result_bytes", "key_bytes", "blocks_scored"))


def test_a_build_without_the_engine_refuses_and_touches_nothing():
    with closing(VerilatorSim(**LEAST)) as sim:
        device = Device(sim)
        assert device.identity.nmce == 0
        assert device.execute(Load(1, 0, 0, 0, 31, VA, tier=2)).code == "OK"
        digest = device.digest()
        assert device.execute(Score(1, 0, 0, 0, 64, 7)).code == "ERR_UNSUPPORTED"
        telemetry = device.telemetry()
        assert device.digest() == digest and not any(telemetry[name] for name in ("hits_t2", "misses", "prefetch_triggers"))
        assert sim.read32(SCORES) == sim.read32(QUERY) == sim.read32(QUERY + 0x7FFC) == 0
        with pytest.raises(BusError):
            sim.write32(QUERY, 1)
        assert device.execute(Touch(1, 0, 0, 0)).triggers
