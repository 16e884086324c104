"""The device between masters and memory that nobody here wrote: what all cocotb benches share.

`Bench` puts cocotbext-axi's AxiLiteMaster on the register port and its AxiRam on the memory port, both with seeded random
pauses on every channel where asked for, and watches all ten channels for what AXI demands of the device: VALID stays
until READY, nothing changes meanwhile, every access has exactly one answer, bursts keep the rules. A broken rule fails
the running test on the cycle of the breach. `finish` ends a test: everything sent was answered. While no channel is VALID nobody
looks: Python takes a hundred times as long for a cycle as the device, and clearing its tables takes thousands of cycles.
"""

from __future__ import annotations

import logging
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import First, RisingEdge, SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from cocotbext.axi.sparse_memory import SparseMemory

from kvfpga.contract.commands import Load, Set
from kvfpga.contract.errors import BusError
from kvfpga.device.codec import bits, writes
from kvfpga.device.regmap import BAR2_ENTRIES, REGISTERS, Code, Opcode
from kvfpga.transport.mmio import Mmio

MEMORY_BYTES = 1 << 40
BLOCK = 16384
VA = 0x7F00_0000_0000
PERIOD = 4  # ns
REST = 16
"""Cycles without any VALID, behind which the next one is waited for."""
STATUS, ERROR, ERROR_OFFSET = (REGISTERS[name].offset for name in ("STATUS", "ERROR", "ERROR_OFFSET"))


class Channel:
    """One AXI channel: counts what is handed over, and holds the sender to its word while it waits."""

    def __init__(self, dut, prefix: str, name: str, payload: str):
        self.name = f"{prefix}_{name}"
        self.valid, self.ready = getattr(dut, f"{self.name}valid"), getattr(dut, f"{self.name}ready")
        self.payload = [getattr(dut, f"{self.name}{signal}") for signal in payload.split()]
        self.count, self.waiting = 0, None
        self.rests = False  # not VALID at the last clock edge

    def sample(self) -> tuple[int, ...] | None:
        """The payload when it changes hands at this clock edge."""
        self.rests = not self.valid.value
        if self.rests:
            assert self.waiting is None, f"{self.name}: VALID dropped before READY"
            return None
        payload = tuple(int(signal.value) for signal in self.payload)
        assert self.waiting in (None, payload), f"{self.name}: payload changed before READY: {self.waiting} {payload}"
        self.waiting = None if self.ready.value else payload
        if self.waiting:
            return None
        self.count += 1
        return payload


class RegisterPort:
    """AXI4-Lite as the master sees it: no answer without its access."""

    def __init__(self, dut):
        fields = {"aw": "addr prot", "w": "data strb", "b": "resp", "ar": "addr prot", "r": "data resp"}
        self.aw, self.w, self.b, self.ar, self.r = self.channels = [Channel(dut, "s_axil", *item) for item in fields.items()]

    def sample(self) -> None:
        answered = self.b.count, self.r.count
        allowed = min(self.aw.count, self.w.count), self.ar.count
        for channel in self.channels:
            channel.sample()
        assert self.b.count == answered[0] or answered[0] < allowed[0], "a write response before its write"
        assert self.r.count == answered[1] or answered[1] < allowed[1], "read data before its address"

    def answered(self) -> bool:
        return self.aw.count == self.w.count == self.b.count and self.ar.count == self.r.count


