"""What a mutated RTL has to get through: scripts of `kvfpga` command lines, each for a fresh device of 256 entries.

Directed scripts reach what chance rarely does: borders, saturation, a full directory, an overflowing key index, keys that
differ in one field, a slow memory, doorbells that nobody waits for. The random ones are those of
tests/helpers/random_script.py. Every line is run in lockstep with the full check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kvfpga.contract.commands import Command, Hot, Load, Lookup, Step, Touch, Unload, UnloadRequest
from kvfpga.device.device import Device
from kvfpga.device.regmap import PTABLE, QUERY, SCORES
from scripts.mutation import host_side
from tests.helpers.key_collisions import SLOTS, WAYS, Key, colliding, twins
from tests.helpers.random_script import BASE, BLOCK, Script, random_halves

ENTRIES, ROW = 256, 4
"""ROW: entries of a row, as many as lanes."""
QUICK, STEADY, SLOW = (4, 24), (12, 12), (0, 4000)
"""Cycles that the memory takes to answer. The slow one answers long after the device has been asked about everything
else: only so do bytes that are on their way count as missing, and only so do the queues of the DMA fill up."""


class Scenario(NamedTuple):
    """`seed` is for the memory's random latency (within `latency` cycles), power-up values and block contents; `stall`
    is the percentage of pauses on each of the memory's channels. `queued`: commands whose doorbells are rung after the lines,
    one behind the other without waiting, and `settles` says that the end does not depend on the memory's timing. `host`: a
    check of host_side.py, instead of lines."""

    name: str
    lines: list[str]
    seed: int = 1
    stall: int = 0
    latency: tuple[int, int] = QUICK
    queued: tuple[Command, ...] = ()
    settles: bool = False
    host: Callable[[Device], None] | None = None


def scenarios(seeds: int, count: int, place: Path | None = None) -> Iterator[Scenario]:
    """The stock: what is about `place`, the file that a mutation is in, comes first. `seeds` random scripts of `count` commands
    close it, made one by one, since few mutations get so far."""
    first = [name for part, names in ABOUT.items() if place and part in (place.name, place.parent.name) for name in names]
    yield from sorted(directed(), key=lambda scenario: scenario.name not in first)
    for seed in range(1, seeds + 1):
        lines = Script(seed, (60, 120, 400)[seed % 3]).lines(count)
        yield Scenario(f"random {seed}", lines, seed, (0, 30, 60)[seed % 3], QUICK if seed % 4 else SLOW)


def directed() -> Iterator[Scenario]:
    """Quick ones first."""
    for seed, script in enumerate(DIRECTED, start=100):
        yield Scenario(script.__name__, list(script()), seed, 20 * (seed % 2), SLOW if script is busy_channels else QUICK)
    for check in host_side.CHECKS:
        yield Scenario(f"host: {check.__name__}", [], latency=STEADY, host=check)
    yield Scenario("queued", [*cold_blocks()], 98, 30, SLOW, QUEUED, settles=True)
    yield Scenario("freed, not strict", [*cold_blocks(), "config --strict 0"], 97, 30, SLOW, FREED, settles=True)
    yield Scenario("queued, not strict", [*cold_blocks(), "config --strict 0"], 99, 30, SLOW, QUEUED)


ABOUT = {
    "nmce": ("scores", "host: unasked_numerators", "host: window_of_scores", "host: behind_scores",
             "host: scores_that_nobody_takes"),
    "dma": ("busy_channels", "whole_tiers", "queued"),
    "kvcpu_contest.sv": ("contest", "same_bin", "all_win", "many_counts"),
    "kvcpu_rank_table.sv": ("rank_table",),
    "kvcpu_key_index.sv": (
        "keys", "overflowing_index", "one_key_too_many", "twins_in_a_bucket", "keys_freed_apart",
        "host: lookups_behind_an_overflow",
    ),
    "kvcpu_settings.sv": ("settings",),
    "kvcpu_reset.sv": ("host: reset", "host: hint_of_a_reset"),
    "kvcpu_axil.sv": ("host: refusals", "host: full_fifo"),
}
"""Scenarios that show most of what goes wrong in a module, or in the modules of a folder."""


# ---- words ---------------------------------------------------------------------------------------------------------
def va(n: int) -> int:
    return BASE + n * BLOCK


def span(first: int, blocks: int = 1) -> str:
    return f"{va(first):#x} {blocks * BLOCK}"


def load(n: int, request: int = 1, tier: int = 1, layer: int = 0, head: int = 0, tokens: str | None = None) -> str:
    tokens = tokens or f"{32 * n}:{32 * n + 31}"
    return f"load --request {request} --layer {layer} --head {head} --tokens {tokens} --va {va(n):#x} --tier {tier}"


def score(token: int, slot: int) -> str:
    return f"score 1 0 0 {token} --slot {slot}"


def weights(**values: int) -> str:
    return "weights set " + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())


KEY_BYTES = (0, 8, 16, 19, 27, 35, 43, 51)
"""Where bytes of a key's fields begin: four of the block number, of which two overlap, two of the request, head, layer."""
QUIET = weights(evict=0, prefetch=0xFFFF)
"""A STEP moves nothing by its score."""
ONLY_R = weights(w_r=1, w_f=0, w_s=0, w_d=0)
"""P = R, so that a script knows every priority."""


