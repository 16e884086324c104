"""Which device the commands go to: `--target` (contract section 8; kinds.py has its kinds) and `--board NAME` (boards.py).

`sim` is the Verilated RTL in this process, `model` the reference model alone; `uart` and `xdma` are boards, `unix` and `tcp` are
devices that another process shares (`kvfpga serve`). The state of those four outlives this process, and their design is what
somebody built, so connecting compares its BUILD_ID and sizes with what this kvfpga's RTL and the board file say. Nothing ever
falls back to another target quietly.

`KVFPGA_RTL` names another fpga/ folder to simulate, or that a board was built from (a mutated copy, say); its state never
mixes with the original's, because a build is known by the hash of its sources.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import TargetError, UsageError
from ..contract.parameters import DEFAULT, Parameters, check
from . import kinds

if TYPE_CHECKING:
    from ..device.device import Device, Identity
    from ..hepc_ref import ReferenceModel
    from ..lockstep.lockstep import Lockstep
    from ..lockstep.reference import Reference
    from ..transport.mmio import Mmio, Simulation
    from .boards import Board


@dataclass(frozen=True)
class Target:
    """`kind`: a name that kinds.find knows, with its `address` (PORT@BAUD, DIR). `entries` None: not said, so a session's
    own or the default; a board says it by itself. `board`: what `--board` named; with sim or model its design is what runs.
    `record`: a file for every call through the seam (recording.py). `log`: tell each of them (transport/telling.py)."""

    kind: str = "sim"
    entries: int | None = None
    lanes: int | None = None
    address: str = ""
    board: Board | None = None
    record: Path | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if (self.is_board or self.board) and (self.entries or self.lanes):
            raise UsageError(
                "--entries and --lanes are for sim and model without a board: a board has the size that was built",
                "leave them out; `kvfpga info` shows the size",
            )
        for name in ("entries", "lanes"):
            if (value := getattr(self, name)) is not None:
                check(name, value, f"--{name}")

    @property
    def _kind(self) -> kinds.Kind:
        found = kinds.find(self.kind)
        if found is None:
            raise UsageError(f"there is no kind of target {self.kind!r}", f"targets: {kinds.forms()}")
        return found

    @property
    def is_board(self) -> bool:
        """Does the device live outside this process, and go on after it?"""
        return self._kind.connect is not None

    @property
    def text(self) -> str:
        """As `--target` takes it."""
        return f"{self.kind}:{self.address}" if self.is_board else self.kind

    @property
    def options(self) -> str:
        """The options of the command line that choose this target."""
        board = f"--board {self.board.file} " if self.board else ""
        size = f" --entries {self.entries} --lanes {self.lanes}" if self.entries else ""
        return f"{board}--target {self.text}{size}"

    def filled(self, entries: int = DEFAULT.entries, lanes: int = DEFAULT.lanes) -> Target:
        """With these sizes where none were said; a board is never told its size."""
        if self.is_board or self.board:
            return self
        return replace(self, entries=self.entries or entries, lanes=self.lanes or lanes)

    @property
    def parameters(self) -> Parameters:
        """Build parameters of the design that sim and model run."""
        return self.board.parameters if self.board else Parameters(self.entries or DEFAULT.entries, self.lanes or DEFAULT.lanes)

    # ---- opening -----------------------------------------------------------------------------------------------------
    def open(self, check: bool = True, wave: Path | None = None, restore: Path | None = None) -> Lockstep | Reference:
        """The device: in lockstep, or the reference alone. A simulation is new, with its reset values; a board is as it
        was. `wave`: record a waveform from the first cycle on. `restore`: a checkpoint to put a simulation into."""
        from ..lockstep.reference import Reference

        if self.kind == "model":
            return Reference(self.open_model())
        return self.open_lockstep(check, wave, restore)

    def open_lockstep(self, check: bool = True, wave: Path | None = None, restore: Path | None = None) -> Lockstep:
        """The same for a target with hardware."""
        from ..device.device import Device
        from ..lockstep.lockstep import Lockstep

        mmio = self.telling(self._open_traced(wave, restore) if wave else self.open_mmio(None, restore))
        try:
            if self.is_board or self.record:
                from ..transport.recording import RecordingMmio

                mmio = RecordingMmio(mmio, self.record, keep=self.is_board)
            device = Device(mmio)
            if self.is_board:
                self.check_build(device)
            return Lockstep(device, self.open_model(device.identity), check)
        except BaseException:
            mmio.close()
            raise

    def telling(self, mmio: Mmio) -> Mmio:
        """The same hardware side, with its calls told where that is wanted; else `mmio` itself."""
        if not self.log:
            return mmio
        from ..device.registers import shown
        from ..transport.telling import TellingMmio

        return TellingMmio(mmio, shown)

    def open_model(self, identity: Identity | None = None) -> ReferenceModel:
        """A reference model of the same size; a board's is what it says of itself."""
        from ..hepc_ref import reference_of

        return reference_of(identity.parameters if identity else self.parameters)

    def open_mmio(self, wave: str | None = None, restore: Path | None = None) -> Mmio:
        """The hardware side; a simulation reset or restored. `wave`: "fst" or "vcd" to be able to `trace_start`."""
        if connect := self._kind.connect:
            return connect(self.address, self.board)
        from ..transport.sim.verilated import VerilatorSim

        p = self.parameters
        return VerilatorSim(
            p.entries, p.lanes, p.data_bits, sources=rtl_sources(), wave=wave, restore=restore,
            block_tokens=p.block_tokens, head_dim=p.head_dim, classes=p.classes, nmce=p.nmce,
        )  # fmt: skip

    def open_simulation(self, wave: str | None = None, restore: Path | None = None) -> Simulation:
        """The same for a target that is a simulation."""
        from ..transport.mmio import Simulation

        mmio = self.open_mmio(wave, restore)
        if not isinstance(mmio, Simulation):
            mmio.close()
            raise UsageError(f"--target {self.text} has no checkpoints and no waveforms", "use --target sim")
        return mmio

    def _open_traced(self, wave: Path, restore: Path | None) -> Mmio:
        simulation = self.open_simulation(wave.suffix[1:], restore)
        try:
            simulation.trace_start(wave)
        except BaseException:
            simulation.close()
            raise
        return simulation

    def simulation(self, identity: Identity) -> Target:
        """The Verilated RTL of the same size as a board that said `identity`."""
        from .boards import Board

        return Target("sim", board=Board(self.text, Path(f"{self.kind}.yaml"), "", self.text, identity.parameters))

    def expected_build_id(self, identity: Identity) -> int:
        """The BUILD_ID of this kvfpga's RTL, or the one that the board file trusts; without a file, for the sizes that the
        board says it has."""
        from ..transport.sim.build import build_id

        if self.board:
            return self.board.expected_build_id(rtl_sources())
        return build_id(identity.parameters, rtl_sources())

    def check_build(self, device: Device) -> None:
        """Is the design on the board the one that this kvfpga, or its board file, knows (R4)? TargetError where not."""
        found = device.identity
        if self.board:
            for name, wanted in asdict(self.board.parameters).items():
                is_there = getattr(found, name)
                if wanted != is_there:
                    raise TargetError(
                        f"{device.mmio.name} has {name} = {is_there}, the board file {self.board.file} says {wanted}",
                        "load the right bitstream (`kvfpga program`), or correct `build` in the board file",
                    )
        expected = self.expected_build_id(found)
        if found.build_id != expected:
            raise TargetError(
                f"{device.mmio.name} runs build {found.build_id:#018x}, the RTL of this kvfpga is {expected:#018x}",
                "build and load the bitstream from this kvfpga; or set KVFPGA_RTL to the fpga/ folder that it was built "
                "from; or, to trust it as it is, give its number as `id` under `build` in a board file",
            )


