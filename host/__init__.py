"""kvfpga: the KV-CPU emulation device, driven and checked against its reference model.

    import kvfpga
    from kvfpga.commands import Load, Step

    with kvfpga.open("sim", entries=256) as device:
        device.execute(Load(request=1, layer=0, head=0, token_start=0, token_end=31, va=0x7F001000))
        device.execute(Step(120)).triggers

`open` gives a new device with its reset values, in lockstep with the reference model. The state between the commands of
`kvfpga` on the command line is another matter: `session.Session`.
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
    target: str = "sim",
    entries: int = 65536,
    lanes: int = 8,
    check: bool = True,
    failures: str | os.PathLike | None = None,
) -> Lockstep | Reference:
    """A new device: "sim" is the Verilated RTL in lockstep (`check` False: unchecked), "model" the reference alone; "uart:…" and
    "xdma:…" a board, which is reset (it has the size that was built, so `entries` and `lanes` do not count).
    `failures`: a folder in which each difference leaves what reproduces it (None: it is only raised)."""
    from .targets import parse

    chosen = parse(target, *(() if target.startswith(("uart:", "xdma:")) else (entries, lanes)))
    device = chosen.open(check)
    if chosen.is_board:
        device.reset()
    if failures is not None:
        from .blackbox import attach

        attach(device, chosen, Path(failures))
    return device
