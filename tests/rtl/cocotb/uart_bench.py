"""The UART bridge between a serial line and two AXI slaves that nobody here wrote: what the benches bench_uart*.py share.

`Bench` drives the pins of `kvcpu_uart_bridge` (or of the board) by cocotbext-uart, and answers its AXI ports by
cocotbext-axi with a `Slave` behind each, which keeps a log of every access and refuses where it is told to. Frames are
made and read here from the text of docs/uart-bridge.md alone, with zlib's CRC: nothing is shared with kvfpga.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections import deque
from typing import NamedTuple

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteSlave, AxiResp, AxiSlave
from cocotbext.uart import UartSink, UartSource

PERIOD = 40  # ns: 25 MHz
CLK_HZ = 25_000_000
BAUD = 3_000_000  # 8.33 clocks a bit

HELLO, RUN, STATS, NAK = 1, 2, 3, 0x9F
OK, MORE, SLVERR, DECERR, NO_ANSWER, BAD_PROGRAM, NO_SESSION, BAD_SEQUENCE = range(8)
GREETING = b"KVUB\x01"


# ---- frames ----------------------------------------------------------------------------------------------------------
def stuffed(payload: bytes) -> bytes:
    """Between two flags, with 0x7E and 0x7D escaped."""
    return b"~" + payload.replace(b"}", b"}]").replace(b"~", b"}^") + b"~"


def sealed(payload: bytes) -> bytes:
    return payload + struct.pack("<I", zlib.crc32(payload))


def frame(kind: int, session: int, sequence: int, body: bytes = b"") -> bytes:
    return stuffed(sealed(struct.pack("<BHB", kind, session, sequence) + body))


class Frame(NamedTuple):
    kind: int
    session: int
    sequence: int
    body: bytes


class Result(NamedTuple):
    """What the body of a RUN's reply says."""

    status: int
    word: int
    position: int
    data: bytes


def result(reply: Frame) -> Result:
    assert reply.kind == RUN | 0x80, reply
    return Result(*struct.unpack_from("<BBH", reply.body), reply.body[4:])


# ---- programs --------------------------------------------------------------------------------------------------------
def operation(kind: int, count: int, offset: int, operands: bytes = b"") -> bytes:
    return struct.pack("<BB", kind, count) + offset.to_bytes(3, "little") + operands


def read(offset: int, count: int = 1) -> bytes:
    return operation(1, count, offset)


def write(offset: int, *values: int) -> bytes:
    return operation(2, len(values), offset, struct.pack(f"<{len(values)}I", *values))


def wait_idle(units: int) -> bytes:
    return operation(3, 0, units)


def drain(offset: int, valid_bit: int = 31) -> bytes:
    return operation(4, valid_bit, offset)


def mem_read(addr: int, beats: int) -> bytes:
    return operation(5, beats, 0, struct.pack("<Q", addr))


