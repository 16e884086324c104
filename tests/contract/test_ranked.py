"""The rules of the ranked policy (contract R40 to R48) that commands can show, by name, on the fixture `dut`.

The numbers are worked out by hand from the contract's text. `codes` puts a table in force whose class c has the code 10 * c in
every age bucket, so that class 3 and order 5 rank 3 * 2560 + 5; `aging` one whose code is the bucket.
"""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.contract.commands import (
    Class,
    Evict,
    Hot,
    Load,
    Lookup,
    Prefetch,
    Release,
    Result,
    Set,
    Share,
    Step,
    Touch,
    Unload,
    hint_of,
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
    refuse,
    share_by_index,
    show,
    va,
)  # fmt: skip


def commit(dut, table) -> None:
    dut.write_table(np.array(np.broadcast_to(table, (256, 64)), np.uint8))
    ok(dut, Set("PTABLE_COMMIT", 1))


def codes(dut, **more: int) -> None:
    """Ranked, by class alone; `more` are further settings."""
    commit(dut, 10 * (np.arange(256) % 26)[:, None])
    put(dut, POLICY=1, **more)


def aging(dut, **more: int) -> None:
    """Ranked, with the age bucket for a code."""
    commit(dut, np.arange(64))
    put(dut, POLICY=1, **more)


def hinted(dut, n: int, class_id: int, order: int = 0, tier: int = 1, request: int = 1) -> int:
    """Load block n with class and order, and return its index."""
    place = Load(request, 0, 0, 32 * n, 32 * n + 31, va(dut, n), tier, hint_of(class_id, order))
    return ok(dut, place).index


def tiers(dut) -> list[int]:
    return [e["tier"] for e in dut.dump()]


def ranking(dut) -> tuple[int, int, int]:
    return tuple(dut.telemetry()[name] for name in ("theta", "pool", "outside"))


# ---- R40: what has an effect -----------------------------------------------------------------------------------------
def test_r40_after_a_reset_the_policy_is_linear(dut):
    load(dut, 0)
    assert ok(dut, Step(1)).triggers == (evicted(0),)
    assert dut.settings()["POLICY"] == 0


@pytest.mark.parametrize("value", [2, 3, 255, 1 << 32])
def test_r40_another_policy_is_refused(dut, value):
    refuse(dut, Set("POLICY", value), "ERR_RANGE")


def test_r40_thresholds_move_nothing(dut):
    """By the linear policy with these thresholds every block would."""
    eager(dut)
    put(dut, POLICY=1)
    for n in range(3):
        load(dut, n, tier=n + 1)
    put(dut, FILL_AGE=0)
    assert ok(dut, Step(1)).triggers == ()


def test_r40_weights_do_not_count(dut):
    codes(dut, WEIGHT_R=255, WEIGHT_F=255, WEIGHT_S=255, WEIGHT_D=255)
    assert show(dut, hinted(dut, 0, class_id=3, order=5, request=0), "priority") == (3 * 2560 + 5,)


def test_r40_a_change_of_policy_changes_no_entry(dut):
    load(dut, 0)
    codes(dut)
    assert show(dut, 0, "priority") == (766,)
    put(dut, POLICY=0)
    assert show(dut, 0, "priority") == (766,)


def test_r40_the_linear_policy_comes_back(dut):
    codes(dut)
    hinted(dut, 0, class_id=25)
    assert ok(dut, Step(1)).triggers == ()
    put(dut, POLICY=0)
    assert ok(dut, Step(2)).triggers == (evicted(0),)
    assert show(dut, 0, "priority", "class") == (253 + 1 + 2 * 253, 25)


def test_r40_hot_pins(dut):
    codes(dut)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    assert show(dut, 0, "pinned", "priority") == (True, 0xFFFF)


def test_r40_evict_and_prefetch_trigger_at_once(dut):
    codes(dut)
    hinted(dut, 0, class_id=25)
    assert ok(dut, Evict(VA, 1)).triggers == (evicted(0),)
    assert ok(dut, Prefetch(VA, 1, 5)).triggers == (prefetched(0),)


