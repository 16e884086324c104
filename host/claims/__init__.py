"""`kvfpga claims`: the design figures of contract section 6, and what the project aims at beside them, measured where one is.

    measure(open_device)       # a list of Claim, in the order of the table

A row of CLAIMS says what is claimed, and a function measures it on a simulation that was just begun: its counters and clock
cycles, or what a replay in lockstep hits. The verdict follows from what was measured. What a simulation cannot show says so:
nothing here repeats a figure that was not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract.commands import Load, Release, Set, Share, Touch
from ..contract.wording import counted
from ..lab import showcase
from . import cycles, scores

if TYPE_CHECKING:
    from ..lockstep.lockstep import Lockstep

HELD, REFUTED, LINEAR_ONLY, RATE_ONLY, RANKED_ONLY = (
    "held", "refuted", "only in the linear mode", "as a rate, not as a latency", "only in the ranked mode",
)  # fmt: skip
NOT_MEASURABLE = "not measurable here"
DESIGN, AIM = "design figure", "aim"
TRIGGER_CYCLES = 12
"""What section 6 claims from STEP to the first trigger."""
DMA_SHARE = 0.9
"""Of the memory's width, what the DMA is to move in a cycle."""
LESS_TRAFFIC, LESS_SHARED, HEADS = 25.6, 128, 64
"""Bytes of keys for each byte over the link that section 6 claims, with a query for each block and with one for so many."""
SCORE_CYCLES = 62.5
"""0.25 µs, by the design's clock of 250 MHz."""
EXP_ERROR = 0.001
MOVED, BESIDE = 16, (4, 12)
"""Blocks that each DMA channel moves beside SCOREs, as many as its queue takes at once, and SCOREs that end before it does."""
CHATS, PROMPT_BLOCKS = 16, 8
"""Requests that share a prefix, and its blocks."""

Open = Callable[[], "Lockstep"]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Claim:
    """`source`: DESIGN or AIM. `measured`, `on`: what came out, and on what; `figures`: the same as numbers."""

    claim: str
    source: str
    measured: str
    on: str
    verdict: str
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Finding(NamedTuple):
    """What a measurement says."""

    measured: str
    verdict: str
    figures: dict[str, float]


class Bench:
    """Opens simulations, each one just reset."""

    def __init__(self, open_device: Open):
        self._open = open_device

    @contextmanager
    def device(self) -> Iterator[Lockstep]:
        with closing(self._open()) as lockstep:
            yield lockstep


def first_trigger(bench: Bench) -> Finding:
    """In lockstep, with few blocks in tier 1 and with a directory full of them."""
    found: dict[str, float] = {}
    for ranked, mode in ((False, "linear"), (True, "ranked")):
        for many in (False, True):
            with bench.device() as device:
                blocks = device.entries if many else cycles.FILL
                found[f"{mode}_{blocks}_blocks"] = cycles.step_to_trigger(device, blocks, ranked)
    linear, ranked_ones = ([value for key, value in found.items() if key.startswith(mode)] for mode in ("linear", "ranked"))
    verdict = HELD if max(found.values()) <= TRIGGER_CYCLES else LINEAR_ONLY if max(linear) <= TRIGGER_CYCLES else REFUTED
    text = f"linear {_range(linear)}, ranked {_range(ranked_ones)} cycles, from {cycles.FILL} blocks to a full directory"
    return Finding(text, verdict, found)


def scoring(bench: Bench) -> Finding:
    """By the slope of passes over more and more entries."""
    with bench.device() as device:
        lanes = device.device.identity.lanes
        slope, constant = cycles.pass_cost(device, min(device.entries, 2048))
    rate = 1 / (slope * lanes)
    text = f"{rate:g} a lane and cycle, and {constant:g} cycles a pass besides; {counted(lanes, 'lane')}"
    return Finding(text, HELD if rate >= 1 else REFUTED, {"blocks_per_lane_and_cycle": rate, "cycles_besides": constant})


def lookups(bench: Bench) -> Finding:
    """At the hardware ports, signal by signal."""
    with bench.device() as device:
        found = cycles.lookup_ports(device.device)
    latency = max(found[what] for what in ("hit", "miss", "fall back to request 0"))
    rate = round(min(found["alone"], found["during a STEP"]), 3)
    verdict = REFUTED if rate < 1 else HELD if latency <= 1 else RATE_ONLY
    text = f"{rate:g} lookup accepted a cycle and port, also during a STEP; each is answered after {latency:g} cycles"
    return Finding(text, verdict, {"lookups_per_cycle": rate, "latency_cycles": latency})