# ---- directed scripts ----------------------------------------------------------------------------------------------
# fmt: off
def ranges_and_refusals() -> Iterator[str]:
    """Borders of ranges (contract section 4), order of refusals (R10), borders of steps."""
    yield QUIET
    for n in range(10):
        yield load(n, tokens=f"{32 * n}:{32 * n + 7 * n % 32}")
    yield "load --request 2 --layer 0 --head 0 --tokens 0:31 --va 0x810000000"
    yield from ("hot 0x7f0000000 0x30000000", "hot 0x800000000 0x1000000")
    yield f"hot {va(3) + BLOCK - 1:#x} 1"
    yield f"evict {va(2) + 100:#x} {BLOCK - 100}"
    yield f"share {va(5):#x} {BLOCK}"
    yield f"release {va(5) - 1:#x} 2"
    yield f"prefetch {va(2) - 5 * BLOCK:#x} {8 * BLOCK} 3"
    yield from ("hot 0 0", "evict 0 0x7f", "hot 0xffffffffffff0000 0x10000", "hot 0xffffffffffff0000 0x10001")
    yield from ("step 5", "step 5", "step 4", f"prefetch {span(1)} 5", f"prefetch {span(1)} 4", "prefetch 0 0 4")
    yield from ("step 0xffffffff", f"prefetch {span(4)} 0xffffffff", "reset --raw", QUIET)
    yield load(0, tokens="0:31")
    yield from (load(20, tokens="640:672"), load(20, tokens="641:650"), load(20, tokens="640:639"), load(0))
    yield load(20, tokens="640:640")
    yield from (f"reg write RTBD_SHARE {index}" for index in (0, 2, 3, 4, 255, 256))
    yield from (f"reg write RTBD_RELEASE {index}" for index in (0, 0, 3, 4, 256))
    yield from ("unload --request 65536", "unload --request 9", "lookup 1 0 0 5 --touch", "lookup 1 0 0 32")
    yield from ("lookup 1 0 0 640", "verify")


def settings() -> Iterator[str]:
    """What a setting may be (R6), and what only an empty directory lets change (R16)."""
    yield from (weights(w_r=255, w_f=255), weights(w_s=256), weights(window=256), weights(window=7, w_d=0))
    yield from (weights(evict=65536), weights(prefetch=65535, evict=65535), "config --strict 0", "verify")
    yield "config --strict 1"
    yield from ("config --t1-capacity 256", "config --t1-capacity 257", "config --t1-capacity 0")
    yield "config --contend-policy 1"
    yield from (load(0), load(1, tier=0), load(2, tier=3), "config --evict-tier 3")
    yield "reg write TIER_BASE2 0x40000000"
    yield from (f"reg write {name} 0x8000" for name in ("TIER_BASE0", "TIER_BASE3"))
    yield from ("reg write EVICT_TIER 1", "reg write CONTEND_POLICY 2", "verify", f"unload {span(0, 3)}")
    for tier in range(4):
        yield f"reg write TIER_BASE{tier} {(7 - tier) * 0x1_0000_0000:#x}"
    yield from ("reg write TIER_BASE1 0x2001", "config --evict-tier 3 --t1-capacity 20")
    yield "mem write 0x600004000 a1b2c3d4e5f6a7b8"
    yield from (load(0), load(1), load(2, tier=2), load(3, tier=3), load(4, tier=0))
    yield from (f"evict {span(0, 4)}", f"prefetch {span(0, 5)} 0", "verify", f"evict {span(0, 5)}", "verify")
    yield from ("config --clear-counters", "telemetry", "dump", "reset --raw", "telemetry", "config", "weights")
    yield "verify"
    yield from (load(0), "reset", "dump", load(1), load(0), "verify")