class MemoryPort:
    """AXI4 as the memory sees it: the rules for bursts, and the direction of each id (0 evicts, 1 prefetches, 2 reads keys)."""

    def __init__(self, dut):
        address = "id addr len size burst"
        fields = {"aw": address, "w": "last strb data", "b": "id resp", "ar": address, "r": "id last resp"}
        self.aw, self.w, self.b, self.ar, self.r = self.channels = [Channel(dut, "m_axi", *item) for item in fields.items()]
        self.beat_bytes = len(dut.m_axi_wdata) // 8
        self.strobes = (1 << self.beat_bytes) - 1
        self.clear()
        self.both = 0  # cycles in which both channels had bursts on the bus
        self.bursts = {(way, id): 0 for way in "rw" for id in (0, 1, 2)}

    def clear(self) -> None:
        self.announced: deque[int] = deque()  # beats of each write whose data are not complete
        self.lengths: deque[int] = deque()  # beats of data complete before their address
        self.beats = 0
        self.reads = {0: deque(), 1: deque(), 2: deque()}  # beats still to come
        self.writes = {0: 0, 1: 0}  # responses still to come
        for channel in self.channels:
            channel.waiting = None

    def sample(self) -> None:
        aw, w, b, ar, r = [channel.sample() for channel in self.channels]
        if ar:
            self.reads[ar[0]].append(self.burst("r", *ar))
        if r:
            waiting = self.reads[r[0]]
            waiting[0] -= 1
            assert bool(r[1]) == (waiting[0] == 0)
            if r[1]:
                waiting.popleft()
        if aw:
            self.announced.append(self.burst("w", *aw))
            self.writes[aw[0]] += 1
        if w:
            self.beats += 1
            assert w[1] == self.strobes, "whole blocks have all strobes"
            assert self.beats <= 256
            if w[0]:
                self.lengths.append(self.beats)
                self.beats = 0
        while self.announced and self.lengths:
            assert self.announced.popleft() == self.lengths.popleft(), "WLAST not where AWLEN said"
        if self.announced and self.beats:
            assert self.beats < self.announced[0], "WLAST is missing"
        if b:
            self.writes[b[0]] -= 1
            assert self.writes[b[0]] >= 0
        self.both += all(self.reads[id] or self.writes[id] for id in (0, 1))

    def burst(self, way: str, id: int, addr: int, length: int, size: int, burst: int) -> int:
        beats = length + 1
        assert burst == 1, "not an INCR burst"
        assert 1 << size == self.beat_bytes, "not the width of the bus"
        assert addr % self.beat_bytes == 0, "not aligned"
        assert addr // 4096 == (addr + beats * self.beat_bytes - 1) // 4096, f"{addr:#x}: crosses a 4 KiB boundary"
        tier = addr // (BLOCK * 256)  # reset values of TIER_BASE
        allowed = (way == "r" and tier == 1) if id == 2 else (tier == 1) == ((way == "r") == (id == 0))
        assert allowed, f"id {id} has no business in tier {tier} ({way})"
        self.bursts[way, id] += 1
        return beats

    def quiet(self) -> bool:
        return not (self.announced or self.lengths or self.beats or any(self.reads.values()) or any(self.writes.values()))


class FaultyMemory(SparseMemory):
    """A memory that answers SLVERR in places: `faults` holds (first, last, "r"|"w")."""

    def __init__(self, size: int):
        super().__init__(size)
        self.faults: list[tuple[int, int, str]] = []
        self.armed = False  # only the bus meets faults, not the test that looks at the bytes

    def _check(self, address: int, length: int, way: str) -> None:
        for first, last, ways in self.faults if self.armed else ():
            if first <= address + length - 1 and address <= last and way in ways:
                raise ValueError("injected fault")

    def read(self, address, length, **options):
        self._check(address, length, "r")
        return super().read(address, length, **options)

    def write(self, address, data, **options):
        self._check(address, len(data), "w")
        super().write(address, data, **options)