def test_r40_an_evicted_pin_ranks_by_the_table_again(dut):
    codes(dut)
    hinted(dut, 0, class_id=2, order=9)
    ok(dut, Hot(VA, 1))
    ok(dut, Evict(VA, 1))
    assert show(dut, 0, "pinned", "priority") == (False, 2 * 2560 + 9)


def test_r40_share_and_release_leave_the_priority(dut):
    codes(dut)
    hinted(dut, 0, class_id=2)
    ok(dut, Share(VA, 1))
    ok(dut, Release(VA, 1))
    assert show(dut, 0, "priority", "prefix", "ref_count") == (2 * 2560, True, 0)


def test_r40_a_touch_below_tier_1_prefetches(dut):
    codes(dut)
    load(dut, 0, tier=2)
    assert ok(dut, Touch(1, 0, 0, 0)).triggers == (prefetched(0),)


def test_r40_unload_gives_the_place_back(dut):
    codes(dut, T1_CAPACITY=1)
    load(dut, 0)
    ok(dut, Unload(VA, 1))
    assert show(dut, load(dut, 1), "tier") == (1,)


def test_r40_pins_expire_and_R_ages_in_a_step(dut):
    codes(dut, WINDOW=4)
    hinted(dut, 0, class_id=2)
    ok(dut, Hot(VA, 1))
    ok(dut, Step(4))
    assert show(dut, 0, "pinned", "R", "priority") == (True, 254, 0xFFFF)
    ok(dut, Step(5))
    assert show(dut, 0, "pinned", "R", "priority") == (False, 253, 2 * 2560)


# ---- R41: the hint of LOAD and TOUCH ---------------------------------------------------------------------------------
def test_r41_a_load_without_a_hint_has_class_and_order_0(dut):
    hinted(dut, 0, class_id=7, order=9)
    assert show(dut, 0, "class", "order") == (7, 9)
    assert show(dut, load(dut, 1), "class", "order") == (0, 0)


def test_r41_a_load_that_follows_a_refused_one_has_its_own_hint(dut):
    hinted(dut, 0, class_id=7, order=9)
    refuse(dut, Load(1, 0, 0, 0, 31, VA, 1, hint_of(8, 8)), "ERR_EXISTS")
    assert show(dut, load(dut, 1), "class", "order") == (0, 0)


def test_r41_a_touch_without_a_hint_leaves_them(dut):
    hinted(dut, 0, class_id=7, order=9)
    ok(dut, Touch(1, 0, 0, 0))
    assert show(dut, 0, "class", "order") == (7, 9)


def test_r41_a_touch_with_a_hint_sets_both_and_ranks_by_them(dut):
    codes(dut)
    hinted(dut, 0, class_id=7, order=9)
    ok(dut, Touch(1, 0, 0, 0, hint_of(3, None)))
    assert show(dut, 0, "class", "order", "priority") == (3, 0, 3 * 2560)
    ok(dut, Touch(1, 0, 0, 0, hint_of(None, 200)))
    assert show(dut, 0, "class", "order", "priority") == (0, 200, 200)


def test_r41_hint_0_0_with_set_is_a_hint(dut):
    hinted(dut, 0, class_id=7, order=9)
    ok(dut, Touch(1, 0, 0, 0, hint_of(0, 0)))
    assert show(dut, 0, "class", "order") == (0, 0)


def test_r41_without_set_the_rest_of_the_hint_says_nothing(dut):
    hinted(dut, 0, class_id=7, order=9)
    ok(dut, Touch(1, 0, 0, 0, 0xFFFF))
    assert show(dut, 0, "class", "order") == (7, 9)
    assert ok(dut, Load(1, 0, 0, 32, 63, va(dut, 1), 1, 0xFFFF)).index == 1
    assert show(dut, 1, "class", "order") == (0, 0)


def test_r41_a_hint_works_under_the_linear_policy_too(dut):
    assert show(dut, hinted(dut, 0, class_id=255, order=255), "class", "order", "priority") == (255, 255, 766)


def test_r41_a_lookup_takes_no_hint(dut):
    hinted(dut, 0, class_id=7, order=9)
    load(dut, 1)
    ok(dut, Lookup(1, 0, 0, 0))
    assert show(dut, 0, "class", "order") == (7, 9)


