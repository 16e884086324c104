"""What the worker takes from kvfpga, wherever the version at hand keeps it: today's place first, then where it was when `host/`
was flat. This is the one file to change when something moves."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def find(*places: str) -> Any:
    """The first `module:name` of kvfpga that is there."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(import_module(f"kvfpga.{module}"), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"this kvfpga has no {' and no '.join(places)}: say in {__file__} where it is")


Batch = find("transport.mmio:Batch", "mmio:Batch")
Device = find("device.device:Device", "device:Device")
Load, Set, Step = (find(f"contract.commands:{name}", f"commands:{name}") for name in ("Load", "Set", "Step"))
Lockstep = find("lockstep.lockstep:Lockstep", "lockstep:Lockstep")
REGISTERS = find("device.regmap:REGISTERS", "regmap:REGISTERS")
ReferenceModel = find("hepc_ref:ReferenceModel")
ReplayOptions = find("lab.replay:ReplayOptions", "replay:ReplayOptions")
replay = find("lab.replay:replay", "replay:run")
VerilatorSim = find("transport.sim.verilated:VerilatorSim", "verilator_sim:VerilatorSim")