class Bench:
    """One device out of reset. `pause`: chance that a channel pauses in a cycle, 0 for none."""

    def __init__(self, dut, seed: int = 1, pause: float = 0.0):
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        for name in ("kvcpu.s_axil", "kvcpu.m_axi"):
            logging.getLogger(f"cocotb.{name}").setLevel(logging.WARNING)
        self.dut, self.random = dut, random.Random(seed)
        cocotb.start_soon(Clock(dut.clk, PERIOD, unit="ns").start())
        dut.rst.value = 1
        dut.lookup_valid.value = 0
        dut.lookup_key.value = 0
        self.memory_bytes = FaultyMemory(MEMORY_BYTES)
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, mem=self.memory_bytes)
        self.registers, self.memory = RegisterPort(dut), MemoryPort(dut)
        self.channels = [*self.registers.channels, *self.memory.channels]
        self.read_requests = self.write_requests = 0
        # The five channels of the register port and the five of the memory, as cocotbext-axi has them.
        self.sides = [
            side
            for write, read in ((self.axil.write_if, self.axil.read_if), (self.ram.write_if, self.ram.read_if))
            for side in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        ]
        self.pauses = random.Random(self.random.random())
        self.pause(pause)

    def pause(self, chance: float) -> None:
        self.chance = chance
        for side in self.sides:
            side.pause = False

    def _draw_pauses(self) -> None:
        """All at once: cocotbext-axi's own generators are a task for each channel, which take half of a bench's time."""
        chance, draw = self.chance, self.pauses.random
        for side in self.sides:
            side.pause = draw() < chance

    def hold_memory(self, hold: bool = True) -> None:
        """The memory takes no address while held (call it without pauses)."""
        self.ram.read_if.ar_channel.pause = hold
        self.ram.write_if.aw_channel.pause = hold

    async def start(self) -> Bench:
        """Reset, and wait until the tables are cleared."""
        await self.clocks(8)
        assert not any(int(channel.valid.value) for channel in (self.memory.aw, self.memory.w, self.memory.ar)), "VALID in reset"
        self.dut.rst.value = 0
        cocotb.start_soon(self._watch())
        await self.clocks(2)
        await self.idle()
        return self

    async def _watch(self) -> None:
        edge, rest = RisingEdge(self.dut.clk), 0
        while True:
            await edge
            self.registers.sample()
            self.memory.sample()
            if self.chance:
                self._draw_pauses()
            rest = rest + 1 if all(channel.rests for channel in self.channels) else 0
            if rest == REST:
                if self.chance:
                    self.pause(self.chance)  # a source that pauses would never wake it
                await First(*(RisingEdge(channel.valid) for channel in self.channels))
                rest = 0

    @property
    def cycle(self) -> int:
        return int(get_sim_time("ns")) // PERIOD

    async def clocks(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def idle(self, budget: int = 200_000) -> None:
        """Until it is so at an edge of the clock, the next one at the soonest."""
        await RisingEdge(self.dut.clk)
        while not self.dut.idle.value:
            try:
                await with_timeout(RisingEdge(self.dut.idle), budget * PERIOD, "ns")
            except SimTimeoutError:
                raise AssertionError(f"still busy after {budget} cycles") from None
            await RisingEdge(self.dut.clk)

    async def finish(self) -> None:
        """The end of a test: everything that was sent has its answer, and the bus is quiet."""
        await self.idle()
        await self.clocks(4)
        port = self.registers
        assert port.answered(), [(channel.name, channel.count) for channel in port.channels]
        assert (port.ar.count, port.aw.count) == (self.read_requests, self.write_requests), "an access was lost"
        assert self.memory.quiet(), "bursts without an end"

    # ---- registers -------------------------------------------------------------------------------------------------
    async def read(self, offset: int) -> tuple[AxiResp, int]:
        self.read_requests += 1
        answer = await self.axil.read(offset, 4 - offset % 4)
        return answer.resp, int.from_bytes(answer.data, "little")

    async def write(self, offset: int, value: int) -> AxiResp:
        """A whole word; at a misaligned offset, what fits into the word."""
        self.write_requests += 1
        return (await self.axil.write(offset, value.to_bytes(4, "little")[: 4 - offset % 4])).resp

    async def write_raw(self, offset: int, value: int, strobes: int) -> AxiResp:
        """Any strobes at any address. Not beside other writes."""
        port = self.axil.write_if
        self.write_requests += 1
        await port.aw_channel.send(port.aw_channel._transaction_obj(awaddr=offset, awprot=2))
        await port.w_channel.send(port.w_channel._transaction_obj(wdata=value, wstrb=strobes))
        return AxiResp(int((await port.b_channel.recv()).bresp))

    async def read32(self, offset: int) -> int:
        resp, value = await self.read(offset)
        if resp != AxiResp.OKAY:
            raise BusError(offset, False, detail=resp.name)
        return value

    async def write32(self, offset: int, value: int) -> None:
        resp = await self.write(offset, value)
        if resp != AxiResp.OKAY:
            raise BusError(offset, True, detail=resp.name)

    async def get(self, name: str) -> int:
        register = REGISTERS[name]
        low = await self.read32(register.offset)
        return low if register.width == 32 else low | await self.read32(register.offset + 4) << 32

    async def put(self, name: str, value: int) -> None:
        register = REGISTERS[name]
        await self.write32(register.offset, value & 0xFFFFFFFF)
        if register.width == 64:
            await self.write32(register.offset + 4, value >> 32)

    async def error(self) -> tuple[int, int, int]:
        """ERROR bits, code of the first error, its offset; then cleared, and seen to be."""
        error, offset = await self.read32(ERROR), await self.read32(ERROR_OFFSET)
        await self.write32(ERROR, 3)
        assert await self.read32(ERROR) == 0 and await self.read32(ERROR_OFFSET) == 0
        return error & 3, error >> 8, offset

    # ---- commands --------------------------------------------------------------------------------------------------
    async def ring(self, command) -> None:
        """Write a command's registers, doorbell last. BusError where the doorbell is refused."""
        for name, value in writes(command):
            await self.put(name, value)

    async def execute(self, command) -> tuple[Code, int, int | None]:
        """Run it alone: code, matched, index."""
        await self.ring(command)
        await self.idle()
        result = await self.result()
        assert result is not None
        return result[1:]

    async def result(self) -> tuple[Opcode, Code, int, int | None] | None:
        """The oldest result, taken off its queue; None where it is empty."""
        fields = REGISTERS["RESULT_STATUS"].fields
        status = await self.get("RESULT_STATUS")
        if not bits(status, fields["valid"]):
            return None
        matched, index = await self.get("RESULT_MATCHED"), await self.get("RESULT_INDEX")
        await self.get("RESULT_CYCLES")
        return (
            Opcode(bits(status, fields["opcode"])), Code(bits(status, fields["code"])), matched,
            index if bits(status, fields["has_index"]) else None,
        )  # fmt: skip

    async def completions(self) -> list[dict[str, int]]:
        """All completion records, taken off their queue."""
        register, found = REGISTERS["COMPLETION"], []
        while True:
            low = await self.read32(register.offset)
            if not bits(low, register.fields["valid"]):
                return found
            record = low | await self.read32(register.offset + 4) << 32
            found.append({name: bits(record, field) for name, field in register.fields.items()})

    async def entry(self, index: int) -> int:
        """The 256 bits of an entry."""
        return sum([await self.read32(BAR2_ENTRIES + 32 * index + 4 * word) << 32 * word for word in range(8)])


def load(n: int, tier: int = 1) -> Load:
    """Block n of a plain workload."""
    return Load(1, 0, 0, 32 * n, 32 * n + 31, VA + n * BLOCK, tier)


async def filled(dut, seed: int, blocks: int, pause: float = 0.0, tier: int = 1) -> Bench:
    """A device with `blocks` blocks of random bytes in one tier, that moves nothing by itself."""
    bench = await Bench(dut, seed, pause).start()
    for command in (Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF)):
        await bench.execute(command)
    for n in range(blocks):
        bench.memory_bytes.write((tier * 256 + n) * BLOCK, bench.random.randbytes(BLOCK))
        assert await bench.execute(load(n, tier)) == (Code.OK, 1, n)
    return bench


class PinMmio(Mmio):
    """The seam of kvfpga at pin level: blocking calls for code inside `cocotb.task.bridge`, so that Device, Lockstep and the
    reference model run on cocotbext-axi as they run on any other target."""

    name = "cocotb"

    def __init__(self, bench: Bench):
        self.bench = bench
        self._read, self._write = resume(bench.read32), resume(bench.write32)
        self._idle = resume(bench.idle)

    def read32(self, offset: int) -> int:
        return self._read(offset)

    def write32(self, offset: int, value: int) -> None:
        self._write(offset, value)

    def wait_idle(self, budget: float | None = None) -> int:
        self._idle()
        return 0

    def memory_read(self, addr: int, size: int) -> bytes:
        return bytes(self.bench.memory_bytes.read(addr, size))

    def memory_write(self, addr: int, data: bytes) -> None:
        self.bench.memory_bytes.write(addr, data)

    def close(self) -> None:
        pass
