"""What scoring costs, measured on a simulation: bytes over the link, clock cycles, the error of the exponential (section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract.commands import Load, Score
from ..contract.errors import TargetError
from ..device.answers import HALVES, RESULT_WORDS
from ..device.codec import bits
from ..device.regmap import REGISTERS, SCORES, Opcode
from ..transport.mmio import Batch
from .cycles import VA, fill, moving, quiet, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..device.device import Device
    from ..lockstep.lockstep import Lockstep

UNDER_WAY = 4
"""SCOREs that are sent ahead, so that none is waited for."""
BLOCKS = 8
"""Blocks in tier 1 that are scored in turn."""
AT_ONCE = 64
"""Blocks whose keys are written before they are scored."""
LOWEST = 0xCC00
"""-16 in FP16; -0 is 0x8000."""


class Traffic(NamedTuple):
    """Bytes that crossed the link, of a query and of results, and bytes of keys that did not have to."""

    link: int
    keys: int


def traffic(device: Device, heads: int) -> Traffic:
    """Of one query that is written once, and the FP16 scores of a block of each of `heads` heads."""
    tokens, dim = device.identity.block_tokens, device.identity.head_dim
    quiet(device)
    run(device, *(Load(1, 0, head, 0, tokens - 1, VA + head * device.block_bytes) for head in range(heads)))
    device.write_queries(0, np.full((1, dim), 0x3C00, np.uint16))
    for head in range(heads):
        batch = Batch()
        device.append_command(batch, Score(1, 0, head, 0, 0))
        batch.wait_idle()
        batch.burst(SCORES + HALVES, tokens // 2)
        batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
        device.mmio.run(batch)
    counted = device.telemetry()
    if counted["blocks_scored"] != heads:
        raise TargetError(f"{counted['blocks_scored']} of {heads} blocks were scored, so there is no figure")
    return Traffic(counted["query_bytes"] + counted["result_bytes"], counted["key_bytes"])


def alone(device: Device) -> int:
    """Cycles of one SCORE with nothing else to do."""
    quiet(device)
    fill(device, 1, tier=1)
    return run(device, Score(1, 0, 0, 0, 0))[0].cycles


def back_to_back(device: Device, count: int, moved: int = 0) -> int:
    """Cycles in which `count` blocks are scored one behind the other, each result taken once it is there. Beside it, `moved`
    blocks leave tier 1 and as many come back."""
    sim = device.mmio
    batch = moving(device, moved, moved)
    fill(device, BLOCKS, tier=1, first=2 * moved)
    sim.run(batch)
    start, sent, taken = sim.clock_cycles or 0, 0, 0
    while taken < count:
        batch = Batch()
        for _ in range(min(count, taken + UNDER_WAY) - sent):
            device.append_command(batch, Score(1, 0, 0, 32 * (2 * moved + sent % BLOCKS), 0))
            sent += 1
        batch.read(REGISTERS["STATUS"].offset)
        status = int(sim.run(batch).words[0])
        if bits(status, REGISTERS["STATUS"].fields["result_ready"]):
            taken += _take(device)
    cycles = (sim.clock_cycles or 0) - start
    if moved and not bits(status, REGISTERS["STATUS"].fields["dma_busy"]):
        raise TargetError(f"{moved} blocks a channel had moved before {count} were scored, so there is no figure")
    return cycles


def _take(device: Device) -> bool:
    """Take a result off the queue. Is it that of a SCORE?"""
    status = int(device.mmio.read_burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)[0])
    fields = REGISTERS["RESULT_STATUS"].fields
    if bits(status, fields["opcode"]) != Opcode.SCORE:
        return False
    if bits(status, fields["code"]):
        raise TargetError(f"a SCORE ended with code {bits(status, fields['code'])}, so there is no figure")
    return True


def exponentials(device: Lockstep) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, e): differences from the largest score, for every FP16 value from 0 to -16 nearly that, and what the device has for
    exp(x); x ascending. A row is one value, times a query that takes the scale of the scores away; the first row of a block is
    zero and so the largest."""
    tokens, dim = device.model.block_tokens, device.model.head_dim
    query = np.zeros(dim, np.float16)
    query[0] = np.sqrt(dim)
    all_values = np.arange(0x8000, LOWEST + 1, dtype=np.uint16).view(np.float16)
    padding = np.zeros(-all_values.size % (tokens - 1), np.float16)
    values = np.concatenate([all_values, padding]).reshape(-1, tokens - 1)
    quiet(device)
    fill(device, AT_ONCE, tier=1)
    device.query_write(0, query)
    found = []
    for first in range(0, len(values), AT_ONCE):
        part = values[first : first + AT_ONCE]
        for place, rows in enumerate(part):
            block = np.zeros((2, tokens, dim), np.float16)
            block[0, 1:, 0] = rows
            device.memory_write(device.model.slot_address(1, place), block.tobytes())
        found += device.score_many([(1, 0, 0, tokens * place, 0) for place in range(len(part))], exp=True)
    x = np.concatenate([block.scores.astype(float) - float(block.max or 0) for block in found])
    order = np.argsort(x, kind="stable")
    return x[order], np.concatenate([block.exps for block in found if block.exps is not None])[order].astype(float)
