"""kvfpga: the KV-CPU emulation device, driven and checked against its reference model.

    import kvfpga

    with kvfpga.open("sim", entries=256) as dev:
        dev.load(request=1, layer=0, head=0, tokens=(0, 31), va=0x7F001000)
        dev.step(120).triggers

`open` gives a new device with its reset values, in lockstep with the reference model; docs/python.md is its guide. What it
takes, returns and raises is exported here, flat, and each name is imported when it is first used, so that `import kvfpga` is
quick. The state between the commands of `kvfpga` on the command line is another matter: `open_session`.
"""

from __future__ import annotations

import importlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract.version import __version__ as __version__

if TYPE_CHECKING:  # the names of _HOMES, once more, for type checkers
    from .contract.commands import Class as Class
    from .contract.commands import Command as Command
    from .contract.commands import Evict as Evict
    from .contract.commands import Hot as Hot
    from .contract.commands import Load as Load
    from .contract.commands import Lookup as Lookup
    from .contract.commands import Prefetch as Prefetch
    from .contract.commands import Release as Release
    from .contract.commands import ReleaseIndex as ReleaseIndex
    from .contract.commands import Result as Result
    from .contract.commands import Score as Score
    from .contract.commands import Scores as Scores
    from .contract.commands import Set as Set
    from .contract.commands import Share as Share
    from .contract.commands import ShareIndex as ShareIndex
    from .contract.commands import Step as Step
    from .contract.commands import Touch as Touch
    from .contract.commands import Trigger as Trigger
    from .contract.commands import Unload as Unload
    from .contract.commands import UnloadRequest as UnloadRequest
    from .contract.commands import hint_of as hint_of
    from .contract.errors import BuildError as BuildError
    from .contract.errors import BusError as BusError
    from .contract.errors import CutOff as CutOff
    from .contract.errors import DeviceRefused as DeviceRefused
    from .contract.errors import DifferenceError as DifferenceError
    from .contract.errors import IdleTimeout as IdleTimeout
    from .contract.errors import KvfpgaError as KvfpgaError
    from .contract.errors import NoMemoryError as NoMemoryError
    from .contract.errors import SessionBusy as SessionBusy
    from .contract.errors import SessionError as SessionError
    from .contract.errors import TargetError as TargetError
    from .contract.errors import UsageError as UsageError
    from .contract.presets import PRESETS as PRESETS
    from .hepc_ref import ReferenceModel as ReferenceModel
    from .lab.replay import ReplayOptions as ReplayOptions
    from .lab.replay import ReplaySummary as ReplaySummary
    from .lab.replay import replay as replay
    from .lab.traces import Request as Request
    from .lab.traces import Trace as Trace
    from .lab.traces import load_trace as load_trace
    from .lab.traces import parse_trace as parse_trace
    from .lab.traces import read_trace as read_trace
    from .lockstep.lockstep import Lockstep as Lockstep
    from .lockstep.reference import Reference as Reference
    from .lockstep.report import Difference as Difference
    from .lockstep.report import Report as Report
    from .lockstep.report import Verified as Verified
    from .lockstep.scored import BlockScores as BlockScores
    from .lockstep.scored import softmax as softmax
    from .lockstep.surface import ENTRY_DTYPE as ENTRY_DTYPE
    from .session.open import open_session as open_session
    from .session.purpose import Purpose as Purpose
    from .targets.boards import Board as Board
    from .targets.boards import find_board as find_board
    from .targets.target import Target as Target
    from .targets.target import parse_target as parse_target
    from .transport.mmio import Batch as Batch
    from .transport.mmio import Mmio as Mmio

