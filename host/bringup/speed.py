"""Step 7: latency and throughput. Nothing here fails for being slow; figures are for comparing boards and builds.

What the host measures is wall time of this machine (on a simulator it says nothing about a board); device cycles come
from the device's own telemetry (R23).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

from ..contract.commands import Load, Step
from ..device.regmap import REGISTERS
from ..transport.mmio import Batch
from . import smoke
from .bench import Bench

SECONDS = 0.3
"""A figure is repeated for about so long, but MOST times at the most."""
FEWEST, MOST = 3, 1000
BATCHED = 512
EVICTED = 256
"""Blocks that one STEP evicts to measure the DMA."""
MEGABYTE = 1_000_000


def run(bench: Bench) -> None:
    scratch = REGISTERS["SCRATCH"].offset
    parts: tuple[Callable[[], None], ...] = (
        lambda: latency(bench, "register read", lambda: bench.mmio.read32(scratch)),
        lambda: latency(bench, "register write", lambda: bench.mmio.write32(scratch, 0)),
        lambda: batched_reads(bench),
        lambda: checked_step(bench),
        lambda: memory(bench),
        lambda: eviction(bench),
    )
    bench.reset()
    for number, part in enumerate(parts):
        part()
        bench.tick(number + 1, len(parts))


def times(action: Callable[[], object]) -> list[float]:
    """Seconds of each call."""
    action()  # the first one may build or open something
    found: list[float] = []
    end = perf_counter() + SECONDS
    while len(found) < FEWEST or (perf_counter() < end and len(found) < MOST):
        start = perf_counter()
        action()
        found.append(perf_counter() - start)
    return found


def latency(bench: Bench, name: str, action: Callable[[], object]) -> None:
    found = times(action)
    middle, slow = median(found), quantiles(found, n=100)[-1] if len(found) > 1 else found[0]
    text = f"median {seconds(middle)}, 99% below {seconds(slow)} ({len(found)} times)"
    bench.passed(name, text, median_seconds=middle, p99_seconds=slow)


def batched_reads(bench: Bench) -> None:
    batch = Batch()
    for _ in range(BATCHED):
        batch.read(REGISTERS["SCRATCH"].offset)
    rate = BATCHED / median(times(lambda: bench.mmio.run(batch)))
    bench.passed("batched reads", f"{rate:,.0f} reads/s, {BATCHED} a batch", reads_per_second=rate)


def checked_step(bench: Bench) -> None:
    lockstep = smoke.start(bench)
    tokens, size = lockstep.model.block_tokens, lockstep.block_bytes
    lockstep.execute_many([Load(1, 0, 0, n * tokens, n * tokens, n * size, 0) for n in range(smoke.BLOCKS)])
    step = iter(range(1, MOST + 10))
    found = median(times(lambda: lockstep.execute(Step(next(step)))))
    bench.passed("checked step", f"median {seconds(found)}, compared with the reference", median_seconds=found)


def memory(bench: Bench) -> None:
    """Host to tier 1 and back, in pieces of a quarter of a MiB or the window."""
    identity = bench.device.identity
    size = min(1 << 18, identity.entries * identity.block_bytes)
    base, data = bench.tier_bases[1], bytes(range(256)) * (size // 256)
    for name, action in (
        ("memory write", lambda: bench.mmio.memory_write(base, data)),
        ("memory read", lambda: bench.mmio.memory_read(base, size)),
    ):
        rate = size / median(times(action)) / MEGABYTE
        bench.passed(name, f"{rate:,.2f} MB/s, {size:,} bytes at a time", megabytes_per_second=rate)


def eviction(bench: Bench) -> None:
    """One STEP evicts blocks that nobody has read: the time to the first trigger, and what the DMA moves a cycle."""
    bench.reset()
    device, tokens = bench.device, bench.device.identity.block_tokens
    count = min(EVICTED, device.entries)
    device.execute_many([Load(1, 0, 0, n * tokens, n * tokens, n * device.block_bytes) for n in range(count)])
    before = device.telemetry()
    result = device.execute(Step(1))
    after = device.telemetry()
    cycles, moved = (after[name] - before[name] for name in ("busy_cycles", "evict_bytes"))
    first = after["step_to_trigger_cycles"]
    if len(result.triggers) != count or moved != count * device.block_bytes or not first or not cycles:
        text = f"{len(result.triggers)} of {count} blocks evicted, {moved:,} bytes, first trigger after {first} cycles"
        return bench.failed("eviction", text, "step commands; DMA errors in ERROR; telemetry of the build")
    clock = getattr(getattr(bench.mmio, "bridge", None), "clock_hz", 0)  # a UART bridge tells it
    at = f" ({first / clock * 1e9:,.0f} ns at {clock / 1e6:g} MHz)" if clock else ""
    bench.passed("step to trigger", f"{first} cycles{at}", cycles=first)
    rate = moved / cycles
    text = f"{rate:.2f} bytes/cycle: {count} blocks, {moved:,} bytes in {cycles:,} cycles"
    return bench.passed("DMA", text + (f", {rate * clock / MEGABYTE:,.0f} MB/s" if clock else ""), bytes_per_cycle=rate)


def seconds(value: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.2g} µs"
