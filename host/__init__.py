"""kvfpga: the KV-CPU emulation device, driven and checked against its reference model.

    import kvfpga

    with kvfpga.open("sim", entries=256) as dev:
        dev.load(request=1, layer=0, head=0, tokens=(0, 31), va=0x7F001000)
        dev.step(120).triggers

`open` gives a new device with its reset values, in lockstep with the reference model; docs/python.md is its guide. The state
between the commands of `kvfpga` on the command line is another matter: `session.Session`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lockstep import Lockstep
    from .reference import Reference

__version__ = "0.1.0"


def open(
    target: str | None = None,
    entries: int | None = None,
    lanes: int | None = None,
    check: bool = True,
    failures: str | os.PathLike | None = None,
    board: str | None = None,
) -> Lockstep | Reference:
    """A new device with its reset values, to be closed after use (`with`). Its methods: api.py.

    target: "sim" (the default) is the Verilated RTL in lockstep with the reference model, "model" the reference alone; anything
    else that `--target` takes is a device that is there already. It is reset, and has the size that was built.
    entries, lanes: of sim and model; 65536 and 8 where not said.
    check: False lets the reference follow without comparing.
    failures: a folder in which each difference leaves what reproduces it; None: it is only raised.
    board: a board by its name or YAML file; its tier bases are put in force. `target` beside it overrides the board's.

    Raises UsageError (no such target or size), TargetError (it cannot be reached, built or trusted).
    """
    from .targets import parse

    if board is not None:
        from .boards import find

        board = find(board)
    chosen = parse(target, entries, lanes, board)
    device = chosen.open(check)
    try:
        if chosen.is_board:
            device.reset()
        if failures is not None:
            from .blackbox import attach

            attach(device, chosen, Path(failures))
        if board and board.tiers:
            device.set(**{f"TIER_BASE{tier}": base for tier, base in enumerate(board.tiers)})
    except BaseException:
        device.close()
        raise
    return device