@pytest.mark.parametrize("hint", [1 << 17, 1 << 31, (1 << 17) + hint_of(1, 1), 1 << 40])
def test_r41_wider_hints_are_refused(dut, hint):
    load(dut, 0)
    refuse(dut, Touch(1, 0, 0, 0, hint), "ERR_RANGE")
    refuse(dut, Load(1, 0, 0, 32, 63, va(dut, 1), 1, hint), "ERR_RANGE")


def test_r41_a_wide_hint_comes_before_what_the_directory_says(dut):
    """Nothing is looked up, so neither a miss is counted nor a key found twice (D30)."""
    load(dut, 0)
    refuse(dut, Touch(9, 9, 9, 0, 1 << 17), "ERR_RANGE")
    refuse(dut, Load(1, 0, 0, 0, 31, VA, 1, 1 << 17), "ERR_RANGE")


# ---- R42: CLASS ------------------------------------------------------------------------------------------------------
def orders(dut) -> list[int]:
    return [e["order"] for e in dut.dump()]


def test_r42_orders_fall_along_the_range(dut):
    for n in range(5):
        load(dut, n)
    assert ok(dut, Class(VA, 4 * dut.block_bytes, 9)) == Result("OK", matched=4)
    assert orders(dut) == [255, 254, 253, 252, 0]
    assert [e["class"] for e in dut.dump()] == [9, 9, 9, 9, 0]


def test_r42_base_and_shift(dut):
    for n in range(8):
        load(dut, n)
    ok(dut, Class(VA, 8 * dut.block_bytes, 0, base=10, shift=2))
    assert orders(dut) == 4 * [245] + 4 * [244]


def test_r42_the_order_ends_at_0(dut):
    for n in range(4):
        load(dut, n)
    ok(dut, Class(VA, 4 * dut.block_bytes, 0, base=254))
    assert orders(dut) == [1, 0, 0, 0]
    ok(dut, Class(VA, 4 * dut.block_bytes, 0, base=255, shift=15))
    assert orders(dut) == [0, 0, 0, 0]


def test_r42_a_far_block_has_order_0(dut):
    load(dut, 0, address=(1 << 64) - 1 - dut.block_bytes)
    ok(dut, Class(1, (1 << 64) - 1, 1, shift=15))
    assert show(dut, 0, "class", "order") == (1, 0)


def test_r42_distance_counts_whole_blocks_from_the_range(dut):
    """A block that begins before the range counts as distance 0, one a byte short of the next multiple still as the last."""
    load(dut, 0)
    load(dut, 1, address=va(dut, 1) - 1)
    load(dut, 2, address=va(dut, 2) + 100)
    ok(dut, Class(VA + 100, 3 * dut.block_bytes, 0))
    assert orders(dut) == [255, 255, 253]


def test_r42_other_fields_stay(dut):
    load(dut, 0)
    ok(dut, Touch(1, 0, 0, 0))
    ok(dut, Prefetch(VA, 1, 40))
    before = entry(dut, 0)
    ok(dut, Class(VA, 1, 3, base=3))
    assert entry(dut, 0) == before | {"class": 3, "order": 252}


def test_r42_priority_is_recomputed_by_the_policy_in_force(dut):
    load(dut, 0, request=0)
    ok(dut, Step(3))
    put(dut, WEIGHT_R=0)
    ok(dut, Class(VA, 1, 3))
    assert show(dut, 0, "priority") == (1 + 2 * 252 + 51000,)
    codes(dut)
    ok(dut, Class(VA, 1, 3, base=250))
    assert show(dut, 0, "priority") == (3 * 2560 + 5,)


def test_r42_a_pin_keeps_the_highest_priority(dut):
    codes(dut)
    load(dut, 0)
    ok(dut, Hot(VA, 1))
    ok(dut, Class(VA, 1, 3))
    assert show(dut, 0, "priority", "pinned") == (0xFFFF, True)


