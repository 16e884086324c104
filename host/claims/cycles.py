"""What the design costs in clock cycles, measured on a simulation of it. Every figure is a difference or a counter of the device
itself, never wall time, so it is the same on every machine.

A function takes a device that was just reset and has it for itself: a bare `Device`, or a `Lockstep` where what it does is to be
compared with the reference as well.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..contract.commands import Command, Evict, Load, Prefetch, Result, Set, Step
from ..contract.errors import DeviceRefused, TargetError
from ..contract.script import line
from ..contract.settings import RANKED
from ..transport.mmio import Batch
from ..transport.sim.verilated import VerilatorSim

VA = 0x7F00_0000_0000
FILL = 128
"""Blocks in the directory where their number does not matter."""
FEW, MANY = 16, 48
"""Blocks that the DMA moves: the rate is what the difference costs."""


class Commanded(Protocol):
    """What `Device` and `Lockstep` have in common."""

    entries: int
    block_bytes: int

    def execute_many(self, commands: list[Command]) -> list[Result]: ...
    def telemetry(self) -> dict[str, int]: ...


class Bare(Commanded, Protocol):
    """A `Device`, for what the simulation itself is looked at."""

    mmio: Any

    def append_command(self, batch: Batch, command: Command) -> None: ...


def run(device: Commanded, *commands: Command) -> list[Result]:
    """Execute; what is refused has no place in a measurement."""
    results = device.execute_many(list(commands))
    for command, result in zip(commands, results, strict=True):
        if result.code != "OK":
            raise DeviceRefused(result.code, f"the device refused `{line(command)}`: {result.code}")
    return results


def quiet(device: Commanded) -> None:
    """From here on it moves nothing by itself, in linear mode."""
    run(device, Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF))


def fill(device: Commanded, count: int, tier: int, first: int = 0) -> None:
    """Blocks `first` to `first + count - 1` of a plain workload."""
    blocks = range(first, first + count)
    run(device, *(Load(1, 0, 0, 32 * n, 32 * n + 31, VA + n * device.block_bytes, tier) for n in blocks))


def span(device: Commanded, first: int, count: int) -> tuple[int, int]:
    """(va, length) of blocks of `fill`."""
    return VA + first * device.block_bytes, count * device.block_bytes


def step_to_trigger(device: Commanded, blocks: int, ranked: bool = False) -> int:
    """Cycles from a STEP to the first eviction that it triggers, among `blocks` blocks in tier 1: by their scores, or, `ranked`,
    because one of them has to give way."""
    quiet(device)
    run(device, Set("T1_CAPACITY", blocks))
    fill(device, blocks, tier=1)
    settings = (Set("T1_CAPACITY", blocks - 1), Set("POLICY", RANKED)) if ranked else (Set("EVICT_THRESH", 0xFFFF),)
    run(device, *settings, Step(300))
    telemetry = device.telemetry()
    if telemetry["evict_triggers"] != (1 if ranked else blocks):
        raise TargetError(f"{telemetry['evict_triggers']} of {blocks} blocks were evicted, so there is no figure")
    return telemetry["step_to_trigger_cycles"]


def pass_cost(device: Commanded, used: int, points: int = 8) -> tuple[float, float]:
    """(slope, constant) of the cycles of a STEP that triggers nothing over the number of used entries, up to `used` of them."""
    quiet(device)
    step, cycles = used // points, []
    for count in range(step, used + 1, step):
        fill(device, step, tier=0, first=count - step)
        cycles.append(run(device, Step(1))[0].cycles)
    slope = (cycles[-1] - cycles[0]) / (step * (points - 1))
    constant = cycles[0] - slope * step
    if any(abs(constant + slope * step * (n + 1) - found) >= 1 for n, found in enumerate(cycles)):
        raise TargetError(f"passes over more and more entries take {cycles} cycles, which is no line")
    return slope, constant


def lookup_ports(device: Bare) -> dict[str, float]:
    """Latency of a hit, a miss and a fall back to request 0, and lookups accepted per cycle with both ports asking, alone and
    during a STEP. Driven signal by signal, so the device must be a simulation."""
    sim = device.mmio
    if not isinstance(sim, VerilatorSim):
        raise TargetError("only a simulation's lookup ports can be driven from here")
    quiet(device)
    fill(device, FILL, tier=2)
    run(device, Load(0, 5, 5, 0, 31, 0, 2))
    io = sim.sim.io
    found: dict[str, float] = {}
    for what, request, layer in (("hit", 1, 0), ("miss", 2, 0), ("fall back to request 0", 9, 5)):
        io.lookup_key = layer << 24 | (5 if layer else 0) << 16 | request
        io.lookup_valid = 1
        latency = 0
        while io.lookup_done != 1 or not latency:
            sim.clock(1)
            io.lookup_valid = 0
            latency += 1
            if latency == 100:
                raise TargetError(f"a lookup ({what}) has no answer after 100 cycles")
        if int(io.lookup_hit) & 1 != (what != "miss"):
            raise TargetError(f"a lookup ({what}) is answered wrongly")
        found[what] = latency
    io.lookup_key = (32 << 32 | 1) << 64 | 1
    io.lookup_valid = 3
    for what, commands in (("alone", ()), ("during a STEP", (Step(1),) * 4)):
        before, start = device.telemetry(), sim.clock_cycles
        run(device, *commands)
        sim.clock(1000)
        after, cycles = device.telemetry(), sim.clock_cycles - start
        # Counter and clock are read at two places each, the same number of cycles apart: the telemetry burst's.
        found[what] = (after["hits_t2"] - before["hits_t2"]) / cycles
    io.lookup_valid = 0
    return found


def moving(device: Bare, evict: int, prefetch: int) -> Batch:
    """What has so many dirty blocks leave tier 1 and so many come back, at the same time, of a device that has them now."""
    quiet(device)
    run(device, Set("STRICT", 0))
    fill(device, prefetch, tier=2)
    fill(device, evict, tier=1, first=prefetch)
    batch = Batch()
    for kind, (first, count) in {Prefetch: (0, prefetch), Evict: (prefetch, evict)}.items():
        if count:
            place = span(device, first, count)
            device.append_command(batch, Prefetch(*place, 0) if kind is Prefetch else Evict(*place))
    return batch


def dma_cycles(device: Bare, evict: int, prefetch: int) -> int:
    """Cycles in which so many dirty blocks leave tier 1 and so many come back, at the same time."""
    sim, batch = device.mmio, moving(device, evict, prefetch)
    batch.wait_idle()
    start = sim.clock_cycles
    sim.run(batch)
    cycles: int = sim.clock_cycles - start
    telemetry = device.telemetry()
    moved = (telemetry["evict_bytes"], telemetry["prefetch_bytes"])
    if moved != (evict * device.block_bytes, prefetch * device.block_bytes):
        raise TargetError(f"{moved} bytes moved where {evict} and {prefetch} blocks should")
    return cycles
