"""SCORE and the query buffer over registers: what is written, what is read before a result is taken, and two at once."""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import TargetError
from kvfpga.device import overlap
from kvfpga.device.codec import commands_of, writes
from kvfpga.device.device import Device, Look
from kvfpga.device.registers import is_score, query_word
from kvfpga.device.regmap import QUERY, REGISTERS, SCORES
from tests.helpers.fake_device import FakeDevice
from tests.helpers.keys import plain_scores, random_block, random_query

BLOCK = 16384
KEY = (1, 2, 3)


def block(n: int, tier: int = 1) -> cmd.Load:
    return cmd.Load(*KEY, 32 * n, 32 * n + 31, 0x7F000000 + BLOCK * n, tier)


def score(n: int, flags: int = 0, slot: int = 0) -> cmd.Score:
    return cmd.Score(*KEY, 32 * n + 5, slot, flags)


def loaded() -> FakeDevice:
    """Eight blocks, the odd ones in tier 2."""
    fake = FakeDevice()
    for n in range(8):
        fake.model.execute(block(n, 1 + n % 2))
        fake.model.memory_write(fake.model.slot_address(1 + n % 2, n), random_block(n).tobytes())
    return fake


def with_queries(fake: FakeDevice) -> Device:
    """In two slots."""
    device = Device(fake)
    device.write_queries(0, np.stack([random_query(0), random_query(1)]).view(np.uint16))
    return device


@pytest.fixture
def fake():
    return loaded()


@pytest.fixture
def device(fake):
    return with_queries(fake)


def floats(bits) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


@pytest.mark.parametrize("command, expected", [
    (
        cmd.Score(0xA001, 12, 3, 40, 9),
        [("TOUCH_HINT", 0), ("SCORE_ID", 0x0C03A001), ("SCORE_POS", 40), ("SCORE_SLOT", 9), ("SCORE_FLAGS", 0)],
    ),
    (
        cmd.Score(1, 2, 3, 0, 64, 1, cmd.hint_of(7, 9)),
        [("TOUCH_HINT", 0x10907), ("SCORE_ID", 0x02030001), ("SCORE_POS", 0), ("SCORE_SLOT", 64), ("SCORE_FLAGS", 1)],
    ),
])  # fmt: skip
def test_r30_a_score_ends_in_its_doorbell_and_is_read_back_from_it(command, expected):
    assert writes(command) == expected
    assert commands_of(REGISTERS["SCORE_FLAGS"], expected[-1][1], dict(expected).__getitem__) == [command]


@pytest.mark.parametrize("field", ["slot", "flags"])
def test_r30_a_slot_or_flags_wider_than_the_register_are_refused_and_never_cut(device, field):
    values = {"slot": 0, "flags": 0} | {field: 1 << 33}
    assert device.execute(cmd.Score(*KEY, 5, **values)).code == "ERR_RANGE"


def test_r30_queries_are_written_and_read_through_their_window(fake, device):
    both = np.stack([random_query(0), random_query(1)])
    assert (device.read_queries(0, 2).view(np.float16) == both).all()
    assert (fake.model.queries[:2].view(np.float16) == both).all() and not fake.model.queries[2:].any()
    assert fake.read32(QUERY + 4) == int.from_bytes(both[0, 2:4].tobytes(), "little")
    assert device.read_queries().shape == (64, 128)


def test_r31_scores_come_as_fp32_and_fp16(device):
    found = device.execute(score(0, slot=1))
    assert (found.code, found.matched, found.index, found.tier, found.phys_addr) == ("OK", 1, 0, 1, 256 * BLOCK)
    assert found.scores.exp_bits is found.scores.max_bits is found.scores.sum_bits is None
    plain = plain_scores(random_query(1), random_block(0))
    assert np.allclose(floats(found.scores.score_bits), plain, rtol=1e-6)
    assert np.allclose(np.array(found.scores.half_bits, np.uint16).view(np.float16), plain, rtol=1e-3)


def test_r32_numerators_come_with_their_largest_score_and_sum(device):
    found = device.execute(score(0, flags=1)).scores
    scores, exps = floats(found.score_bits), floats(found.exp_bits)
    assert floats([found.max_bits]) == scores.max() and exps.max() == 1
    assert np.allclose(exps, np.exp(scores - scores.max()), rtol=1e-3)
    assert np.isclose(floats([found.sum_bits])[0], exps.sum())


def test_r33_what_a_block_has_is_read_and_nothing_else(fake, device):
    for command, size in ((score(0), 4 * 32 + 2 * 32), (score(0, flags=1), 4 * 32 + 2 * 32 + 4 * 32 + 8)):
        before = device.telemetry()["result_bytes"]
        device.execute(command)
        assert device.telemetry()["result_bytes"] - before == size