def test_r42_nothing_counts_it_and_nothing_moves(dut):
    load(dut, 0)
    load(dut, 1, tier=2)
    assert changes(dut, Class(VA, 2 * dut.block_bytes, 3)) == (Result("OK", matched=2), {})


def test_r42_a_range_that_matches_nothing_is_not_an_error(dut):
    assert dut.execute(Class(VA, 1, 3)) == Result("OK", matched=0)


@pytest.mark.parametrize("wrong", [
    {"class_id": 256}, {"class_id": 1 << 31}, {"class_id": 1 << 40}, {"base": 256}, {"base": 0xFFFF}, {"base": 1 << 20},
    {"shift": 16}, {"shift": 0xFFFF}, {"shift": 1 << 20},
])  # fmt: skip
def test_r42_wider_operands_are_refused(dut, wrong):
    load(dut, 0)
    refuse(dut, Class(VA, 1, **({"class_id": 1, "base": 2, "shift": 3} | wrong)), "ERR_RANGE")


@pytest.mark.parametrize("place", [(VA, 0), ((1 << 64) - 1, 2)])
def test_r42_an_empty_range_comes_before_wide_operands(dut, place):
    refuse(dut, Class(*place, 256, 256, 16), "ERR_LEN")


# ---- R43, R44: ages and ranks ----------------------------------------------------------------------------------------
BUCKETS = [
    (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 7), (9, 8), (14, 10), (15, 11), (16, 11), (62, 18),
    (63, 19), (1022, 34), (1023, 35), (65534, 58), (65535, 59), (131070, 62), (131071, 63), (131072, 63), (1 << 31, 63),
    ((1 << 32) - 1, 63),
]  # fmt: skip
"""Steps since the access, and the bucket: those where a new one begins, and those before."""


@pytest.mark.parametrize("distance, bucket", BUCKETS)
def test_r43_the_bucket_of_an_age(dut, distance, bucket):
    aging(dut)
    hinted(dut, 0, class_id=200, order=17)
    ok(dut, Step(distance))
    assert show(dut, 0, "priority") == (256 * bucket + 17,)


@pytest.mark.parametrize("distance, bucket", BUCKETS[1:])
def test_r43_the_bucket_of_a_block_that_is_expected(dut, distance, bucket):
    aging(dut)
    load(dut, 0)
    ok(dut, Prefetch(VA, 1, distance))
    assert show(dut, 0, "priority") == (256 * bucket,)


def test_r44_code_of_the_class_then_order(dut):
    table = np.random.default_rng(5).integers(0, 256, (256, 64))
    commit(dut, table)
    put(dut, POLICY=1)
    for n, class_id in enumerate((0, 1, 15, 16, 254, 255)):
        hinted(dut, n, class_id, order=40 * n)
    assert [e["priority"] for e in dut.dump()] == [
        256 * int(table[e["class"], 0]) + e["order"] for e in dut.dump()
    ]  # fmt: skip
    ok(dut, Step(12))  # age 13: bucket 9
    assert [e["priority"] for e in dut.dump()] == [256 * int(table[e["class"], 9]) + e["order"] for e in dut.dump()]


# ---- R45: the table --------------------------------------------------------------------------------------------------
def test_r45_both_banks_are_zero_after_a_reset(dut):
    assert not dut.read_table().any()
    ok(dut, Set("PTABLE_COMMIT", 1))
    assert not dut.read_table().any()
    put(dut, POLICY=1)
    assert show(dut, hinted(dut, 0, class_id=9, order=3), "priority") == (3,)


def test_r45_a_written_table_has_no_effect_before_it_is_committed(dut):
    put(dut, POLICY=1)
    dut.write_table(np.full((256, 64), 8, np.uint8))
    assert show(dut, load(dut, 0), "priority") == (0,)
    ok(dut, Set("PTABLE_COMMIT", 1))
    assert show(dut, load(dut, 1), "priority") == (8 * 256,)


def test_r45_reads_reach_the_idle_bank(dut):
    one, other = np.random.default_rng(2).integers(0, 256, (2, 256, 64)).astype(np.uint8)
    commit(dut, one)
    dut.write_table(other)
    assert (dut.read_table() == other).all()
    ok(dut, Set("PTABLE_COMMIT", 1))
    assert (dut.read_table() == one).all()
    ok(dut, Set("PTABLE_COMMIT", 1))
    assert (dut.read_table() == other).all()