def decisions() -> Iterator[str]:
    """Scores that meet their thresholds exactly, pins that end, prefetches that wait (R14, R15, R17, R19)."""
    yield QUIET
    yield from (load(n, tier=(1, 1, 2, 3, 0)[n % 5]) for n in range(15))
    yield from ("config --t1-capacity 12", ONLY_R, weights(evict=254), "step 1", "step 2", "telemetry", QUIET)
    yield from (weights(prefetch=252), "step 3", weights(prefetch=250), "step 4", QUIET, "verify")
    yield from (weights(w_r=1, w_f=2, w_s=3, w_d=4, window=10), f"hot {span(0, 2)}", "step 14", "step 15")
    yield f"hot {span(1)}"
    yield from (f"prefetch {span(1)} 200", "step 16", "step 30", "step 200", "step 210", "step 211", "step 212")
    yield from (f"prefetch {span(2, 4)} 260", "step 249", "step 250", "step 251", "step 251")
    yield from (f"evict {span(0, 20)}", "step 252")
    yield from (f"prefetch {span(0, 15)} 262", f"prefetch {span(0, 15)} 263", "step 253", "step 260", "step 300")
    yield "verify"


def residency() -> Iterator[str]:
    """T1 places in index order while candidates of both kinds meet, clean and dirty copies (R16), guards (R15, R21)."""
    yield from ("config --t1-capacity 6", ONLY_R, weights(evict=255, prefetch=0xFFFF))
    for n in range(24):
        yield load(n, request=n % 4, tier=1 if n % 3 else 2)
    yield from (f"prefetch {span(0, 24)} 400", "step 1", "step 160", f"hot {span(4, 6)}")
    yield from (f"prefetch {span(0, 24)} 160", "step 161")
    yield from (weights(evict=0), f"evict {span(0, 24)}", f"prefetch {span(10, 6)} 161", f"evict {span(11, 3)}")
    yield "verify"
    yield from ("lookup 1 0 0 160 --touch", "lookup 2 0 0 64 --touch", "lookup 2 0 0 65 --touch")
    yield "lookup 0 0 0 384 --touch"
    yield from (f"evict {span(0, 24)}", f"share {span(0, 9)}", f"prefetch {span(0, 9)} 162", weights(evict=0xFFFF))
    yield from ("step 162", "verify")
    yield from ("reg write RTBD_SHARE 12", "reg write RTBD_RELEASE 12", "step 163", f"evict {span(0, 24)}")
    yield f"release {span(1, 5)}"
    yield from (f"release {span(1, 2)}", f"evict {span(0, 6)}", f"unload {span(0, 12)}", "unload --request 0")
    yield "verify"
    yield from (load(30), load(31, tier=2), load(32), load(33), "unload --request 3", load(34, request=0), "verify")
    yield from ("config --t1-capacity 3", f"prefetch {span(0, 40)} 163", weights(evict=0))
    yield from ("config --t1-capacity 200", "step 170")
    yield from (f"evict {span(0, 40)}", f"prefetch {span(0, 40)} 171", "unload 0 0xffffffffffffffff")
    yield from ("config --clear-counters", "telemetry", "verify")


