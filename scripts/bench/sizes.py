"""How much of each a bench does."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """`rounds` of each measurement, and what is done in one round. Many short rounds, since what else the machine does changes
    from one moment to the next and should be the same for both sides of a ratio."""

    entries: int = 65536
    lanes: int = 8
    data_bits: int = 512
    rounds: int = 31
    idle: int = 50_000
    """clock cycles"""
    load_rounds: int = 32
    """in all of which together every entry is loaded once"""
    steps: int = 2
    run_of_steps: int = 32
    reads: int = 30_000
    single_reads: int = 5_000
    slow_reads: int = 330
    """by cocotb and by pyverilator, which would need minutes for `reads` of them"""
    processes: int = 15
    replays: int = 5
    requests: int = 60
    lab_rounds: int = 7
    quick: bool = False

    @property
    def device(self) -> dict[str, int]:
        return {"entries": self.entries, "lanes": self.lanes, "data_bits": self.data_bits}


FULL = Sizes()
QUICK = Sizes(
    256, 8, 512, rounds=2, idle=1000, load_rounds=2, steps=1, run_of_steps=3, reads=200, single_reads=100, slow_reads=66,
    processes=1, replays=1, requests=2, lab_rounds=2, quick=True,
)  # fmt: skip
"""Whether everything works, which says nothing about speed. The device is that of tests/rtl/cocotb, whose model is there."""
