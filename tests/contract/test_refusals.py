"""Every refusal of the contract, one small bad input each, on the fixture `dut`.

First the commands that end in an ERR_ code: the device must be as it was, in its entries, its digest and every counter (`refuse`
in tests/helpers/rules.py). Then what is refused block by block inside an accepted command: guards, denials, saturations, releases
at 0. Bus-level refusals (R1..R5) are tested where the registers are.
"""

from __future__ import annotations

import pytest

from kvfpga.contract.commands import (
    Evict,
    Hot,
    Load,
    Lookup,
    Prefetch,
    Release,
    ReleaseIndex,
    Result,
    Set,
    Share,
    ShareIndex,
    Step,
    Touch,
    Unload,
    UnloadRequest,
)
from tests.helpers.rules import (
    VA,
    changes,
    eager,
    entry,
    evicted,
    load,
    ok,
    prefetched,
    put,
    quiet,
    refuse,
    share_by_index,
    show,
    slot,
    va,
)  # fmt: skip

MAX64 = 1 << 64


def prefetch_now(addr: int, length: int) -> Prefetch:
    return Prefetch(addr, length, 0)


RANGE_COMMANDS = pytest.mark.parametrize(
    "kind", [Hot, Evict, prefetch_now, Share, Release, Unload], ids=lambda kind: kind.__name__.lower()
)


@pytest.fixture
def busy(dut):
    """`dut` at step 100 with blocks in all four tiers: 0..3 plain (index = tier), 4 shared, 5 pinned, 6 armed."""
    quiet(dut)
    ok(dut, Step(100))
    for n, tier in enumerate((0, 1, 2, 3, 1, 1, 2)):
        load(dut, n, tier=tier)
    share_by_index(dut, 4)
    ok(dut, Hot(va(dut, 5), 1))
    ok(dut, Prefetch(va(dut, 6), 1, 900))
    return dut


# ---- ERR_LEN ---------------------------------------------------------------------------------------------------------
@RANGE_COMMANDS
def test_r10_len_0(busy, kind):
    command = kind(VA, 0) if kind is not prefetch_now else Prefetch(VA, 0, 100)
    refuse(busy, command, "ERR_LEN")


@RANGE_COMMANDS
@pytest.mark.parametrize("addr, length", [(MAX64 - 1, 2), (VA, MAX64 - VA + 1), (MAX64 - 1, MAX64 - 1), (2, MAX64 - 1)])
def test_r10_a_range_past_the_end_of_the_address_space(busy, kind, addr, length):
    command = kind(addr, length) if kind is not prefetch_now else Prefetch(addr, length, 100)
    refuse(busy, command, "ERR_LEN")


def test_r10_len_is_judged_before_the_target_of_a_prefetch(busy):
    refuse(busy, Prefetch(VA, 0, 5), "ERR_LEN")
    refuse(busy, Prefetch(VA, 0, 1 << 32), "ERR_LEN")


# ---- ERR_NOT_FOUND ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [ShareIndex, ReleaseIndex])
def test_r10_an_index_that_was_never_loaded(busy, kind):
    refuse(busy, kind(7), "ERR_NOT_FOUND")


@pytest.mark.parametrize("kind", [ShareIndex, ReleaseIndex])
def test_r10_an_index_that_was_freed(busy, kind):
    ok(busy, Unload(va(busy, 2), 1))
    refuse(busy, kind(2), "ERR_NOT_FOUND")


@pytest.mark.parametrize("kind", [ShareIndex, ReleaseIndex])
def test_r10_an_index_beyond_the_directory(busy, kind):
    """Index 4 is valid; ENTRIES + 4 must not be taken for it."""
    for index in (busy.entries, busy.entries + 4, (1 << 16) + 4, 0xFFFF_FFFF):
        refuse(busy, kind(index), "ERR_NOT_FOUND")


# ---- ERR_EXISTS, ERR_FULL --------------------------------------------------------------------------------------------
def test_r10_a_key_that_is_there_already(busy):
    refuse(busy, Load(1, 0, 0, 32, 63, va(busy, 1)), "ERR_EXISTS")
    refuse(busy, Load(1, 0, 0, 32, 40, va(busy, 50), 3), "ERR_EXISTS")


def test_r10_a_key_may_come_back_after_its_block_went(busy):
    ok(busy, Unload(va(busy, 1), 1))
    assert load(busy, 1) == 1


def test_r10_no_free_entry(dut):
    for n in range(dut.entries):
        load(dut, n)
    refuse(dut, Load(2, 0, 0, 0, 31, VA), "ERR_FULL")
    refuse(dut, Load(2, 0, 0, 0, 31, VA, 3), "ERR_FULL")
    ok(dut, Unload(va(dut, 77), 1))
    assert load(dut, 0, request=2) == 77


