"""The ranked policy of the reference model against a plain restatement of it (tests/helpers/ranked_rules.py)."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvfpga.contract.commands import Set, Step
from kvfpga.device.regmap import ENTRY_FIELDS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.model.ranking import OLDEST, bucket_of_distance, winners
from tests.helpers import ranked_rules

ENTRIES, T, LIMIT32 = 256, 5000, (1 << 32) - 1
SLOW_IS_FINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Hypothesis measures by the clock on the wall, and other tests may run beside."""


def test_r43_the_bucket_of_every_distance():
    found = bucket_of_distance()
    assert found.size == OLDEST + 1
    assert found.tolist() == [ranked_rules.bucket(1 + distance) for distance in range(OLDEST + 1)]


def test_r43_what_is_older_falls_into_the_last_bucket():
    assert bucket_of_distance()[OLDEST] == ranked_rules.bucket(1 + OLDEST) == ranked_rules.bucket(LIMIT32 + 1) == 63
    assert bucket_of_distance()[OLDEST - 2] == 62


@settings(SLOW_IS_FINE)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 0xFFFE, 0xFFFF]), min_size=1, max_size=60), st.integers(0, 59))
def test_r46_winners_are_the_first_when_sorted(priority, places):
    places %= len(priority)
    won, theta = winners(np.array(priority, np.uint16), places)
    by_rank = sorted(range(len(priority)), key=lambda index: (-priority[index], index))
    assert np.flatnonzero(won).tolist() == sorted(by_rank[:places])
    reached = [value for value in (*priority, 0xFFFF) if sum(p >= value for p in priority) >= places]
    assert theta == max(reached)


# ---- whole steps -------------------------------------------------------------------------------------------------------
AGES = st.one_of(st.integers(-300, 300), st.sampled_from([-255, -254, 0, 1, 2, 4999]))
BLOCK = st.fixed_dictionaries({
    "tier": st.sampled_from([0, 1, 1, 1, 2, 2, 3]), "class": st.integers(0, 3), "order": st.sampled_from([0, 7, 255]),
    "age": AGES, "ref_count": st.sampled_from([0, 0, 0, 1, 255]), "prefix": st.booleans(), "pinned": st.integers(0, 9),
    "armed": st.booleans(), "dirty": st.booleans(), "valid": st.integers(0, 9), "R": st.sampled_from([0, 1, 255]),
})  # fmt: skip
"""`pinned` at 0 and `valid` above 0 mean yes, so that few are pinned and few rows are empty."""


def raw_entry(block: dict, index: int) -> list[int]:
    """An entry as BAR2 shows it; its phys_addr follows from index and tier, so the model does not ask for it."""
    values = {
        **block, "request_id": 1, "token_start": 32 * index, "token_end": 32 * index + 31, "F": 1, "valid": 1,
        "access_step": T - block["age"], "pinned": block["pinned"] == 0, "armed": block["armed"] and block["tier"] != 1,
    }  # fmt: skip
    bits = sum(int(values.get(name, 0)) << field.low for name, field in ENTRY_FIELDS.items())
    return [bits >> 32 * word & LIMIT32 for word in range(8)]


def state(blocks: list[dict], capacity: int, fill_age: int, window: int, table: np.ndarray) -> ReferenceModel:
    model = ReferenceModel(ENTRIES)
    raw = np.zeros((len(blocks), 8), np.uint32)
    for index, block in enumerate(blocks):
        if block["valid"]:
            raw[index] = raw_entry(block, index)
    in_force = model.settings() | {
        "POLICY": 1, "T1_CAPACITY": capacity, "FILL_AGE": fill_age, "WINDOW": window, "PTABLE_COMMIT": 1,
    }  # fmt: skip
    used = sum(block["tier"] == 1 and block["valid"] > 0 for block in blocks)
    telemetry = model.telemetry() | {"current_step": T - 1, "t1_used": used}
    model.adopt(raw, np.arange(len(blocks), dtype=np.uint64) * 16384, in_force, telemetry, np.stack([table * 0, table]))
    return model


@settings(SLOW_IS_FINE, max_examples=300)
@given(
    st.lists(BLOCK, min_size=1, max_size=40), st.integers(0, 25), st.sampled_from([0, 1, 2, 200, 255]),
    st.sampled_from([0, 1, 255]), st.integers(0, 1000), st.integers(1, 4),
)  # fmt: skip
def test_r46_r47_a_step_does_what_the_plain_rules_say(blocks, capacity, fill_age, window, seed, codes):
    """With few distinct codes, so that there are ties."""
    table = np.random.default_rng(seed).choice([255, 0, 1, 254][:codes], (256, 64)).astype(np.uint8)
    model = state(blocks, capacity, fill_age, window, table)
    before, entries = model.telemetry(), model.dump()
    expected = ranked_rules.decide(entries, T, model.settings(), table.tolist())
    result = model.execute(Step(T))
    after = model.telemetry()
    assert [(trigger.index, trigger.channel) for trigger in result.triggers] == expected.moves
    assert {e["index"]: e["priority"] for e in model.dump()} == expected.priorities
    assert (after["theta"], after["pool"], after["outside"]) == (expected.theta, expected.pool, expected.outside)
    rose = {name: after[name] - before[name] for name in ("ranked_steps", "guards", "denials")}
    assert rose == {"ranked_steps": expected.searched, "guards": expected.guards, "denials": expected.denials}
    assert after["t1_used"] == sum(e["tier"] == 1 for e in model.dump())
    fresh = ReferenceModel(ENTRIES)
    fresh.adopt(*model.read_entries(0, ENTRIES), model.settings(), after, model.tables)
    assert fresh.digest() == model.digest()


def test_r46_a_large_directory_keeps_the_best(classes=256):
    """16,384 blocks of random classes and orders compete for 1,000 places."""
    rng = np.random.default_rng(4)
    table = rng.integers(0, 256, (classes, 64)).astype(np.uint8)
    count, raw = 16384, np.zeros((16384, 8), np.uint32)
    tiers, hints = rng.integers(1, 4, count), rng.integers(0, 1 << 16, count)
    for index, (tier, hint) in enumerate(zip(tiers.tolist(), hints.tolist())):
        block = {"tier": tier, "class": hint & 0xFF, "order": hint >> 8, "age": index % 250, "pinned": 1, "armed": 0, "prefix": 0}
        raw[index] = raw_entry(block, index)
    model = ReferenceModel(count)
    in_force = model.settings() | {"POLICY": 1, "T1_CAPACITY": 1000, "FILL_AGE": 255}
    telemetry = model.telemetry() | {"current_step": T, "t1_used": int((tiers == 1).sum())}
    model.adopt(raw, np.arange(count, dtype=np.uint64) * 16384, in_force, telemetry, np.stack([table, table * 0]))
    model.execute(Step(T))
    entries = model.dump()
    inside = sorted((e["priority"] for e in entries if e["tier"] == 1), reverse=True)
    assert len(inside) == 1000 == model.telemetry()["t1_used"]
    assert inside == sorted((e["priority"] for e in entries), reverse=True)[:1000]
    assert model.telemetry()["theta"] == inside[-1]


# ---- sizes -------------------------------------------------------------------------------------------------------------
def test_r45_fewer_classes_have_a_smaller_table():
    model = ReferenceModel(ENTRIES, classes=16)
    model.write_table(np.full((16, 64), 9, np.uint8))
    assert model.read_table().shape == (16, 64) and model.execute(Set("PTABLE_COMMIT", 1)).code == "OK"
    assert (model.table == 9).all() and not model.read_table().any()
