"""The numbers that the learner works with, in one place so that `kvfpga lab tune` can choose them.

The limits of a feature part its values into levels: `(20, 60, 200)` means below 20, below 60, below 200, and from 200 on. More
limits mean more classes (classes.py counts them), and a device has no more than its PTABLE does.
"""

from __future__ import annotations

from typing import NamedTuple


class Constants(NamedTuple):
    """Times are of the trace. An event is what a returning request brings: as many blocks as it has on average."""

    table_s: float = 15.0
    """A new table is learnt after so many seconds."""

    new_tokens: tuple[int, ...] = (500, 2_000, 10_000)
    """Tokens that no block of an earlier request covers, at a session's first turn."""
    later_tokens: tuple[int, ...] = (2_000,)
    """The same at its later turns."""
    session_gaps_s: tuple[float, ...] = (20, 60, 200)
    """The time between a session's turns, the recent ones weighing more."""
    turns: tuple[int, ...] = (2, 3, 5)
    """The number of a session's turn, the first continuation being 1."""
    touches: tuple[int, ...] = (3, 5, 9, 17)
    """How often requests touched a block that many use, this time included; from 2 on."""
    own_gaps_s: tuple[float, ...] = (2, 5, 12, 30, 80, 200)
    """The time between the touches of such a block."""
    output_tokens: tuple[int, ...] = (100, 400)
    """The length of an answer, once it is complete."""

    continuation: float = 0.9
    """A request continues an earlier one if it begins with this share of its whole blocks, less one, and with two at least."""

    prior_events: float = 12.0
    """What is seen in a class and bucket weighs as much as what the factors expect of it after so many events."""
    factor_events: float = 0.5
    """The same for a level of a factor against no difference at all."""
    rounds: int = 6
    """Rounds of proportional fitting over the factors."""
    smoothings: int = 2
    """How often the hazard of all classes together is smoothed over neighbouring buckets."""

    steady_events: float = 300.0
    """After so many events, an age that has not been seen is taken half for like the ages before it, half for like all on
    average; before, more for the latter."""

    closure_bucket: int = 24
    """The age bucket that stands for the near future (about 6 s at 100 ms a step) where values of blocks are compared."""
    closure_lead: int = 4
    """A block takes the class of one behind it in its prompt whose code is higher by so much."""


DEFAULT = Constants()
