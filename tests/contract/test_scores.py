"""The rules of SCORE and the query buffer that commands can show (contract R30, R31, R33, R36, D33), by name, on the model.

The numbers are small and worked out by hand: a query of ones scores a row by its sum over the square root of HEAD_DIM = 128.
"""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.contract.commands import Hot, Load, Result, Score, Set, ShareIndex, Step, Touch, hint_of
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.model.nmce_exact import MINUS_INFINITY16, MINUS_INFINITY32, ONE32
from tests.helpers.rules import (
    changes,
    counters,
    load,
    ok,
    prefetched,
    put,
    quiet,
    refuse,
    show,
    slot,
)  # fmt: skip

ROOT_HALF = float(np.float32(1 / np.sqrt(2)))
TOUCHED = {"hits_t1": 1}
SCORED = TOUCHED | {"key_bytes": 8192, "blocks_scored": 1}


@pytest.fixture
def dut():
    model = ReferenceModel(256)
    model.write_query(0, np.ones(128, np.float16).view(np.uint16))
    ok(model, Set("CLEAR_COUNTERS", 0))
    return model


def keys(dut, index: int, rows: np.ndarray, tier: int = 1) -> None:
    """Put rows of 128 keys behind an entry; the others are 0."""
    dut.memory_write(slot(dut, tier, index), np.asarray(rows, np.float16).tobytes())


def floats(bits) -> list[float]:
    return np.array(bits, np.uint32).view(np.float32).tolist()


def test_r30_a_score_is_one_touch(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(5))
    result, changed = changes(dut, Score(1, 0, 0, 31, 0))
    assert (result.matched, result.index, result.tier, result.phys_addr, result.triggers) == (1, 0, 1, slot(dut, 1, 0), ())
    assert changed == SCORED
    assert show(dut, 0, "R", "F", "access_step") == (255, 2, 5)


def test_r30_a_score_leaves_the_directory_as_a_touch_does(dut):
    other = ReferenceModel(256)
    for model, command in ((dut, Score(1, 0, 0, 3, 0, 1, hint_of(3, 9))), (other, Touch(1, 0, 0, 3, hint_of(3, 9)))):
        quiet(model)
        load(model, 0)
        ok(model, Step(7))
        ok(model, command)
    assert dut.dump() == other.dump() and dut.digest() == other.digest()


def test_r30_the_shared_prefix_is_scored_where_the_request_has_no_block(dut):
    load(dut, 0, request=0)
    keys(dut, 0, [[1] * 128])
    assert ok(dut, Score(9, 0, 0, 0, 0)).scores.score_bits[0] == ok(dut, Score(0, 0, 0, 0, 0)).scores.score_bits[0] != 0


@pytest.mark.parametrize("query_slot, flags, hint", [(64, 0, 0), (1 << 31, 0, 0), (0, 2, 0), (0, 0x80000001, 0), (0, 0, 1 << 17)])
def test_r30_a_slot_a_flag_and_a_hint_that_there_is_not(dut, query_slot, flags, hint):
    """Neither hit nor miss is counted, whether or not the block is there."""
    load(dut, 0)
    for token in (0, 32):
        refuse(dut, Score(1, 0, 0, token, query_slot, flags, hint), "ERR_RANGE")


def test_r30_a_block_that_is_not_there_counts_as_a_miss(dut):
    before = counters(dut)
    assert dut.execute(Score(1, 0, 0, 0, 0)) == Result("ERR_NOT_FOUND")
    assert counters(dut) == before | {"misses": 1}


@pytest.mark.parametrize("tier", [2, 3])
def test_r30_a_block_outside_tier_1_is_refused_and_comes_back(dut, tier):
    load(dut, 0, tier=tier)
    keys(dut, 0, [[1] * 128], tier)
    refused = dut.execute(Score(1, 0, 0, 0, 0))
    assert refused == Result("ERR_NOT_RESIDENT", 1, 0, (prefetched(0, tier),), tier, slot(dut, tier, 0))
    assert show(dut, 0, "F", "tier") == (2, 1)
    assert (counters(dut)[f"hits_t{tier}"], counters(dut)["key_bytes"], counters(dut)["blocks_scored"]) == (1, 0, 0)
    assert floats(ok(dut, Score(1, 0, 0, 0, 0)).scores.score_bits[:2]) == [np.float32(128 / np.sqrt(128)), 0]


