"""Every rule of the contract that commands can show (R6, R10..R22, R23, R24), by name, on the fixture `dut`.

The expected numbers are worked out by hand from the contract's text. With the reset values an unshared block scores
P = 1*255 + 1*1 + 2*255 = 766 when loaded, a shared one 200*255 = 51000 more; a STEP(1) later 254 + 1 + 508 = 763.
Refusals are in test_refusals.py.
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
    counters,
    eager,
    entry,
    evicted,
    load,
    ok,
    prefetched,
    put,
    quiet,
    share_by_index,
    show,
    slot,
    va,
)  # fmt: skip

MAX64 = 1 << 64


# ---- R6: reset values ------------------------------------------------------------------------------------------------
def test_r6_nothing_is_loaded_and_nothing_is_counted(dut):
    assert dut.dump() == []
    assert set(counters(dut).values()) == {0}
    assert dut.digest(0, dut.entries) == 0


@pytest.mark.parametrize("request_id, priority", [(1, 766), (0, 51766)])
def test_r6_weights_and_window(dut, request_id, priority):
    """W_R=1 W_F=1 W_S=2 W_D=200 W=255, seen in the score of a new block."""
    assert show(dut, load(dut, 0, request_id), "priority") == (priority,)


def test_r6_evict_threshold_is_0x1000(dut):
    """With W_D=16 a shared block scores 4080 + 255-k + 1 + 2*(255-k) at step k: 4096 at k=250, then 4093."""
    put(dut, WEIGHT_D=16)
    load(dut, 0, request=0)
    for step in range(1, 251):
        assert ok(dut, Step(step)).triggers == ()
    assert show(dut, 0, "priority") == (4096,)
    assert ok(dut, Step(251)).triggers == (evicted(0),)


@pytest.mark.parametrize("weight_f, triggers", [(224, ()), (225, (prefetched(0),))])
def test_r6_prefetch_threshold_is_0xe000(dut, weight_f, triggers):
    """A shared block with W_D=224, W_R=W_S=0 and F=1 scores 57120 + W_F: 0xE000 exactly, or one more."""
    put(dut, WEIGHT_D=224, WEIGHT_R=0, WEIGHT_S=0, WEIGHT_F=weight_f)
    load(dut, 0, request=0, tier=2)
    assert ok(dut, Step(1)).triggers == triggers


def test_r6_t1_capacity_is_entries(dut):
    for n in range(dut.entries):
        load(dut, n)
    assert dut.telemetry()["t1_used"] == dut.entries
    assert all(e["tier"] == 1 for e in dut.dump())


def test_r6_evict_tier_is_2(dut):
    load(dut, 0)
    assert ok(dut, Step(1)).triggers == (evicted(0, to=2),)


# ---- R10: what is not an error ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [Hot, Evict, Share, Release, Unload])
def test_r10_a_range_that_matches_nothing_is_not_an_error(dut, kind):
    load(dut, 0)
    before = dut.dump()
    assert dut.execute(kind(VA - 4096, 4096)) == Result("OK", matched=0)
    assert dut.dump() == before


def test_r10_a_prefetch_that_matches_nothing_is_not_an_error(dut):
    assert dut.execute(Prefetch(VA, 1, 5)) == Result("OK", matched=0)


def test_r10_unload_of_a_request_without_blocks_is_not_an_error(dut):
    load(dut, 0, request=1)
    assert dut.execute(UnloadRequest(2)) == Result("OK", matched=0)


def test_r10_a_lookup_that_finds_nothing_is_a_miss(dut):
    assert dut.execute(Lookup(1, 0, 0, 0)) == Result("OK", matched=0)


@pytest.mark.parametrize("kind", [Hot, Evict, Share, Release, Unload])
def test_r10_a_range_may_end_at_the_end_of_the_address_space(dut, kind):
    load(dut, 0, address=MAX64 - dut.block_bytes)
    assert ok(dut, kind(MAX64 - 1, 1)).matched == 1


def test_r10_a_range_over_the_whole_address_space_but_one_byte(dut):
    load(dut, 0, address=0)
    load(dut, 1, address=MAX64 - 1)
    assert ok(dut, Hot(0, MAX64 - 1)).matched == 1
    assert ok(dut, Hot(1, MAX64 - 1)).matched == 2


def test_r10_a_step_may_repeat_the_current_one(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(7))
    assert ok(dut, Step(7)).matched == 1
    assert show(dut, 0, "R") == (253,)
    assert dut.telemetry()["step_count"] == 2


def test_r10_a_prefetch_target_may_be_the_current_step(dut):
    load(dut, 0, tier=2)
    assert ok(dut, Prefetch(VA, 1, 0)).triggers == (prefetched(0),)


def test_r10_the_last_step_there_is(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(0xFFFF_FFFF))
    assert dut.telemetry()["current_step"] == 0xFFFF_FFFF
    ok(dut, Hot(VA, 1))
    assert show(dut, 0, "access_step", "priority") == (0xFFFF_FFFF, 0xFFFF)


# ---- contract section 4: which blocks a range selects ----------------------------------------------------------------
@pytest.mark.parametrize(
    "offset, length, matched",
    [(0, 1, 1), (-1, 1, 0), (-1, 2, 1), (16383, 1, 1), (16384, 1, 0), (16384, 1 << 40, 0), (-(1 << 40), 1 << 40, 0),
     (-(1 << 40), (1 << 40) + 1, 1), (100, 200, 1), (-5, 20000, 1)],
)  # fmt: skip
def test_section4_a_range_matches_a_block_that_it_overlaps(dut, offset, length, matched):
    assert dut.block_bytes == 16384
    load(dut, 0)
    assert ok(dut, Hot(VA + offset, length)).matched == matched


def test_section4_both_halves_of_an_address_count(dut):
    """Blocks and ranges on both sides of multiples of 2^32, where the lower words alone tell the opposite."""
    blocks = [0x7000_0000, 1 << 32, 0x1_8000_0000, (2 << 32) - dut.block_bytes, 2 << 32, 0x2_4000_0000]
    for n, address in enumerate(blocks):
        load(dut, n, address=address)
    for start in [address + shift for address in blocks for shift in (-1, 0, dut.block_bytes - 1, dut.block_bytes)]:
        for length in (1, 2, 1 << 31, 1 << 32, (1 << 32) + 1):
            overlapping = sum(start < address + dut.block_bytes and address < start + length for address in blocks)
            assert ok(dut, Hot(start, length)).matched == overlapping, f"{start:#x} {length:#x}"


def test_section4_a_range_over_several_blocks(dut):
    for n in range(5):
        load(dut, n)
    assert ok(dut, Hot(va(dut, 1) + 5, 2 * dut.block_bytes)).matched == 3
    assert [e["pinned"] for e in dut.dump()] == [False, True, True, True, False]


def test_section4_a_block_at_the_end_of_the_address_space_does_not_wrap(dut):
    load(dut, 0, address=MAX64 - 4096)
    assert ok(dut, Hot(0, 8192)).matched == 0
    assert ok(dut, Hot(MAX64 - 1, 1)).matched == 1
    assert ok(dut, Hot(MAX64 - 8192, 4096)).matched == 0


def test_section4_blocks_may_share_an_address_and_need_no_alignment(dut):
    load(dut, 0, address=VA + 1)
    load(dut, 1, address=VA + 1)
    load(dut, 2, address=VA + 2)
    assert ok(dut, Hot(VA, 2)).matched == 2


def test_section4_a_freed_block_is_not_matched(dut):
    load(dut, 0)
    load(dut, 1, address=0)
    ok(dut, Unload(0, 1))
    assert ok(dut, Hot(0, MAX64 - 1)).matched == 1


# ---- R11: LOAD -------------------------------------------------------------------------------------------------------
def test_r11_every_field_of_a_new_entry(dut):
    quiet(dut)
    ok(dut, Step(9))
    result = dut.execute(Load(0xA001, 12, 3, 64, 70, 0x7F0D000))
    assert result == Result("OK", matched=1, index=0)
    assert dut.dump() == [{
        "index": 0, "request_id": 0xA001, "layer": 12, "head": 3, "token_start": 64, "token_end": 70, "tier": 1,
        "phys_addr": slot(dut, 1, 0), "va": 0x7F0D000, "priority": 766, "access_step": 9, "ref_count": 0,
        "prefix": False, "dirty": True, "R": 255, "F": 1, "pinned": False, "inflight": False, "armed": False,
        "class": 0, "order": 0,
    }]  # fmt: skip


def test_r11_the_widest_key_and_address(dut):
    ok(dut, Load(0xFFFF, 0xFF, 0xFF, 0xFFFF_FFE0, 0xFFFF_FFFF, MAX64 - 1))
    names = ("request_id", "layer", "head", "token_start", "token_end", "va")
    assert show(dut, 0, *names) == (0xFFFF, 0xFF, 0xFF, 0xFFFF_FFE0, 0xFFFF_FFFF, MAX64 - 1)
    assert ok(dut, Lookup(0xFFFF, 0xFF, 0xFF, 0xFFFF_FFFF)).index == 0


@pytest.mark.parametrize("token_end", [32, 40, 63])
def test_r11_token_end_lies_inside_the_block(dut, token_end):
    ok(dut, Load(1, 0, 0, 32, token_end, VA))
    assert show(dut, 0, "token_end") == (token_end,)


def test_r11_request_0_is_the_shared_prefix(dut):
    load(dut, 0, request=0)
    assert show(dut, 0, "request_id", "prefix", "ref_count", "priority") == (0, True, 0, 51766)


def test_r11_takes_the_lowest_free_index(dut):
    assert [load(dut, n) for n in range(6)] == [0, 1, 2, 3, 4, 5]
    for n in (4, 1, 2):
        ok(dut, Unload(va(dut, n), 1))
    assert [load(dut, n) for n in range(6, 11)] == [1, 2, 4, 6, 7]


def test_r11_takes_the_lowest_free_index_after_the_highest_went(dut):
    for n in range(4):
        load(dut, n)
    ok(dut, Unload(va(dut, 2), 2 * dut.block_bytes))
    assert load(dut, 9) == 2


@pytest.mark.parametrize("tier, t1_used", [(0, 0), (1, 1), (2, 0), (3, 0)])
def test_r11_the_tier_that_is_asked_for(dut, tier, t1_used):
    load(dut, 0, tier=tier)
    assert show(dut, 0, "tier", "phys_addr", "dirty") == (tier, slot(dut, tier, 0), True)
    assert dut.telemetry()["t1_used"] == t1_used


@pytest.mark.parametrize("evict_tier", [2, 3])
def test_r11_a_full_t1_turns_tier_1_into_evict_tier(dut, evict_tier):
    put(dut, EVICT_TIER=evict_tier, T1_CAPACITY=1)
    load(dut, 0)
    load(dut, 1)
    assert [e["tier"] for e in dut.dump()] == [1, evict_tier]
    assert counters(dut)["t1_used"] == 1 and counters(dut)["denials"] == 0


def test_r11_a_full_t1_does_not_bend_other_tiers(dut):
    put(dut, T1_CAPACITY=0, EVICT_TIER=2)
    for n, tier in enumerate((0, 3, 2)):
        load(dut, n, tier=tier)
    assert [e["tier"] for e in dut.dump()] == [0, 3, 2]


def test_r11_t1_is_full_when_the_capacity_was_lowered_below_its_use(dut):
    load(dut, 0)
    load(dut, 1)
    put(dut, T1_CAPACITY=1)
    assert show(dut, load(dut, 2), "tier") == (2,)
    ok(dut, Unload(va(dut, 0), 1))
    assert show(dut, load(dut, 3), "tier") == (2,)
    ok(dut, Unload(va(dut, 1), 1))
    assert show(dut, load(dut, 4), "tier") == (1,)


def test_r11_keys_differ_by_each_part(dut):
    keys = [(1, 2, 3, 32), (2, 2, 3, 32), (1, 3, 3, 32), (1, 2, 4, 32), (1, 2, 3, 64)]
    for n, (*key, start) in enumerate(keys):
        ok(dut, Load(*key, start, start, va(dut, n)))
    assert [ok(dut, Lookup(*key)).index for key in keys] == [0, 1, 2, 3, 4]


def test_r11_any_keys_are_accepted_until_all_entries_are_in_use(dut):
    """Keys that differ in token_start alone, a poor choice for most hashes."""
    for n in range(dut.entries):
        ok(dut, Load(1, 0, 0, n << 16, n << 16, va(dut, n), 2))
    assert [ok(dut, Lookup(1, 0, 0, n << 16)).index for n in range(dut.entries)] == list(range(dut.entries))


# ---- R12: LOOKUP -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("position", [64, 65, 80, 95])
def test_r12_the_position_is_rounded_down_to_the_block(dut, position):
    load(dut, 2, request=7, layer=1, head=5)
    expected = Result("OK", matched=1, index=0, tier=1, phys_addr=slot(dut, 1, 0))
    assert dut.execute(Lookup(7, 1, 5, position)) == expected


def test_r12_the_key_counts_and_not_token_end(dut):
    ok(dut, Load(1, 0, 0, 64, 70, VA))
    assert ok(dut, Lookup(1, 0, 0, 90)).index == 0


@pytest.mark.parametrize("key", [(7, 1, 5, 63), (7, 1, 5, 96), (8, 1, 5, 64), (7, 2, 5, 64), (7, 1, 4, 64)])
def test_r12_another_key_is_a_miss(dut, key):
    load(dut, 2, request=7, layer=1, head=5)
    assert dut.execute(Lookup(*key)) == Result("OK", matched=0)
    assert dut.telemetry()["misses"] == 1


def test_r12_a_miss_tries_the_shared_prefix(dut):
    load(dut, 0, request=0)
    load(dut, 1, request=5)
    assert ok(dut, Lookup(5, 0, 0, 31)).index == 0
    assert ok(dut, Lookup(0, 0, 0, 31)).index == 0
    assert ok(dut, Lookup(0, 0, 0, 32)).matched == 0


def test_r12_the_shared_prefix_must_fit_in_layer_head_and_position(dut):
    load(dut, 0, request=0, layer=1, head=1)
    assert [ok(dut, Lookup(5, *rest)).matched for rest in [(1, 1, 0), (1, 2, 0), (2, 1, 0), (1, 1, 32)]] == [1, 0, 0, 0]


def test_r12_a_block_of_its_own_comes_before_the_shared_one(dut):
    load(dut, 0, request=0)
    ok(dut, Load(5, 0, 0, 0, 31, VA))
    assert ok(dut, Lookup(5, 0, 0, 0)).index == 1


def test_r12_reads_only_but_counts(dut):
    for n, tier in enumerate((0, 1, 2, 3, 3)):
        load(dut, n, tier=tier)
    before = dut.dump()
    found = [ok(dut, Lookup(1, 0, 0, 32 * n)) for n in range(6)]
    assert [(r.matched, r.tier) for r in found] == [(1, 0), (1, 1), (1, 2), (1, 3), (1, 3), (0, None)]
    assert all(r.triggers == () for r in found)
    assert dut.dump() == before
    t = dut.telemetry()
    assert [t[name] for name in ("hits_t0", "hits_t1", "hits_t2", "hits_t3", "misses")] == [1, 1, 1, 2, 1]


def test_r12_a_freed_key_is_a_miss_and_a_reloaded_one_is_found(dut):
    load(dut, 0)
    load(dut, 1)
    ok(dut, Unload(VA, 1))
    assert ok(dut, Lookup(1, 0, 0, 0)).matched == 0
    assert load(dut, 5) == 0
    assert ok(dut, Lookup(1, 0, 0, 160)).index == 0


def test_r12_keys_of_one_hash_bucket_survive_each_others_removal(dut):
    for n in range(64):
        ok(dut, Load(1, 0, 0, n << 20, n << 20, va(dut, n)))
    for n in range(0, 64, 2):
        ok(dut, Unload(va(dut, n), 1))
    assert [ok(dut, Lookup(1, 0, 0, n << 20)).index for n in range(64)] == [n if n % 2 else None for n in range(64)]


# ---- R13: TOUCH ------------------------------------------------------------------------------------------------------
def test_r13_an_access_refreshes_the_block(dut):
    """t=3: R back to 255, F=2, d=0: 255 + 2 + 510 = 767."""
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(3))
    assert show(dut, 0, "R", "F", "access_step", "priority") == (254, 1, 0, 254 + 1 + 2 * 252)
    assert dut.execute(Touch(1, 0, 0, 5)) == Result("OK", 1, 0, (), 1, slot(dut, 1, 0))
    assert show(dut, 0, "R", "F", "access_step", "priority") == (255, 2, 3, 767)


def test_r13_a_miss_touches_nothing(dut):
    load(dut, 0)
    before = dut.dump()
    assert dut.execute(Touch(1, 0, 0, 32)) == Result("OK", matched=0)
    assert dut.dump() == before and dut.telemetry()["misses"] == 1


def test_r13_f_stops_at_255(dut):
    load(dut, 0)
    for _ in range(256):
        ok(dut, Touch(1, 0, 0, 0))
    assert show(dut, 0, "F", "priority") == (255, 255 + 255 + 510)
    assert dut.telemetry()["hits_t1"] == 256


def test_r13_touches_the_shared_block_that_it_fell_back_to(dut):
    load(dut, 0, request=0)
    assert ok(dut, Touch(9, 0, 0, 0)).index == 0
    assert show(dut, 0, "F", "request_id") == (2, 0)


def test_r13_a_pinned_block_stays_pinned(dut):
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Touch(1, 0, 0, 0))
    assert show(dut, 0, "pinned", "priority", "F") == (True, 0xFFFF, 2)


@pytest.mark.parametrize("tier, dirty", [(2, False), (3, True)])
def test_r13_a_block_in_tier_2_or_3_is_prefetched_on_demand(dut, tier, dirty):
    load(dut, 0, tier=tier)
    result, rose = changes(dut, Touch(1, 0, 0, 0))
    assert result == Result("OK", 1, 0, (prefetched(0, tier),), tier, slot(dut, tier, 0))
    assert show(dut, 0, "tier", "phys_addr", "dirty", "inflight") == (1, slot(dut, 1, 0), dirty, False)
    assert rose == {
        f"hits_t{tier}": 1, "t1_used": 1, "prefetch_triggers": 1, "prefetch_completions": 1,
        "prefetch_bytes": dut.block_bytes,
    }  # fmt: skip


@pytest.mark.parametrize("tier", [0, 1])
def test_r13_a_block_in_tier_0_or_1_stays(dut, tier):
    load(dut, 0, tier=tier)
    result, rose = changes(dut, Touch(1, 0, 0, 0))
    assert result.triggers == () and rose == {f"hits_t{tier}": 1}


def test_r13_a_granted_prefetch_disarms(dut):
    load(dut, 0, tier=2)
    ok(dut, Prefetch(VA, 1, 1000))
    assert show(dut, 0, "armed", "tier") == (True, 2)
    ok(dut, Touch(1, 0, 0, 0))
    assert show(dut, 0, "armed", "tier", "access_step") == (False, 1, 0)


# ---- R14: score ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "r, f, s, d, request_id, priority",
    [(1, 0, 0, 0, 1, 255), (0, 1, 0, 0, 1, 1), (0, 0, 1, 0, 1, 255), (0, 0, 0, 1, 1, 0), (0, 0, 0, 1, 0, 255),
     (0, 0, 0, 255, 0, 65025), (48, 16, 128, 64, 1, 44896), (48, 16, 128, 64, 0, 61216), (0, 0, 0, 0, 0, 0),
     (255, 255, 255, 255, 1, 64769), (255, 255, 255, 255, 0, 64258), (1, 1, 0, 255, 0, 65281)],
)  # fmt: skip
def test_r14_weights_and_wrap(dut, r, f, s, d, request_id, priority):
    """A new block has R=255, F=1, S=255 and D=0 or 255. 255*(255+1+255) = 130305 = 65536 + 64769, and with D 195330."""
    put(dut, WEIGHT_R=r, WEIGHT_F=f, WEIGHT_S=s, WEIGHT_D=d)
    assert show(dut, load(dut, 0, request_id), "priority") == (priority,)


@pytest.mark.parametrize(
    "window, step, s",
    [(255, 0, 255), (255, 1, 254), (255, 254, 1), (255, 255, 0), (255, 256, 0), (10, 3, 7), (10, 10, 0), (10, 5000, 0),
     (0, 0, 0), (0, 1, 0)],
)  # fmt: skip
def test_r14_s_falls_with_the_distance_after_the_access(dut, window, step, s):
    quiet(dut)
    put(dut, WINDOW=window, WEIGHT_R=0, WEIGHT_F=0, WEIGHT_S=1)
    load(dut, 0)
    ok(dut, Step(step))
    assert show(dut, 0, "priority") == (s,)


@pytest.mark.parametrize("target, s", [(0, 255), (1, 254), (254, 1), (255, 0), (256, 0), (0xFFFF_FFFF, 0)])
def test_r14_s_rises_as_t_nears_a_future_access(dut, target, s):
    put(dut, WEIGHT_R=0, WEIGHT_F=0, WEIGHT_S=1)
    load(dut, 0)
    ok(dut, Prefetch(VA, 1, target))
    assert show(dut, 0, "priority", "access_step") == (s, target)


def test_r14_distances_beyond_31_bits(dut):
    """d = 0xFFFFFFFF both ways round: far, not near."""
    quiet(dut)
    put(dut, WEIGHT_R=0, WEIGHT_F=0, WEIGHT_S=1)
    load(dut, 0)
    load(dut, 1)
    ok(dut, Prefetch(VA, 1, 0xFFFF_FFFF))
    assert show(dut, 0, "priority") == (0,)
    ok(dut, Step(0xFFFF_FFFF))
    assert [e["priority"] for e in dut.dump()] == [255, 0]


def test_r14_pinned_scores_0xffff(dut):
    quiet(dut)
    put(dut, WEIGHT_R=0, WEIGHT_F=0, WEIGHT_S=0, WEIGHT_D=0)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Step(4))
    assert show(dut, 0, "priority", "pinned", "R") == (0xFFFF, True, 254)


def test_r14_a_new_weight_shows_at_the_next_scoring(dut):
    quiet(dut)
    load(dut, 0)
    put(dut, WEIGHT_R=0)
    assert show(dut, 0, "priority") == (766,)
    ok(dut, Step(0))
    assert show(dut, 0, "priority") == (511,)


# ---- R15: STEP -------------------------------------------------------------------------------------------------------
def test_r15_sets_t_and_passes_over_the_valid_entries(dut):
    quiet(dut)
    for n in range(5):
        load(dut, n)
    ok(dut, Unload(va(dut, 1), 2 * dut.block_bytes))
    result, rose = changes(dut, Step(41))
    assert result == Result("OK", matched=3)
    assert rose == {"current_step": 41, "step_count": 1, "last_target_step": 41}
    assert [(e["index"], e["R"], e["priority"]) for e in dut.dump()] == [(n, 254, 254 + 1 + 2 * 214) for n in (0, 3, 4)]


def test_r15_on_an_empty_directory(dut):
    assert dut.execute(Step(12)) == Result("OK", matched=0)
    assert dut.telemetry()["current_step"] == 12


def test_r15_r_falls_to_0_and_stays(dut):
    quiet(dut)
    load(dut, 0)
    for step in range(1, 256):
        ok(dut, Step(step))
    assert show(dut, 0, "R", "priority") == (0, 1)
    ok(dut, Step(256))
    assert show(dut, 0, "R", "priority") == (0, 1)


def test_r15_r_falls_by_one_per_command_however_far_t_goes(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(1000))
    assert show(dut, 0, "R", "priority") == (254, 255)


def test_r15_pinned_is_cleared_more_than_w_steps_after_the_access(dut):
    """W=10, pinned at t=5: still so at 15, not at 16, when R=253, F=1, S=0."""
    quiet(dut)
    put(dut, WINDOW=10)
    ok(dut, Step(5))
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Step(15))
    assert show(dut, 0, "pinned", "priority") == (True, 0xFFFF)
    ok(dut, Step(16))
    assert show(dut, 0, "pinned", "priority") == (False, 254)


def test_r15_pinned_with_a_window_of_0(dut):
    quiet(dut)
    put(dut, WINDOW=0)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Step(0))
    assert show(dut, 0, "pinned") == (True,)
    ok(dut, Step(1))
    assert show(dut, 0, "pinned") == (False,)


def test_r15_pinned_stays_before_a_future_access(dut):
    """HOT, then a PREFETCH for step 1000: t only passes access_step + 255 at 1256."""
    quiet(dut)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Prefetch(VA, 1, 1000))
    for step, pinned in ((700, True), (1000, True), (1255, True), (1256, False)):
        ok(dut, Step(step))
        assert show(dut, 0, "pinned") == (pinned,)


@pytest.mark.parametrize("threshold, triggers", [(763, ()), (764, (evicted(0),))])
def test_r15_evicts_strictly_below_the_threshold(dut, threshold, triggers):
    put(dut, EVICT_THRESH=threshold)
    load(dut, 0)
    assert ok(dut, Step(1)).triggers == triggers
    assert show(dut, 0, "priority") == (763,)


@pytest.mark.parametrize("tier", [2, 3])
@pytest.mark.parametrize("threshold, granted", [(763, False), (762, True)])
def test_r15_prefetches_strictly_above_the_threshold(dut, tier, threshold, granted):
    put(dut, PREFETCH_THRESH=threshold)
    load(dut, 0, tier=tier)
    assert ok(dut, Step(1)).triggers == ((prefetched(0, tier),) if granted else ())
    assert show(dut, 0, "tier") == (1 if granted else tier,)


def test_r15_decides_by_the_new_pin(dut):
    """The step that clears the pin also evicts."""
    put(dut, WINDOW=10, EVICT_THRESH=0xFFFF)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    assert ok(dut, Step(10)).triggers == ()
    assert ok(dut, Step(11)).triggers == (evicted(0),)


def test_r15_a_pinned_block_in_tier_2_is_prefetched(dut):
    put(dut, PREFETCH_THRESH=0xFFFE)
    load(dut, 0, tier=2)
    assert ok(dut, Hot(VA, 1)).triggers == ()
    assert ok(dut, Step(1)).triggers == (prefetched(0),)


def test_r15_no_score_is_above_a_threshold_of_0xffff(dut):
    put(dut, PREFETCH_THRESH=0xFFFF)
    load(dut, 0, tier=2)
    ok(dut, Hot(VA, 1))
    assert ok(dut, Step(1)).triggers == ()


def test_r15_a_pinned_block_is_never_evicted_by_a_step(dut):
    put(dut, EVICT_THRESH=0xFFFF)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    assert ok(dut, Step(1)).triggers == ()


def test_r15_the_shared_prefix_without_references_may_be_evicted(dut):
    put(dut, EVICT_THRESH=0xFFFF)
    load(dut, 0, request=0)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(0),) and "guards" not in rose


def test_r15_a_guard_counts_only_where_an_eviction_was_due(dut):
    """One shared block in tier 1 below the threshold; those in tiers 0, 2 and 3 are not in question."""
    put(dut, WEIGHT_D=0)
    for n, tier in enumerate((1, 0, 2, 3)):
        share_by_index(dut, load(dut, n, tier=tier))
    result, rose = changes(dut, Step(1))
    assert result.triggers == () and rose["guards"] == 1
    put(dut, EVICT_THRESH=0)
    assert "guards" not in changes(dut, Step(2))[1]


def test_r15_an_armed_block_is_prefetched_when_s_rises_above_0(dut):
    """Target 900, W=255: S is 0 at 645 and 1 at 646, when P = 253 + 1 + 2."""
    quiet(dut)
    load(dut, 0, tier=2)
    ok(dut, Prefetch(VA, 1, 900))
    assert ok(dut, Step(645)).triggers == ()
    assert show(dut, 0, "armed", "tier") == (True, 2)
    assert ok(dut, Step(646)).triggers == (prefetched(0),)
    assert show(dut, 0, "armed", "tier", "priority", "access_step") == (False, 1, 256, 900)


def test_r15_an_armed_block_whose_window_was_jumped_over_waits(dut):
    quiet(dut)
    load(dut, 0, tier=3)
    ok(dut, Prefetch(VA, 1, 900))
    assert ok(dut, Step(1155)).triggers == ()
    assert show(dut, 0, "armed", "tier") == (True, 3)


def test_r15_near_but_not_armed_is_no_reason_to_prefetch(dut):
    quiet(dut)
    load(dut, 0, tier=2)
    assert ok(dut, Step(1)).triggers == ()


def test_r15_tier_0_never_moves(dut):
    eager(dut)
    load(dut, 0, tier=0)
    ok(dut, Prefetch(VA, 1, 1))
    assert ok(dut, Step(1)).triggers == ()
    assert show(dut, 0, "tier", "armed", "R") == (0, True, 254)


def test_r15_triggers_come_in_index_order_over_both_channels(dut):
    eager(dut)
    for n, tier in enumerate((1, 2, 3, 1, 0, 2, 1)):
        load(dut, n, tier=tier)
    expected = (evicted(0), prefetched(1), prefetched(2, 3), evicted(3), prefetched(5), evicted(6))
    assert ok(dut, Step(1)).triggers == expected
    assert [e["tier"] for e in dut.dump()] == [2, 1, 1, 2, 0, 1, 2]


# ---- R16: triggers, DMA ----------------------------------------------------------------------------------------------
def pattern(dut, seed: int) -> bytes:
    return bytes((i * 7 + i // 251 + seed) % 256 for i in range(dut.block_bytes))


def test_r16_an_eviction_moves_a_dirty_block_whole(dut):
    load(dut, 0)
    load(dut, 1)
    dut.memory_write(slot(dut, 1, 1), pattern(dut, 3))
    result, rose = changes(dut, Evict(va(dut, 1), 1))
    assert result.triggers == (evicted(1),)
    assert show(dut, 1, "tier", "phys_addr", "dirty", "inflight") == (2, slot(dut, 2, 1), False, False)
    assert dut.memory_read(slot(dut, 2, 1), dut.block_bytes) == pattern(dut, 3)
    assert dut.memory_read(slot(dut, 1, 1), dut.block_bytes) == pattern(dut, 3)
    del rose["last_va"], rose["last_len"]
    assert rose == {
        "evict_count": 1, "evict_triggers": 1, "evict_completions": 1, "evict_bytes": dut.block_bytes, "t1_used": -1,
    }  # fmt: skip


def test_r16_a_move_leaves_the_neighbours_bytes_alone(dut):
    for n in range(3):
        load(dut, n)
    for n in range(3):
        dut.memory_write(slot(dut, 1, n), pattern(dut, n))
        dut.memory_write(slot(dut, 2, n), pattern(dut, 100 + n))
    ok(dut, Evict(va(dut, 1), 1))
    assert [dut.memory_read(slot(dut, 1, n), dut.block_bytes) == pattern(dut, n) for n in range(3)] == [True] * 3
    moved = dut.memory_read(slot(dut, 2, 0), 3 * dut.block_bytes)
    assert moved == pattern(dut, 100) + pattern(dut, 1) + pattern(dut, 102)


def test_r16_evicting_a_clean_block_moves_no_bytes(dut):
    load(dut, 0)
    dut.memory_write(slot(dut, 1, 0), pattern(dut, 1))
    ok(dut, Evict(VA, 1))
    ok(dut, Touch(1, 0, 0, 0))
    assert show(dut, 0, "tier", "dirty") == (1, False)
    dut.memory_write(slot(dut, 1, 0), bytes(dut.block_bytes))
    result, rose = changes(dut, Evict(VA, 1))
    assert result.triggers == (evicted(0),) and "evict_bytes" not in rose and rose["evict_completions"] == 1
    assert dut.memory_read(slot(dut, 2, 0), dut.block_bytes) == pattern(dut, 1)


@pytest.mark.parametrize("evict_tier, source, dirty", [(2, 2, False), (2, 3, True), (3, 2, True), (3, 3, False)])
def test_r16_a_prefetched_block_is_dirty_unless_it_came_from_evict_tier(dut, evict_tier, source, dirty):
    put(dut, EVICT_TIER=evict_tier)
    load(dut, 0, tier=source)
    dut.memory_write(slot(dut, source, 0), pattern(dut, 9))
    result, rose = changes(dut, Touch(1, 0, 0, 0))
    assert result.triggers == (prefetched(0, source),) and rose["prefetch_bytes"] == dut.block_bytes
    assert show(dut, 0, "dirty", "tier", "phys_addr") == (dirty, 1, slot(dut, 1, 0))
    assert dut.memory_read(slot(dut, 1, 0), dut.block_bytes) == pattern(dut, 9)
    result, rose = changes(dut, Evict(VA, 1))
    assert result.triggers == (evicted(0, evict_tier),)
    assert rose.get("evict_bytes", 0) == (dut.block_bytes if dirty else 0)
    assert dut.memory_read(slot(dut, evict_tier, 0), dut.block_bytes) == pattern(dut, 9)


def test_r16_evict_tier_3(dut):
    put(dut, EVICT_TIER=3)
    load(dut, 0)
    assert ok(dut, Step(1)).triggers == (evicted(0, to=3),)
    assert show(dut, 0, "tier", "phys_addr", "dirty") == (3, slot(dut, 3, 0), False)


def test_r16_evict_tier_may_change_again_when_the_directory_is_empty(dut):
    put(dut, EVICT_TIER=3)
    load(dut, 0)
    ok(dut, Unload(VA, 1))
    put(dut, EVICT_TIER=2)
    load(dut, 0)
    assert ok(dut, Step(1)).triggers == (evicted(0, to=2),)


def test_r16_places_follow_tier_base(dut):
    """Slot-mapped: TIER_BASE[tier] + index * BLOCK_BYTES, also where the windows lie elsewhere."""
    bases = [0x10_0000_0000, 0x40_0000_0000, 0x20_0000_0000, 0xFFFF_0000_0000_0000]
    put(dut, **{f"TIER_BASE{tier}": base for tier, base in enumerate(bases)})
    for n in range(4):
        load(dut, n, tier=n)
    assert [e["phys_addr"] for e in dut.dump()] == [bases[n] + n * dut.block_bytes for n in range(4)]
    dut.memory_write(bases[1] + dut.block_bytes, pattern(dut, 4))
    dut.memory_write(bases[3] + 3 * dut.block_bytes, pattern(dut, 5))
    ok(dut, Evict(va(dut, 1), 1))
    ok(dut, Touch(1, 0, 0, 96))
    assert dut.memory_read(bases[2] + dut.block_bytes, dut.block_bytes) == pattern(dut, 4)
    assert dut.memory_read(bases[1] + 3 * dut.block_bytes, dut.block_bytes) == pattern(dut, 5)


def test_r16_prefetches_only_while_t1_has_room(dut):
    put(dut, T1_CAPACITY=2, EVICT_THRESH=0, PREFETCH_THRESH=0)
    for n in range(4):
        load(dut, n, tier=2)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (prefetched(0), prefetched(1))
    assert rose["denials"] == 2 and rose["t1_used"] == 2
    assert [e["tier"] for e in dut.dump()] == [1, 1, 2, 2]


def test_r16_an_eviction_frees_its_place_for_a_higher_index(dut):
    """T1 holds 1 and 4 and is full. 0: denied. 1 goes: 2 gets its place. 3: denied. 4 goes, for nobody's profit."""
    put(dut, T1_CAPACITY=2)
    eager(dut)
    for n, tier in enumerate((2, 1, 2, 2, 1)):
        load(dut, n, tier=tier)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(1), prefetched(2), evicted(4))
    assert rose["denials"] == 2 and rose["t1_used"] == -1