_HOMES = {
    "contract.commands": (
        "Command", "Load", "Step", "Hot", "Evict", "Prefetch", "Share", "Release", "ShareIndex", "ReleaseIndex", "Unload",
        "UnloadRequest", "Lookup", "Touch", "Score", "Class", "Set", "Result", "Scores", "Trigger", "hint_of",
    ),
    "contract.errors": (
        "KvfpgaError", "UsageError", "DeviceRefused", "TargetError", "BuildError", "BusError", "CutOff", "IdleTimeout",
        "NoMemoryError", "SessionError", "SessionBusy", "DifferenceError",
    ),
    "contract.presets": ("PRESETS",),
    "hepc_ref": ("ReferenceModel",),
    "lab.replay": ("ReplayOptions", "ReplaySummary", "replay"),
    "lab.traces": ("Request", "Trace", "load_trace", "parse_trace", "read_trace"),
    "lockstep.lockstep": ("Lockstep",),
    "lockstep.reference": ("Reference",),
    "lockstep.scored": ("BlockScores", "softmax"),
    "lockstep.report": ("Difference", "Report", "Verified"),
    "lockstep.surface": ("ENTRY_DTYPE",),
    "session.open": ("open_session",),
    "session.purpose": ("Purpose",),
    "targets.boards": ("Board", "find_board"),
    "targets.target": ("Target", "parse_target"),
    "transport.mmio": ("Batch", "Mmio"),
}  # fmt: skip
"""Where each exported name is defined."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = ["__version__", "open", *_HOME_OF]


def __getattr__(name: str) -> object:
    """An exported name, imported now that it is asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


def open(
    target: str | None = None,
    entries: int | None = None,
    lanes: int | None = None,
    check: bool = True,
    failures: str | os.PathLike[str] | None = None,
    board: str | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Lockstep | Reference:
    """A new device with its reset values, to be closed after use (`with`). Its methods: lockstep/surface.py.

    target: "sim" (the default) is the Verilated RTL in lockstep with the reference model, "model" the reference alone; anything
    else that `--target` takes is a device that is there already. It is reset, and has the size that was built.
    entries, lanes: of sim and model; 65536 and 8 where not said.
    check: False lets the reference follow without comparing.
    failures: a folder in which each difference leaves what reproduces it; None: it is only raised.
    board: a board by its name or YAML file; its tier bases are put in force. `target` beside it overrides the board's.
    trace: a waveform, FILE.fst or FILE.vcd, of all that a simulation does until `close`, with views for GTKWave and Surfer.

    Raises UsageError (no such target or size), TargetError (it cannot be reached, built or trusted).
    """
    from .blackbox.attach import attach
    from .targets.boards import find_board
    from .targets.target import parse_target

    named = None if board is None else find_board(board)
    chosen = parse_target(target, entries, lanes, named)
    wave = None if trace is None else _waveform(trace, chosen)
    device = chosen.open(check, wave)
    device.replayer = _replay
    try:
        if wave:
            from .blackbox.wave_view import write

            device.closing = partial(write, wave)
        if chosen.is_board:
            device.reset()
        if failures is not None:
            attach(device, chosen, _path("failures", failures))
        if named and named.tiers:
            device.set(**{f"TIER_BASE{tier}": base for tier, base in enumerate(named.tiers)})
    except BaseException:
        device.close()
        raise
    return device


def _path(what: str, named: str | os.PathLike[str]) -> Path:
    from .contract.errors import UsageError

    try:
        return Path(named)
    except TypeError:
        raise UsageError(f"{what} {named!r} is no path", "name one, or leave it out") from None


def _waveform(named: str | os.PathLike[str], target: Target) -> Path:
    from .contract.errors import UsageError
    from .contract.waveforms import SUFFIXES, make

    path = _path("trace", named)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"trace {path}: a waveform is {' or '.join(SUFFIXES)}", f"such as {path.stem or 'device'}{SUFFIXES[0]}")
    if target.kind == "model":
        raise UsageError("trace: the reference model has no signals", 'open "sim", or leave it out')
    make(path)
    return path


def _replay(device: Lockstep | Reference, trace: Trace | str | os.PathLike[str] | None, **options: Any) -> ReplaySummary:
    """`dev.replay`."""
    from dataclasses import fields

    from .contract.errors import UsageError
    from .lab.replay import ReplayOptions, replay
    from .lab.traces import SAMPLE, Trace

    known = [field.name for field in fields(ReplayOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"replay: {', '.join(unknown)}: no such option", "options: " + ", ".join(known))
    if not isinstance(trace, Trace):
        trace = SAMPLE if trace is None else _path("trace", trace)
    return replay(device, trace, ReplayOptions(**options))