def mem_write(addr: int, data: bytes, first: int = 0xFF, last: int = 0xFF) -> bytes:
    return operation(6, len(data) // 8, first | last << 8, struct.pack("<Q", addr) + data)


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


# ---- slaves ----------------------------------------------------------------------------------------------------------
class Refusal(Exception):
    """Becomes the response of the access."""


class Slave:
    """What lies behind an AXI port. `log`: every access as (way, address[, data]) in order. `refuse`: address -> AxiResp.
    `queues`: address -> values that reads of it take one after the other. `delay`: ns before an answer; None: never."""

    def __init__(self):
        self.bytes: dict[int, int] = {}
        self.log: list[tuple] = []
        self.refuse: dict[int, AxiResp] = {}
        self.queues: dict[int, deque[int]] = {}
        self.delay: int | None = 0
        self.response = AxiResp.SLVERR

    async def _enter(self, address: int) -> None:
        if self.delay is None:
            await Event().wait()
        elif self.delay:
            await Timer(self.delay, "ns")
        if address in self.refuse:
            self.response = self.refuse[address]
            raise Refusal

    async def read(self, address: int, length: int) -> bytes:
        self.log.append(("r", address))
        await self._enter(address)
        if queue := self.queues.get(address):
            return queue.popleft().to_bytes(length, "little")
        return bytes(self.bytes.get(address + i, 0) for i in range(length))

    async def write(self, address: int, data: bytes) -> None:
        self.log.append(("w", address, bytes(data)))
        await self._enter(address)
        self.bytes |= {address + i: byte for i, byte in enumerate(data)}

    def writes(self) -> int:
        return sum(entry[0] == "w" for entry in self.log)

    def answer_as_told(self, channel, field: str) -> None:
        """The slaves of cocotbext-axi know SLVERR only: put in the response that this slave meant."""
        send = channel.send

        async def told(item):
            if getattr(item, field) == AxiResp.SLVERR:
                setattr(item, field, self.response)
            await send(item)

        channel.send = told


class Bench:
    """`baud` is the bench's, `step_baud` what the design is told; `sent` is everything that came back, frame by frame."""

    def __init__(self, dut, seed: int, baud: float = BAUD, step_baud: float | None = None):
        self.dut, self.random, self.baud = dut, random.Random(seed), baud
        self.registers, self.memory = Slave(), Slave()
        self.bit = 1e9 / baud  # ns
        dut.rst.value = 1
        dut.clk_hz.value = CLK_HZ
        dut.baud_step.value = round((step_baud or baud) * 2**32 / CLK_HZ)
        self.source, self.sink = UartSource(dut.uart_rx, baud), UartSink(dut.uart_tx, baud)
        self.session, self.sequence = seed + 0x7D00, 0  # with a byte to be stuffed in it
        self.frames: deque[Frame] = deque()
        self.gathered = bytearray()  # of a frame that is coming
        self.arrival = Event()
        cocotb.start_soon(Clock(dut.clk, PERIOD, "ns").start())

    async def start(self, hello: bool = True) -> Bench:
        dut = self.dut
        if hasattr(dut, "m_axil_awvalid"):
            dut.device_idle.value = 1
            self.axil = AxiLiteSlave(AxiLiteBus.from_prefix(dut, "m_axil"), dut.clk, dut.rst, target=self.registers)
            self.axi = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=self.memory)
            for slave, port in ((self.registers, self.axil), (self.memory, self.axi)):
                slave.answer_as_told(port.write_if.b_channel, "bresp")
                slave.answer_as_told(port.read_if.r_channel, "rresp")
        await ClockCycles(dut.clk, 5)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 5)
        cocotb.start_soon(self._receive())
        if hello:
            await self.hello()
        return self

    async def _receive(self) -> None:
        gathered, inside = self.gathered, False
        while True:
            for byte in await self.sink.read():
                if byte != 0x7E:
                    assert inside, f"{byte:#x} outside of a frame"
                    gathered.append(byte)
                    continue
                inside = True
                if not gathered:
                    continue
                content = bytes(gathered).replace(b"}^", b"~").replace(b"}]", b"}")
                gathered.clear()
                payload = content[:-4]
                assert content == sealed(payload), f"a reply with a wrong CRC: {content.hex()}"
                self.frames.append(Frame(*struct.unpack_from("<BHB", payload), payload[4:]))
                self.arrival.set()

    async def reset(self) -> None:
        """For longer than a byte takes, so that what was cut off is over and forgotten here."""
        self.dut.rst.value = 1
        await Timer(round(20 * self.bit), "ns")
        self.sink.clear()
        self.gathered.clear()
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 5)

    async def send(self, data: bytes) -> None:
        """Raw bytes on the line, until the last one is out."""
        await self.source.write(data)
        await self.source.wait()

    async def reply(self, timeout_bits: int = 100_000) -> Frame:
        """The next frame that comes."""
        waited = 0
        while not self.frames:
            assert waited < timeout_bits, "no reply"
            await Timer(round(20 * self.bit), "ns")
            waited += 20
        return self.frames.popleft()

    async def silence(self, bits: int = 400) -> None:
        await Timer(round(bits * self.bit), "ns")
        assert not self.frames, self.frames

    async def ask(self, data: bytes) -> Frame:
        await self.send(data)
        return await self.reply()

    async def hello(self, sequence: int = 0) -> Frame:
        return await self.ask(frame(HELLO, self.session, sequence, GREETING))

    async def stats(self) -> list[int]:
        reply = await self.ask(frame(STATS, 0, 9))
        assert reply[:3] == (STATS | 0x80, 0, 9) and len(reply.body) == 32
        return words(reply.body)

    async def run(self, *program: bytes) -> Result:
        """The next RUN in sequence."""
        reply = await self.ask(frame(RUN, self.session, self.sequence, b"".join(program)))
        assert reply[:3] == (RUN | 0x80, self.session, self.sequence), reply
        self.sequence = (self.sequence + 1) & 0xFF
        return result(reply)

    async def level(self, value: int, bits: float) -> None:
        """The pin itself, for a time."""
        self.dut.uart_rx.value = value
        await Timer(round(bits * self.bit), "ns")

    async def byte_without_stop(self, byte: int) -> None:
        for bit in [0, *(byte >> i & 1 for i in range(8)), 0]:
            await self.level(bit, 1)
        await self.level(1, 2)
