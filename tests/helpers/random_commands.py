"""Random commands as objects, for what is not a script: see random_script.py."""

from __future__ import annotations

import random
from collections.abc import Iterator

from kvfpga.contract import commands as cmd

VA, BLOCK = 0x7F000000, 16384


def random_commands(seed: int, count: int) -> Iterator[cmd.Command]:
    """Commands of every kind over 40 blocks, some of them to be refused."""
    pick = random.Random(seed)
    step = 0
    for _ in range(count):
        n, size = pick.randrange(40), pick.choice((0, 1, BLOCK, 3 * BLOCK, 20 * BLOCK))
        place, key = (VA + n * BLOCK, size), (n % 3, n % 2, 0, 32 * n)
        step += pick.randrange(4)
        hint = pick.choice((0, cmd.hint_of(n % 4, 6 * n), pick.randrange(1 << 18)))
        yield pick.choice((
            cmd.Load(*key, 32 * n + 31, VA + n * BLOCK, pick.randrange(4)), cmd.Load(*key, 32 * n + 31, VA + n * BLOCK),
            cmd.Step(step), cmd.Step(pick.randrange(step + 1)), cmd.Hot(*place), cmd.Evict(*place), cmd.Share(*place),
            cmd.Release(*place), cmd.Prefetch(*place, step + pick.randrange(40)), cmd.Lookup(*key), cmd.Touch(*key),
            cmd.Unload(*place), cmd.Set("WEIGHT_S", pick.choice((0, 2, 255, 256))), cmd.Set("EVICT_THRESH", 0x200 * n),
            cmd.ShareIndex(n), cmd.ReleaseIndex(n), cmd.Set("STRICT", 1), cmd.Set("CLEAR_COUNTERS", 1),
            cmd.Load(*key, 32 * n + 31, VA + n * BLOCK, pick.randrange(4), hint), cmd.Touch(*key, hint),
            cmd.Class(*place, pick.choice((0, 3, 255, 256)), n, pick.randrange(17)), cmd.Step(step),
            cmd.Set("POLICY", pick.choice((0, 1, 1, 2))), cmd.Set("FILL_AGE", pick.choice((0, 1, 20, 255, 256))),
            cmd.Score(*key, pick.choice((0, 1, 64)), pick.choice((0, 1, 1, 2)), pick.choice((0, hint))), cmd.Score(*key, 63, 1),
            cmd.Set("PTABLE_COMMIT", pick.randrange(2)), cmd.Set("T1_CAPACITY", pick.choice((0, 3, 10, 256))),
        ))  # fmt: skip
