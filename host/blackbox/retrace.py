"""Do again what a history holds, on a simulation that can record a waveform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..contract.commands import Command
from ..contract.errors import KvfpgaError
from ..device.device import Device
from ..targets.target import Target
from .history import Item, MemoryWrite, QueryWrite, RegisterWrite, TableWrite, Written
from .wave_view import write as write_view

HANG_CYCLES = 100_000
"""What a waveform shows of a command that never ends."""
BATCH = 256
"""Commands that are done again in one batch."""


Part = Written | list[Command]
"""What is done in one go."""


def trace(
    target: Target, before: Iterable[Item], traced: Sequence[Item], path: Path, budget: int | None = None
) -> None:
    """Do it all again on a model that can record waveforms, and record the `traced` part in `path` (.fst, .vcd),
    with a view of it beside it.
    `budget`: cycles to wait for the device in that part, where it is known to hang."""
    with target.open_simulation(wave=path.suffix[1:]) as mmio:
        device = Device(mmio)
        for part in _parts(before):
            _apply(device, part)
        if budget:
            mmio.idle_budget = budget
        mmio.trace_start(path)
        with suppress(KvfpgaError):  # a bus error, or a device that hangs: what one wants to see
            for item in traced:
                _apply(device, item if isinstance(item, Written) else [item])
        if not traced:  # something to see: the read-back of the counters
            device.telemetry()
    write_view(path)


def _parts(items: Iterable[Item]) -> Iterator[Part]:
    """In order; commands that follow each other together, everything else alone."""
    batch: list[Command] = []
    for item in items:
        if isinstance(item, Written):
            if batch:
                yield batch
            yield item
            batch = []
        else:
            batch.append(item)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _apply(device: Device, part: Part) -> None:
    match part:
        case MemoryWrite(addr, data):
            device.mmio.memory_write(addr, data)
        case RegisterWrite(offset, value, width):
            (device.mmio.write64 if width == 64 else device.mmio.write32)(offset, value)
        case TableWrite():
            device.write_table(part.table)
        case QueryWrite(slot, _, _, kept):
            device.write_queries(slot, part.queries)
            if kept:
                device.soft_reset()
        case _:
            device.execute_many(part)