def test_r45_the_setting_reads_as_the_bank_in_force(dut):
    assert [dut.settings()["PTABLE_COMMIT"] for _ in range(3) if ok(dut, Set("PTABLE_COMMIT", 1))] == [1, 0, 1]


@pytest.mark.parametrize("value", [0, 2, 1 << 31, 1 << 32])
def test_r45_another_value_than_1_is_refused(dut, value):
    refuse(dut, Set("PTABLE_COMMIT", value), "ERR_RANGE")
    assert dut.settings()["PTABLE_COMMIT"] == 0


def test_r45_words_hold_four_codes_the_lowest_first(dut):
    table = np.zeros((256, 64), np.uint8)
    table[3, 8:12], table[255, 60:] = (1, 2, 3, 4), (5, 6, 7, 8)
    dut.write_table(table)
    assert dut.read_word(0x4000 + 64 * 3 + 8) == 0x04030201
    assert dut.read_word(0x4000 + 64 * 255 + 60) == 0x08070605
    dut.write_word(0x4000 + 64 * 3 + 12, 0xFFFEFDFC)
    assert dut.read_table()[3, 8:16].tolist() == [1, 2, 3, 4, 0xFC, 0xFD, 0xFE, 0xFF]


# ---- R46: pool and threshold -----------------------------------------------------------------------------------------
def test_r46_where_nothing_contends_nothing_moves(dut):
    codes(dut)
    for n in range(4):
        hinted(dut, n, class_id=n)
    assert changes(dut, Step(1))[0].triggers == ()
    assert ranking(dut) == (0, 4, 0)
    assert dut.telemetry()["ranked_steps"] == 0


def test_r46_where_there_is_room_all_of_the_pool_win(dut):
    codes(dut, T1_CAPACITY=3)
    hinted(dut, 0, class_id=9)
    hinted(dut, 1, class_id=0, tier=2)
    hinted(dut, 2, class_id=0, tier=3)
    assert ok(dut, Step(1)).triggers == (prefetched(1), prefetched(2, 3))
    assert ranking(dut) == (0, 3, 2)
    assert dut.telemetry()["ranked_steps"] == 0


def test_r46_the_highest_ranks_win(dut):
    codes(dut, T1_CAPACITY=2)
    for n, class_id in enumerate((3, 1, 4, 2)):
        hinted(dut, n, class_id, tier=1 if n < 2 else 2)
    assert ok(dut, Step(1)).triggers == (evicted(1), prefetched(2))
    assert ranking(dut) == (3 * 2560, 4, 2)
    assert dut.telemetry()["ranked_steps"] == 1


def test_r46_the_order_decides_between_equal_codes(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=3, order=7)
    hinted(dut, 1, class_id=3, order=8, tier=2)
    assert ok(dut, Step(1)).triggers == (evicted(0), prefetched(1))
    assert ranking(dut) == (3 * 2560 + 8, 2, 1)


def test_r46_of_equal_ranks_the_first_win(dut):
    codes(dut, T1_CAPACITY=2)
    hinted(dut, 0, class_id=3, tier=2)
    hinted(dut, 1, class_id=4)
    hinted(dut, 2, class_id=3)
    hinted(dut, 3, class_id=3, tier=2)
    assert ok(dut, Step(1)).triggers == (evicted(2), prefetched(0))
    assert ranking(dut) == (3 * 2560, 4, 2)


def test_r46_with_places_for_all_but_one_the_last_of_the_equal_goes(dut):
    codes(dut, T1_CAPACITY=4)
    for n in range(4):
        hinted(dut, n, class_id=3)
    hinted(dut, 4, class_id=3, tier=2)
    assert ok(dut, Step(1)).triggers == ()
    assert ranking(dut) == (3 * 2560, 5, 1)
    put(dut, T1_CAPACITY=3)
    assert ok(dut, Step(1)).triggers == (evicted(3),)