def busy_channels() -> Iterator[str]:
    """Both channels with more to do than their queues hold, on a slow memory (R16)."""
    yield from (QUIET, "config --t1-capacity 40", *(load(n, tier=1 + n % 2) for n in range(40)))
    yield from (f"evict {span(0, 1)}", f"prefetch {span(0, 1)} 0", f"evict {span(0, 40)}")
    yield from (f"prefetch {span(0, 40)} 0", "verify")
    yield from (ONLY_R, weights(evict=253, prefetch=254), *(f"hot {span(n, 2)}" for n in range(0, 40, 4)))
    yield f"evict {span(0, 2)}"
    yield from (f"prefetch {span(1)} 1", "step 1", "step 2", "step 3", f"prefetch {span(0, 40)} 3")
    yield "config --contend-policy 1"
    yield from (f"evict {span(10, 30)}", f"prefetch {span(5, 30)} 3", "verify")


def keys() -> Iterator[str]:
    """Keys that differ in one field, and the shared prefix behind a miss (R12)."""
    yield QUIET
    yield load(0, request=0x1201, layer=2, head=3)
    yield load(1, request=0, layer=2, head=3)
    for head in range(256):
        yield f"lookup 0x1201 2 {head} 7"
    for bit in range(16):
        yield f"lookup {0x1201 ^ 1 << bit:#x} 2 3 5"
        yield f"lookup {0x1201 ^ 1 << bit:#x} 2 3 37"
    for bit in range(5, 32):
        yield f"lookup 0x1201 2 3 {1 << bit}"
    yield from (f"lookup 0x1201 {2 ^ 1 << bit} 3 0" for bit in range(8))
    yield from ("lookup 0x1201 2 3 33", load(1, request=0x1201, layer=2, head=3), "lookup 0x1201 2 3 33")
    yield load(1, request=0x1201, layer=2, head=3)
    yield from ("unload --request 0x1201", "lookup 0x1201 2 3 7", "lookup 0x1201 2 3 33", load(5), load(6))
    yield from ("lookup 1 0 0 191", "verify")


def full_directory() -> Iterator[str]:
    """All entries used, then some freed here and there: the lowest free index, ERR_FULL (R11)."""
    yield QUIET
    yield from ("config --t1-capacity 64", *(load(n, request=n % 9, tier=1 + n % 2) for n in range(ENTRIES + 2)))
    yield from (f"step {n}" for n in (1, 2))
    yield from (f"unload {span(70, 3)}", f"unload {span(254, 1)}", f"unload {span(3, 1)}", "lookup 7 0 0 2272")
    yield "lookup 3 0 0 96"
    yield from (load(n, request=1) for n in (300, 301, 302, 303, 304, 305, 306))
    yield from ("unload --request 5", "unload --request 0", f"unload {span(128, 128)}", "verify")
    yield from (load(n, request=3) for n in range(400, 460))
    yield from (f"prefetch {span(0, 256)} 2", f"evict {span(0, 256)}", "unload 0 0xffffffffffffffff")
    yield from (*(load(n) for n in range(4)), "verify")


def overflowing_index() -> Iterator[str]:
    """More keys in one bucket of every way than it holds: the index overflows and passes must find them (R11, R12)."""
    private, shared, foreign = colliding(ENTRIES, 11, 0x2345), colliding(ENTRIES, 11, 0), colliding(ENTRIES, 2, 0x777)
    yield from (QUIET, "config --t1-capacity 16")
    for n, key in enumerate([*private, *shared[:10]]):
        yield load_key(n, key)
    for key in [*private, *shared, *foreign]:
        yield lookup_key(key)
    for key in [private[10], shared[9], private[0], shared[8], foreign[0]]:
        yield lookup_key(key) + " --touch"
        yield lookup_key(key, request=0x99)
        yield lookup_key(key, request=0x99) + " --touch"
        yield load_key(40, key)
    yield from (f"unload {span(10)}", lookup_key(private[10]), f"unload {span(2)}", lookup_key(private[2]))
    yield lookup_key(private[9])
    yield from (load_key(50, private[10]), lookup_key(private[10]), f"unload {span(9)}", lookup_key(private[9]))
    yield from (load_key(51, (*shared[9][:2], shared[9][2] ^ 1, shared[9][3])), "unload --request 0")
    yield from map(lookup_key, private)
    yield from (*(lookup_key(key) for key in shared), "step 3", "unload --request 0x2345", "verify")


