"""A whole trace as arrays: what the learner, the compiled device and the peers run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .traces import Trace


class Stream(NamedTuple):
    """n requests in order of arrival, m touches of u different blocks.

    name           of the trace
    times          float64[n], milliseconds from the trace's start
    input_lengths  int64[n], tokens
    output_lengths int64[n], tokens
    offsets        int64[n + 1]: request i has the touches offsets[i] to offsets[i + 1]
    blocks         int32[m]: the block of each touch, numbered from 0 in the order of `ids`
    ids            int64[u], ascending: the block ids of the trace
    block_tokens   tokens a block
    """

    name: str
    times: NDArray[np.float64]
    input_lengths: NDArray[np.int64]
    output_lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    blocks: NDArray[np.int32]
    ids: NDArray[np.int64]
    block_tokens: int

    @property
    def requests(self) -> int:
        return len(self.times)

    @property
    def touches(self) -> int:
        return len(self.blocks)

    def hits_of_requests(self, hits: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64[n] twice, of the touches that hit (bool[m]): how many each request has, and how many before its first miss, which
        is what a server is spared."""
        first, behind = self.offsets[:-1], self.offsets[1:]
        missed = np.concatenate([np.flatnonzero(~hits), [len(hits)]])
        misses_before = np.searchsorted(missed, self.offsets)
        own_first_miss = np.minimum(missed[misses_before[:-1]], behind)
        return behind - first - np.diff(misses_before), own_first_miss - first


def of(trace: Trace) -> Stream:
    """The arrays of a trace. UsageError where it touches no blocks."""
    parts = [request.blocks for request in trace.requests]
    touched = np.concatenate(parts)
    if not len(touched):
        raise UsageError(f"no request of {trace.name} names a block", "a trace with hash_ids or hash_ranges is needed")
    ids, blocks = np.unique(touched, return_inverse=True)
    inputs = np.array([request.input_length for request in trace.requests], dtype=np.int64)
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    return Stream(
        trace.name,
        np.array([request.timestamp_ms for request in trace.requests], dtype=np.float64),
        inputs,
        np.array([request.output_length for request in trace.requests], dtype=np.int64),
        np.concatenate([[0], np.cumsum(sizes)]),
        blocks.astype(np.int32),
        ids.astype(np.int64),
        trace.block_tokens or tokens_a_block(inputs, sizes),
    )


def tokens_a_block(inputs: NDArray[np.int64], sizes: NDArray[np.int64]) -> int:
    """The power of two that fits most requests: `inputs` tokens lie in `sizes` blocks, the last of which may be partly filled.
    Requests of one block say nothing; 16 where there are no others."""
    candidates = [1 << bits for bits in range(4, 13)]
    told = sizes > 1
    fits = [int(np.count_nonzero(-(-inputs[told] // size) == sizes[told])) for size in candidates]
    return candidates[int(np.argmax(fits))]