def test_r30_a_block_in_tier_0_and_one_that_finds_no_place_stay_out(dut):
    load(dut, 0, tier=0)
    load(dut, 1, tier=2)
    put(dut, T1_CAPACITY=0)
    for token, tier in ((0, 0), (32, 2)):
        for _ in range(2):
            refused = dut.execute(Score(1, 0, 0, token, 0))
            assert (refused.code, refused.triggers, refused.tier) == ("ERR_NOT_RESIDENT", (), tier)
    assert counters(dut)["denials"] == 2


def test_r30_a_reset_keeps_the_queries(dut):
    dut.write_query(63, np.arange(128, dtype=np.uint16))
    dut.reset()
    assert (dut.queries[63] == np.arange(128)).all() and dut.queries[0, 0] == 0x3C00


def test_r30_words_of_the_window_hold_two_values_of_a_slot(dut):
    dut.write_query_word(64 * 5 + 3, 0x40003C00)
    assert np.flatnonzero(dut.queries[5]).tolist() == [6, 7] and dut.queries[5, 6] == 0x3C00
    assert dut.read_query_word(64 * 5 + 3) == 0x40003C00 and dut.read_query_word(64 * 5 + 4) == 0


def test_r31_rows_are_scored_up_to_token_end(dut):
    ok(dut, Load(1, 0, 0, 32, 34, 0x7F000000))
    keys(dut, 0, np.outer([1, -2, 0, 5], [8] + [0] * 127))
    scores = ok(dut, Score(1, 0, 0, 40, 0)).scores
    assert floats(scores.score_bits[:3]) == [ROOT_HALF, -2 * ROOT_HALF, 0]
    assert np.array(scores.half_bits[:3], np.uint16).view(np.float16).tolist() == [*np.float16([0.5**0.5, -(2**0.5), 0])]
    assert set(scores.score_bits[3:]) == {MINUS_INFINITY32} and set(scores.half_bits[3:]) == {MINUS_INFINITY16}
    assert len(scores.score_bits) == len(scores.half_bits) == 32
    assert scores[2:] == (None, None, None)


def test_r32_numerators_come_where_they_are_asked_for(dut):
    ok(dut, Load(1, 0, 0, 0, 1, 0x7F000000))
    keys(dut, 0, np.outer([1, 2], [8] + [0] * 127))
    scores = ok(dut, Score(1, 0, 0, 0, 0, 1)).scores
    assert floats([scores.max_bits]) == [2 * ROOT_HALF] and scores.exp_bits[1:] == (ONE32, *[0] * 30)
    assert floats([scores.sum_bits]) == [np.float32(1) + np.float32(floats(scores.exp_bits)[0])]


def test_r33_bytes_are_counted_and_cleared(dut):
    load(dut, 0)
    ok(dut, Score(1, 0, 0, 0, 0))
    dut.write_query(1, np.zeros(128, np.uint16))
    dut.write_query_word(0, 0)
    dut.scores_read(64)
    names = "query_bytes", "result_bytes", "key_bytes", "blocks_scored"
    assert [counters(dut)[name] for name in names] == [260, 64, 8192, 1]
    ok(dut, Set("CLEAR_COUNTERS", 0))
    assert [counters(dut)[name] for name in names] == [0] * 4


def test_r33_all_rows_are_read_however_few_are_tokens(dut):
    ok(dut, Load(1, 0, 0, 0, 0, 0x7F000000))
    assert changes(dut, Score(1, 0, 0, 0, 0))[1] == SCORED


def test_r36_without_the_engine_nothing_is_looked_at():
    dut = ReferenceModel(256, nmce=False)
    load(dut, 0)
    refuse(dut, Score(1, 0, 0, 0, 0), "ERR_UNSUPPORTED")
    refuse(dut, Score(1, 0, 0, 32, 64, 2, 1 << 17), "ERR_UNSUPPORTED")


@pytest.mark.parametrize(
    "block_tokens, head_dim, there",
    [(32, 128, True), (256, 4, True), (2, 256, True), (32, 2, False), (512, 16, False), (16, 512, False)],
)
def test_r36_the_engine_is_there_where_it_fits(block_tokens, head_dim, there):
    assert ReferenceModel(256, block_tokens, head_dim).nmce is there


def test_r30_a_guarded_and_a_pinned_block_are_scored_like_others(dut):
    for n in range(2):
        load(dut, n)
    ok(dut, ShareIndex(0))
    ok(dut, Hot(0x7F00_0000_0000 + dut.block_bytes, 1))
    assert [ok(dut, Score(1, 0, 0, 32 * n, 0)).index for n in range(2)] == [0, 1]
