"""A device made of a second reference model behind a register file, for tests of what lies above the seam.

It speaks the register protocol (doorbells, result queue, completion queue, telemetry, DIGEST, BAR2), so `Device` and
`Lockstep` can be tested without a compiler, and be given a device that is wrong: `fake.model.execute(…)` behind
lockstep's back leaves it with another state, `fake.spoil_result` changes what it answers. `drain` may reorder.
"""

from __future__ import annotations

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import BusError
from kvfpga.device.regmap import (
    BAR2_ENTRIES,
    BAR2_VAS,
    DOORBELLS,
    PTABLE,
    QUERY,
    REGISTERS,
    REGMAP_HASH,
    SCORES,
    TELEMETRY,
    Code,
    Opcode,
)
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.transport.mmio import Simulation

BY_OFFSET = {r.offset + 4 * word: (r, word) for r in REGISTERS.values() for word in range(r.width // 32)}
CONSTANTS = {
    "DEVICE_ID": 0x4B564350, "VERSION": 0x00020000, "BUILD_ID": 0x1122334455667788, "REGMAP_HASH": REGMAP_HASH,
    "CAP_LANES": 8, "CAP_BLOCK_TOKENS": 32, "CAP_HEAD_DIM": 128, "CAP_DATA_BITS": 128, "CAP_LOOKUP_PORTS": 3,
    "CAP_FIFO_DEPTH": 16, "CAP_NMCE": 1, "CAP_DOORBELLS": DOORBELLS.start,
}  # fmt: skip
RANGES = {
    "HOT": (cmd.Hot, "BOOST"), "EVICT": (cmd.Evict, "IMEVICT"), "SHARE": (cmd.Share, "SHARE"),
    "RELEASE": (cmd.Release, "RELEASE"), "UNLOAD": (cmd.Unload, "UNLOAD"),
}  # fmt: skip
NUMBERS = {
    "STEP": cmd.Step, "SHARE_INDEX": cmd.ShareIndex, "RELEASE_INDEX": cmd.ReleaseIndex,
    "UNLOAD_REQUEST": cmd.UnloadRequest,
}  # fmt: skip


class FakeDevice(Simulation):
    blank_memory = True
    name = "fake"

    def __init__(self, entries: int = 256, classes: int = 256, **constants: int):
        self.model = ReferenceModel(entries, classes=classes, nmce=bool(constants.get("CAP_NMCE", 1)))
        sizes = {"CAP_ENTRIES": entries, "CAP_BLOCK_BYTES": self.model.block_bytes, "CAP_CLASSES": classes}
        self.constants = CONSTANTS | sizes | constants
        self.stored: dict[str, int] = {}
        self.low = 0
        self.latched = 0
        self.results: list[tuple] = []
        self.completions: list[int] = []
        self.digest = self.pass_digest = 0
        self.spoil_result = lambda result: result
        self.writes: list[tuple[str, int]] = []
        self.memory = self.model

    # ---- registers -----------------------------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        if offset >= BAR2_ENTRIES:
            return self._directory_word(offset)
        if offset in DOORBELLS:
            return 0
        if QUERY <= offset:
            return self.model.read_query_word(self._query_word(offset, False))
        if SCORES <= offset < PTABLE:
            return self._score_word(offset - SCORES)
        if PTABLE <= offset:
            row, first = self._table_row(offset, False)
            return int.from_bytes(row[first : first + 4].tobytes(), "little")
        register, word = self._register(offset, "r")
        if register.name == "COMPLETION":
            if word == 0:
                self.latched = self.completions.pop(0) if self.completions else 0
            return self.latched >> 32 * word & 0xFFFFFFFF
        return self._value(register) >> 32 * word & 0xFFFFFFFF

    def write32(self, offset: int, value: int) -> None:
        if offset >= BAR2_ENTRIES:
            raise BusError(offset, True)
        if QUERY <= offset and offset not in DOORBELLS:
            self.model.write_query_word(self._query_word(offset, True), value)
            return
        if PTABLE <= offset < QUERY:
            row, first = self._table_row(offset, True)
            row[first : first + 4] = list(value.to_bytes(4, "little"))
            return
        register, word = self._register(offset, "w")
        if register.width == 64:
            if word == 0:
                self.low = value
                return
            value = value << 32 | self.low
        self.writes.append((register.name, value))
        self._commit(register, value)

    def _register(self, offset: int, access: str):
        if offset not in BY_OFFSET or access not in BY_OFFSET[offset][0].access:
            raise BusError(offset, access == "w")
        return BY_OFFSET[offset]

    def _table_row(self, offset: int, is_write: bool):
        """The codes of a class in the idle bank, and where in them the word is."""
        number, first = divmod(offset - PTABLE, 64)
        if number >= self.model.classes or first % 4:
            raise BusError(offset, is_write)
        return self.model.tables[1 - self.model.settings()["PTABLE_COMMIT"], number], first

    def _query_word(self, offset: int, is_write: bool) -> int:
        place, odd = divmod(offset - QUERY, 4)
        if odd or place >= self.model.queries.size // 2:
            raise BusError(offset, is_write)
        return place

    def _score_word(self, at: int) -> int:
        """Of the oldest scores whose result was not taken; zero behind them."""
        if not self.constants["CAP_NMCE"]:
            return 0
        self.model.scores_read(4)
        scores = next((result[5] for result in self.results if result[5]), None)
        if scores is None:
            return 0
        halves = [low | high << 16 for low, high in zip(scores.half_bits[::2], scores.half_bits[1::2])]
        largest = [] if scores.exp_bits is None else [scores.max_bits, scores.sum_bits]
        windows = {0: scores.score_bits, 0x400: scores.exp_bits or (), 0x800: halves, 0xC00: largest}
        words, place = windows[at & 0xC00], (at & 0x3FF) // 4
        return words[place] if place < len(words) else 0

    def _value(self, register) -> int:
        settings = self.model.settings()
        match register.name:
            case name if name in self.constants:
                return self.constants[name]
            case name if name in settings:
                return settings[name]
            case "CTRL":
                return settings["STRICT"] << 2
            case "DIGEST":
                return self.digest
            case "PASS_DIGEST":
                return self.pass_digest
            case "RTBD_HIT_COUNT":
                return sum(self.model.telemetry()[f"hits_t{tier}"] for tier in range(4))
            case "RTBD_MISS_COUNT":
                return self.model.telemetry()["misses"]
            case "COMPLETION_LEVEL":
                return len(self.completions)
            case "RESULT_CYCLES":
                return self.results.pop(0)[4] if self.results else 0
            case "RESULT_STATUS" | "RESULT_MATCHED" | "RESULT_PHYS" | "RESULT_INDEX" as name:
                order = ("RESULT_STATUS", "RESULT_MATCHED", "RESULT_PHYS", "RESULT_INDEX")
                return self.results[0][order.index(name)] if self.results else 0
        if register.telemetry:
            return (dict.fromkeys(TELEMETRY, 0) | self.model.telemetry())[register.telemetry]
        return self.stored.get(register.name, 0)

    def _directory_word(self, offset: int) -> int:
        if offset >= BAR2_VAS:
            index, byte = divmod(offset - BAR2_VAS, 8)
            return int(self.model.read_entries(index, index + 1)[1][0]) >> 8 * byte & 0xFFFFFFFF
        index, byte = divmod(offset - BAR2_ENTRIES, 32)
        return int(self.model.read_entries(index, index + 1)[0][0, byte // 4])

    # ---- commands --------------------------------------------------------------------------------------------------
    def _commit(self, register, value: int) -> None:
        self.stored[register.name] = value
        operand = self.stored.get
        match register.doorbell:
            case None:
                pass
            case name if name in RANGES:
                kind, prefix = RANGES[name]
                return self._run(name, kind(operand(f"{prefix}_ADDR", 0), value))
            case name if name in NUMBERS:
                return self._run(name, NUMBERS[name](value))
            case "PREFETCH":
                return self._run("PREFETCH", cmd.Prefetch(operand("PREFETCH_ADDR"), operand("PREFETCH_LEN"), value))
            case "LOAD":
                start, end, va = (operand(f"LOAD_{n}") for n in ("TOKEN_START", "TOKEN_END", "VA"))
                hint = operand("TOUCH_HINT", 0)
                return self._run("LOAD", cmd.Load(*self._key("LOAD_ID"), start, end, va, value, hint))
            case "LOOKUP":
                return self._run("LOOKUP", cmd.Lookup(*self._key("LOOKUP_ID"), value))
            case "TOUCH":
                return self._run("TOUCH", cmd.Touch(*self._key("LOOKUP_ID"), value, operand("TOUCH_HINT", 0)))
            case "SCORE":
                position, slot = operand("SCORE_POS", 0), operand("SCORE_SLOT", 0)
                hint = operand("TOUCH_HINT", 0)
                return self._run("SCORE", cmd.Score(*self._key("SCORE_ID"), position, slot, value, hint))
            case "CLASS":
                addr, length, number = (operand(f"CLASS_{n}", 0) for n in ("ADDR", "LEN", "ID"))
                return self._run("CLASS", cmd.Class(addr, length, number, value & 0xFFFF, value >> 16))
            case "DIGEST":
                first = operand("DIGEST_FIRST")
                fits = first <= value <= self.model.entries
                if fits:
                    self.digest = self.model.digest(first, value)
                self.results.append((1 << 31 | Opcode.DIGEST << 8 | (0 if fits else Code.ERR_RANGE), 0, 0, 0, 7, None))
                return None
        if register.name == "CTRL":
            if value & 1:
                self.model.reset()
                self.stored.clear()
                self.results.clear()
                self.completions.clear()
                return None
            if value & 2:
                self.model.execute(cmd.Set("CLEAR_COUNTERS", 0))
            return self._run("SET", cmd.Set("STRICT", value >> 2 & 1))
        if register.config:
            return self._run("SET", cmd.Set(register.config, value))
        return None

    def _key(self, name: str) -> tuple[int, int, int]:
        word = self.stored[name]
        return word & 0xFFFF, word >> 24, word >> 16 & 0xFF

    def _run(self, opcode: str, command) -> None:
        before = self.model.digest() if opcode == "STEP" else 0
        result = self.spoil_result(self.model.execute(command))
        if opcode == "STEP" and result.code == "OK":
            self.pass_digest = before
        found = result.index is not None
        status = 1 << 31 | found << 16 | (result.tier or 0) << 17 | Opcode[opcode] << 8 | Code[result.code]
        self.results.append((status, result.matched, result.phys_addr or 0, result.index or 0, 42, result.scores))
        step = self.model.telemetry()["current_step"]
        for trigger in reversed(result.triggers):  # the memory may finish them in any order
            low = 1 << 31 | trigger.index | (trigger.channel == "prefetch") << 16
            self.completions.append(step << 32 | low | trigger.from_tier << 17 | trigger.to_tier << 19)

    # ---- memory and the rest ---------------------------------------------------------------------------------------
    def memory_read(self, addr: int, size: int) -> bytes:
        return self.memory.memory_read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        self.memory.memory_write(addr, data)

    def wait_idle(self, budget: float | None = None) -> int:
        return 0

    @property
    def build_id(self) -> int:
        return self.constants["BUILD_ID"]

    def save(self, path) -> None:
        """A checkpoint, as `VerilatorSim` has them."""
        self.model.save(path)

    def restore(self, path) -> None:
        self.model.load(path)

    def trace_start(self, path) -> None:
        path.write_text("waveform\n")

    def close(self) -> None:
        pass
