"""The Linux control interface: the ioctls of /dev/kvcpu0 as numbers, bytes, commands and errno (contract section 7).

Nothing here knows how an ioctl arrives (node.py does) or what the device answers. Numbers are those of the kernel's generic
_IOC encoding, which x86, ARM and RISC-V share; integers are of the host's byte order and, as none of the structures has a gap,
32-bit programs pass the same bytes.

What a command that the device refuses becomes (the contract only says LEN 0 → EINVAL):

    ERR_LEN, ERR_RANGE, ERR_STEP_ORDER   EINVAL: LEN 0, a range past 2^64, a weight or threshold too wide, a step of 2^32 or more,
                                         a step or a prefetch target below the current step
    ERR_FULL                             ENOSPC: only with --auto-load (auto_load.py)
    anything else                        EIO: a device that answers so is in doubt
    a number that is not in IOCTLS       ENOTTY: an unknown command, or a known one with another size or direction
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from ..contract import commands as cmd
from ..contract import presets
from ..contract.commands import Command
from ..contract.settings import LIMITS

TYPE = ord("K")
_WRITE, _READ = 1, 2

SETTINGS = {
    "w_r": "WEIGHT_R", "w_f": "WEIGHT_F", "w_s": "WEIGHT_S", "w_d": "WEIGHT_D",
    "evict_thresh": "EVICT_THRESH", "prefetch_thresh": "PREFETCH_THRESH",
}  # fmt: skip
"""The six u32 of SET_WEIGHTS and GET_TELEMETRY, and the settings behind them."""
COUNTERS = (
    "current_step", "step_count", "hot_count", "evict_count", "prefetch_count", "share_count", "last_va", "last_len",
    "last_target_step",
)  # fmt: skip
"""The nine u64 of GET_TELEMETRY, by their names in R23."""


class Ioctl(NamedTuple):
    """`request` is the number that ioctl(2) gets, `layout` the structure that its argument points to."""

    name: str
    request: int
    layout: Struct


def _ioctl(name: str, number: int, direction: int, members: str) -> Ioctl:
    layout = Struct("=" + members)
    return Ioctl(name, direction << 30 | layout.size << 16 | TYPE << 8 | number, layout)


STEP_ADVANCE = _ioctl("STEP_ADVANCE", 1, _WRITE, "Q")
MARK_HOT = _ioctl("MARK_HOT", 2, _WRITE, "3Q")
EVICT = _ioctl("EVICT", 3, _WRITE, "3Q")
PREFETCH = _ioctl("PREFETCH", 4, _WRITE, "3Q")
SHARE_PREFIX = _ioctl("SHARE_PREFIX", 5, _WRITE, "3Q")
SET_WEIGHTS = _ioctl("SET_WEIGHTS", 6, _WRITE, "6I")
GET_TELEMETRY = _ioctl("GET_TELEMETRY", 7, _READ, "9Q6I")
IOCTLS = {
    ioctl.request: ioctl
    for ioctl in (STEP_ADVANCE, MARK_HOT, EVICT, PREFETCH, SHARE_PREFIX, SET_WEIGHTS, GET_TELEMETRY)
}  # fmt: skip

ERRNO = {"ERR_LEN": errno.EINVAL, "ERR_RANGE": errno.EINVAL, "ERR_STEP_ORDER": errno.EINVAL, "ERR_FULL": errno.ENOSPC}
"""What a refusal is to the caller of ioctl; EIO where nothing stands here."""
MAY_BE_TOLERATED = tuple(ioctl.name for ioctl in IOCTLS.values() if ioctl is not GET_TELEMETRY)
"""The ioctls that the device may refuse where the kernel module accepts them."""


def commands(ioctl: Ioctl, data: bytes) -> Sequence[Command]:
    """The commands that an ioctl with the argument `data` (of its layout's size) stands for: all of them run, or there is one and
    the device refuses it. GET_TELEMETRY is no command."""
    values = ioctl.layout.unpack(data)
    if ioctl is STEP_ADVANCE:
        return [cmd.Step(*values)]
    if ioctl is SET_WEIGHTS:
        wanted = dict(zip(("w_r", "w_f", "w_s", "w_d", "evict", "prefetch"), values))
        sets = presets.sets(wanted)
        return sets[:1] if any(wanted[name] > LIMITS[presets.SETTING_OF[name]] for name in wanted) else sets
    if ioctl is PREFETCH:
        return [cmd.Prefetch(*values)]
    kinds: dict[Ioctl, type[cmd.Hot | cmd.Evict | cmd.Share]] = {
        MARK_HOT: cmd.Hot, EVICT: cmd.Evict, SHARE_PREFIX: cmd.Share,
    }  # fmt: skip
    return [kinds[ioctl](*values[:2])]  # target_step means nothing to them


def is_accepted_by_the_module(command: Command, code: str) -> bool:
    """Of what the device refused with `code`: the module looks at nothing but LEN, which must not be 0."""
    return ERRNO.get(code) == errno.EINVAL and getattr(command, "length", 1) != 0


def target_step(ioctl: Ioctl, data: bytes) -> int | None:
    """What the module calls last_target_step after this ioctl, where the device does not know it."""
    return ioctl.layout.unpack(data)[2] if ioctl in (MARK_HOT, EVICT, SHARE_PREFIX) else None


def telemetry(counters: dict[str, int], settings: dict[str, int]) -> dict[str, int]:
    """The fields of GET_TELEMETRY in their order, from R23 telemetry and the settings in force."""
    return {name: counters[name] for name in COUNTERS} | {name: settings[setting] for name, setting in SETTINGS.items()}


def pack_telemetry(fields: dict[str, int]) -> bytes:
    """The 96 bytes that GET_TELEMETRY fills in."""
    return GET_TELEMETRY.layout.pack(*fields.values())
