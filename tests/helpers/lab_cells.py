"""Cells of the policy lab, invented: a folder as `kvfpga lab run --out DIR` leaves it, with rates of a plausible shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kvfpga.lab import cells
from kvfpga.lab.cells import Cell

STRENGTHS = {
    "lru": 0.0, "lfu": 0.05, "fifo": -0.04, "arc": 0.12, "mq": 0.24, "s3fifo": 0.16, "wtinylfu": 0.1, "lirs": 0.15,
    "cacheus": 0.11, "twoq": 0.13, "clock2qplus": 0.14, "sieve": 0.09, "lhd": 0.18, "gdsf": 0.06, "optimal": 1.0,
    "linear:balanced": -0.3, "ranked-age": 0.03, "ranked": 0.31, "ranked+final": 0.51,
    "ranked+announce": 1.15, "ranked+final+announce": 1.16,
}  # fmt: skip
"""Policies, and which share of the gap each closes."""
CAPACITIES = (1024, 2048, 4096, 8192, 16384)
TOUCHES = 100_000
FUTURE = ("optimal", "ranked+final", "ranked+announce", "ranked+final+announce")


def cell(trace: str, policy: str, capacity: int, strength: float, **more) -> Cell:
    room = math.log2(capacity + 1) / 16
    low, high = 0.3 * room**3, 0.45 * room
    rate = max(0.001, low + strength * (high - low))
    is_device = policy.startswith(("ranked", "linear:"))
    options = {"entries": 65536, "step_ms": 100.0} if is_device else {}
    if policy.startswith("ranked+final"):
        options |= {"final_accuracy": 0.9, "seed": 1}
    return Cell(
        trace, policy, capacity, 12031, TOUCHES, 40_000, hits=round(TOUCHES * rate), prefix_hits=round(TOUCHES * rate * 0.9),
        fills=round(TOUCHES * (1 - rate) * 0.4), seconds=1.5, uses_future=policy in FUTURE, versions={"libcachesim": "0.3.5"},
        **(options | more),
    )  # fmt: skip


def samples(capacity: int, length: int = 300) -> dict[str, np.ndarray]:
    at = np.arange(length) * 100
    used = np.minimum(capacity, at // 4)
    theta = np.where(used == capacity, 30_000 + 9000 * np.sin(at / 4000), 0).astype(np.int64)
    return {"step": at, "t1_used": used, "theta": theta, "pool": used + 20, "table": table()}


def table() -> np.ndarray:
    found = np.zeros((256, 64), np.uint8)
    kinds, ages = np.mgrid[0:168, 0:64]
    found[:168] = np.clip(40 + kinds % 30 * 5 + 60 * (kinds > 90) - 2 * ages + 8 * np.sin(ages / 5), 0, 255)
    return found


def fill(
    place: Path, traces: Iterable[str] = ("conversation.jsonl",), policies: Iterable[str] = tuple(STRENGTHS),
    capacities: Iterable[int] = CAPACITIES, *, sampled: bool = True, **more,
) -> None:  # fmt: skip
    """Store the cells of every combination; samples beside those of the ranked policies."""
    for trace in traces:
        for policy in policies:
            for capacity in capacities:
                found = cell(trace, policy, capacity, STRENGTHS[policy], **more)
                cells.store(place, found, samples(capacity) if sampled and policy.startswith("ranked") else None)