def test_r10_in_a_full_directory_the_key_is_judged_first(dut):
    for n in range(dut.entries):
        load(dut, n)
    refuse(dut, Load(1, 0, 0, 0, 31, VA), "ERR_EXISTS")
    refuse(dut, Load(1, 0, 0, 1, 31, VA), "ERR_RANGE")


# ---- ERR_RANGE -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start, end", [(1, 31), (16, 31), (31, 31), (33, 64), (0xFFFF_FFFF, 0xFFFF_FFFF)])
def test_r10_token_start_is_not_a_multiple_of_block_tokens(busy, start, end):
    refuse(busy, Load(9, 0, 0, start, end, VA), "ERR_RANGE")


@pytest.mark.parametrize(
    "start, end", [(32, 31), (32, 0), (32, 64), (0, 32), (0, 0xFFFF_FFFF), (0xFFFF_FFE0, 0), (0xFFFF_FFE0, 0xFFFF_FFDF)]
)
def test_r10_token_end_lies_outside_the_block(busy, start, end):
    refuse(busy, Load(9, 0, 0, start, end, VA), "ERR_RANGE")


@pytest.mark.parametrize("tier", [4, 5, 0x8000_0001, 0xFFFF_FFFF])
def test_r11_there_are_four_tiers(busy, tier):
    refuse(busy, Load(9, 0, 0, 0, 31, VA, tier), "ERR_RANGE")


def test_r10_range_is_judged_before_the_key(busy):
    refuse(busy, Load(1, 0, 0, 32, 64, VA), "ERR_RANGE")
    refuse(busy, Load(1, 0, 0, 32, 63, VA, 4), "ERR_RANGE")


@pytest.mark.parametrize("step", [1 << 32, (1 << 32) + 101, (1 << 64) - 1])
def test_r6_steps_are_32_bits(busy, step):
    refuse(busy, Step(step), "ERR_RANGE")
    refuse(busy, Prefetch(VA, 1, step), "ERR_RANGE")


@pytest.mark.parametrize("request_id", [0x1_0000, 0x1_0001, 0xFFFF_FFFF])
def test_r21_request_ids_are_16_bits(busy, request_id):
    refuse(busy, UnloadRequest(request_id), "ERR_RANGE")


def behaves_as_after_reset(dut) -> None:
    """Weights, W, thresholds, EVICT_TIER, T1_CAPACITY and TIER_BASE1/2 of R6, all seen in what two blocks do."""
    assert show(dut, load(dut, 0, request=0), "priority", "tier", "phys_addr") == (51766, 1, slot(dut, 1, 0))
    assert show(dut, load(dut, 1, request=1), "priority", "tier", "phys_addr") == (766, 1, slot(dut, 1, 1))
    assert ok(dut, Step(1)).triggers == (evicted(1),)
    assert show(dut, 1, "tier", "phys_addr") == (2, slot(dut, 2, 1))


@pytest.mark.parametrize("name", ["WEIGHT_R", "WEIGHT_F", "WEIGHT_S", "WEIGHT_D"])
@pytest.mark.parametrize("value", [256, 257, 1 << 32, (1 << 32) + 7, MAX64 - 1])
def test_r6_weights_are_8_bits_and_never_cut(dut, name, value):
    refuse(dut, Set(name, value), "ERR_RANGE")
    behaves_as_after_reset(dut)


@pytest.mark.parametrize("value", [256, 259, 0xFFFF_FF00])
def test_r6_the_window_is_8_bits_and_never_cut(dut, value):
    refuse(dut, Set("WINDOW", value), "ERR_RANGE")
    behaves_as_after_reset(dut)


@pytest.mark.parametrize("name", ["EVICT_THRESH", "PREFETCH_THRESH"])
@pytest.mark.parametrize("value", [0x1_0000, 0x1_0001, 1 << 32, MAX64 - 1])
def test_r6_thresholds_are_16_bits_and_never_cut(dut, name, value):
    refuse(dut, Set(name, value), "ERR_RANGE")
    behaves_as_after_reset(dut)


@pytest.mark.parametrize("value", [0, 1, 4, 6, 0xFFFF_FFFE])
def test_r16_evict_tier_is_2_or_3(dut, value):
    refuse(dut, Set("EVICT_TIER", value), "ERR_RANGE")
    behaves_as_after_reset(dut)


def test_t1_capacity_is_entries_at_most(dut):
    put(dut, T1_CAPACITY=1)
    for value in (dut.entries + 1, (1 << 17), 0xFFFF_FFFF):
        refuse(dut, Set("T1_CAPACITY", value), "ERR_RANGE")
    assert [show(dut, load(dut, n), "tier") for n in range(2)] == [(1,), (2,)]
    put(dut, T1_CAPACITY=dut.entries)


