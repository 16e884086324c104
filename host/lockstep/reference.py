"""The reference model alone, as a target (`--target model`): the surface of `lockstep.Lockstep`, and no compiler needed.

Nothing is compared, so `checked` is False. What only a clock or a bus can count is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..contract.commands import Command, Result, Score, Set
from ..contract.errors import BusError, DeviceRefused, UsageError
from ..device.codec import writes
from ..device.registers import is_score, query_word, table_word
from ..device.regmap import REGISTERS, TELEMETRY
from .report import Verified
from .scored import follow
from .surface import Surface

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..hepc_ref import ReferenceModel


class Reference(Surface):
    """`operands` are the registers that only hold operands, so that `reg write BOOST_ADDR` works here as well."""

    checked = check = False
    reaches_memory = True
    recorder = None

    def __init__(self, model: ReferenceModel):
        self.model = model
        self.entries, self.block_bytes = model.entries, model.block_bytes
        self.operands: dict[str, int] = {}
        self.commands = self.checks = self.differences = 0

    def execute(self, command: Command) -> Result:
        self.commands += 1
        # as on the device: operand registers keep what was last written, and a value too wide for them is no command
        for name, value in writes(command):
            if name != "CTRL" and not isinstance(command, Set):
                self.operands[name] = value & (1 << REGISTERS[name].width) - 1
        return follow(self.model, command)

    def execute_many(self, commands: Sequence[Command]) -> list[Result]:
        return [self.execute(command) for command in commands]

    def run_through(self, commands: Sequence[Command], checks: Iterable[int]) -> Iterator[list[Result]]:
        """Yields the results of the commands up to each of `checks`, then of the rest."""
        first = 0
        for end in dict.fromkeys([*checks, len(commands)]):
            yield self.execute_many(commands[first:end])
            first = end

    def telemetry(self) -> dict[str, int]:
        """The keys of the device; what only a clock or a bus can count is 0."""
        return dict.fromkeys(TELEMETRY, 0) | self.model.telemetry()

    def settings(self) -> dict[str, int]:
        return self.model.settings()

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        hi = self.entries if hi is None else hi
        if not 0 <= lo <= hi <= self.entries:
            raise DeviceRefused("ERR_RANGE", f"[{lo}, {hi}) is not a range of entries 0..{self.entries}")
        return self.model.digest(lo, hi)

    def dump(self) -> list[dict[str, Any]]:
        return self.model.dump()

    def entry(self, index: int) -> dict[str, int]:
        return self.model.entry(index)

    def read_entries(self, lo: int, hi: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        return self.model.read_entries(lo, hi)

    def memory_read(self, addr: int, size: int) -> bytes:
        return self.model.memory_read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        self.model.memory_write(addr, data)

    def read_table(self) -> NDArray[np.uint8]:
        return self.model.read_table()

    def write_table(self, codes: NDArray[np.uint8]) -> None:
        self.model.write_table(codes)

    def overlap_scores(self, commands: Sequence[Score]) -> list[Result]:
        return self.execute_many(commands)

    def read_queries(self, slot: int, count: int) -> NDArray[np.uint16]:
        return self.model.queries[slot : slot + count].copy()

    def write_queries(self, slot: int, bits: NDArray[np.uint16]) -> None:
        for place, row in enumerate(bits, start=slot):
            self.model.write_query(place, row)

    def reset(self) -> None:
        self.model.reset()
        self.operands.clear()

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        return Verified(0, 0, self.block_bytes)

    def sync(self, progress: Callable[[int, int], None] | None = None) -> int:
        return self.model.telemetry()["valid_entries"]

    def read_register(self, name: str) -> int:
        register = REGISTERS[name]
        if register.telemetry:
            return self.telemetry()[register.telemetry]
        if register.config in self.settings():
            return self.settings()[register.config]
        match name:
            case "CTRL":
                return self.settings()["STRICT"] << register.fields["strict"].low
            case "CAP_ENTRIES":
                return self.entries
            case "CAP_BLOCK_BYTES":
                return self.block_bytes
            case "CAP_BLOCK_TOKENS":
                return self.model.block_tokens
            case "CAP_CLASSES":
                return self.model.classes
            case "CAP_NMCE":
                return int(self.model.nmce)
            case "RTBD_HIT_COUNT":
                return sum(self.telemetry()[f"hits_t{tier}"] for tier in range(4))
            case "RTBD_MISS_COUNT":
                return self.telemetry()["misses"]
        if register.access == "rw":
            return self.operands.get(name, 0)
        raise _no_hardware(name)

    def write_register(self, name: str, value: int) -> None:
        if "w" not in REGISTERS[name].access:
            raise BusError(REGISTERS[name].offset, True)
        self.operands[name] = value

    def read_word(self, address: int) -> int:
        if (place := table_word(address, self.model.classes)) is not None:
            return self.model.read_table_word(place)
        if (place := query_word(address, self.model.head_dim)) is not None:
            return self.model.read_query_word(place) if self.model.nmce else 0
        if not is_score(address):
            raise _no_hardware(f"address {address:#x}")
        if self.model.nmce:
            self.model.scores_read(4)
        return 0  # every score was taken with its result

    def write_word(self, address: int, value: int) -> None:
        if (place := table_word(address, self.model.classes)) is not None:
            self.model.write_table_word(place, value)
        elif (place := query_word(address, self.model.head_dim)) is None:
            raise _no_hardware(f"address {address:#x}")
        elif not self.model.nmce:
            raise BusError(address, True)
        else:
            self.model.write_query_word(place, value)

    def close(self) -> None:
        self.closed = True
        if self.closing:
            self.closing()


def _no_hardware(what: str) -> UsageError:
    return UsageError(f"{what}: only hardware has this", "use --target sim")
