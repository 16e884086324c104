"""Give a device that was just opened the black box that fits its target."""

from __future__ import annotations

from pathlib import Path

from ..lockstep.lockstep import Lockstep
from ..lockstep.reference import Reference
from ..targets.target import Target
from .board import BoardBlackBox
from .history import History
from .simulation import BlackBox


def attach(device: Lockstep | Reference, target: Target, folder: Path) -> None:
    """Give a new `device`, opened from `target`, a black box that makes its failure folders in `folder`."""
    if not isinstance(device, Lockstep):
        return
    if target.is_board:
        device.blackbox = BoardBlackBox(target, folder, History(folder), mark=lambda: None)
    else:
        device.blackbox = BlackBox(target, folder, History(folder))