def one_key_too_many() -> Iterator[str]:
    """One key that the index has no room for is found by passes, whatever is freed beside it, until it is freed itself (R12)."""
    first, second = colliding(ENTRIES, WAYS * SLOTS + 1, 0x2345), colliding(ENTRIES, WAYS * SLOTS + 1, 0x777)
    yield from (QUIET, *(load_key(n, key) for n, key in enumerate(first)), load(30), f"unload {span(30)}", lookup_key(first[-1]))
    yield from (f"unload {span(WAYS * SLOTS)}", lookup_key(first[-1]), *(load_key(40 + n, key) for n, key in enumerate(second)))
    yield from (f"unload {span(40)}", *map(lookup_key, second), "verify")


def twins_in_a_bucket() -> Iterator[str]:
    """Keys of one bucket that differ in one byte of the key alone, not loaded beside those that are (R12)."""
    yield QUIET
    loaded = [(0x3A5C ^ 0x101 * n, 0x51 + n, 0x27 ^ n, (0x0135_7A40 * (n + 1) & 0xFFFF_FFFF) >> 5 << 5) for n in range(12)]
    yield from (load_key(n, key) for n, key in enumerate(loaded))
    for key in loaded:
        for low in KEY_BYTES:
            for other in twins(ENTRIES, key, 0xFF << low):
                yield lookup_key(other)
    for n, key in enumerate(loaded):
        yield f"unload --request {key[0] ^ 0x100 << n % 8}"
    yield from (lookup_key(key) for key in loaded)
    yield from (f"unload --request {key[0]}" for key in loaded[::2])
    yield from (*(lookup_key(key) for key in loaded), "verify")


def keys_freed_apart() -> Iterator[str]:
    """UNLOAD gives back up to four keys of a row and then one some rows behind, so that the key index is busy with them (R21)."""
    counts = [count for first in (1, 2, 3, 4) for gap in range(4) for count in (first, *[0] * gap, 1)]
    freed = {ROW * row + lane for row, count in enumerate(counts) for lane in range(count)}
    yield from (QUIET, *(load(n, request=7 if n in freed else 1) for n in range(ENTRIES)))
    yield from ("unload --request 7", *(f"lookup {7 if n in freed else 1} 0 0 {32 * n}" for n in range(0, ENTRIES, 3)))
    yield "verify"


def whole_tiers() -> Iterator[str]:
    """Every block moves before anybody takes a completion record (R16)."""
    yield from (QUIET, *(load(n) for n in range(ENTRIES)))
    yield from (f"evict {span(0, ENTRIES)}", f"prefetch {span(0, ENTRIES)} 0", "verify")


def saturation() -> Iterator[str]:
    """R down to 0, F and ref_count up to 255, and one more each (R13, R15, R20)."""
    yield from (QUIET, weights(w_r=3, w_f=2, w_s=1), load(0), load(1), load(2, tier=2), "config --t1-capacity 2")
    for n in range(1, 259):
        yield f"step {n}"
    for _ in range(257):
        yield "lookup 1 0 0 0 --touch"
    for _ in range(257):
        yield "reg write RTBD_SHARE 1"
    yield from (f"share {span(0, 3)}", f"release {span(0, 3)}", f"release {span(0, 3)}", "step 600", "step 70000")
    yield from ("step 70001", "verify")


def table(code: Callable[[int, int], int], classes: int = 256) -> Iterator[str]:
    """Writes the idle bank of PTABLE and puts it in force. `code` of a class and a bucket."""
    for k in range(classes):
        for j in range(0, 64, 4):
            yield f"reg write {PTABLE + 64 * k + j:#x} {sum(code(k, j + n) << 8 * n for n in range(4))}"
    yield "reg write PTABLE_COMMIT 1"


