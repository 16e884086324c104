"""The device that a replay or the demo is handed: what it must be able to do, and what both ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from ..contract.commands import Command, Result
from ..contract.errors import DifferenceError, UsageError
from ..contract.wording import counted
from .workload import block_pattern

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Model(Protocol):
    """What is asked of the reference model."""

    block_tokens: int
    classes: int


class CheckedDevice(Protocol):
    """`Lockstep` and `Reference` have it."""

    entries: int
    block_bytes: int
    checks: int
    differences: int

    @property
    def model(self) -> Model: ...
    def execute_many(self, commands: list[Command]) -> list[Result]: ...  # one batch, one check at its end
    def run_through(self, commands: list[Command], checks: Iterable[int]) -> Iterator[list[Result]]: ...
    def telemetry(self) -> dict[str, int]: ...
    def settings(self) -> dict[str, int]: ...
    def entry(self, index: int) -> dict[str, int]: ...
    def memory_write(self, addr: int, data: bytes) -> None: ...
    def write_table(self, codes: NDArray[np.uint8]) -> None: ...  # into the idle bank of PTABLE
    def memory_read(self, addr: int, size: int) -> bytes: ...  # of the device


def require_empty(device: CheckedDevice, what: str) -> None:
    valid = device.telemetry()["valid_entries"]
    if valid:
        raise UsageError(
            f"the directory already holds {counted(valid, 'block')}, and {what} starts from an empty one",
            "`kvfpga reset` empties it, `dev.reset()` from Python; or take one of its own, with `--session DIR`",
        )


def check_block(device: CheckedDevice, name: str, addr: int, seed: int) -> None:
    """Raise DifferenceError unless the block at `addr` of the device's memory is the pattern of `seed`, every byte."""
    expected = block_pattern(seed, device.block_bytes)
    found = device.memory_read(addr, device.block_bytes)
    if found != expected:
        at = next(i for i in range(len(expected)) if found[i : i + 1] != expected[i : i + 1])
        raise DifferenceError(
            f"{name} does not hold its own bytes: byte {at}, at {addr + at:#x}, is {found[at : at + 1].hex()} and not "
            f"{expected[at : at + 1].hex()}",
            f"read it with `kvfpga mem read {addr:#x} {device.block_bytes}`",
        )