def test_r46_without_places_nobody_wins(dut):
    codes(dut)
    hinted(dut, 0, class_id=3)
    hinted(dut, 1, class_id=3, tier=2)
    ok(dut, Hot(va(dut, 1), 1))
    put(dut, T1_CAPACITY=0)
    assert ok(dut, Step(1)).triggers == (evicted(0),)
    assert ranking(dut) == (0xFFFF, 2, 1)
    assert dut.telemetry()["ranked_steps"] == 1


def test_r46_a_lowered_capacity_is_searched_for_though_nothing_is_outside(dut):
    codes(dut)
    for n in range(4):
        hinted(dut, n, class_id=n)
    put(dut, T1_CAPACITY=3)
    assert ok(dut, Step(1)).triggers == (evicted(0),)
    assert ranking(dut) == (2560, 4, 0)


@pytest.mark.parametrize("age, contends", [(0, True), (2, True), (3, False)])
def test_r46_fill_age(dut, age, contends):
    codes(dut, FILL_AGE=2)
    hinted(dut, 0, class_id=3, tier=2)
    assert ok(dut, Step(age)).triggers == ((prefetched(0),) if contends else ())
    assert dut.telemetry()["outside"] == contends


def test_r46_fill_age_is_1_after_a_reset(dut):
    assert dut.settings()["FILL_AGE"] == 1
    codes(dut)
    load(dut, 0, tier=2)
    load(dut, 1, tier=2)
    ok(dut, Set("T1_CAPACITY", 0))
    ok(dut, Step(1))
    assert dut.telemetry()["outside"] == 2
    ok(dut, Step(2))
    assert dut.telemetry()["outside"] == 0


@pytest.mark.parametrize("value", [256, 1 << 31, 1 << 32])
def test_r46_a_wider_fill_age_is_refused(dut, value):
    refuse(dut, Set("FILL_AGE", value), "ERR_RANGE")


def test_r46_an_expected_block_contends_once_it_is_near(dut):
    """Target 100, W = 20: S > 0 from step 81 on; not accessed yet, so no FILL_AGE lets it in before."""
    codes(dut, WINDOW=20, FILL_AGE=255)
    hinted(dut, 0, class_id=3, tier=2)
    ok(dut, Prefetch(VA, 1, 100))
    assert ok(dut, Step(80)).triggers == ()
    assert ranking(dut) == (0, 0, 0)
    assert ok(dut, Step(81)).triggers == (prefetched(0),)
    assert show(dut, 0, "armed", "tier") == (False, 1)


def test_r46_an_expected_block_may_lose(dut):
    codes(dut, T1_CAPACITY=1, WINDOW=20)
    hinted(dut, 0, class_id=3)
    hinted(dut, 1, class_id=2, tier=2)
    ok(dut, Prefetch(va(dut, 1), 1, 30))
    assert ok(dut, Step(25)).triggers == ()
    assert ranking(dut) == (3 * 2560, 2, 1)
    assert show(dut, 1, "armed") == (True,)


def test_r46_tier_0_never_contends(dut):
    codes(dut, FILL_AGE=255)
    hinted(dut, 0, class_id=9, tier=0)
    ok(dut, Prefetch(VA, 1, 1))
    assert ok(dut, Step(1)).triggers == ()
    assert ranking(dut) == (0, 0, 0)


def test_r46_a_guarded_block_counts_as_the_highest(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=0)
    share_by_index(dut, 0)
    hinted(dut, 1, class_id=25, order=255, tier=2)
    result, rose = changes(dut, Step(1))
    assert result.triggers == ()
    assert "guards" not in rose
    assert ranking(dut) == (0xFFFF, 2, 1)
    assert show(dut, 0, "priority") == (0,)


def test_r46_outside_tier_1_sharing_protects_nothing(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=0, tier=2)
    share_by_index(dut, 0)
    hinted(dut, 1, class_id=1)
    assert ok(dut, Step(1)).triggers == ()
    assert ranking(dut) == (2560, 2, 1)


def test_r46_a_guarded_block_ties_with_a_pinned_one_by_index(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=0, tier=2)
    ok(dut, Hot(VA, 1))
    hinted(dut, 1, class_id=0)
    share_by_index(dut, 1)
    result, rose = changes(dut, Step(1))
    assert result.triggers == ()
    assert (rose["guards"], rose["denials"]) == (1, 1)