def rank_table() -> Iterator[str]:
    """Every bucket and class in both banks, ages up to the last bucket's, of the past and of the future (R43 to R45)."""
    yield from ("policy ranked --fill-age 0", *table(lambda k, b: (3 * k + 5 * b + k * b) % 251, 256))
    yield from (f"reg read {PTABLE + 64 * k + 8:#x}" for k in (0, 1, 128, 255))
    yield from (load(n) + f" --class {(0, 1, 127, 128, 200, 255)[n % 6]} --order {7 * n % 256}" for n in range(24))
    for step in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 17, 40, 300, 5000, 65535, 131070, 131071, 131072, 131100, 262144, 500000):
        yield f"step {step}"
    yield from (f"prefetch {span(n)} {500000 + far}" for n, far in enumerate((0, 1, 2, 3, 6, 100, 65534, 131070, 131071, 131072)))
    yield from ("step 500001", "step 500002", *table(lambda k, b: (b * 7 + k) % 256, 2))
    yield from ("step 500003", "reg write PTABLE_COMMIT 0")
    yield from ("reg write PTABLE_COMMIT 1", "step 500004", "reg write PTABLE_COMMIT 2", "policy", "verify")
    yield from ("reset --raw", *(f"reg read {PTABLE + 64 * k + 4 * (k % 16):#x}" for k in range(0, 256, 17)), "policy")
    yield from ("policy ranked", load(0) + " --class 9 --order 3", load(1) + " --class 201", "step 1", "verify")
    yield from ("reg write PTABLE_COMMIT 1", "step 2", "verify")


def scores() -> Iterator[str]:
    """Rows and queries of any size, numerators, blocks with few tokens, refusals, blocks that are called back (R30 to R33)."""
    usual, any_size = np.random.default_rng(5).standard_normal((5, 32, 128)).astype(np.float16), random_halves(5, 98 * 128)
    keys = [*(usual[n] * np.float16(scale) for n, scale in enumerate((1, 9, 1e-5, 4000, 0))),
            *any_size[: 96 * 128].view(np.float16).reshape(3, 32, 128), far_apart()]
    queries = {0: usual[4, 0], 1: usual[4, 1] * np.float16(0.001), 2: any_size[-128:].view(np.float16), 63: usual[4, 3]}
    queries[7] = np.float16([1 + 2**-10, *[0] * 127])  # with the last block, numerators are asked for
    yield QUIET
    for slot, query in queries.items():
        words = query.view("<u4").tolist()
        yield from (f"reg write {QUERY + 256 * slot + 4 * word:#x} {value}" for word, value in enumerate(words))
    for n, block in enumerate(keys):
        yield load(n, tokens=f"{32 * n}:{32 * n + (31, 31, 30, 0, 31, 16, 31, 1, 31)[n]}")
        yield f"mem write {(ENTRIES + n) * BLOCK:#x} {block.tobytes().hex()}"
    for slot in queries:
        yield from (score(32 * n + 9, slot) + (" --exp", "")[(slot + n) % 3 == 2] for n in range(len(keys)))
    yield from (score(3, 64), score(3, 0) + " --flags 2", score(3, 1) + " --flags 0x80000000", score(999, 0))
    yield from (score(3, 0) + " --hint 0x20000", score(3, 0) + " --class 7 --order 9")
    yield from (f"reg read {address:#x}" for address in (SCORES, SCORES + 0xC04, QUERY + 64 * 256 - 4))
    yield from ("config --clear-counters", score(3, 63) + " --exp", f"evict {span(0, 3)}", score(3, 0), score(3, 0))
    yield from (score(33, 0) + " --exp --wait", "config --t1-capacity 3", score(65, 0) + " --wait", load(20, tier=0))
    yield from (score(640, 0), load(21, request=0), score(672, 0), "verify", "reset --raw")
    yield from (f"query read {slot}" for slot in queries)
    yield from (load(0), "config --strict 0", score(3, 0) + " --exp", score(3, 63), "verify")


def far_apart() -> np.ndarray:
    """Keys of one number: a score near 50, and others around a fourth of it, so that a distance has few bits below its last; and
    one whose exponential lies so close above an eighth that its line ends below."""
    keys = np.zeros((32, 128), np.float16)
    keys[:, 0] = np.random.default_rng(8).uniform(92, 180, 32) * np.resize([1, -1], 32)
    keys[3, 0], keys[5, 0] = 560, 536.5
    return keys


