"""Step 6: every command of contract section 4, and its refusals, in lockstep with the reference model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from ..contract.commands import (
    NUMERATORS,
    QUERY_SLOTS,
    Command,
    Evict,
    Hot,
    Load,
    Lookup,
    Prefetch,
    Release,
    ReleaseIndex,
    Score,
    Set,
    Share,
    ShareIndex,
    Step,
    Touch,
    Unload,
    UnloadRequest,
)
from ..contract.errors import DeviceRefused, DifferenceError
from ..contract.wording import counted
from ..hepc_ref import reference_of
from ..lockstep.lockstep import Lockstep
from .bench import Bench

BLOCKS = 12
"""Blocks that the script moves, and whose bytes are compared."""
VA = 0x7F00_0000_0000
FULL = 1024
"""Directories up to this size are filled for ERR_FULL."""
SHOWN = 3
LOOK = (
    "the same commands on the simulator (`kvfpga --target sim bringup --only commands`): if they agree there, timing of the "
    "build or memory behind the tiers; if not, the RTL"
)


def run(bench: Bench) -> None:
    try:
        lockstep = start(bench)
        codes = Counter(_play(bench, lockstep))
        verified = lockstep.verify()
    except DifferenceError as error:
        bench.report.differs = True
        report = error.report
        found = "; ".join(f"{where} {name}: {device}, not {expected}" for where, name, device, expected in
                          (difference.texts() for difference in report.differences[:SHOWN]))  # fmt: skip
        return bench.failed("lockstep", f"{report.headline()}: {found}", LOOK)
    refusals = sum(count for code, count in codes.items() if code != "OK")
    text = (
        f"{lockstep.commands:,} commands, {refusals} of them refused with {counted(len(codes) - 1, 'code')}, then "
        f"{verified.entries:,} entries and {counted(verified.blocks, 'block')} read back: 0 differences"
    )
    return bench.passed("lockstep", text, commands=lockstep.commands, refusals=refusals, differences=0)


def _play(bench: Bench, lockstep: Lockstep) -> Iterator[str]:
    """The codes of all commands."""
    lines = script(lockstep)
    for number, command in enumerate(lines):
        bench.tick(number, len(lines))
        yield lockstep.execute(command).code
    yield _refused_digest(lockstep)
    if lockstep.entries <= FULL:
        yield from _fill(lockstep)


def start(bench: Bench) -> Lockstep:
    """Device and model, reset, with tiers in place and the same bytes in the first BLOCKS slots of each tier."""
    lockstep = Lockstep(bench.device, reference_of(bench.device.identity.parameters))
    lockstep.reset()
    lockstep.execute_many(bench.place_tiers())
    random = np.random.default_rng(7)
    for base in bench.tier_bases:  # FP16 values, of which none is infinite or no number
        values = random.integers(0, 1 << 16, BLOCKS * lockstep.block_bytes // 2, np.uint16) & 0xBFFF
        lockstep.memory_write(base, values.tobytes())
    if lockstep.model.nmce:
        lockstep.query_write(0, random.standard_normal((2, lockstep.model.head_dim)).astype(np.float16))
    return lockstep


def script(lockstep: Lockstep) -> list[Command]:
    """The commands. Blocks 0..3 are of request 1, in tiers 1, 2, 3, 0; 4 to 7 of the shared prefix or of request 2."""
    size, tokens, top = lockstep.block_bytes, lockstep.model.block_tokens, 1 << 64
    bases = [lockstep.model.settings()[f"TIER_BASE{tier}"] for tier in range(4)]

    def va(n: int) -> int:
        return VA + n * size

    def load(n: int, request: int, tier: int = 1) -> Load:
        return Load(request, n % 3, n % 2, n * tokens, n * tokens + tokens - 1, va(n), tier)

    settings = [
        Set(name, value)
        for name, good, bad in (
            ("WEIGHT_R", 48, 256), ("WEIGHT_F", 16, 256), ("WEIGHT_S", 128, 257), ("WEIGHT_D", 64, 1 << 16),
            ("EVICT_THRESH", 20_000, 1 << 16), ("PREFETCH_THRESH", 60_000, 1 << 32), ("WINDOW", 200, 256),
            ("T1_CAPACITY", 4, lockstep.entries + 1), ("EVICT_TIER", 3, 1), ("CONTEND_POLICY", 1, 2), ("STRICT", 0, None),
        )
        for value in (good, bad) if value is not None
    ]  # fmt: skip
    return [
        *settings, Set("TIER_BASE1", bases[1]), Set("TIER_BASE1", bases[1] + 1), Set("EVICT_TIER", 2), Set("STRICT", 1),
        Unload(VA, size), UnloadRequest(1), Step(10), Lookup(1, 0, 0, 0), ShareIndex(0),
        load(0, 1, 1), load(1, 1, 2), load(2, 1, 3), load(3, 1, 0), load(4, 0), load(5, 0), load(6, 2), load(7, 2), load(8, 2, 1),
        load(0, 1), Load(1, 0, 0, 1, tokens, VA), Load(1, 0, 0, 0, tokens, VA), Load(9, 0, 0, 0, 0, VA, 4),
        Set("EVICT_TIER", 3), Set("TIER_BASE0", bases[0]),
        Lookup(1, 0, 0, tokens - 1), Lookup(2, 1, 0, 4 * tokens), Lookup(3, 9, 9, 0), Touch(1, 0, 0, 0), Touch(1, 1, 1, tokens),
        Hot(va(6), 1), Hot(va(6) - 1, 2), Hot(VA, 0), Hot(top - 1, 2), Hot(va(40), size),
        Share(va(4), 2 * size), ShareIndex(4), ShareIndex(lockstep.entries), Share(va(4), 0),
        Evict(va(4), size), Evict(va(0), size), Evict(va(6), 1), Evict(VA, 0),
        Prefetch(va(0), 1, 11), Prefetch(va(2), size, 900), Prefetch(va(2), size, 9), Prefetch(va(2), size, 1 << 32),
        Prefetch(va(2), 0, 11), Step(11), Step(10), Step(1 << 32), Step(400), Step(800),
        Release(va(4), 2 * size), ReleaseIndex(4), ReleaseIndex(4), ReleaseIndex(200), Release(VA, 0), Step(801),
        Set("T1_CAPACITY", lockstep.entries), Prefetch(VA, 9 * size, 802), Touch(1, 2, 0, 2 * tokens), Step(1500), Step(1501),
        Score(1, 0, 0, 0, 0), Prefetch(VA, 9 * size, 1501), Score(1, 0, 0, 0, 0, NUMERATORS), Score(0, 1, 0, 4 * tokens, 1),
        Score(1, 0, 1, 3 * tokens, 0), Score(9, 9, 9, 0, 0), Score(1, 0, 0, 0, QUERY_SLOTS), Score(1, 0, 0, 0, 0, 2),
        Unload(va(3), 1), Share(va(5), 1), Unload(va(5), size), Release(va(5), 1), Unload(va(5), size), Unload(VA, 0),
        UnloadRequest(2), UnloadRequest(1 << 16), Set("CLEAR_COUNTERS", 0), Lookup(1, 0, 0, 0), Step(1502),
    ]  # fmt: skip


def _refused_digest(lockstep: Lockstep) -> str:
    try:
        lockstep.device.digest(2, 1)
    except DeviceRefused as refusal:
        return refusal.code
    return "OK"


def _fill(lockstep: Lockstep) -> list[str]:
    """Loads until there is no entry left (R11), then frees them."""
    tokens = lockstep.model.block_tokens
    free = lockstep.entries - lockstep.model.telemetry()["valid_entries"]
    loads = [Load(5, 0, n & 0xFF, n * tokens, n * tokens, VA, 2) for n in range(free + 1)]
    results = lockstep.execute_many(loads) + lockstep.execute_many([UnloadRequest(5)])
    return [result.code for result in results]
