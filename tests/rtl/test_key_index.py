"""Where many keys collide in the key index (R12): correctness stays, only those keys pay a pass, and the overflows are counted.

The keys come from `key_collisions`; everything runs in lockstep with the reference model, which has no key index at all.
"""

from __future__ import annotations

import random

import pytest

from kvfpga.contract.commands import Evict, Load, Lookup, Set, Step, Touch, Unload, UnloadRequest
from tests.helpers.key_collisions import SLOTS, WAYS, bucket, colliding
from tests.helpers.small_device import ENTRIES, LANES

BLOCK = 16384
IN_INDEX = WAYS * SLOTS
LOOKUP_CYCLES = 8 + 4
"""The eight cycles of a lookup (R12), and what a command costs around them."""


def load(n: int, key: tuple[int, int, int, int], tier: int = 2) -> Load:
    return Load(*key, key[3] + 31, n * BLOCK, tier)


@pytest.fixture
def device(lockstep):
    for setting, value in (("EVICT_THRESH", 0), ("PREFETCH_THRESH", 0xFFFF)):
        lockstep.execute(Set(setting, value))
    return lockstep


def overflows(device) -> int:
    return device.telemetry()["index_overflows"]


def test_r12_colliding_keys_are_all_accepted_and_found(device):
    keys = colliding(ENTRIES, 40)
    for n, key in enumerate(keys):
        assert device.execute(load(n, key)).index == n
        assert overflows(device) == max(0, n + 1 - IN_INDEX)
    for n, key in enumerate(keys):
        for command in (Lookup, Touch):
            assert device.execute(command(*key[:3], key[3] + n % 32)).index == n
        assert device.execute(load(n, key)).code == "ERR_EXISTS"
    assert overflows(device) == len(keys) - IN_INDEX, "a refused load is none"
    device.verify()


def test_r12_only_colliding_keys_pay(device):
    others = [(7, 1, 1, 32 * n) for n in range(100)]
    for n, key in enumerate(others):
        device.execute(load(n, key))
    before = [device.execute(Lookup(*key)).cycles for key in others]
    assert max(before) <= LOOKUP_CYCLES
    keys = colliding(ENTRIES, 30)
    for n, key in enumerate(keys):
        device.execute(load(100 + n, key))
    assert [device.execute(Lookup(*key)).cycles for key in others] == before
    marked = bucket(ENTRIES, keys[0])
    absent = [(8, 1, 1, 32 * n) for n in range(100, 164)]
    free = [key for key in absent if marked not in (bucket(ENTRIES, key), bucket(ENTRIES, (0, *key[1:])))]
    assert len(free) > 50
    assert max(device.execute(Lookup(*key)).cycles for key in free) <= LOOKUP_CYCLES, "nor do misses in other buckets"
    cost = [device.execute(Lookup(*key)).cycles for key in keys]
    fit = len(keys) - overflows(device)  # a few others may sit in the same buckets
    assert IN_INDEX - 4 <= fit <= IN_INDEX and max(cost[:fit]) <= LOOKUP_CYCLES
    rows = (100 + len(keys)) // LANES
    assert all(rows < cycles <= rows + 30 for cycles in cost[fit:]), cost


def test_r12_a_missing_key_of_a_marked_bucket_is_a_miss(device):
    *keys, absent, other = colliding(ENTRIES, 14)
    for n, key in enumerate(keys):
        device.execute(load(n, key))
    for command in (Lookup, Touch):
        for key in (absent, other):
            result = device.execute(command(*key))
            assert (result.code, result.matched, result.index) == ("OK", 0, None)


def test_r12_the_shared_prefix_behind_a_marked_bucket(device):
    """Both the key's own bucket and that of request 0 may hide it; the block of its own comes first."""
    shared = colliding(ENTRIES, 14, request=0)
    for n, key in enumerate(shared):
        device.execute(load(n, key))
    for request in (1, 2, 0xFFFF):
        for n, (_, *rest) in enumerate(shared):
            for command in (Lookup, Touch):
                assert device.execute(command(request, *rest)).index == n
    _, *rest = shared[-1]
    assert device.execute(load(20, (5, *rest))).index == 14
    assert device.execute(Lookup(5, *rest)).index == 14
    assert device.execute(Lookup(6, *rest)).index == 13