def hints() -> Iterator[str]:
    """TOUCH_HINT on LOAD and TOUCH, CLASS with its borders (R41, R42), in both modes."""
    yield from (QUIET, *table(lambda k, b: (k + 7 * b) % 256, 256))
    for mode in ("policy linear", "policy ranked"):
        yield from ("reset --raw", QUIET, *table(lambda k, b: (9 * k + 7 * b) % 256, 8), mode)
        yield from (load(n) for n in range(4))
        yield from (load(n) + f" --class {n} --order {30 * n}" for n in range(4, 8))
        yield from ("lookup 1 0 0 128 --touch", "lookup 1 0 0 160 --touch --order 9", "lookup 1 0 0 0 --touch --class 5")
        yield from (load(8), "lookup 1 0 0 0 --touch", f"unload {span(4, 2)}", load(4), load(5), f"hot {span(6)}")
        for hint in (0x1FFFF, 0x20000, 0x30000, 0x800000, 0x80000000, 0x105FF, 0x5FF):
            yield from (f"reg write TOUCH_HINT {hint}", "reg write LOOKUP_ID 1", "reg write TOUCH_POS 32")
            yield from ("reg write LOAD_ID 1", f"reg write LOAD_TOKEN_START {hint % 1024 // 32 * 32 + 3200}")
            yield from (f"reg write LOAD_TOKEN_END {hint % 1024 // 32 * 32 + 3231}", "reg write LOAD_TIER 1")
        yield from (f"class {span(0, 9)} --class 7 --base 3", f"class {span(2, 3)} --class 255 --base 250 --shift 1", "step 3")
        yield from (f"class {va(3) - 5:#x} 0x20000 --class 1", f"class {span(0, 4)} --class 256")
        yield f"class {span(0, 4)} --class 4294967295"
        yield from (f"class {span(0, 4)} --class 2 --base 256", f"class {span(0, 4)} --class 2 --base 255")
        yield f"class {span(0)} --class 0"
        yield from (f"class {span(0, 4)} --class 3 --shift 15", f"class {span(0, 4)} --class 3 --shift 16", "class 0 0 --class 1")
        yield from ("class 0xffffffffffff0000 0x10001 --class 1", "class 1 1 --class 1", "dump")
        for n, far in enumerate((0xFF, 0x100, 0x101, 0x7FFF, 0x8000, 0x7FFFFF, 0x800000, 0x800001, 0x80000FF, 0x40000000)):
            at = f"--request 5 --layer 0 --head 0 --tokens {32 * n}:{32 * n + 31} --va {BASE + far * BLOCK + 100 * n:#x}"
            yield f"load {at}"
        for shift in (0, 1, 7, 8, 12, 15):
            yield f"class {BASE + 16000:#x} {1 << 46} --class {shift} --base {shift} --shift {shift}"
        yield from (f"class {BASE - 0x7fff0000:#x} {1 << 46} --class 2", "step 4", "verify")


def contest() -> Iterator[str]:
    """Who stays: ties within and across rows, guards, borders of FILL_AGE and of the capacity, STEP behind STEP (R46, R47)."""
    yield from (QUIET, *table(lambda k, b: (200, 200, 7, 0)[k % 4] if b < 60 else 255 - k % 4, 8), "policy ranked --fill-age 3")
    yield from ("config --t1-capacity 40",)
    for n in range(60):
        yield load(n, request=n % 3, tier=(1, 1, 2, 3)[n % 4]) + f" --class {n % 4} --order {(5, 5, 5, 200)[n // 4 % 4]}"
    yield from ("step 1", "config --t1-capacity 33", "step 1", "step 2", "step 3", "step 4", "telemetry")
    for n in range(0, 60, 2):
        yield f"lookup {n % 3} 0 0 {32 * n} --touch"
    yield from ("step 4", "config --t1-capacity 7", "step 5", f"share {span(0, 30)}")
    yield from ("config --t1-capacity 3", "step 6", "telemetry")
    yield from ("config --t1-capacity 0", "step 7", "telemetry", "config --t1-capacity 20", f"release {span(0, 12)}", "step 7")
    yield from (f"hot {span(40, 12)}", f"prefetch {span(10, 30)} 200", "step 8")
    yield from ("step 9", "policy ranked --fill-age 255", "step 10")
    yield from (f"prefetch {span(20, 20)} 260", "step 11", "step 250", "step 270")
    yield from ("telemetry", "policy ranked --fill-age 0", "step 271")
    yield from (*(f"class {span(n, 3)} --class {n % 4} --base {n}" for n in range(0, 60, 5)), "config --t1-capacity 25")
    yield "step 271"
    yield from (f"evict {span(0, 30)}", "step 272", "policy linear", "step 273")
    yield from ("telemetry", "policy ranked --fill-age 255", "step 274")
    yield from ("config --clear-counters", "telemetry", "config --t1-capacity 256", "step 275", "telemetry", "step 600", "verify")
    yield from ("reset --raw", "policy ranked --fill-age 255")
    yield from (*(load(n, tier=2) for n in range(3)), "prefetch 0 0x7fffffffffff 4294967295")
    yield from ("step 5", "step 4294967295", "verify")