# ---- R47: triggers ---------------------------------------------------------------------------------------------------
def test_r47_evictions_by_index_then_prefetches_by_index(dut):
    codes(dut, T1_CAPACITY=3)
    for n in (0, 2, 4):
        hinted(dut, n, class_id=1)
    for n in (1, 3, 5):
        hinted(dut, n, class_id=2, tier=3)
    ok(dut, Unload(va(dut, 0), 1))
    hinted(dut, 0, class_id=9, tier=2)  # takes index 0 again
    assert ok(dut, Step(1)).triggers == (
        evicted(1), evicted(2), prefetched(0), prefetched(3, 3), prefetched(4, 3),
    )  # fmt: skip
    assert dut.telemetry()["t1_used"] == 3


def test_r47_places_of_later_indices_count_too(dut):
    """By the linear policy the block at index 0 would be denied (D19)."""
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=2, tier=2)
    hinted(dut, 1, class_id=1)
    result, rose = changes(dut, Step(1))
    assert result.triggers == (evicted(1), prefetched(0))
    assert "denials" not in rose


def test_r47_a_guarded_loser_stays_and_is_counted(dut):
    codes(dut, T1_CAPACITY=2)
    for n in range(2):
        hinted(dut, n, class_id=1)
        share_by_index(dut, n)
    put(dut, T1_CAPACITY=1)
    result, rose = changes(dut, Step(1))
    assert result.triggers == ()
    assert rose["guards"] == 1
    assert tiers(dut) == [1, 1]


def test_r47_the_next_step_has_nothing_to_do(dut):
    codes(dut, T1_CAPACITY=2)
    for n in range(5):
        hinted(dut, n, class_id=n, tier=1 if n < 2 else 2)
    assert len(ok(dut, Step(1)).triggers) == 4
    assert tiers(dut) == [2, 2, 2, 1, 1]
    assert ok(dut, Step(1)).triggers == ()
    assert ranking(dut) == (3 * 2560, 5, 3)


def test_r47_bytes_follow(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=1)
    hinted(dut, 1, class_id=2, tier=3)
    for index in range(2):
        dut.memory_write(entry(dut, index)["phys_addr"], bytes([index + 1]) * dut.block_bytes)
    ok(dut, Step(1))
    for index in range(2):
        assert dut.memory_read(entry(dut, index)["phys_addr"], 4) == bytes([index + 1]) * 4
    assert show(dut, 0, "dirty", "tier") == (False, 2)
    assert show(dut, 1, "dirty", "tier") == (True, 1)


# ---- R48: telemetry --------------------------------------------------------------------------------------------------
def test_r48_a_linear_step_shows_none(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=1)
    hinted(dut, 1, class_id=2, tier=2)
    ok(dut, Step(1))
    assert ranking(dut) == (2 * 2560, 2, 1)
    quiet(dut)
    put(dut, POLICY=0)
    assert ranking(dut) == (2 * 2560, 2, 1), "of the last STEP"
    ok(dut, Step(2))
    assert ranking(dut) == (0, 0, 0)
    assert dut.telemetry()["ranked_steps"] == 1


def test_r48_clear_counters_clears_them(dut):
    codes(dut, T1_CAPACITY=1)
    hinted(dut, 0, class_id=1)
    hinted(dut, 1, class_id=2, tier=2)
    ok(dut, Step(1))
    ok(dut, Set("CLEAR_COUNTERS", 0))
    assert [counters(dut)[name] for name in ("theta", "pool", "outside", "ranked_steps")] == [0, 0, 0, 0]


def test_r48_a_refused_step_leaves_them(dut):
    codes(dut, T1_CAPACITY=1, FILL_AGE=9)
    hinted(dut, 0, class_id=1)
    hinted(dut, 1, class_id=2, tier=2)
    ok(dut, Step(5))
    refuse(dut, Step(4), "ERR_STEP_ORDER")
    assert ranking(dut) == (2 * 2560, 2, 1)
