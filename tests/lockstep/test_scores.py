"""Attention scores and queries in lockstep: what differs is found, what both hold stays alike, and arrays come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Result
from kvfpga.contract.errors import BusError, DeviceRefused, DifferenceError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import QUERY, SCORES
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from kvfpga.lockstep.scored import BlockScores, softmax
from tests.helpers.fake_device import FakeDevice
from tests.helpers.keys import plain_scores, random_block, random_query
from tests.helpers.random_script import random_halves

VA, BLOCK = 0x7F000000, 16384
SCORE = cmd.Score(1, 2, 3, 5, 0, cmd.NUMERATORS)


def fill(device):
    """Four blocks of one request, the last one in tier 2, and a query."""
    for n in range(4):
        device.load(1, 2, 3, range(32 * n, 32 * n + 32), VA + BLOCK * n, 1 + n // 3, random_block(n))
    device.query_write(0, random_query(0))
    return device


@pytest.fixture
def fake():
    return FakeDevice()


@pytest.fixture
def pair(fake):
    return fill(Lockstep(Device(fake), ReferenceModel(256)))


@pytest.fixture(params=["model", "fake", "sim"])
def any_device(request):
    """The reference alone; in lockstep with it a fake device, and the RTL."""
    if request.param == "sim":
        return fill(request.getfixturevalue("lockstep"))
    return request.getfixturevalue("pair") if request.param == "fake" else fill(Reference(ReferenceModel(256)))


def differences(run) -> list[tuple]:
    with pytest.raises(DifferenceError) as error:
        run()
    return [tuple(d) for d in error.value.report.differences]


# ---- from Python ----------------------------------------------------------------------------------------------------
def test_a_score_is_arrays(any_device):
    found = any_device.score(1, 2, 3, 37, slot=0, exp=True)
    plain = plain_scores(random_query(0), random_block(1))
    assert (found.scores.dtype, found.halves.dtype, found.exps.dtype) == (np.float32, np.float16, np.float32)
    assert np.allclose(found.scores, plain, rtol=1e-6) and np.allclose(found.halves, plain, rtol=1e-3)
    assert found.max == found.scores.max() and np.allclose(found.exps, np.exp(plain - plain.max()), rtol=1e-3)
    assert np.isclose(found.sum, found.exps.sum()) and (found.result.code, found.result.index) == ("OK", 1)
    short = any_device.score(1, 2, 3, 37, 0)
    assert short.exps is short.max is short.sum is None and (short.scores == found.scores).all()


def test_rows_behind_the_last_token_score_minus_infinity(any_device):
    any_device.load(9, 0, 0, (0, 6), 0, data=random_block(9))
    found = any_device.score(9, 0, 0, 3, 0, exp=True)
    assert (found.scores[7:] == -np.inf).all() and np.isfinite(found.scores[:7]).all() and not found.exps[7:].any()


def test_several_blocks_at_once(any_device):
    keys = [(1, 2, 3, 32 * n, 0) for n in range(3)]
    alone = [any_device.score(*key, exp=True) for key in keys]
    together = any_device.score_many(keys, exp=True)
    for one, other in zip(alone, together):
        assert (one.scores == other.scores).all() and one.sum == other.sum and one.result == other.result
    assert any_device.score_many([]) == []
    with pytest.raises(DeviceRefused, match="score 0x1 2 3 96 --slot 0: refused, ERR_NOT_RESIDENT"):
        any_device.score_many([*keys, (1, 2, 3, 96, 0)])


def test_waiting_scores_a_block_once_it_is_back(any_device):
    with pytest.raises(DeviceRefused, match="ERR_NOT_RESIDENT: the block is not in tier 1") as refused:
        any_device.score(1, 2, 3, 96, 0)
    assert "score it again" in refused.value.remedy and refused.value.result.tier == 2
    any_device.evict(VA + 3 * BLOCK, BLOCK)
    found = any_device.score(1, 2, 3, 96, 0, wait=True)
    assert found.result.triggers == (cmd.Trigger(3, cmd.PREFETCH, 2, 1),) and found.result.tier == 1
    assert np.allclose(found.scores, plain_scores(random_query(0), random_block(3)), rtol=1e-6)


def test_waiting_ends_where_there_is_no_room(any_device):
    any_device.set(T1_CAPACITY=3)
    before = any_device.telemetry()["denials"]
    with pytest.raises(DeviceRefused, match="ERR_NOT_RESIDENT"):
        any_device.score(1, 2, 3, 96, 0, wait=True)
    assert any_device.telemetry()["denials"] == before + 1


@pytest.mark.parametrize("key, slot, code", [
    ((9, 9, 9, 0), 0, "ERR_NOT_FOUND"), ((1, 2, 3, 0), 64, "ERR_RANGE"), ((1, 2, 3, 0), 1 << 40, "ERR_RANGE"),
])  # fmt: skip
def test_a_refused_score_is_an_exception(any_device, key, slot, code):
    with pytest.raises(DeviceRefused, match=code):
        any_device.score(*key, slot=slot)


def test_a_query_stays_until_it_is_written_anew(any_device):
    any_device.query_write(61, np.stack([random_query(n) for n in range(3)]).astype(">f2"))
    assert (any_device.query_read(63) == random_query(2)).all() and not any_device.query_read(60).any()
    any_device.reset()
    assert (any_device.query_read(61) == random_query(0)).all() and any_device.telemetry()["query_bytes"] == 0
    any_device.query_write(61, random_query(5))
    assert (any_device.query_read(61) == random_query(5)).all() and any_device.telemetry()["query_bytes"] == 256


@pytest.mark.parametrize("slot, query, said", [
    (64, random_query(0), "there is no query slot 64: the buffer has 64"), (-1, random_query(0), "slot -1 is negative"),
    (62, np.zeros((3, 128), np.float16), "3 queries from slot 62 on end behind"),
    (0, np.zeros((65, 128), np.float16), "65 queries from slot 0 on end behind"),
    (0, np.zeros(128, np.float32), "holds float32, a query float16"), (0, np.zeros(64, np.float16), "128 values"),
    (0, np.zeros((1, 1, 128), np.float16), "128 values"), (0, np.zeros((0, 128), np.float16), "128 values"),
    (0, "query.npy", "no query"), (0, [[1], [2, 3]], "no array"), (0, None, "holds object"),
])  # fmt: skip
def test_what_is_no_query_is_not_written(any_device, slot, query, said):
    before = any_device.telemetry()["query_bytes"]
    with pytest.raises(UsageError, match=said) as error:
        any_device.query_write(slot, query)
    assert error.value.remedy and any_device.telemetry()["query_bytes"] == before


def test_only_scores_overlap(any_device):
    with pytest.raises(UsageError, match="is no Score"):
        any_device.overlap_scores([cmd.Step(1)])


def test_r36_a_device_without_the_engine_says_so():
    for device in (
        Lockstep(Device(FakeDevice(CAP_NMCE=0)), ReferenceModel(256, nmce=False)), Reference(ReferenceModel(256, nmce=False)),
    ):  # fmt: skip
        device.load(1, 2, 3, (0, 31), VA)
        with pytest.raises(DeviceRefused, match="ERR_UNSUPPORTED: this device was built without the compute engine"):
            device.score(1, 2, 3, 0, 0)
        for use in (lambda: device.query_write(0, random_query(0)), lambda: device.query_read(0)):  # noqa: B023
            with pytest.raises(UsageError, match="without the compute engine"):
                use()
        assert device.read_register("CAP_NMCE") == 0 and device.telemetry()["misses"] == device.telemetry()["hits_t1"] == 0
        device.verify()
    with pytest.raises(UsageError, match="nmce"):
        Lockstep(Device(FakeDevice()), ReferenceModel(256, nmce=False))


# ---- what differs ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("change, place", [
    (lambda s: s._replace(score_bits=(*s.score_bits[:9], s.score_bits[9] ^ 1, *s.score_bits[10:])), "score_bits of row 9"),
    (lambda s: s._replace(half_bits=(s.half_bits[0] ^ 0x8000, *s.half_bits[1:])), "half_bits of row 0"),
    (lambda s: s._replace(exp_bits=(*s.exp_bits[:31], 0x7FC00000)), "exp_bits of row 31"),
    (lambda s: s._replace(max_bits=s.max_bits + 1), "max_bits"), (lambda s: s._replace(sum_bits=0), "sum_bits"),
])  # fmt: skip
@pytest.mark.parametrize("many", [False, True])
def test_one_bit_of_a_score_is_a_difference(fake, pair, change, place, many):
    fake.spoil_result = lambda result: replace(result, scores=change(result.scores)) if result.scores else result
    found = differences(lambda: pair.overlap_scores([SCORE]) if many else pair.execute(SCORE))
    assert [(where, field) for where, field, *_ in found] == [("result", place)]


def test_scores_of_one_side_only_are_a_difference(fake, pair):
    fake._score_word = lambda at: 7
    assert ("result", "scores", "some", "none") in differences(lambda: pair.execute(replace(SCORE, slot=64)))


def test_r33_what_is_read_and_not_counted_is_a_difference(fake, pair):
    fake.model.scores_read(4)
    assert ("telemetry", "result_bytes", 332, 328) in differences(lambda: pair.execute(SCORE))


def test_another_query_shows_in_the_score_and_in_verify(fake, pair):
    fake.model.queries[0, 7] ^= 0x100
    expected = f"{int(pair.model.queries[0, 7]):#06x}"
    assert differences(pair.verify) == [("query in slot 0", "value 7", f"{int(fake.model.queries[0, 7]):#06x}", expected)]
    assert any("score_bits" in field for _, field, *_ in differences(lambda: pair.execute(SCORE)))


def test_scores_that_overlap_are_compared_with_counters_and_directory(fake, pair):
    fake.model.counters["guards"] += 1
    fake.model.directory.F[3] += 1
    fake.model.directory.touched(3)
    found = differences(lambda: pair.overlap_scores([SCORE, SCORE]))
    assert ("telemetry", "guards", 1, 0) in found and any(where == "entry 3" for where, *_ in found)


def test_bytes_that_a_score_calls_back_are_compared(fake, pair):
    fake.model.memory_write(fake.model.slot_address(2, 3), b"\xff")
    found = differences(lambda: pair.overlap_scores([replace(SCORE, token_pos=96)]))
    assert [where for where, *_ in found] == ["bytes of block 3 in tier 1"]


def test_no_check_follows_without_comparing(fake, pair):
    pair.check = False
    fake.spoil_result = lambda result: replace(result, matched=9)
    assert pair.overlap_scores([SCORE])[0].matched == 9
    assert pair.model.telemetry()["blocks_scored"] == 1


# ---- what both hold --------------------------------------------------------------------------------------------------
def test_sync_takes_the_queries(fake, pair):
    fake.model.write_query(9, random_query(9).view(np.uint16))
    pair.sync()
    assert (pair.query_read(9) == random_query(9)).all()
    pair.verify()
    pair.score(1, 2, 3, 5, 9)


def test_a_reset_takes_what_is_in_a_boards_query_buffer(fake, pair):
    """As of memory, nobody knows what it held before."""
    fake.blank_memory = False
    fake.model.write_query(9, random_query(9).view(np.uint16))
    pair.reset()
    assert (pair.model.queries[9].view(np.float16) == random_query(9)).all()
    pair.verify()


def test_words_of_the_windows_reach_both(any_device):
    any_device.write_word(QUERY + 2 * 128 * 5 + 8, 0x3C004000)
    assert any_device.read_word(QUERY + 2 * 128 * 5 + 8) == 0x3C004000
    assert any_device.query_read(5)[4:6].tolist() == [2.0, 1.0]
    before = any_device.telemetry()
    assert any_device.read_word(SCORES + 0xC00) == 0, "every score was taken with its result"
    any_device.execute(cmd.Lookup(1, 2, 3, 5))
    assert any_device.telemetry()["result_bytes"] == before["result_bytes"] + 4
    assert before["query_bytes"] == 256 + 4
    any_device.verify()


def test_r36_words_of_the_windows_without_the_engine():
    pair = Reference(ReferenceModel(256, nmce=False))
    assert pair.read_word(QUERY) == pair.read_word(SCORES) == 0
    with pytest.raises(BusError):
        pair.write_word(QUERY, 1)
    assert pair.telemetry()["result_bytes"] == 0


# ---- one softmax over several blocks ---------------------------------------------------------------------------------
def test_blocks_merge_into_one_softmax(any_device):
    """Held against float64, over blocks whose largest scores are far apart."""
    query = random_query(0)
    for n in range(3):
        any_device.memory_write(any_device.entry(n)["phys_addr"], (random_block(n) * np.float16(1 + 3 * n)).tobytes())
    weights = softmax([any_device.score(1, 2, 3, 32 * n, 0, exp=True) for n in range(3)])
    scores = np.concatenate([plain_scores(query, random_block(n) * np.float16(1 + 3 * n)) for n in range(3)])
    plain = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    found = np.concatenate(weights)
    assert len(weights) == 3 and np.isclose(found.sum(), 1, rtol=1e-6)
    assert np.abs(found / plain - 1)[plain > 1e-9].max() < 1e-3


def made(exps, largest, total) -> BlockScores:
    none = np.zeros(2, np.float32)
    return BlockScores(none, none.astype(np.float16), np.array(exps, np.float32), largest, total, Result("OK"))


@pytest.mark.parametrize("blocks, weights", [
    ([made([1, 1], 5.0, 2.0), made([1, 0], 5.0, 1.0)], [[1 / 3, 1 / 3], [1 / 3, 0]]),
    ([made([1, 0], np.inf, 1.0), made([1, 1], 3.0, 2.0)], [[1, 0], [0, 0]]),
    ([made([1, 1], -np.inf, 2.0), made([1, 0], 0.0, 1.0)], [[0, 0], [1, 0]]),
    ([made([1, 0], -np.inf, 1.0)], [[1, 0]]),
])  # fmt: skip
def test_the_largest_score_of_a_block_may_be_infinite(blocks, weights):
    assert np.array_equal(softmax(blocks), weights)


def test_a_softmax_needs_blocks_with_numerators(any_device):
    with pytest.raises(UsageError, match="a softmax of no blocks"):
        softmax([])
    with pytest.raises(UsageError, match="scored without numerators") as error:
        softmax([any_device.score(1, 2, 3, 0, 0)])
    assert error.value.remedy == "score it with exp=True"


# ---- any sequence ----------------------------------------------------------------------------------------------------
def actions() -> st.SearchStrategy:
    """Scores, alone and overlapping, among what moves blocks, changes queries and lets memory timing show (strict 0)."""
    n = st.integers(0, 9)
    keys = st.builds(lambda n, request: (request, 2, 3, 32 * n), n, st.sampled_from([1, 1, 1, 0, 9]))
    hints = st.sampled_from([0, 0, cmd.hint_of(3, 4), 1 << 17])
    scores = st.builds(lambda key, *more: cmd.Score(*key, *more), keys, st.sampled_from([0, 1, 63, 64]), st.integers(0, 2), hints)
    places = st.builds(lambda n, blocks: (VA + n * BLOCK, blocks * BLOCK), n, st.integers(1, 4))
    rows, tiers = st.integers(0, 31), st.integers(0, 3)
    loads = st.builds(lambda n, row, tier: cmd.Load(1, 2, 3, 32 * n, 32 * n + row, VA + n * BLOCK, tier), n, rows, tiers)
    commands = st.one_of(
        loads, st.builds(lambda place: cmd.Evict(*place), places), st.builds(lambda place: cmd.Unload(*place), places),
        st.builds(lambda key: cmd.Touch(*key), keys), st.builds(cmd.Step, st.integers(0, 3)),
        st.builds(cmd.Set, st.just("T1_CAPACITY"), st.integers(0, 6)), st.builds(cmd.Set, st.just("STRICT"), st.integers(0, 1)),
        st.just(cmd.Set("CLEAR_COUNTERS", 0)),
    )  # fmt: skip
    queries = st.tuples(st.sampled_from([0, 1, 63]), st.integers(0, 9))
    return st.lists(st.one_of(scores, st.lists(scores, min_size=1, max_size=7), commands, queries, st.just("reset")), max_size=30)


@given(sequence=actions())
@settings(max_examples=25, deadline=None, database=None)
def test_any_sequence_of_scores_agrees(small_sim, sequence):
    sim, fresh = small_sim
    sim.restore(fresh)
    pair = Lockstep(Device(sim), ReferenceModel(256))
    for n in range(10):
        for tier in range(4):
            pair.memory_write(pair.model.slot_address(tier, n), random_halves(n, BLOCK // 2).tobytes())
    fill(pair)
    for action in sequence:
        match action:
            case "reset":
                pair.reset()
            case list():
                pair.overlap_scores(action)
            case (slot, seed):
                pair.query_write(slot, random_halves(seed, 128).view(np.float16))
            case _:
                pair.execute(action)
    pair.verify()