def test_r16_a_capacity_below_the_use_is_worked_off_first(dut):
    """t1_used=3 over a capacity of 1: 0 goes, 2 are left, so 1 is denied; 2 goes, 1 is left, so 3 is denied; 4 goes,
    none is left, and 5 comes."""
    for n, tier in enumerate((1, 2, 1, 2, 1, 2)):
        load(dut, n, tier=tier)
    put(dut, T1_CAPACITY=1)
    eager(dut)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(0), evicted(2), evicted(4), prefetched(5))
    assert rose["denials"] == 2 and rose["t1_used"] == -2


def test_r16_a_capacity_of_0_denies_everything(dut):
    put(dut, T1_CAPACITY=0, PREFETCH_THRESH=0)
    load(dut, 0, tier=2)
    assert changes(dut, Step(1))[1]["denials"] == 1
    assert changes(dut, Touch(1, 0, 0, 0))[1]["denials"] == 1
    assert dut.telemetry()["t1_used"] == 0


def test_r16_what_is_denied_is_tried_again_by_the_next_step(dut):
    put(dut, T1_CAPACITY=0, PREFETCH_THRESH=0, EVICT_THRESH=0)
    load(dut, 0, tier=2)
    ok(dut, Step(1))
    put(dut, T1_CAPACITY=1)
    assert ok(dut, Step(2)).triggers == (prefetched(0),)