@pytest.mark.parametrize("value", [2, 3, 0xFFFF_FFFF])
def test_r3_contend_policy_is_0_or_1(dut, value):
    refuse(dut, Set("CONTEND_POLICY", value), "ERR_RANGE")


@pytest.mark.parametrize("tier", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [1, 64, 8192, 16383, 16385, MAX64 - 1])
def test_section2_tier_base_is_a_multiple_of_block_bytes(dut, tier, value):
    refuse(dut, Set(f"TIER_BASE{tier}", value), "ERR_RANGE")
    assert show(dut, load(dut, 0, tier=tier), "phys_addr") == (slot(dut, tier, 0),)


# ---- ERR_STEP_ORDER --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("step", [0, 1, 99])
def test_r10_a_step_below_t(busy, step):
    refuse(busy, Step(step), "ERR_STEP_ORDER")


@pytest.mark.parametrize("target", [0, 1, 99])
def test_r10_a_prefetch_target_below_t(busy, target):
    refuse(busy, Prefetch(VA, 1 << 20, target), "ERR_STEP_ORDER")


def test_r10_a_prefetch_target_below_t_that_would_match_nothing(busy):
    refuse(busy, Prefetch(0, 1, 99), "ERR_STEP_ORDER")


# ---- ERR_NOT_EMPTY ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [2, 3])
def test_r16_evict_tier_stays_while_the_directory_holds_a_block(dut, value):
    load(dut, 0, tier=0)
    refuse(dut, Set("EVICT_TIER", value), "ERR_NOT_EMPTY")


def test_r16_evict_tier_was_not_changed_by_the_refused_write(dut):
    load(dut, 0)
    refuse(dut, Set("EVICT_TIER", 3), "ERR_NOT_EMPTY")
    assert ok(dut, Step(1)).triggers == (evicted(0, to=2),)


@pytest.mark.parametrize("tier", [0, 1, 2, 3])
def test_section2_tier_base_stays_while_the_directory_holds_a_block(dut, tier):
    load(dut, 0, tier=tier)
    refuse(dut, Set(f"TIER_BASE{tier}", 1 << 40), "ERR_NOT_EMPTY")
    refuse(dut, Set(f"TIER_BASE{tier}", slot(dut, tier, 0)), "ERR_NOT_EMPTY")
    assert show(dut, 0, "phys_addr") == (slot(dut, tier, 0),)


def test_the_value_is_judged_before_the_directory(dut):
    load(dut, 0)
    refuse(dut, Set("EVICT_TIER", 1), "ERR_RANGE")
    refuse(dut, Set("TIER_BASE1", 1), "ERR_RANGE")


# ---- the guard: a shared block in use --------------------------------------------------------------------------------
def test_r15_step_does_not_evict_a_shared_block_in_use(dut):
    put(dut, WEIGHT_D=0)
    share_by_index(dut, load(dut, 0))
    load(dut, 1)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(1),)
    assert rose["guards"] == 1 and show(dut, 0, "tier") == (1,)


@pytest.mark.parametrize("tier", [0, 1, 2, 3])
def test_r18_evict_refuses_a_shared_block_in_use_but_unpins_it(dut, tier):
    """Shared by now, so its new score has the 51000 of the prefix."""
    load(dut, 0, tier=tier)
    ok(dut, Hot(VA, 1))
    share_by_index(dut, 0)
    result, rose = changes(dut, Evict(VA, 1))
    assert result == Result("OK", matched=1)
    assert rose == {"evict_count": 1, "guards": 1}
    assert show(dut, 0, "tier", "pinned", "priority") == (tier, False, 51766)


def test_r18_a_guard_does_not_hold_up_the_others(dut):
    for n in range(3):
        load(dut, n)
    share_by_index(dut, 1)
    result, rose = changes(dut, Evict(VA, 3 * dut.block_bytes))
    assert result == Result("OK", 3, None, (evicted(0), evicted(2))) and rose["guards"] == 1


@pytest.mark.parametrize("command", [Unload(VA, 1 << 20), UnloadRequest(1)], ids=["range", "request"])
def test_r21_unload_keeps_a_shared_block_in_use(dut, command):
    for n in range(3):
        load(dut, n)
    share_by_index(dut, 1)
    kept = entry(dut, 1)
    result, rose = changes(dut, command)
    assert result == Result("OK", matched=3)
    assert rose == {"guards": 1, "t1_used": -2, "valid_entries": -2}
    assert dut.dump() == [kept]
    ok(dut, ReleaseIndex(1))
    assert ok(dut, command).matched == 1 and dut.dump() == []


