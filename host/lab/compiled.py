"""The compiled device: what `kvfpga replay` makes a device do with a trace, as fast as policy work needs it.

    stream = stream_of(load_trace("conversation.jsonl"))
    run_ranked(stream, hints, capacity=4096).hits.sum()

It is exact: for the same trace and settings every touch hits or misses as it does on the reference model and on the RTL, and the
counts are theirs. What is done:

- plan.py's sequence: one STEP every `step_ms` while a request is active, idle time skipped in one; TOUCH, LOAD where that misses,
  UNLOAD of those longest out of use where the directory is full; at the end the requests that are still active come to theirs.
- ranked (`run_ranked`, contract R40 to R47): the class and order of `Hints` on every TOUCH and LOAD, CLASS at a request's end for
  the blocks that no later request has touched, a new table in force after the STEPs that lead to a request and before its first
  touch; before the first table all codes are 0. Nothing is shared. Where the hints have requests announced, PREFETCH of a
  request's blocks before the STEP at which it arrives, WINDOW being 1.
- linear (`run_linear`, R13 to R16): a request's blocks are shared while it is active.

What is left out is what such a replay never does, HOT, EVICT, LOOKUP and what follows from them (pins), and what has no effect on
where a block is: addresses, bytes, dirty blocks, counters beside those of `Outcome`, clock cycles. ENTRIES may be any number
here; a device has a power of two.

Needs numba (`pip install 'kvfpga[lab]'`). How it is done without looking at every entry in a STEP, kernels/ says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract import presets
from ..contract.errors import UsageError
from ..contract.parameters import BUCKETS
from ..contract.settings import LIMITS
from ..contract.wording import counted
from ..policy import buckets
from .kernels import counts, linear, ranked
from .kernels.planning import Plan, place_blocks
from .plan import MAX_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..policy.hints import Hints
    from .stream import Stream


class Samples(NamedTuple):
    """The state after every so many STEPs, int64 each: the step, the blocks in tier 1, θ (0 where none was needed) and how many
    contended (R48)."""

    step: NDArray[np.int64]
    t1_used: NDArray[np.int64]
    theta: NDArray[np.int64]
    pool: NDArray[np.int64]


class Outcome(NamedTuple):
    """hits        bool[m]: the touch found its block in tier 1
    placed      LOADs that landed in tier 1
    prefetches  blocks that a TOUCH or a STEP brought there from below
    evictions   blocks that a STEP sent out of it
    loads, unloads, unplaced  blocks: loaded, unloaded, and for which the directory had no room
    steps       STEPs
    searched    those that had to search for θ (`ranked_steps` of R48); 0 in linear mode
    samples     empty unless asked for
    """

    hits: NDArray[np.bool_]
    placed: int
    prefetches: int
    evictions: int
    loads: int
    unloads: int
    unplaced: int
    steps: int
    searched: int
    samples: Samples

    @property
    def fills(self) -> int:
        """Blocks that came into tier 1, one way or the other."""
        return self.placed + self.prefetches


def plan(
    stream: Stream, entries: int = 65536, step_ms: float = 100.0, unload_batch: int = 256, announced: bool = False
) -> Plan:
    """What is sent, on a directory of `entries`: the same for every policy and capacity, so one plan serves many runs.
    `announced`: it can serve hints that have requests announced, too."""
    _at_least(1, entries=entries, unload_batch=unload_batch)
    arrivals = (stream.times / step_ms).astype(np.int64)
    ends = arrivals + np.maximum(stream.output_lengths, 1)
    if len(ends) and ends.max() > MAX_STEP:
        raise UsageError(f"the trace ends at step {ends.max()}, and steps end at {MAX_STEP}", "make the decode step longer")
    by_end = np.argsort(ends, kind="stable")
    size = len(stream.ids), entries, unload_batch
    placed = place_blocks(arrivals, ends, by_end, stream.offsets, stream.blocks, *size, announced)
    return Plan(arrivals, ends, by_end, stream.offsets, *placed)


def run_ranked(
    stream: Stream,
    hints: Hints,
    capacity: int,
    *,
    entries: int = 65536,
    step_ms: float = 100.0,
    unload_batch: int = 256,
    fill_age: int = 1,
    sample_every: int = 0,
    planned: Plan | None = None,
) -> Outcome:
    """The stream on a device whose tier 1 has `capacity` blocks, under the ranked policy with these hints. `planned`: what `plan`
    made of the same stream, entries, step and batch, to save making it again; with `announced`, where the hints have that.
    `sample_every`: STEPs between two samples, 0 for none. UsageError where an argument is out of range, or the hints are not of
    this stream."""
    _check_capacity(capacity, entries)
    _at_least(0, fill_age=fill_age, sample_every=sample_every)
    if fill_age > 255:
        raise UsageError(f"FILL_AGE {fill_age} does not fit into 8 bits", "give 0 to 255")
    _check_hints(stream, hints)
    p = planned or plan(stream, entries, step_ms, unload_batch, hints.announced)
    if hints.announced and not p.announced.size:
        raise UsageError("the hints have requests announced, and the plan does not", "make it by plan(…, announced=True)")
    state = ranked.empty(entries, hints.tables.shape[1], fill_age, _buckets())
    hits = np.zeros(stream.touches, bool)
    told = hints.arrival, hints.orders, hints.completion, hints.tables, hints.table_of, hints.announced
    samples = ranked.run(p, state, *told, capacity, fill_age, hits, sample_every)
    return _outcome(p, hits, state.numbers, Samples(*samples))


def run_linear(
    stream: Stream,
    weights: str | Mapping[str, int],
    capacity: int,
    *,
    entries: int = 65536,
    step_ms: float = 100.0,
    unload_batch: int = 256,
    sample_every: int = 0,
    planned: Plan | None = None,
) -> Outcome:
    """The same under the linear policy. `weights`: a preset's name, or the seven values that a preset has (contract/presets.py).
    UsageError also for weights under which a priority can wrap, and for thresholds of which the one to prefetch is below the one
    to evict: those are not done here."""
    _check_capacity(capacity, entries)
    _at_least(0, sample_every=sample_every)
    state = linear.empty(entries, _weights(weights))
    p = planned or plan(stream, entries, step_ms, unload_batch)
    hits = np.zeros(stream.touches, bool)
    step, used = linear.run(p, state, capacity, hits, sample_every)
    return _outcome(p, hits, state.numbers, Samples(step, used, np.zeros_like(step), np.zeros_like(step)))


def _outcome(p: Plan, hits: NDArray[np.bool_], numbers: NDArray[np.int64], samples: Samples) -> Outcome:
    return Outcome(
        hits,
        placed=int(numbers[counts.PLACED]),
        prefetches=int(numbers[counts.PREFETCHES]),
        evictions=int(numbers[counts.EVICTIONS]),
        loads=int(np.count_nonzero(p.loaded)),
        unloads=len(p.unloaded),
        unplaced=int(np.count_nonzero(p.entries < 0)),
        steps=int(numbers[counts.STEPS]),
        searched=int(numbers[counts.SEARCHED]),
        samples=samples,
    )


def _weights(given: str | Mapping[str, int]) -> NDArray[np.int64]:
    """int64[7], in the order of presets.SETTING_OF."""
    if isinstance(given, str):
        if given not in presets.PRESETS:
            raise UsageError(f"there is no preset {given!r}", f"presets: {', '.join(presets.PRESETS)}")
        given = presets.PRESETS[given]
    if set(given) != set(presets.SETTING_OF):
        raise UsageError(f"weights {', '.join(given)}", f"give {', '.join(presets.SETTING_OF)}")
    for name, setting in presets.SETTING_OF.items():
        if not 0 <= given[name] <= LIMITS[setting]:
            raise UsageError(f"{name} is {given[name]}", f"give 0 to {LIMITS[setting]} (contract R6)")
    if 255 * (given["w_r"] + given["w_f"] + given["w_d"]) + given["window"] * given["w_s"] > 0xFFFF:
        raise UsageError("with these weights a priority can wrap (contract R14)", "give weights that add up to 257 at most")
    if given["prefetch"] < given["evict"] - 1:
        raise UsageError(
            f"a prefetch threshold of {given['prefetch']} below an evict threshold of {given['evict']}",
            "give one that is not lower: a block could come and go in every step",
        )
    return np.array([given[name] for name in presets.SETTING_OF], np.int64)


def _buckets() -> NDArray[np.uint8]:
    """The age bucket (R43) of each distance, up to the first one in the last bucket, in which all beyond are as well."""
    return buckets.of(np.arange(buckets.FIRST[-1] + 1)).astype(np.uint8)


def _check_capacity(capacity: int, entries: int) -> None:
    _at_least(0, capacity=capacity)
    if capacity > entries:
        raise UsageError(
            f"a T1 of {counted(capacity, 'block')} on a device of {entries} entries", f"give {counted(entries, 'block')} or fewer"
        )


def _at_least(smallest: int, **values: int) -> None:
    for name, value in values.items():
        if value < smallest:
            raise UsageError(f"{name} is {value}", f"give {smallest} or more")


def _check_hints(stream: Stream, hints: Hints) -> None:
    """The kernels index with them, and check nothing."""
    tables, classes = hints.tables.shape[0], hints.tables.shape[1]
    sizes = [len(hints.arrival), len(hints.orders), len(hints.completion), len(hints.table_of)]
    if sizes != [stream.touches] * 3 + [stream.requests] or hints.tables.shape[2:] != (BUCKETS,):
        raise UsageError(
            f"hints for {sizes[0]} touches and {sizes[3]} requests, on a stream of {stream.touches} and {stream.requests}",
            "make them from the stream that they are for",
        )
    largest = max((int(part.max()) for part in (hints.arrival, hints.completion) if len(part)), default=0)
    if largest >= classes:
        raise UsageError(f"a hint with class {largest}, and tables of {classes} classes", f"classes are 0 to {classes - 1}")
    if len(hints.table_of) and not -1 <= hints.table_of.min() <= hints.table_of.max() < tables:
        raise UsageError(f"a request ranks by table {hints.table_of.max()}, and there are {tables}", "tables are counted from 0")