def test_r16_many_moves_in_one_pass(dut):
    """More than any queue on the way could hold: none is dropped."""
    for n in range(dut.entries):
        load(dut, n)
        dut.memory_write(slot(dut, 1, n) + 8 * n % dut.block_bytes, n.to_bytes(4, "little"))
    result = ok(dut, Step(1))
    assert result.triggers == tuple(evicted(n) for n in range(dut.entries))
    assert dut.telemetry()["evict_bytes"] == dut.entries * dut.block_bytes
    assert dut.telemetry()["t1_used"] == 0
    for n in range(dut.entries):
        assert dut.memory_read(slot(dut, 2, n) + 8 * n % dut.block_bytes, 4) == n.to_bytes(4, "little")
    eager(dut)
    assert ok(dut, Step(2)).triggers == tuple(prefetched(n) for n in range(dut.entries))
    assert dut.telemetry()["t1_used"] == dut.entries


# ---- R17: HOT --------------------------------------------------------------------------------------------------------
def test_r17_pins_and_refreshes(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(3))
    result, rose = changes(dut, Hot(VA + 10, 4096))
    assert result == Result("OK", matched=1)
    assert show(dut, 0, "pinned", "priority", "R", "access_step", "F") == (True, 0xFFFF, 255, 3, 1)
    assert rose == {"hot_count": 1, "last_va": VA + 10, "last_len": 4096}


