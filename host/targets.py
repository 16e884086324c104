"""Which device the commands go to: `--target sim|model|uart:…|xdma:…|unix:…|tcp://…` (contract section 8).

This version has the Verilated simulation and the reference model alone. The other kinds are known by name, and say that
they are not supported yet; nothing ever falls back to another target quietly.

`KVFPGA_RTL` names another fpga/ folder to simulate (a mutated copy, say); its state never mixes with the original's,
because a build is known by the hash of its sources.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import TargetError, UsageError

if TYPE_CHECKING:
    from .hepc_ref import ReferenceModel
    from .lockstep import Lockstep
    from .reference import Reference
    from .mmio import Mmio

ENTRIES, LANES = 65536, 8
KINDS = ("sim", "model")
LATER = {"uart:": "a serial port", "xdma:": "a PCIe board", "unix:": "a remote device", "tcp://": "a remote device"}


@dataclass(frozen=True)
class Target:
    """`kind`: one of KINDS. `entries` None: not said, so a session's own or the default."""

    kind: str = "sim"
    entries: int | None = None
    lanes: int | None = None

    def __post_init__(self) -> None:
        _power_of_two("entries", self.entries, 256, 65536)
        _power_of_two("lanes", self.lanes, 1, 16)

    @property
    def options(self) -> str:
        """The options of the command line that choose this target."""
        return f"--target {self.kind} --entries {self.entries} --lanes {self.lanes}"

    def filled(self, entries: int = ENTRIES, lanes: int = LANES) -> Target:
        """With these sizes where none were said."""
        return replace(self, entries=self.entries or entries, lanes=self.lanes or lanes)

    def open(self, check: bool = True, wave: Path | None = None, restore: Path | None = None) -> Lockstep | Reference:
        """A new device with its reset values: in lockstep, or the reference alone. `wave`: record a waveform from the
        first cycle on. `restore`: a checkpoint to put the hardware side into."""
        from .lockstep import Lockstep
        from .reference import Reference

        model = self.open_model()
        if self.kind == "model":
            return Reference(model)
        from .device import Device

        mmio = self.open_mmio(wave and wave.suffix[1:], restore)
        try:
            if wave:
                mmio.trace_start(wave)
            return Lockstep(Device(mmio), model, check)
        except BaseException:
            mmio.close()
            raise

    def open_model(self) -> ReferenceModel:
        from .hepc_ref import ReferenceModel

        return ReferenceModel(self.entries)

    def open_mmio(self, wave: str | None = None, restore: Path | None = None) -> Mmio:
        """The hardware side, reset or restored. `wave`: "fst" or "vcd" to be able to `trace_start`."""
        from .verilator_sim import VerilatorSim

        return VerilatorSim(self.entries, self.lanes, sources=rtl_sources(), wave=wave, restore=restore)


def parse(text: str, entries: int | None = None, lanes: int | None = None) -> Target:
    """The target that `--target TEXT` means. UsageError where it means none, TargetError where none is supported."""
    if text in KINDS:
        return Target(text, entries, lanes)
    for prefix, what in LATER.items():
        if text.startswith(prefix) and len(text) > len(prefix):
            raise TargetError(
                f"--target {text}: {what} is not supported by this version",
                "use --target sim (the Verilated RTL) or --target model (the reference model alone)",
            )
    raise UsageError(
        f"--target {text}: no such target", "sim, model, uart:PORT[@BAUD], xdma:DIR, unix:PATH, tcp://HOST:PORT"
    )


def rtl_sources() -> list[Path] | None:
    """The RTL files of the folder that KVFPGA_RTL names; None for the project's own."""
    folder = os.environ.get("KVFPGA_RTL")
    if not folder:
        return None
    from . import verilator_build

    files = verilator_build.rtl_sources(Path(folder) / "rtl")
    if not files:
        raise TargetError(f"KVFPGA_RTL={folder}: no SystemVerilog files in its rtl/", "name a copy of the folder fpga/")
    return files


def _power_of_two(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and (not least <= value <= most or value & (value - 1)):
        raise UsageError(f"--{name} {value}: must be a power of two, {least} to {most}")