def parse_target(text: str | None, entries: int | None = None, lanes: int | None = None, board: Board | None = None) -> Target:
    """The target that `--target TEXT` means; None is the board's own, or sim. UsageError where it means none."""
    if text is None:
        text = board.target if board else "sim"
    if not isinstance(text, str):
        raise UsageError(f"target {text!r} is not text", f"such as {kinds.forms()}")
    name, colon, address = text.partition(":")
    kind = kinds.find(name)
    if kind is None or bool(colon and address) != bool(kind.connect):
        raise UsageError(f"--target {text}: no such target", kinds.forms())
    kind.check(address)
    return Target(name, entries, lanes, address, board)


def rtl_root_in_use() -> Path | None:
    """The folder that KVFPGA_RTL names; None for the project's own."""
    folder = os.environ.get("KVFPGA_RTL")
    return Path(folder) if folder else None


def rtl_sources() -> list[Path] | None:
    """The RTL files of the folder that KVFPGA_RTL names; None for the project's own."""
    folder = rtl_root_in_use()
    if not folder:
        return None
    from ..transport.sim import build as verilator_build

    files = verilator_build.rtl_sources(folder / "rtl")
    if not files:
        raise TargetError(f"KVFPGA_RTL={folder}: no SystemVerilog files in its rtl/", "name a copy of the folder fpga/")
    return files