@pytest.mark.parametrize("tier", [0, 1, 2, 3])
def test_r17_moves_nothing(dut, tier):
    load(dut, 0, tier=tier)
    assert ok(dut, Hot(VA, 1)).triggers == ()
    assert show(dut, 0, "tier", "pinned") == (tier, True)


def test_r17_leaves_armed_alone(dut):
    load(dut, 0, tier=2)
    ok(dut, Prefetch(VA, 1, 1000))
    ok(dut, Hot(VA, 1))
    assert show(dut, 0, "armed", "access_step") == (True, 0)


# ---- R18: EVICT ------------------------------------------------------------------------------------------------------
def test_r18_unpins_scores_again_and_evicts(dut):
    """Pinned at t=2 with R=255; at t=4 one step has passed: 254 + 1 + 2*(255-2) = 761."""
    quiet(dut)
    load(dut, 0)
    ok(dut, Step(2))
    ok(dut, Hot(VA, 1))
    ok(dut, Step(4))
    assert ok(dut, Evict(VA, 1)) == Result("OK", 1, None, (evicted(0),))
    assert show(dut, 0, "pinned", "priority", "tier", "R", "access_step") == (False, 761, 2, 254, 2)


@pytest.mark.parametrize("tier", [0, 2, 3])
def test_r18_blocks_of_other_tiers_stay_but_are_unpinned(dut, tier):
    load(dut, 0, tier=tier)
    ok(dut, Hot(VA, 1))
    assert ok(dut, Evict(VA, 1)) == Result("OK", matched=1)
    assert show(dut, 0, "tier", "pinned", "priority") == (tier, False, 766)


