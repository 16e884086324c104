"""Blocks for hints about memory that the device knows nothing of (`kvfpga serve --auto-load`).

A runtime that only knows virtual addresses never sends LOAD, so its hints would match nothing. Here a HOT, EVICT, PREFETCH or
SHARE gets LOADs put before it, for the part of its range that no block covers: blocks aligned to BLOCK_BYTES, of tier 1
(EVICT_TIER where T1 is full, R11), of request 0xFFFF, layer 0, head 0, and the lowest token positions that are not taken.
Everything of that request belongs to this module.

A hint that the device is going to refuse loads nothing. Nor does one that misses more than MOST_BLOCKS blocks, or more than there
is room for: it is refused whole with ERR_FULL. Where the directory is full, the coldest blocks of request 0xFFFF are unloaded
(lowest priority, then lowest index), but for those that are shared (R21 guards them; no ioctl releases them), that the hint is
about, or that overlap a block of somebody else, which the UNLOAD of their range would take along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import Command, Evict, Hot, Load, Prefetch, Share, Unload
from ..contract.errors import DeviceRefused
from ..contract.wording import counted

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from ..hepc_ref import ReferenceModel

    Hint: TypeAlias = Hot | Evict | Prefetch | Share

REQUEST = 0xFFFF
MOST_BLOCKS = 1024
"""Blocks that one hint may load: 16 MiB of address space."""
HINTS = (Hot, Evict, Prefetch, Share)


def before(model: ReferenceModel, hint: Command) -> list[Command]:
    """The UNLOADs and LOADs to run before `hint`, none for other commands. `model` holds what the device holds.
    DeviceRefused where there is no room."""
    if not isinstance(hint, HINTS) or _is_refused(model, hint):
        return []
    block = model.block_bytes
    gaps = _gaps(sorted(model.overlapping(hint.addr, hint.length).tolist()), hint.addr, hint.addr + hint.length, block)
    if not gaps:
        return []
    slots = [slot for gap in gaps for slot in gap[: MOST_BLOCKS + 1]]
    if len(slots) > MOST_BLOCKS:
        raise DeviceRefused("ERR_FULL", f"the range misses more than {MOST_BLOCKS} blocks")
    fields = model.entries_array()
    rows = np.flatnonzero(fields["valid"])
    own = rows[(fields["request_id"][rows] == REQUEST) & (fields["va"][rows] % block == 0)]
    commands: list[Command] = []
    if (missing := len(slots) - (model.entries - rows.size)) > 0:
        victims = _victims(fields, own, np.setdiff1d(rows, own), hint, block)[:missing]
        if len(victims) < missing:
            raise DeviceRefused("ERR_FULL", f"the directory is full, and has not {counted(missing, 'block')} to give up")
        commands += [Unload(va, block) for va in fields["va"][victims].tolist()]
    tokens = model.block_tokens
    taken = fields["token_start"][own] // tokens
    numbers = np.setdiff1d(np.arange(len(slots) + own.size, dtype=np.uint64), taken)
    for slot, number in zip(slots, numbers.tolist()):
        commands.append(Load(REQUEST, 0, 0, number * tokens, number * tokens + tokens - 1, slot * block))
    return commands


def _is_refused(model: ReferenceModel, hint: Hint) -> bool:
    """Will the device refuse it (R10)? Then its error has to leave everything as it was."""
    if not 0 < hint.length <= (1 << 64) - hint.addr:
        return True
    return isinstance(hint, Prefetch) and not model.telemetry()["current_step"] <= hint.target < 1 << 32


def _gaps(vas: list[int], at: int, end: int, block: int) -> list[range]:
    """The parts of [at, end) that none of the blocks at `vas`, ascending, covers, as ranges of aligned slots (va // block). No
    slot comes twice: between two gaps lies a whole block."""
    gaps = []
    for va in [*vas, end]:
        if va > at:
            gaps.append(range(at // block, (va - 1) // block + 1))
        at = va + block
    return gaps


def _victims(
    fields: dict[str, NDArray[Any]], own: NDArray[np.intp], others: NDArray[np.intp], hint: Hint, block: int
) -> NDArray[np.intp]:
    """Of the rows `own`, those that may be unloaded, the coldest first."""
    slots, touched = fields["va"][own] // block, fields["va"][others] // block
    beyond = touched[fields["va"][others] % block != 0] + np.uint64(1)
    first, last = (np.uint64(addr // block) for addr in (hint.addr, hint.addr + hint.length - 1))
    free = ~(fields["prefix"][own] & (fields["ref_count"][own] > 0))
    free &= ((slots < first) | (slots > last)) & ~np.isin(slots, touched) & ~np.isin(slots, beyond)
    own = own[free]
    return own[np.argsort(fields["priority"][own], kind="stable")]