def test_r12_an_overflowed_block_of_its_own_comes_before_a_shared_one_in_the_index(device):
    keys = colliding(ENTRIES, 12)
    _, *rest = keys[-1]
    device.execute(load(0, (0, *rest)))
    assert device.execute(Lookup(*keys[-1])).index == 0
    for n, key in enumerate(keys, start=1):
        device.execute(load(n, key))
    assert device.execute(Lookup(*keys[-1])).index == 12
    device.execute(Unload(12 * BLOCK, 1))
    assert device.execute(Lookup(*keys[-1])).index == 0


def test_r21_unloading_and_reloading_colliding_keys(device):
    """A slot in the index that becomes free is used again; the keys that had overflowed stay found."""
    keys = colliding(ENTRIES, 24)
    for n, key in enumerate(keys):
        device.execute(load(n, key))
    before = overflows(device)
    device.execute(Unload(2 * BLOCK, 3 * BLOCK))  # in the index
    device.execute(Unload(15 * BLOCK, 2 * BLOCK))  # overflowed
    for n, key in enumerate(keys):
        gone = n in (2, 3, 4, 15, 16)
        assert device.execute(Lookup(*key)).index == (None if gone else n)
    for n in (15, 16, 2, 3, 4):
        device.execute(load(n, keys[n]))
    assert overflows(device) == before + 2, "three found the slots that became free"
    for key in keys:
        assert device.execute(Touch(*key)).matched == 1
    device.verify()


def test_r12_when_the_last_overflowed_key_is_gone_nobody_pays(device):
    *keys, absent = colliding(ENTRIES, 21, request=3)
    for n, key in enumerate(keys):
        device.execute(load(n, key))
    assert device.execute(Lookup(*absent)).cycles > LOOKUP_CYCLES
    assert device.execute(UnloadRequest(3)).matched == 20
    assert device.execute(Lookup(*absent)).cycles <= LOOKUP_CYCLES
    for n, key in enumerate(keys):
        assert device.execute(load(n, key)).index == n
    device.verify()


def test_r12_a_directory_full_of_colliding_keys(device):
    keys = colliding(ENTRIES, ENTRIES + 1)
    for n, key in enumerate(keys[:-1]):
        assert device.execute(load(n, key)).index == n
    assert device.execute(load(0, keys[-1])).code == "ERR_FULL"
    assert overflows(device) == ENTRIES - IN_INDEX
    for n in (0, 7, 8, 100, ENTRIES - 1):
        assert device.execute(Touch(*keys[n])).index == n
    assert device.execute(Step(1)).matched == ENTRIES
    device.verify()


@pytest.mark.parametrize("seed", range(3))
def test_r12_random_commands_on_colliding_keys(device, seed):
    choose = random.Random(seed)
    pool = colliding(ENTRIES, 24) + colliding(ENTRIES, 12, request=0) + [(n % 3, 2, 3, 32 * n) for n in range(12)]
    vas = {key: n * BLOCK for n, key in enumerate(pool)}
    hits = 0
    for _ in range(250):
        key = choose.choice(pool)
        request = choose.choice((key[0], key[0], choose.randrange(4)))
        kind = choose.random()
        if kind < 0.4:
            command = Load(*key, key[3] + 31, vas[key], choose.choice((1, 2)))
        elif kind < 0.8:
            command = choose.choice((Lookup, Touch))(request, *key[1:])
        elif kind < 0.95:
            command = Unload(vas[key], 1)
        else:
            command = Evict(vas[key], 1)
        hits += device.execute(command).index is not None
    assert hits > 50 and overflows(device) > 20
    device.verify()