def test_r18_ignores_the_thresholds(dut):
    quiet(dut)
    load(dut, 0)
    assert ok(dut, Evict(VA, 1)).triggers == (evicted(0),)


def test_r18_evicts_all_matches_in_index_order(dut):
    for n, tier in enumerate((1, 2, 1, 1)):
        load(dut, n, tier=tier)
    result, rose = changes(dut, Evict(VA, 3 * dut.block_bytes))
    assert result == Result("OK", 3, None, (evicted(0), evicted(2)))
    assert (rose["evict_count"], rose["evict_triggers"], rose["t1_used"]) == (1, 2, -2)


def test_r18_the_shared_prefix_without_references_goes(dut):
    load(dut, 0, request=0)
    assert ok(dut, Evict(VA, 1)).triggers == (evicted(0),)


def test_r18_last_va_and_len(dut):
    _, rose = changes(dut, Evict(0x123, 0x456))
    assert rose == {"evict_count": 1, "last_va": 0x123, "last_len": 0x456}


# ---- R19: PREFETCH ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tier", [2, 3])
def test_r19_a_near_target_is_fetched_now(dut, tier):
    """d=10: P = 255 + 1 + 2*245 = 746."""
    load(dut, 0, tier=tier)
    result, rose = changes(dut, Prefetch(VA, 1, 10))
    assert result == Result("OK", 1, None, (prefetched(0, tier),))
    assert show(dut, 0, "access_step", "armed", "priority", "tier", "R", "F") == (10, False, 746, 1, 255, 1)
    assert rose == {
        "prefetch_count": 1, "last_va": VA, "last_len": 1, "last_target_step": 10, "prefetch_triggers": 1,
        "prefetch_completions": 1, "prefetch_bytes": dut.block_bytes, "t1_used": 1,
    }  # fmt: skip


