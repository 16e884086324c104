"""The policies that the field publishes, as libCacheSim has them (the package libcachesim), with its defaults.

Every block is an object of size 1, named by its number in the stream; time stands still, so that nothing expires. A touch is one
`get`, which brings in what misses. Up to the first miss of a request each is asked for by itself, since prefix hits end there;
what lies behind it runs in the package's own loop over a file, which tells how many hit and is some times as fast.

Left out of what the package has: Size (all blocks have one), FlashProb (two levels), Belady and BeladySize (`optimal` is ours).
LRB, GL-Cache and 3L-Cache are not in its wheels. With blocks of one size GDSF is LFU with ageing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .contender import Contender, Options, Run, Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream import Stream

LEAST_HASH_POWER = 16

OF_LIBCACHESIM = {
    "lru": ("LRU", "evicts what was used longest ago"),
    "fifo": ("FIFO", "evicts what came in longest ago"),
    "lfu": ("LFU", "evicts what was used least often"),
    "arc": ("ARC", "balances recency and frequency by what it evicted too soon"),
    "clock": ("Clock", "FIFO with a second chance for what was used"),
    "random": ("Random", "evicts any block"),
    "lruk": ("LRUK", "evicts by the second last use"),
    "s3fifo": ("S3FIFO", "a small FIFO in front of a large one, and a list of the evicted"),
    "sieve": ("Sieve", "one hand over a FIFO, passing by what was used"),
    "lirs": ("LIRS", "keeps what is used again soonest, by the distance of its last two uses"),
    "twoq": ("TwoQ", "2Q: FIFO for the new, LRU for what came back"),
    "slru": ("SLRU", "LRU lists in segments; a use lifts into the next"),
    "mq": ("MQ", "LRU lists by octaves of use, counts of the evicted kept"),
    "wtinylfu": ("WTinyLFU", "admits what a sketch has seen more often than the victim"),
    "lecar": ("LeCaR", "learns to choose between LRU and LFU"),
    "lfuda": ("LFUDA", "LFU with ageing"),
    "clockpro": ("ClockPro", "LIRS's distances on a clock"),
    "clock2qplus": ("Clock2QPlus", "2Q on clocks, correlated uses counted once"),
    "cacheus": ("Cacheus", "learns to choose between scan- and churn-resistant experts"),
    "lruprob": ("LRUProb", "LRU that lifts by chance"),
    "gdsf": ("GDSF", "frequency over size, with ageing"),
    "hyperbolic": ("Hyperbolic", "evicts by uses per time in the cache, among a sample"),
    "lhd": ("LHD", "evicts by hit density, among a sample"),
}
"""Name → (class of libcachesim, what it does)."""
WINDOW = 0.01
"""Of W-TinyLFU's places, by default: below 100 there would be none, and nothing would ever come in."""
DRAWING = {"random", "lecar", "cacheus", "lruprob", "hyperbolic", "lhd"}


def contenders() -> Iterable[Contender]:
    for name, (kind, about) in OF_LIBCACHESIM.items():
        yield Contender(
            name, about, "libcachesim", _runner(kind), libraries=("libcachesim",), code=("lab/policies/published.py",),
            draws=name in DRAWING, published=True,
        )  # fmt: skip


def _runner(kind: str) -> Runner:
    def run(stream: Stream, capacity: int, options: Options, prepared: Any) -> Run:
        import libcachesim

        # Its hash table has 2^24 places unless told otherwise, and touching them is what takes time.
        power = max(LEAST_HASH_POWER, capacity.bit_length() + 1)
        more = {"window_size": 1.5 / capacity} if kind == "WTinyLFU" and capacity * WINDOW < 1 else {}
        cache = getattr(libcachesim, kind)(capacity, hashpower=power, **more)
        hits, prefix_hits = (np.zeros(stream.requests, np.int64) for _ in range(2))
        with _in_a_file(stream.blocks) as reader:
            for request, (start, end) in enumerate(pairwise(stream.offsets.tolist())):
                prefix_hits[request] = hits[request] = prefix = _until_a_miss(cache, stream.blocks[start:end])
                missed = start + prefix
                if rest := max(0, end - missed - 1):
                    miss_ratio, _ = cache.process_trace(reader, missed + 1, rest)
                    hits[request] += round((1 - miss_ratio) * rest)
        return Run(hits, prefix_hits, fills=stream.touches - int(hits.sum()))

    return run


def _until_a_miss(cache: Any, blocks: NDArray[np.int32]) -> int:
    """Touches these blocks, in order, up to the first that misses, and that one too. Returns how many hit."""
    import libcachesim

    request = libcachesim.Request(obj_size=1)
    for hits, block in enumerate(blocks.data):
        request.obj_id = block
        if not cache.get(request):
            return hits
    return len(blocks)


@contextmanager
def _in_a_file(blocks: NDArray[np.int32]) -> Iterator[Any]:
    """A reader of libcachesim's of these touches."""
    import libcachesim

    form = libcachesim.ReaderInitParam(binary_fmt_str="<I")
    form.obj_id_field = 1
    with tempfile.NamedTemporaryFile(prefix="kvfpga-touches-") as file:
        blocks.astype("<u4").tofile(file.name)
        yield libcachesim.TraceReader(file.name, libcachesim.TraceType.BIN_TRACE, form)
