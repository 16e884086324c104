"""Which device the commands go to: `--target sim|model|uart:PORT[@BAUD]|xdma:DIR|unix:…|tcp://…` (contract section 8), and
`--board NAME` (boards.py).

`sim` is the Verilated RTL in this process, `model` the reference model alone; `uart` and `xdma` are boards, `unix` and `tcp` are
devices that another process shares (`kvfpga serve`). The state of those four outlives this process, and their design is what
somebody built, so connecting compares its BUILD_ID and sizes with what this kvfpga's RTL and the board file say. Nothing ever
falls back to another target quietly.

`KVFPGA_RTL` names another fpga/ folder to simulate, or that a board was built from (a mutated copy, say); its state never
mixes with the original's, because a build is known by the hash of its sources.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import TargetError, UsageError

if TYPE_CHECKING:
    from ..device.device import Device, Identity
    from ..hepc_ref import ReferenceModel
    from ..lockstep.lockstep import Lockstep
    from ..lockstep.reference import Reference
    from ..transport.mmio import Mmio
    from ..transport.sim.build import Parameters
    from .boards import Board

ENTRIES, LANES = 65536, 8
BAUD = 3_000_000
"""Where a uart target names no rate: the fastest that the usual USB bridges and the bring-up build have."""
BOARD_KINDS = ("uart", "xdma", "unix", "tcp")


@dataclass(frozen=True)
class Target:
    """`kind`: sim, model, or one of BOARD_KINDS, with its `address` (PORT@BAUD, DIR). `entries` None: not said, so a session's
    own or the default; a board says it by itself. `board`: what `--board` named; with sim or model its design is what runs.
    `record`: a file for every call through the seam (recording.py)."""

    kind: str = "sim"
    entries: int | None = None
    lanes: int | None = None
    address: str = ""
    board: Board | None = None
    record: Path | None = None

    def __post_init__(self) -> None:
        if (self.is_board or self.board) and (self.entries or self.lanes):
            raise UsageError(
                "--entries and --lanes are for sim and model without a board: a board has the size that was built",
                "leave them out; `kvfpga info` shows the size",
            )
        _power_of_two("entries", self.entries, 256, 65536)
        _power_of_two("lanes", self.lanes, 1, 16)

    @property
    def is_board(self) -> bool:
        """Does the device live outside this process, and go on after it?"""
        return self.kind in BOARD_KINDS

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

    def filled(self, entries: int = ENTRIES, lanes: int = LANES) -> Target:
        """With these sizes where none were said; a board is never told its size."""
        if self.is_board or self.board:
            return self
        return replace(self, entries=self.entries or entries, lanes=self.lanes or lanes)

    @property
    def parameters(self) -> Parameters:
        """Build parameters of the design that sim and model run."""
        from ..transport.sim.build import Parameters

        return self.board.parameters if self.board else Parameters(self.entries or ENTRIES, self.lanes or LANES)

    # ---- opening -----------------------------------------------------------------------------------------------------
    def open(self, check: bool = True, wave: Path | None = None, restore: Path | None = None) -> Lockstep | Reference:
        """The device: in lockstep, or the reference alone. A simulation is new, with its reset values; a board is as it
        was. `wave`: record a waveform from the first cycle on. `restore`: a checkpoint to put a simulation into."""
        from ..lockstep.lockstep import Lockstep
        from ..lockstep.reference import Reference

        if self.kind == "model":
            return Reference(self.open_model())
        from ..device.device import Device

        mmio = self.open_mmio(wave and wave.suffix[1:], restore)
        try:
            if self.is_board or self.record:
                from ..transport.recording import RecordingMmio

                mmio = RecordingMmio(mmio, self.record, keep=self.is_board)
            if wave:
                mmio.trace_start(wave)
            device = Device(mmio)
            if self.is_board:
                self.check_build(device)
            return Lockstep(device, self.open_model(device.identity), check)
        except BaseException:
            mmio.close()
            raise

    def open_model(self, identity: Identity | None = None) -> ReferenceModel:
        """A reference model of the same size; a board's is what it says of itself."""
        from ..hepc_ref import ReferenceModel

        size = identity or self.parameters
        return ReferenceModel(size.entries, size.block_tokens, size.head_dim)

    def open_mmio(self, wave: str | None = None, restore: Path | None = None) -> Mmio:
        """The hardware side; a simulation reset or restored. `wave`: "fst" or "vcd" to be able to `trace_start`."""
        if self.kind == "uart":
            from ..uart_bridge import UartBridge

            port, _, baud = self.address.partition("@")
            return UartBridge(port, int(baud or BAUD))
        if self.kind == "xdma":
            from ..pcie_mmio import PcieMmio

            if self.board is None:
                return PcieMmio(self.address)
            b = self.board
            return PcieMmio(
                self.address, bar_offsets=b.bar_offsets, memory_offset=b.memory_offset, bar_bytes=b.bar_bytes
            )
        if self.kind in ("unix", "tcp"):
            from ..transport.remote.client import RemoteMmio

            return RemoteMmio(self.text, say=lambda text: print(f"kvfpga: {text}", file=sys.stderr))
        from ..transport.sim.verilated import VerilatorSim

        p = self.parameters
        return VerilatorSim(
            p.entries, p.lanes, p.data_bits, sources=rtl_sources(), wave=wave, restore=restore,
            block_tokens=p.block_tokens, head_dim=p.head_dim,
        )  # fmt: skip

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
    kind, _, address = text.partition(":")
    if text in ("sim", "model"):
        return Target(text, entries, lanes, board=board)
    if kind == "tcp":
        from ..transport.remote.protocol import host_and_port

        host_and_port(text)
    if kind in BOARD_KINDS and address:
        if kind == "uart" and not re.fullmatch(r"[^@]+(@[1-9][0-9]{2,7})?", address):
            raise UsageError(f"--target {text}: the baud rate is not one", "uart:PORT@BAUD, such as uart:/dev/ttyUSB0@3000000")
        return Target(kind, entries, lanes, address, board)
    raise UsageError(
        f"--target {text}: no such target", "sim, model, uart:PORT[@BAUD], xdma:DIR, unix:PATH, tcp://HOST:PORT"
    )


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


def _power_of_two(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and (not least <= value <= most or value & (value - 1)):
        raise UsageError(f"--{name} {value}: must be a power of two, {least} to {most}")