@pytest.mark.parametrize("target, granted", [(254, True), (255, False)])
def test_r19_near_means_s_above_0(dut, target, granted):
    load(dut, 0, tier=2)
    assert ok(dut, Prefetch(VA, 1, target)).triggers == ((prefetched(0),) if granted else ())
    assert show(dut, 0, "armed", "tier") == ((False, 1) if granted else (True, 2))


def test_r19_a_window_of_0_is_never_near(dut):
    put(dut, WINDOW=0)
    load(dut, 0, tier=2)
    assert ok(dut, Prefetch(VA, 1, 0)).triggers == ()
    assert show(dut, 0, "armed") == (True,)


def test_r19_a_block_in_tier_1_is_protected_but_not_armed(dut):
    load(dut, 0)
    assert ok(dut, Prefetch(VA, 1, 900)) == Result("OK", matched=1)
    assert show(dut, 0, "armed", "access_step", "priority", "tier") == (False, 900, 256, 1)


def test_r19_a_block_in_tier_0_stays_armed(dut):
    load(dut, 0, tier=0)
    assert ok(dut, Prefetch(VA, 1, 0)) == Result("OK", matched=1)
    assert show(dut, 0, "armed", "tier") == (True, 0)


def test_r19_an_evicted_block_is_not_armed_by_an_earlier_prefetch(dut):
    load(dut, 0)
    ok(dut, Prefetch(VA, 1, 900))
    ok(dut, Evict(VA, 1))
    quiet(dut)
    assert show(dut, 0, "tier", "armed") == (2, False)
    assert ok(dut, Step(900)).triggers == ()


