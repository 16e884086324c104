"""A policy of the lab: first in, first out."""

import numpy as np

from kvfpga.lab.policies.contender import Contender, Run


def run(stream, capacity, options, prepared):
    cache, hits = {}, np.zeros(len(stream.blocks), bool)
    for place, block in enumerate(stream.blocks.tolist()):
        hits[place] = block in cache
        if not hits[place]:
            if len(cache) == capacity:
                del cache[next(iter(cache))]
            cache[block] = True
    return Run(*stream.hits_of_requests(hits), fills=int((~hits).sum()))


FIFO = Contender("example-fifo", "evicts what came first", "the example of a plugin", run)
