"""Random blocks through kvcpu_nmce, every word of the window SCORES held against the reference model's exact arithmetic.

    python -m tests.rtl.nmce.nmce_check                     geometries of all kinds, with random pauses, and the rates without any
    python -m tests.rtl.nmce.nmce_check --geometry 64,4,16  DATA_BITS, BLOCK_TOKENS, HEAD_DIM; may be repeated
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from kvfpga.model.nmce import block_scores
from scripts import manual
from scripts.interrupt import interruptible
from scripts.mutation.mutations import Edit
from tests.rtl.nmce.nmce_bench import NO_BEAT, Geometry, Job, Run, run

SLOTS = 64
GEOMETRIES = (
    Geometry(512, 32, 128), Geometry(64, 64, 4), Geometry(32, 2, 64), Geometry(32, 4, 4), Geometry(64, 16, 128),
    Geometry(64, 2, 32), Geometry(128, 8, 8), Geometry(128, 16, 256), Geometry(256, 256, 16), Geometry(512, 2, 32),
    Geometry(512, 64, 256), Geometry(1024, 32, 64),
)  # fmt: skip


# ---- what goes in ------------------------------------------------------------------------------------------------------
def vectors(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """uint16: FP16 bits of vectors of several kinds, the last axis being one: any bits, rarely infinite or NaN; plain numbers; a
    few powers of two among zeros, whose sums are often exactly between two floats, or zero; all tiny; infinities and zeros."""
    bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    finite = np.where((bits & 0x7C00 == 0x7C00) & (rng.random(shape) < 0.995), bits & 0xBFFF, bits)
    plain = (rng.standard_normal(shape) * 2.0 ** rng.integers(-5, 3, (*shape[:-1], 1))).astype(np.float16).view(np.uint16)
    powers = np.where(rng.random(shape) < 3 / shape[-1], bits & 0xFC00, 0)
    powers = np.where(powers & 0x7C00 == 0x7C00, 0x3C00, powers)
    tiny = bits & 0x83FF | rng.integers(0, 3, shape).astype(np.uint16) << 10
    special = np.where(rng.random(shape) < 1.5 / shape[-1], bits & 0x8000 | 0x7C00, np.where(rng.random(shape) < 0.02, 0, plain))
    special = np.where(rng.random(shape) < 0.02 / shape[-1], rng.choice([0x7C01, 0x7E00, 0xFE00, 0xFD00], shape), special)
    kind = rng.choice(5, (*shape[:-1], 1), p=(0.3, 0.35, 0.2, 0.05, 0.1))
    return np.choose(kind, (finite, plain, powers, tiny, special)).astype(np.uint16)


TWOS = np.full(4, 0x4000, np.uint16)
"""With this query, of 2.0, the score of a row of HEAD_DIM 4 is the sum of its values."""


def chosen_scores(rng: np.random.Generator, tokens: int) -> np.ndarray:
    """uint16[tokens, 4]: rows whose scores, by TWOS, are hard cases for m - score and for what comes of it."""
    largest = rng.choice([2.0 ** rng.integers(-6, 8), rng.uniform(-1500, 1500), rng.integers(-60, 60) / 4, 0.0])
    far = rng.choice([16, 32, 64, 128, 87.33, 87]) + rng.integers(-9, 9, tokens) * 2.0 ** -rng.integers(15, 24, tokens)
    near = 2.0 ** rng.uniform(-21, 7.2, tokens)
    tiny = rng.integers(0, 64, tokens) * 2.0**-24
    below = np.choose(rng.integers(0, 3, tokens), (far, near, np.full(tokens, rng.uniform(0, 90))))
    rest = np.where(rng.random(tokens) < 0.4, np.minimum(tiny, largest), largest - below)
    rest[rng.integers(tokens // 2, tokens)] = largest  # so that sums begin small
    keys = np.zeros((tokens, 4), np.float16)
    for piece in range(4):
        keys[:, piece] = rest
        rest = rest - keys[:, piece]
    return keys.view(np.uint16)


STICKY = (
    (0.5 + 2**-24, -63.5 - 2**-18),  # carries into the next power of two, 2^-24 below the bit that is half of the last place
    (2**-19 + 2**-24, -40.0),
    (2**-19 + 2**-20, -40.0),
    (2**-19, -40.0),  # exactly between two: stays even
)
"""The largest score of a block and one far below it. Their distance has more places than an FP32 number, the first of those set,
and what comes behind it decides alone whether it is rounded up. It is 32 or more, so that t shows its last place."""


def distances(pairs: Sequence[tuple[float, float]]) -> np.ndarray:
    """uint16[pairs, 2, 4]: a block of two rows for each, whose scores by TWOS are the lower and the larger."""
    keys = np.zeros((len(pairs), 2, 4), np.float16)
    for block, (largest, lower) in zip(keys, pairs):
        for row, rest in zip(block, (lower, largest)):
            for piece in range(4):
                row[piece] = rest
                rest -= float(row[piece])
    return keys.view(np.uint16)


def check_distances(geometry: Geometry, mutation: Edit | None = None) -> int:
    """Blocks of STICKY, whose other rows are no tokens; the rows compared."""
    keys = np.zeros((len(STICKY), geometry.block_tokens, 4), np.uint16)
    keys[:, :2] = distances(STICKY)
    jobs = [Job(block, 2, 0, True) for block in range(len(STICKY))]
    return compare(geometry, TWOS[None], keys, jobs, run(geometry, TWOS[None], keys, jobs, mutation=mutation))


def stimulus(geometry: Geometry, blocks: int, jobs: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[Job]]:
    """Queries, keys, and jobs on any of them."""
    rng = np.random.default_rng(seed)
    queries = vectors(rng, (SLOTS, geometry.head_dim))
    keys = vectors(rng, (blocks, geometry.block_tokens, geometry.head_dim))
    for block in keys[::4]:  # scores that are the same, or differ in their last bits
        block[1::2] = block[::2] ^ (rng.random(block[::2].shape) < 1 / geometry.head_dim)
    for block in keys[1::4]:  # of one size
        block[:] = (rng.standard_normal(block.shape) * 2.0 ** rng.integers(-3, 3)).astype(np.float16).view(np.uint16)
    usual = rng.standard_normal((16, geometry.head_dim)) * 2.0 ** rng.integers(-12, 6, (16, 1))
    queries[:16] = usual.astype(np.float16).view(np.uint16)
    return queries, keys, [
        Job(
            int(rng.integers(blocks)), int(rng.integers(1, geometry.block_tokens + 1)),
            int(rng.integers(16 if rng.random() < 0.6 else SLOTS)),
            bool(rng.random() < 0.7), int(rng.integers(geometry.beats)) if rng.random() < 0.05 else NO_BEAT,
        )
        for _ in range(jobs)
    ]  # fmt: skip


# ---- what must come out --------------------------------------------------------------------------------------------------
def window(geometry: Geometry, query: np.ndarray, keys: np.ndarray, job: Job) -> np.ndarray:
    """The 1,024 words of SCORES behind that job."""
    scores = block_scores(query, keys, job.rows, job.numerators)
    words, tokens = np.zeros(1024, np.uint32), geometry.block_tokens
    words[:tokens] = scores.score_bits
    words[512 : 512 + tokens // 2] = np.array(scores.half_bits, np.uint16).view(np.uint32)
    if job.numerators:
        words[256 : 256 + tokens] = scores.exp_bits
        words[768:770] = scores.max_bits, scores.sum_bits
    return words


def check_numerators(geometry: Geometry, blocks: int, seed: int) -> int:
    """Blocks of `chosen_scores`; the rows compared."""
    rng = np.random.default_rng(seed)
    keys = np.stack([chosen_scores(rng, geometry.block_tokens) for _ in range(blocks)])
    jobs = [Job(block, geometry.block_tokens, 0, True) for block in range(blocks)]
    return compare(geometry, TWOS[None], keys, jobs, run(geometry, TWOS[None], keys, jobs))


def compare(geometry: Geometry, queries: np.ndarray, keys: np.ndarray, jobs: list[Job], found: Run) -> int:
    """How many rows were compared. AssertionError names the first word that is not what it must be."""
    rows = 0
    for number, (job, done) in enumerate(zip(jobs, found.jobs, strict=True)):
        assert done.error == (job.bad_beat != NO_BEAT), f"job {number} {job}: error {done.error}"
        if done.window is None:
            continue
        wanted = window(geometry, queries[job.slot], keys[job.block], job)
        wrong = np.flatnonzero(wanted != done.window)
        assert not wrong.size, (
            f"{geometry}, job {number} {job}: {wrong.size} words differ, {4 * wrong[0]:#x} first:"
            f" {done.window[wrong[0]]:#010x}, not {wanted[wrong[0]]:#010x}"
        )
        rows += geometry.block_tokens
    return rows


def check(geometry: Geometry, jobs: int, seed: int, **options: object) -> int:
    """Random jobs with random pauses, compared; the rows that were."""
    queries, keys, some = stimulus(geometry, min(jobs, 64), jobs, seed)
    settings = {"pause": 20, "latency": 30, "touches": 20, "resets": 40000, **options}
    return compare(geometry, queries, keys, some, run(geometry, queries, keys, some, seed=seed, **settings))


def rate(geometry: Geometry, numerators: bool, latency: int = 20) -> float:
    """Cycles from the end of a job to that of the next, where each buffer is given back at once and nothing pauses."""
    queries, keys, _ = stimulus(geometry, 2, 0, 1)
    jobs = [Job(n % 2, geometry.block_tokens, n % 16, numerators) for n in range(42)]
    ends = [done.done for done in run(geometry, queries, keys, jobs, latency=latency, reads=False).jobs]
    return (ends[-1] - ends[1]) / (len(ends) - 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)
    parser.add_argument("--geometry", action="append", metavar="BITS,TOKENS,DIM")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [Geometry(*map(int, text.split(","))) for text in options.geometry or ()] or GEOMETRIES
    console, table = Console(soft_wrap=True), Table("geometry", "beats of a block", "cycles", "with numerators", "rows compared")
    for geometry in chosen:
        rows = check(geometry, options.jobs, options.seed)
        rates = [f"{rate(geometry, numerators):.1f}" for numerators in (False, True)]
        table.add_row(str(geometry), str(geometry.beats), *rates, str(rows))
        console.print(f"{geometry}: {rows} rows as they must be", highlight=False)
    console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(interruptible(main))