def test_r19_a_pinned_block_keeps_its_score(dut):
    load(dut, 0, tier=2)
    ok(dut, Hot(VA, 1))
    ok(dut, Prefetch(VA, 1, 900))
    assert show(dut, 0, "pinned", "priority", "armed") == (True, 0xFFFF, True)


def test_r19_a_new_target_replaces_the_old_one(dut):
    load(dut, 0, tier=2)
    ok(dut, Prefetch(VA, 1, 900))
    assert ok(dut, Prefetch(VA, 1, 100)).triggers == (prefetched(0),)
    assert show(dut, 0, "access_step", "armed") == (100, False)


# ---- R20: SHARE, RELEASE ---------------------------------------------------------------------------------------------
def test_r20_share_by_range(dut):
    load(dut, 0)
    load(dut, 1)
    result, rose = changes(dut, Share(va(dut, 1), 1))
    assert result == Result("OK", matched=1)
    assert rose == {"share_count": 1, "last_va": va(dut, 1), "last_len": 1}
    assert [(e["ref_count"], e["prefix"]) for e in dut.dump()] == [(0, False), (1, True)]


def test_r20_share_by_index(dut):
    load(dut, 0)
    load(dut, 1)
    result, rose = changes(dut, ShareIndex(1))
    assert result == Result("OK", matched=1)
    assert rose == {"share_count": 1}
    assert [(e["ref_count"], e["prefix"]) for e in dut.dump()] == [(0, False), (1, True)]


def test_r20_the_score_follows_at_the_next_scoring(dut):
    quiet(dut)
    load(dut, 0)
    ok(dut, Share(VA, 1))
    assert show(dut, 0, "priority") == (766,)
    ok(dut, Step(1))
    assert show(dut, 0, "priority") == (763 + 51000,)


def test_r20_release_by_range(dut):
    for n in range(3):
        share_by_index(dut, load(dut, n), times=2)
    result, rose = changes(dut, Release(VA, 2 * dut.block_bytes))
    assert result == Result("OK", matched=2) and rose == {}
    assert [(e["ref_count"], e["prefix"]) for e in dut.dump()] == [(1, True), (1, True), (2, True)]


def test_r20_release_by_index(dut):
    for n in range(2):
        share_by_index(dut, load(dut, n))
    result, rose = changes(dut, ReleaseIndex(1))
    assert result == Result("OK", matched=1) and rose == {}
    assert [(e["ref_count"], e["prefix"]) for e in dut.dump()] == [(1, True), (0, True)]


def test_r20_release_opens_the_way_for_eviction(dut):
    load(dut, 0)
    ok(dut, Share(VA, 1))
    assert ok(dut, Evict(VA, 1)).triggers == ()
    ok(dut, Release(VA, 1))
    assert ok(dut, Evict(VA, 1)).triggers == (evicted(0),)


# ---- R21: UNLOAD -----------------------------------------------------------------------------------------------------
def test_r21_by_range(dut):
    for n in range(4):
        load(dut, n)
    result, rose = changes(dut, Unload(va(dut, 1), 2 * dut.block_bytes))
    assert result == Result("OK", matched=2)
    assert rose == {"t1_used": -2, "valid_entries": -2}
    assert [e["index"] for e in dut.dump()] == [0, 3]


def test_r21_by_request(dut):
    for n, request in enumerate((7, 8, 7, 0, 0x0107)):
        load(dut, n, request=request)
    assert ok(dut, UnloadRequest(7)).matched == 2
    assert [e["request_id"] for e in dut.dump()] == [8, 0, 0x0107]
    assert ok(dut, UnloadRequest(0)).matched == 1
    assert [e["request_id"] for e in dut.dump()] == [8, 0x0107]


def test_r21_only_a_tier_1_block_gives_back_a_place(dut):
    for n, tier in enumerate((0, 1, 2, 3)):
        load(dut, n, tier=tier)
    assert changes(dut, Unload(VA, 4 * dut.block_bytes))[1] == {"t1_used": -1, "valid_entries": -4}


def test_r21_a_freed_entry_reads_as_zero(dut):
    """What is not valid is not in the digest, and a block loaded there starts afresh."""
    quiet(dut)
    load(dut, 0)
    fresh, digest = entry(dut, 0), dut.digest(0, dut.entries)
    ok(dut, Hot(VA, 1))
    for _ in range(3):
        ok(dut, Touch(1, 0, 0, 0))
    ok(dut, Unload(VA, 1))
    assert dut.digest(0, dut.entries) == 0
    load(dut, 0)
    assert entry(dut, 0) == fresh and dut.digest(0, dut.entries) == digest


def test_r21_everything_at_once(dut):
    for n in range(dut.entries):
        load(dut, n, tier=n % 4)
    assert ok(dut, UnloadRequest(1)).matched == dut.entries
    assert dut.dump() == [] and counters(dut)["t1_used"] == counters(dut)["valid_entries"] == 0
    assert load(dut, 3) == 0


# ---- R22: strict -----------------------------------------------------------------------------------------------------
def test_r22_without_strict_the_settled_state_is_the_same(dut):
    put(dut, STRICT=0)
    eager(dut)
    for n, tier in enumerate((1, 2, 1)):
        load(dut, n, tier=tier)
    assert ok(dut, Step(1)).triggers == (evicted(0), prefetched(1), evicted(2))
    assert [(e["tier"], e["inflight"]) for e in dut.dump()] == [(2, False), (1, False), (2, False)]
    put(dut, STRICT=1)
    assert ok(dut, Step(2)).triggers == (prefetched(0), evicted(1), prefetched(2))


@pytest.mark.parametrize("strict", [0, 1])
def test_r22_a_step_sees_what_the_command_before_it_moved(lockstep, strict):
    """Nothing comes between the two, no check either."""
    put(lockstep, STRICT=strict)
    eager(lockstep)
    load(lockstep, 0)
    results = lockstep.execute_many([Step(1), Step(2), Step(3)])
    assert [r.triggers for r in results] == [(evicted(0),), (prefetched(0),), (evicted(0),)]


@pytest.mark.parametrize("policy", [0, 1])
def test_r3_the_order_of_the_channels_does_not_change_the_result(dut, policy):
    put(dut, CONTEND_POLICY=policy)
    eager(dut)
    for n in range(16):
        load(dut, n, tier=1 + n % 2)
    expected = tuple(prefetched(n) if n % 2 else evicted(n) for n in range(16))
    assert ok(dut, Step(1)).triggers == expected


