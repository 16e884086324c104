"""What lockstep tells somebody who records what happens, so that a difference can be shown again (blackbox/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..contract.commands import Command

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from .lockstep import Lockstep
    from .report import Report


class Recorder(Protocol):
    """Each method is called at the moment that its docstring names. None but `write` may change the device."""

    def before(self, lockstep: Lockstep, commands: Sequence[Command]) -> None:
        """These commands are about to run."""

    def before_memory(self, lockstep: Lockstep, addr: int, data: bytes) -> None:
        """These bytes are about to be written into the device's memory."""

    def before_table(self, lockstep: Lockstep, codes: bytes) -> None:
        """These codes are about to be written into the idle bank of PTABLE, all of it."""

    def before_queries(self, lockstep: Lockstep, slot: int, bits: NDArray[np.uint16]) -> None:
        """These queries, uint16[n, HEAD_DIM], are about to be written into slots from `slot` on."""

    def kept_queries(self, bits: NDArray[np.uint16]) -> None:
        """The device was reset, and these are still in its query buffer, all of it."""

    def register_written(self, offset: int, value: int, width: int) -> None:
        """A register of `width` bits is about to be written that is neither doorbell nor setting."""

    def adopted(self, addr: int, data: bytes) -> None:
        """The model took over what the device's memory held already."""

    def was_reset(self) -> None:
        """Device and model were reset."""

    def taken_over(self) -> None:
        """The model took the device's state: `sync`."""

    def stored(self, home: Path) -> None:
        """The state is in the folder `home` now, and stays there until the next is stored."""

    def write(self, report: Report) -> None:
        """Device and model differ: keep what shows it again and tell `report` where. Never raises, for the difference is the
        news."""

    def close(self) -> None:
        """The device is about to be closed."""
