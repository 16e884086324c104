"""How much of each a bench does."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """`rounds` of each measurement, and what is done in one round."""

    entries: int = 65536
    lanes: int = 8
    data_bits: int = 512
    rounds: int = 11
    idle: int = 100_000
    """clock cycles"""
    load_rounds: int = 16
    """in all of which together every entry is loaded once"""
    steps: int = 4
    reads: int = 100_000
    single_reads: int = 20_000
    slow_reads: int = 1_000
    """by cocotb and by pyverilator, which would need minutes for `reads` of them"""
    processes: int = 10
    replays: int = 3
    requests: int = 60

    @property
    def device(self) -> dict[str, int]:
        return {"entries": self.entries, "lanes": self.lanes, "data_bits": self.data_bits}


FULL = Sizes()
QUICK = Sizes(256, 4, 128, rounds=2, idle=1000, load_rounds=2, steps=1, reads=200, single_reads=100, slow_reads=66, processes=1,
              replays=1, requests=2)  # fmt: skip
"""Whether everything works, which says nothing about speed. The device is that of the tests, whose model they build anyway."""