def prefix(bench: Bench) -> Finding:
    """In lockstep: the prefix is loaded once, and every request touches all of it by its own key."""
    with bench.device() as device:
        tokens, size = device.model.block_tokens, device.block_bytes
        cycles.quiet(device)
        cycles.run(device, Set("T1_CAPACITY", PROMPT_BLOCKS))
        starts = [block * tokens for block in range(PROMPT_BLOCKS)]
        cycles.run(device, *(Load(0, 0, 0, start, start + tokens - 1, start // tokens * size) for start in starts))
        whole = (0, PROMPT_BLOCKS * size)
        cycles.run(device, *[Share(*whole)] * CHATS)
        cycles.run(device, *(Touch(request, 0, 0, start) for request in range(1, CHATS + 1) for start in starts))
        telemetry = device.telemetry()
        cycles.run(device, *[Release(*whole)] * CHATS)
    stored, hits = telemetry["valid_entries"], telemetry["hits_t1"]
    is_shared = stored == PROMPT_BLOCKS and hits == CHATS * PROMPT_BLOCKS
    text = f"{CHATS} requests touch {PROMPT_BLOCKS} blocks of their prefix each: {counted(hits, 'hit')} in {stored} entries"
    return Finding(text, HELD if is_shared else REFUTED, {"requests": CHATS, "entries": stored, "hits": hits})


def dma(bench: Bench) -> Finding:
    """Dirty blocks out, others in, both at once; the bytes that a cycle moves once they are under way."""
    found: dict[str, float] = {}
    for what, evict, prefetch in (("evict", 1, 0), ("prefetch", 0, 1), ("both", 1, 1)):
        spent = []
        for count in (cycles.FEW, cycles.MANY):
            with bench.device() as device:
                spent.append(cycles.dma_cycles(device.device, evict * count, prefetch * count))
                width, size = device.device.identity.data_bits / 8, device.block_bytes
        found[what] = round((cycles.MANY - cycles.FEW) * (evict + prefetch) * size / (spent[1] - spent[0]), 2)
    text = ", ".join(f"{what} {rate:g}" for what, rate in found.items()) + f" bytes a cycle, of {width:g}"
    return Finding(text, HELD if min(found.values()) >= DMA_SHARE * width else REFUTED, found)


def traffic(bench: Bench) -> Finding:
    """By the counters of R33, the host reading FP16 scores. Doorbells and waiting are left out."""
    return _traffic(bench, (1,), LESS_TRAFFIC)


def shared_traffic(bench: Bench) -> Finding:
    """The same for heads that share a query, which counts once."""
    return _traffic(bench, (8, HEADS), LESS_SHARED)


def _traffic(bench: Bench, heads: tuple[int, ...], claimed: float) -> Finding:
    found, texts = {}, []
    for count in heads:
        with bench.device() as device:
            link, keys = scores.traffic(device.device, count)
        found[f"{count}_heads"] = round(keys / link, 2)
        texts.append(f"{keys / link:.1f} times with {counted(count, 'head')} ({link:,} bytes in place of {keys:,})")
    return Finding(", ".join(texts), HELD if found[f"{heads[-1]}_heads"] >= claimed else REFUTED, found)


def score_time(bench: Bench) -> Finding:
    """In cycles, for a simulation has no clock."""
    with bench.device() as device:
        alone = scores.alone(device.device)
    apiece = _between(bench)
    text = f"{alone} cycles alone, {apiece:g} back to back; {SCORE_CYCLES:g} are 0.25 µs at a clock of 250 MHz"
    return Finding(text, HELD if apiece <= SCORE_CYCLES else REFUTED, {"alone": alone, "back_to_back": apiece})


def key_rate(bench: Bench) -> Finding:
    """Bytes of keys that a cycle reads once SCOREs follow each other, alone and beside a DMA that reads as well."""
    with bench.device() as device:
        identity = device.device.identity
    keys, width = identity.block_bytes / 2, identity.data_bits / 8
    apiece = {"alone": _between(bench), "beside both DMA channels": _between(bench, BESIDE, MOVED)}
    found = {what: round(keys / spent, 2) for what, spent in apiece.items()}
    text = ", ".join(f"{what} {rate:g}" for what, rate in found.items()) + f" bytes a cycle, of {width:g}"
    return Finding(text, HELD if found["alone"] >= DMA_SHARE * width else REFUTED, found)


def _between(bench: Bench, counts: tuple[int, int] = (cycles.FEW, cycles.MANY), moved: int = 0) -> float:
    """Cycles from one SCORE to the next."""
    spent = []
    for count in counts:
        with bench.device() as device:
            spent.append(scores.back_to_back(device.device, count, moved))
    return (spent[1] - spent[0]) / (counts[1] - counts[0])


def exponentials(bench: Bench) -> Finding:
    """In lockstep, for every FP16 value from 0 to -16."""
    with bench.device() as device:
        x, found = scores.exponentials(device)
    error = float(np.abs(found / np.exp(x) - 1).max())
    rises = bool((np.diff(found) >= 0).all())
    text = f"{100 * error:.4f} % at most, for {x.size:,} values from {x[0]:.5g} to 0; {'monotone' if rises else 'not monotone'}"
    return Finding(text, HELD if error <= EXP_ERROR and rises else REFUTED, {"error": error, "values": x.size})


def hit_rates(bench: Bench) -> Finding:
    """The small trace that comes along, in lockstep."""
    with bench.device() as device:
        shown = showcase.run(device)
    rates = {row.policy: row.hit_rate for row in shown.rows}
    ranked, linear = (max(rate for policy, rate in rates.items() if policy.startswith(mode)) for mode in ("ranked", "linear"))
    verdict = {(True, True): HELD, (True, False): RANKED_ONLY, (False, True): LINEAR_ONLY, (False, False): REFUTED}
    text = ", ".join(f"{row.policy} {row.hit_rate:.2%}{' (knows the future)' if row.uses_future else ''}" for row in shown.rows)
    where = f"; {counted(shown.requests, 'request')} of {shown.trace}, tier 1 of {shown.t1_capacity}"
    return Finding(text + where, verdict[ranked > rates["lru"], linear > rates["lru"]], rates)


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


class Row(NamedTuple):
    """`measure` None: `verdict` and `why` say what stands in its place."""

    claim: str
    source: str
    measure: Callable[[Bench], Finding] | None = None
    verdict: str = ""
    why: str = ""


NO_CLOCK = "no clock: a simulation counts cycles, not time"
CLAIMS = (
    Row(f"from STEP to the first trigger {TRIGGER_CYCLES} cycles", DESIGN, first_trigger),
    Row("that is about 50 ns, at a clock of 250 MHz", DESIGN, None, NOT_MEASURABLE, NO_CLOCK),
    Row("one block scored per lane and cycle", DESIGN, scoring),
    Row("single-cycle lookup over the whole directory", DESIGN, lookups),
    Row(f"{LESS_TRAFFIC:g} times less traffic per scored block", DESIGN, traffic),
    Row(f"{LESS_SHARED} times less with {HEADS} heads that share a query", DESIGN, shared_traffic),
    Row("0.25 µs to score a block", DESIGN, score_time),
    Row(f"exp within ±{100 * EXP_ERROR:g} %", DESIGN, exponentials),
    Row("requests that share a prefix store it once", DESIGN, prefix),
    Row(f"keys scored at {DMA_SHARE:g} of the memory's width or more", AIM, key_rate),
    Row(f"DMA at {DMA_SHARE:g} of the memory's width or more", AIM, dma),
    Row("tier 1 hits more often than with LRU", AIM, hit_rates),
    Row("power, and rates over a real PCIe link", AIM, None, NOT_MEASURABLE, "nothing: there is no board behind a simulation"),
)


def measure(open_device: Open, on: str, progress: Progress = lambda done, total, text: None) -> list[Claim]:
    """All claims, on simulations that `open_device` begins; `on` says what they are. DifferenceError where one differs from the
    reference, TargetError where a measurement makes no sense."""
    bench, found = Bench(open_device), []
    for done, row in enumerate(CLAIMS):
        progress(done, len(CLAIMS), row.claim)
        finding = row.measure(bench) if row.measure else Finding(row.why, row.verdict, {})
        found.append(Claim(row.claim, row.source, finding.measured, on if row.measure else "", finding.verdict, finding.figures))
    return found
