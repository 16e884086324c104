"""What a host tells the device along a run of requests: class and order of each touch, classes at a request's end, tables.

None of it depends on the capacity of tier 1, so one `Hints` serves every capacity. The compiled device, the reference model and
the RTL are all given the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Hints(NamedTuple):
    """For n requests with m touches in all (`Stream` in lab/stream.py says which), on a device of `classes` classes.

    arrival     uint8[m]: the class that a touch, and the LOAD where it misses, carries (R41)
    orders      uint8[m]: the order beside it
    completion  uint8[m]: the class that CLASS (R42) gives the block when its request ends, if no later request has touched it
                by then; with the order that it has. Where a request touches a block twice, its last touch counts.
    tables      uint8[k, classes, 64]: every table that is written, in order (R45)
    table_of    int32[n]: the table that ranks from the request's first touch on, -1 for none yet; never falls. The STEPs that
                lead to the request rank by the one before
    uses_future  True where something that a host cannot know when it tells it went in
    announced    True where each request is announced: with the last STEP before it, PREFETCH (R19) for the step at which it
                 arrives, over its blocks. The tables have to say what that is worth, in bucket 0: in a STEP nothing else is in
                 it, since what was touched is a step old by then
    """

    arrival: NDArray[np.uint8]
    orders: NDArray[np.uint8]
    completion: NDArray[np.uint8]
    tables: NDArray[np.uint8]
    table_of: NDArray[np.int32]
    uses_future: bool = False
    announced: bool = False