def same_bin() -> Iterator[str]:
    """All blocks of one rank, in every row and in every other one, so that a bin is counted again and again (R46)."""
    yield from ("policy ranked --fill-age 255", "config --t1-capacity 100")
    yield from (load(n, tier=2 - n % 2) + f" --order {(9, 9, 9, 9, 1, 2, 3, 4)[n % 8]}" for n in range(ENTRIES))
    yield from ("step 1", "telemetry", *(f"lookup 1 0 0 {32 * n} --touch --order 9" for n in range(0, ENTRIES, 3)))
    yield from ("step 2", "verify")
    yield from ("config --t1-capacity 101", "step 3", "config --t1-capacity 50", "step 4", "telemetry", "verify")


def all_win() -> Iterator[str]:
    """A pool that is exactly as large as tier 1 (R46)."""
    yield from ("policy ranked --fill-age 255", "config --t1-capacity 24", *table(lambda k, b: 255 - b, 1))
    yield from (load(n, tier=1 if n < 20 else 2) for n in range(24))
    yield from ("step 1", "telemetry", "verify")


def many_counts() -> Iterator[str]:
    """A number that a bin carries comes again after 512 counts, on bins that were used long before (R46)."""
    yield from ("policy ranked --fill-age 0", "config --t1-capacity 20", *table(lambda k, b: 255 - b, 1))
    yield from (load(n, tier=1) + f" --class 0 --order {n}" for n in range(20))
    yield from (load(n, tier=2) for n in range(20, 24))
    yield "step 0"
    yield from table(lambda k, b: 100, 1)
    yield from (f"step {1 + n // 16}" for n in range(510))
    yield from ("lookup 1 0 0 704 --touch --order 255", "config --t1-capacity 19", "step 33", "telemetry", "verify")
# fmt: on


def cold_blocks() -> Iterator[str]:
    """Sixteen blocks in tier 1 that every STEP evicts, and eight in tier 2 that only a TOUCH brings back."""
    yield weights(evict=0xFFFF, prefetch=0xFFFF)
    yield from (load(n, tier=1 if n < 16 else 2) for n in range(24))


QUEUED = (
    Step(1), Unload(va(0), 4 * BLOCK), *(Touch(1, 0, 0, 32 * 20) for _ in range(3)), Hot(va(8), BLOCK), Step(2),
    Unload(va(20), BLOCK), Lookup(1, 0, 0, 32 * 5), Step(3),
)  # fmt: skip
"""Blocks are evicted, freed, brought back and asked for while the ones before are still on their way."""
FREED = (Step(1), UnloadRequest(1), *(Load(2, 0, 0, 32 * n, 32 * n + 31, va(n)) for n in range(4)))
"""UNLOAD waits for the blocks that are on their way (R21), or their completions change the blocks that took their places."""


DIRECTED: tuple[Callable[[], Iterator[str]], ...] = (
    ranges_and_refusals, settings, decisions, residency, busy_channels, full_directory, overflowing_index, one_key_too_many,
    keys, twins_in_a_bucket, keys_freed_apart, whole_tiers, saturation, rank_table, hints, contest, same_bin, all_win,
    many_counts, scores,
)  # fmt: skip


# ---- keys ----------------------------------------------------------------------------------------------------------
def load_key(n: int, key: Key) -> str:
    request, layer, head, start = key
    return load(n, request, 1 + n % 2, layer, head, f"{start}:{start + 31}")


def lookup_key(key: Key, request: int | None = None) -> str:
    return f"lookup {key[0] if request is None else request} {key[1]} {key[2]} {key[3] + 9}"