# ---- R23: telemetry --------------------------------------------------------------------------------------------------
def test_r23_a_load_changes_only_the_live_values(dut):
    assert changes(dut, Load(1, 0, 0, 0, 31, VA))[1] == {"t1_used": 1, "valid_entries": 1}


def test_r23_settings_change_no_counter(dut):
    before = counters(dut)
    put(dut, WEIGHT_R=3, EVICT_THRESH=5, WINDOW=9, T1_CAPACITY=17, EVICT_TIER=3, CONTEND_POLICY=1, STRICT=1)
    assert counters(dut) == before


def test_r23_last_target_step_is_of_step_or_prefetch(dut):
    ok(dut, Step(5))
    assert dut.telemetry()["last_target_step"] == 5
    ok(dut, Prefetch(VA, 1, 77))
    assert dut.telemetry()["last_target_step"] == 77
    ok(dut, Step(6))
    assert dut.telemetry()["last_target_step"] == 6


def test_r23_last_va_and_len_are_64_bits(dut):
    ok(dut, Hot(0xFEDC_BA98_7654_3210, 0x0123_4567_0000_0001))
    t = dut.telemetry()
    assert (t["last_va"], t["last_len"]) == (0xFEDC_BA98_7654_3210, 0x0123_4567_0000_0001)


@pytest.mark.parametrize(
    "command",
    [Release(VA, 9), Unload(VA, 9), ShareIndex(0), ReleaseIndex(0), UnloadRequest(1), Lookup(1, 0, 0, 0),
     Touch(1, 0, 0, 0)],
)  # fmt: skip
def test_r23_other_commands_leave_last_va_alone(dut, command):
    load(dut, 0)
    ok(dut, Hot(0x1000, 5))
    ok(dut, command)
    assert (dut.telemetry()["last_va"], dut.telemetry()["last_len"]) == (0x1000, 5)


def test_r23_clear_counters_keeps_what_is_not_a_count(dut):
    load(dut, 0)
    load(dut, 1, tier=2)
    for command in (
        Step(3), Hot(VA, 1), Touch(1, 0, 0, 32), Share(VA, 1), Evict(VA, 1), Release(VA, 1), Release(VA, 1),
        Lookup(9, 9, 9, 9),
    ):  # fmt: skip
        ok(dut, command)
    before = dut.dump()
    ok(dut, Set("CLEAR_COUNTERS", 1))
    left = {name: value for name, value in counters(dut).items() if value}
    assert left == {"current_step": 3, "t1_used": 1, "valid_entries": 2}
    assert dut.dump() == before


# ---- R24: DIGEST -----------------------------------------------------------------------------------------------------
def digest_by_hand(entries: list[dict]) -> int:
    """Plain integers, from the definition of the digest and the bit positions of contract section 3."""
    mask, total = MAX64 - 1, 0
    rounds = ((23, 29), (18, 31), (27, 33), (9, 28), (35, 25), (21, 37), (13, 32), (30, 27), (11, 36))
    places = {
        "request_id": 0, "head": 16, "layer": 24, "token_start": 32, "token_end": 64, "tier": 96, "phys_addr": 98,
        "priority": 162, "access_step": 178, "ref_count": 210, "prefix": 218, "dirty": 219, "R": 220, "F": 228,
        "pinned": 237, "inflight": 238, "armed": 239,
    }  # fmt: skip
    for e in entries:
        bits = 1 << 236 | sum(int(e[name]) << low for name, low in places.items())
        words = [bits >> 64 * k & mask for k in range(4)] + [e["va"]]
        h = (e["index"] << 32) ^ 0x9E3779B97F4A7C15
        for k, (a, b) in enumerate(rounds):
            if k < 5:
                h ^= words[k]
            h = (h + (h << a)) & mask
            h ^= h >> b
        total += h
    return total & mask


def mixed_directory(dut) -> None:
    """Ten entries that differ in every field."""
    quiet(dut)
    put(dut, TIER_BASE3=0xABCD_EF00_0000_0000)
    for n in range(10):
        ok(dut, Load(n * 0x1357 & 0xFFFF, n * 23 & 0xFF, n * 31 & 0xFF, n << 28, (n << 28) + n, va(dut, n) + n, n % 4))
    ok(dut, Step(0x1234_5678))
    for n in range(0, 10, 2):
        share_by_index(dut, n, times=n + 1)
    ok(dut, Hot(va(dut, 3), 2 * dut.block_bytes))
    ok(dut, Prefetch(va(dut, 6), 3 * dut.block_bytes, 0xFEDC_BA98))
    ok(dut, Evict(va(dut, 9), 1))
    ok(dut, Unload(va(dut, 1) + 1, 1))


def test_r24_is_what_its_definition_says(dut):
    mixed_directory(dut)
    entries = dut.dump()
    assert len(entries) == 9
    assert dut.digest(0, dut.entries) == digest_by_hand(entries)


def test_r24_over_parts_of_the_directory(dut):
    mixed_directory(dut)
    entries = dut.dump()
    for lo, hi in [(0, 1), (1, 2), (2, 7), (3, 3), (9, 10), (10, dut.entries), (0, dut.entries - 1), (5, dut.entries)]:
        assert dut.digest(lo, hi) == digest_by_hand([e for e in entries if lo <= e["index"] < hi]), (lo, hi)


def test_r24_of_nothing_is_0(dut):
    assert dut.digest(0, dut.entries) == 0
    load(dut, 0)
    assert dut.digest(0, 0) == 0 and dut.digest(1, dut.entries) == 0


def test_r24_every_change_shows(dut):
    """One field after the other."""
    quiet(dut)
    load(dut, 0)
    seen = [dut.digest(0, dut.entries)]
    for command in (
        Touch(1, 0, 0, 0),  # F
        ShareIndex(0),  # ref_count, prefix
        ReleaseIndex(0),  # ref_count
        Hot(VA, 1),  # pinned
        Evict(VA, 1),  # tier, phys_addr, dirty
        Prefetch(VA, 1, 900),  # armed, access_step
        Step(1),  # R
    ):
        ok(dut, command)
        seen.append(dut.digest(0, dut.entries))
    assert len(set(seen)) == len(seen)


def test_r24_depends_on_va_and_on_the_index(dut):
    load(dut, 0)
    first = dut.digest(0, dut.entries)
    ok(dut, Unload(VA, 1))
    load(dut, 0, address=VA + 1)
    assert dut.digest(0, dut.entries) != first
    load(dut, 1)
    ok(dut, Unload(VA, 1))
    ok(dut, UnloadRequest(1))
    load(dut, 5)
    load(dut, 0)
    assert dut.digest(1, 2) != first


def test_r24_follows_a_pass_over_everything(dut):
    quiet(dut)
    for n in range(dut.entries):
        load(dut, n, tier=n % 4)
    ok(dut, Unload(va(dut, 20), 30 * dut.block_bytes))
    for step in range(1, 4):
        ok(dut, Step(step))
        assert dut.digest(0, dut.entries) == digest_by_hand(dut.dump())
    eager(dut)
    ok(dut, Step(4))
    assert dut.digest(0, dut.entries) == digest_by_hand(dut.dump())