def test_scores_among_other_commands_find_their_results(device):
    device.execute_many([cmd.Set("EVICT_THRESH", 0), cmd.Set("PREFETCH_THRESH", 0xFFFF)])
    commands = [cmd.Lookup(*KEY, 5), score(0), cmd.Step(3), score(2, flags=1), cmd.Lookup(*KEY, 40), score(4, slot=1)]
    alone = [device.execute(command) for command in (score(0), score(2, flags=1), score(4, slot=1))]
    results, shown = device.run(device.stretches(commands, Look(telemetry=[2, 6], digest=[6], passed=[2])))
    assert [result.scores for result in results] == [None, alone[0].scores, None, alone[1].scores, None, alone[2].scores]
    assert [result.code for result in results] == ["OK"] * 6 and results[2].matched == 8
    assert shown.states[0].telemetry["blocks_scored"] == 4 and len(shown.passed) == 1


@pytest.mark.parametrize("command, code", [
    (score(0, slot=64), "ERR_RANGE"), (score(0, flags=2), "ERR_RANGE"), (score(99), "ERR_NOT_FOUND"),
    (cmd.Score(*KEY, 5, 0, 0, 1 << 17), "ERR_RANGE"),
])  # fmt: skip
def test_r30_what_is_refused_shows_no_scores(device, command, code):
    found = device.execute(command)
    assert (found.code, found.scores, found.index) == (code, None, None)


def test_r30_a_block_outside_tier_1_is_named_and_called_back(device):
    found = device.execute(score(1))
    assert (found.code, found.index, found.tier, found.scores) == ("ERR_NOT_RESIDENT", 1, 2, None)
    assert found.triggers == (cmd.Trigger(1, cmd.PREFETCH, 2, 1),)
    assert device.execute(score(1)).code == "OK"


def test_scores_that_a_refused_one_leaves_are_not_overlooked(fake, device):
    fake._score_word = lambda at: 7
    assert device.execute(score(99)).scores.score_bits == (7,) * 32


def test_r36_without_the_engine_nothing_is_read(monkeypatch):
    fake = FakeDevice(CAP_NMCE=0)
    device = Device(fake)
    monkeypatch.setattr(fake, "_score_word", None)
    assert device.execute(score(0)).code == "ERR_UNSUPPORTED" and not device.nmce
    assert [result.code for result in overlap.run(device, [score(0), score(1)])] == ["ERR_UNSUPPORTED"] * 2


# ---- two under way --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_r34_overlapped_scores_give_the_same_results(fake, device, count):
    numbers = (0, 1, 1, 99, 2, 3, 5)[:count]
    commands = [score(n, flags=n % 2 ^ 1, slot=n % 2) for n in numbers]
    found, twin = overlap.run(device, commands), loaded()
    assert found == with_queries(twin).execute_many(commands)
    assert [r.code for r in found] == ["OK", "ERR_NOT_RESIDENT", "OK", "ERR_NOT_FOUND", "OK", *["ERR_NOT_RESIDENT"] * 2][:count]
    assert fake.model.telemetry() == twin.model.telemetry()


def test_r34_a_record_belongs_to_the_score_that_called_its_block_back(fake, device):
    """Not to a refused one, whose result has no index and so perhaps the same number."""
    device.execute(cmd.Evict(0x7F000000, 1))
    refused, back = overlap.run(device, [score(0, slot=64), score(0)])
    assert (refused.code, refused.triggers) == ("ERR_RANGE", ())
    assert (back.code, back.triggers) == ("ERR_NOT_RESIDENT", (cmd.Trigger(0, cmd.PREFETCH, 2, 1),))


def test_r34_two_are_under_way_while_a_result_is_read(fake, device):
    most = []
    rung = fake._commit
    fake._commit = lambda register, value: (rung(register, value), most.append(len(fake.results)))
    overlap.run(device, [score(2 * (n % 4)) for n in range(6)])
    assert max(most) == 2 and most.count(2) == 5, "all but the first were sent before the result before them was read"


def test_r22_without_strict_each_runs_alone(fake, device):
    device.execute(cmd.Set("STRICT", 0))
    most = []
    rung = fake._commit
    fake._commit = lambda register, value: (rung(register, value), most.append(len(fake.results)))
    assert [r.code for r in overlap.run(device, [score(1), score(1)])] == ["ERR_NOT_RESIDENT", "OK"]
    assert max(most) == 1


def test_a_record_that_belongs_to_no_score_is_an_error(fake, device):
    fake.completions.append(1 << 31 | 7 | 1 << 16)
    with pytest.raises(TargetError, match="1 completion records came, COMPLETION_LEVEL announced 0"):
        overlap.run(device, [score(0), score(2)])


@pytest.mark.parametrize("address, word, scores", [
    (QUERY, 0, False), (QUERY + 64 * 256 - 4, 64 * 64 - 1, False), (QUERY + 64 * 256, None, False), (QUERY + 2, None, False),
    (QUERY - 4, None, False), (SCORES - 4, None, False), (SCORES, None, True), (SCORES + 4092, None, True),
    (SCORES + 4096, None, False),
])  # fmt: skip
def test_where_the_windows_begin_and_end(address, word, scores):
    assert (query_word(address, 128), is_score(address)) == (word, scores)
