"""What test_rules.py and test_refusals.py share: small verbs over the fixture `dut`.

`dut` is a freshly reset device with the reset values of contract R6, nothing loaded, of 256 entries or more. It offers
execute, telemetry, dump, digest(lo, hi), memory_read, memory_write, block_bytes and entries. It may be the reference
model alone or the Verilated device in lockstep with it; the tests cannot tell.

Block n of a test has token_start 32 * n and lives at `va(dut, n)`, one behind the other.
"""

from __future__ import annotations

from kvfpga.contract.commands import Load, Result, Set, ShareIndex, Trigger

VA = 0x7F00_0000_0000

TIME_DEPENDENT = {
    "busy_cycles", "last_command_cycles", "step_to_trigger_cycles", "index_overflows", "results_lost",
    "completions_lost", "dma_errors", "host_waits", "port0_waits", "port1_waits",
}  # fmt: skip
"""Telemetry that a device may show on top, and that the rules tested here say nothing about."""


def va(dut, n: int) -> int:
    return VA + n * dut.block_bytes


def ok(dut, command) -> Result:
    result = dut.execute(command)
    assert result.code == "OK", f"{command} was refused: {result}"
    return result


def load(dut, n: int, request=1, tier=1, layer=0, head=0, address: int | None = None) -> int:
    """Load block n and return its index."""
    address = va(dut, n) if address is None else address
    return ok(dut, Load(request, layer, head, 32 * n, 32 * n + 31, address, tier)).index


def put(dut, **settings: int) -> None:
    for name, value in settings.items():
        ok(dut, Set(name, value))


def quiet(dut) -> None:
    """No STEP moves anything by its score: nothing is below 0 or above 0xFFFF."""
    put(dut, EVICT_THRESH=0, PREFETCH_THRESH=0xFFFF)


def eager(dut) -> None:
    """A STEP evicts every tier-1 block and prefetches every tier-2/3 block whose score is neither 0 nor 0xFFFF."""
    put(dut, EVICT_THRESH=0xFFFF, PREFETCH_THRESH=0)


def entry(dut, index: int) -> dict:
    return next(e for e in dut.dump() if e["index"] == index)


def show(dut, index: int, *names: str) -> tuple:
    e = entry(dut, index)
    return tuple(e[name] for name in names)


def counters(dut) -> dict[str, int]:
    return {name: value for name, value in dut.telemetry().items() if name not in TIME_DEPENDENT}


def changes(dut, command) -> tuple[Result, dict[str, int]]:
    """Execute, and say by how much each counter rose; counters that stayed are left out."""
    before = counters(dut)
    result = ok(dut, command)
    after = counters(dut)
    return result, {name: after[name] - before[name] for name in after if after[name] != before[name]}


def snapshot(dut) -> tuple:
    return dut.dump(), dut.digest(0, dut.entries), counters(dut)


def refuse(dut, command, code: str) -> None:
    """The device answers `code` and is as it was (R10)."""
    before = snapshot(dut)
    assert dut.execute(command) == Result(code)
    assert snapshot(dut) == before


def share_by_index(dut, index: int, times: int = 1) -> None:
    for _ in range(times):
        ok(dut, ShareIndex(index))


def slot(dut, tier: int, index: int) -> int:
    """Address of a slot with the reset values of TIER_BASE (contract section 2)."""
    return tier * dut.entries * dut.block_bytes + index * dut.block_bytes


def evicted(index: int, to: int = 2) -> Trigger:
    return Trigger(index, "evict", 1, to)


def prefetched(index: int, source: int = 2) -> Trigger:
    return Trigger(index, "prefetch", source, 1)