def test_r21_a_guarded_block_keeps_its_key(dut):
    load(dut, 0)
    share_by_index(dut, 0)
    ok(dut, UnloadRequest(1))
    assert ok(dut, Lookup(1, 0, 0, 0)).index == 0
    refuse(dut, Load(1, 0, 0, 0, 31, VA), "ERR_EXISTS")


def test_a_reference_without_a_share_is_none(dut):
    """prefix alone, as request 0 has it, guards nothing."""
    load(dut, 0, request=0)
    assert changes(dut, Evict(VA, 1))[0].triggers == (evicted(0),)
    assert ok(dut, UnloadRequest(0)).matched == 1 and dut.dump() == []


# ---- denials: tier 1 is full -----------------------------------------------------------------------------------------
def full_t1(dut) -> None:
    """Block 0 takes the only place; block 1 in tier 2, block 2 in tier 3."""
    put(dut, T1_CAPACITY=1)
    quiet(dut)
    for n in range(3):
        load(dut, n, tier=1 + n)


@pytest.mark.parametrize("n", [1, 2])
def test_r16_a_touch_is_denied(dut, n):
    full_t1(dut)
    tier = 1 + n
    result, rose = changes(dut, Touch(1, 0, 0, 32 * n))
    assert result == Result("OK", 1, n, (), tier, slot(dut, tier, n))
    assert rose == {f"hits_t{tier}": 1, "denials": 1}
    assert show(dut, n, "tier", "F", "armed", "inflight", "dirty") == (tier, 2, False, False, True)


def test_r16_a_touch_that_is_denied_leaves_armed(dut):
    full_t1(dut)
    ok(dut, Prefetch(va(dut, 1), 1, 900))
    ok(dut, Touch(1, 0, 0, 32))
    assert show(dut, 1, "armed", "tier") == (True, 2)


def test_r16_a_prefetch_is_denied_and_stays_armed(dut):
    full_t1(dut)
    result, rose = changes(dut, Prefetch(va(dut, 1), 2 * dut.block_bytes, 10))
    assert result == Result("OK", matched=2)
    assert rose["denials"] == 2 and "prefetch_triggers" not in rose
    assert [(e["tier"], e["armed"], e["access_step"]) for e in dut.dump()[1:]] == [(2, True, 10), (3, True, 10)]
    ok(dut, Unload(VA, 1))
    assert ok(dut, Step(1)).triggers == (prefetched(1),)
    assert [e["armed"] for e in dut.dump()] == [False, True]


def test_r16_a_step_is_denied_once_per_block(dut):
    full_t1(dut)
    put(dut, PREFETCH_THRESH=0)
    result, rose = changes(dut, Step(1))
    assert result.triggers == () and rose["denials"] == 2
    assert [e["tier"] for e in dut.dump()] == [1, 2, 3]


def test_r16_a_block_evicted_by_a_later_index_is_too_late(dut):
    put(dut, T1_CAPACITY=1)
    eager(dut)
    load(dut, 0, tier=2)
    load(dut, 1)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(1),) and rose["denials"] == 1


# ---- saturation, release at 0 ----------------------------------------------------------------------------------------
def test_r20_share_saturates_at_255(dut):
    load(dut, 0)
    share_by_index(dut, 0, times=255)
    assert show(dut, 0, "ref_count") == (255,) and dut.telemetry()["saturations"] == 0
    for command in (ShareIndex(0), Share(VA, 1)):
        result, rose = changes(dut, command)
        assert result == Result("OK", matched=1)
        assert rose["saturations"] == 1 and rose["share_count"] == 1
        assert show(dut, 0, "ref_count", "prefix") == (255, True)


def test_r20_a_saturated_block_does_not_hold_up_the_others(dut):
    load(dut, 0)
    load(dut, 1)
    share_by_index(dut, 0, times=255)
    result, rose = changes(dut, Share(VA, 2 * dut.block_bytes))
    assert result.matched == 2 and rose["saturations"] == 1
    assert [e["ref_count"] for e in dut.dump()] == [255, 1]


@pytest.mark.parametrize("command", [Release(VA, 1), ReleaseIndex(0)], ids=["range", "index"])
def test_r20_release_at_0_is_refused_and_counted(dut, command):
    load(dut, 0, request=0)
    before = dut.dump()
    result, rose = changes(dut, command)
    assert result == Result("OK", matched=1)
    assert rose == {"release_refusals": 1}
    assert dut.dump() == before


def test_r20_release_at_0_does_not_hold_up_the_others(dut):
    for n in range(3):
        load(dut, n)
    share_by_index(dut, 1)
    result, rose = changes(dut, Release(VA, 3 * dut.block_bytes))
    assert result.matched == 3 and rose == {"release_refusals": 2}
    assert [(e["ref_count"], e["prefix"]) for e in dut.dump()] == [(0, False), (0, True), (0, False)]
