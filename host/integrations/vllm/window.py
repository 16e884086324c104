"""A window of virtual addresses in a device's directory that one mirror has to itself: a slot of BLOCK_BYTES for each entry."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...contract import script
from ...contract.commands import Command, Release, Result, Set, Step, Unload
from ...contract.errors import DeviceRefused, DifferenceError, UsageError

if TYPE_CHECKING:
    from ...lockstep.lockstep import Lockstep
    from ...lockstep.reference import Reference

VA_BASE = 0x20_0000_0000
REF_LIMIT = 255
"""ref_count saturates here (R20); whoever has further users counts them himself."""


class Mirrored(NamedTuple):
    """What an entry of the window has to be."""

    request: int
    token_start: int
    tokens: int
    references: int


class Window:
    """What an earlier one left there, or anybody else put there, is unloaded at the start. `slots`: how many blocks there is
    room for, since other entries keep theirs."""

    def __init__(self, device: Lockstep | Reference, va_base: int = VA_BASE):
        self.device, self.va_base = device, va_base
        self.block_bytes = device.block_bytes
        self.va_bytes = device.entries * device.block_bytes
        if not 0 <= va_base <= (1 << 64) - self.va_bytes:
            raise UsageError(f"a window of {self.va_bytes:#x} bytes at {va_base:#x} does not fit into 64 bits")
        self._empty()
        self.slots = device.entries - device.telemetry()["valid_entries"]

    def va(self, slot: int) -> int:
        return self.va_base + slot * self.block_bytes

    def range(self, slot: int, count: int = 1) -> tuple[int, int]:
        """Address and length of so many slots from this one on."""
        return self.va(slot), count * self.block_bytes

    @staticmethod
    def id(request: int, slot: int) -> tuple[int, int, int]:
        """The first three parts of an entry's key. Layer and head, which mean nothing for a block that spans all layers, are the
        slot's number: so no two entries have the same key."""
        return request, slot >> 8, slot & 0xFF

    def run(self, commands: Sequence[Command], missing: Container[int] = ()) -> list[Result]:
        """Run them in a batch. DeviceRefused where one is refused or finds nothing, but for those at the places `missing`:
        somebody else has changed the directory."""
        results = self.device.execute_many(commands)
        for place, (command, result) in enumerate(zip(commands, results, strict=True)):
            found = result.matched or place in missing or type(command) in (Step, Set)
            code = result.code if found or result.code != "OK" else "ERR_NOT_FOUND"
            if code != "OK":
                raise DeviceRefused(
                    code,
                    f"`{script.line(command)}` ended with {code}: the directory is not as the mirror left it",
                    "`kvfpga reset`, and nothing else on this session while it is mirrored into",
                )
        return results

    def compare(self, expected: dict[int, Mirrored]) -> None:
        """Read the directory and hold the window against what should be in each of its slots, DifferenceError where it is
        otherwise."""
        missing, wrong = {self.va(slot): (slot, mirrored) for slot, mirrored in expected.items()}, []
        for entry in self._entries():
            if (found := missing.pop(entry["va"], None)) is None:
                wrong.append(f"{entry['va']:#x}: a block that was not mirrored")
                continue
            slot, block = found
            should = dict(zip(("request_id", "layer", "head"), self.id(block.request, slot)))
            should |= {"token_start": block.token_start, "token_end": block.token_start + block.tokens - 1}
            should["ref_count"] = block.references
            differing = [name for name in should if entry[name] != should[name]]
            wrong += [f"{entry['va']:#x}: {name} is {entry[name]}, not {should[name]}" for name in differing]
        wrong += [f"{va:#x}: no entry" for va in missing]
        if wrong:
            more = f" … and {len(wrong) - 8} more" if len(wrong) > 8 else ""
            raise DifferenceError(
                f"the directory is not what was mirrored: {'; '.join(wrong[:8])}{more}",
                "`kvfpga verify` compares it with the reference model; `kvfpga reset` starts anew",
            )

    def _entries(self) -> list[dict[str, Any]]:
        first, behind = self.va_base - self.block_bytes, self.va_base + self.va_bytes
        return [entry for entry in self.device.dump() if first < entry["va"] < behind]

    def _empty(self) -> None:
        found = self._entries()
        commands: list[Command] = [Release(entry["va"], 1) for entry in found for _ in range(entry["ref_count"])]
        if found:
            self.run([*commands, Unload(self.va_base, self.va_bytes)])
