"""Generations: how the state of a device is stored on disk, all of it or none.

A folder (`home`) holds

    current                the name of the generation that counts, replaced in one rename
    state-00000007/        meta.json, device.ckpt (checkpoint of the simulation), model.npz (reference model)

Device and reference are stored together: a new generation is written and synced beside the old one, then `current` is
renamed onto it. A crash at any point leaves one whole generation, the old or the new.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.errors import SessionError
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target
from ..transport.mmio import Simulation
from .history import History

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

FORMAT = 1
META, DEVICE, MODEL, CURRENT = "meta.json", "device.ckpt", "model.npz", "current"
REMEDY = "`kvfpga reset` starts it anew (and forgets the blocks in it)"


def current_state(home: Path) -> Path | None:
    """The folder of the generation that counts; None where there is none yet."""
    try:
        return home / (home / CURRENT).read_text().strip()
    except FileNotFoundError:
        return None


def write_generation(
    home: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more: Any
) -> None:
    """Write the state of `device` as the next generation in `home` and make it the one that counts."""
    old = sorted(home.glob("state-*"))
    number = int(old[-1].name.split("-")[1]) + 1 if old else 1
    new = home / f"state-{number:08d}"
    new.mkdir(parents=True)
    try:
        write_state(new, device, target, commands, history, **more)
        for path in (*new.iterdir(), new):
            _sync(path)
        replace_file(home / CURRENT, new.name + "\n")
    except BaseException:
        if current_state(home) != new:  # on a full disk, half a generation would only take up room
            shutil.rmtree(new, ignore_errors=True)
        raise
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    if history:
        history.sweep()


def write_state(
    folder: Path, device: Lockstep | Reference, target: Target, commands: int = 0, history: History | None = None, **more: Any
) -> None:
    """meta.json (with `more` in it), model.npz and, of a simulation, device.ckpt."""
    meta = {"format": FORMAT, "commands": commands, **more}
    if not target.is_board:
        meta |= {"entries": target.parameters.entries, "lanes": target.parameters.lanes}
    if not isinstance(device, Lockstep):
        meta["operands"] = device.operands
    elif not target.is_board:
        simulation_of(device).save(folder / DEVICE)
    if history:
        meta["history"] = history.commit()
    device.model.save(folder / MODEL)
    (folder / META).write_text(json.dumps(meta) + "\n")


def simulation_of(device: Lockstep) -> Simulation:
    """The simulation that runs in lockstep, also where its calls are recorded."""
    mmio = device.device.mmio
    found = getattr(mmio, "inner", mmio)
    if not isinstance(found, Simulation):
        raise TypeError(f"{mmio.name} is no simulation")
    return found


def read_meta(state: Path) -> dict[str, Any]:
    """What meta.json of a generation says."""
    try:
        meta: dict[str, Any] = json.loads((state / META).read_text())
        found = meta["format"]
    except (OSError, ValueError, KeyError) as error:
        raise SessionError(f"the session's state {state} is damaged: {error}", REMEDY) from error
    if found != FORMAT:
        raise SessionError(f"the session's state {state} has format {found}, not {FORMAT}", REMEDY)
    return meta


def read_state(state: Path, device: Lockstep | Reference) -> None:
    """The model's side of a generation; the hardware's is given to it when it is opened."""
    device.model.load(state / MODEL)
    if not isinstance(device, Lockstep):
        device.operands = read_meta(state)["operands"]


def replace_file(path: Path, text: str) -> None:
    """Whatever happens, the file is the old one or the new one, whole; on return it is the new one, on the disk."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text)
        _sync(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
