"""A UART bridge in plain Python behind a pty: docs/uart-bridge.md once more, written on its own, byte by byte.

It shares no line with host/uart_bridge.py, host/transport/uart or the RTL, so that host tests need none of them and no two
mistakes can agree. Behind it is any `Mmio` (`Registers` below is the smallest). What it did is in its attributes; what shall go
wrong is set there.

    with FakeBridge(Registers()) as board:
        UartBridge(board.port)

`TurnedBridge` has no pty and no thread: it is the host's port itself, with a clock that stands still but while the host
waits in vain. What it shows of time-outs is the same on every machine.
"""

from __future__ import annotations

import os
import select
import struct
import termios
import threading
import tty
from collections.abc import Callable

from kvfpga.contract.errors import BusError, IdleTimeout
from kvfpga.transport.mmio import Mmio

HELLO, RUN, STATS, NAK = 1, 2, 3, 0x9F
RATES = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()}
"""Baud rates by the number that termios has for them."""
OK, MORE, SLVERR, DECERR, NO_ANSWER, BAD_PROGRAM, NO_SESSION, BAD_SEQUENCE = range(8)


def crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def frame(kind: int, session: int, sequence: int, body: bytes = b"") -> bytes:
    content = struct.pack("<BHB", kind, session, sequence) + body
    content += struct.pack("<I", crc(content))
    stuffed = bytearray()
    for byte in content:
        stuffed += bytes((0x7D, byte ^ 0x20)) if byte in (0x7D, 0x7E) else bytes((byte,))
    return b"\x7e" + bytes(stuffed) + b"\x7e"


class Registers(Mmio):
    """Words at 0x000…0x0FC that keep what is written, a queue of records at 0x100, nothing at 0x200 and above.
    0x104 is the high half of the record that 0x100 took. 64 KiB of memory."""

    name = "registers"

    def __init__(self):
        self.words = {offset: 0 for offset in range(0, 0x100, 4)}
        self.queue: list[int] = []
        self.writes: list[tuple[int, int]] = []
        self.memory = bytearray(1 << 16)
        self.busy = 0  # waits that run out before it is idle
        self._high = 0

    def read32(self, offset):
        if offset == 0x100:
            record = self.queue.pop(0) if self.queue else 0
            self._high = record >> 32
            return record & 0xFFFFFFFF
        if offset == 0x104:
            return self._high
        if offset not in self.words:
            raise BusError(offset, False, detail="DECERR" if offset >= 0x1000 else "SLVERR")
        return self.words[offset]

    def write32(self, offset, value):
        if offset not in self.words:
            raise BusError(offset, True, detail="SLVERR")
        self.writes.append((offset, value))
        self.words[offset] = value

    def memory_read(self, addr, size):
        if addr + size > len(self.memory):
            raise BusError(addr, False, detail="DECERR")
        return bytes(self.memory[addr : addr + size])

    def memory_write(self, addr, data):
        if addr + len(data) > len(self.memory):
            raise BusError(addr, True, detail="DECERR")
        self.memory[addr : addr + len(data)] = data

    def wait_idle(self, budget=None):
        if self.busy:
            self.busy -= 1
            raise IdleTimeout("busy")
        return 0

    def close(self):
        pass


class Protocol:
    """What a bridge makes of bytes, wherever they come from.

    `request_buffer`, `reply_buffer`, `version`, `clock_hz`: as HELLO tells them. `damage(direction, bytes) -> bytes` stands in
    for the line, direction "in" or "out". `mute`: says nothing. `baud`: at any other rate of the port it hears and says
    `garbage`. `chunk`: bytes that go out at once."""

    def __init__(
        self, mmio: Mmio, request_buffer: int = 1024, reply_buffer: int = 2048, version: int = 1, clock_hz: int = 25_000_000
    ):
        self.mmio, self.request_buffer, self.reply_buffer = mmio, request_buffer, reply_buffer
        self.version, self.clock_hz = version, clock_hz
        self.baud: int | None = None
        self.garbage = b""
        self.damage: Callable[[str, bytes], bytes] = lambda direction, data: data
        self.mute = False
        self.chunk = 1 << 16
        self.frames: list[tuple] = []  # every good request: kind, session, sequence, body
        self.executed = 0
        self.repeated = 0
        self.damaged = 0
        self.refused = 0
        self.dead: set[str] = set()  # "bus", "memory": never answers again
        self.reset()

    def reset(self) -> None:
        """What a reset of the board does to the bridge."""
        self.session, self.last, self.stored = 0, None, b""
        self.named = (0, 0)  # session and sequence of the last good frame
        self._received: bytearray | None = None
        self._escape = self._bad = False

    def hear(self, data: bytes, baud: int) -> None:
        """Bytes that the host sent at this rate."""
        if self.baud and baud != self.baud:
            self._write(self.garbage)
            return
        for byte in self.damage("in", data):
            self._take(byte)

    # ---- bytes and frames --------------------------------------------------------------------------------------------
    def _take(self, byte: int) -> None:
        if byte == 0x7E:
            content, escaped = self._received, self._escape
            bad, self._received, self._escape, self._bad = self._bad, bytearray(), False, False
            if content and not escaped:
                self._frame(bytes(content), bad)
        elif self._received is None:
            return
        elif self._escape:
            self._escape = False
            self._bad |= byte not in (0x5E, 0x5D)
            self._received.append(byte ^ 0x20)
        elif byte == 0x7D:
            self._escape = True
        else:
            self._received.append(byte)

    def _frame(self, content: bytes, bad: bool) -> None:
        if bad or not 8 <= len(content) <= self.request_buffer + 8 or crc(content[:-4]) != int.from_bytes(content[-4:], "little"):
            self.damaged += 1
            self._send(frame(NAK, *self.named))
            return
        kind, session, sequence = struct.unpack_from("<BHB", content)
        body = content[4:-4]
        self.frames.append((kind, session, sequence, body))
        self.named = session, sequence
        if kind == HELLO and session:
            if session != self.session:
                self.session, self.last = session, None
            answer = b"KVUB" + struct.pack("<BBHHHI", self.version, 0, self.request_buffer, self.reply_buffer, 0, self.clock_hz)
            self._send(frame(0x81, session, sequence, answer))
        elif kind == RUN:
            self._run(session, sequence, body)
        elif kind == STATS:
            numbers = (len(self.frames), self.damaged, 0, self.executed, self.repeated, 0, self.refused, 0)
            self._send(frame(0x83, session, sequence, struct.pack("<8I", *numbers)))

    def _run(self, session: int, sequence: int, body: bytes) -> None:
        if session != self.session or session == 0:
            self.refused += 1
            self._send(frame(0x82, session, sequence, bytes((NO_SESSION, 0, 0, 0))))
        elif sequence == self.last:
            self.repeated += 1
            self._send(self.stored)
        elif sequence == (0 if self.last is None else (self.last + 1) % 256):
            self.executed += 1
            self.last = sequence
            self.stored = frame(0x82, session, sequence, self._execute(body))
            self._send(self.stored)
        else:
            self.refused += 1
            self._send(frame(0x82, session, sequence, bytes((BAD_SEQUENCE, 0, 0, 0))))

    def _send(self, data: bytes) -> None:
        if self.mute:
            return
        data = self.damage("out", data)
        for first in range(0, len(data), self.chunk):
            self._write(data[first : first + self.chunk])

    def _write(self, data: bytes) -> None:
        """Bytes for the host."""
        raise NotImplementedError

    # ---- programs ----------------------------------------------------------------------------------------------------
    def _execute(self, body: bytes) -> bytes:
        position = at = 0
        data = bytearray()

        def answer(status: int, word: int = 0) -> bytes:
            return struct.pack("<BBH", status, word & 0xFF, position) + bytes(data)

        while at < len(body):
            if len(body) - at < 5:
                return answer(BAD_PROGRAM)
            kind, count = body[at], body[at + 1]
            offset = int.from_bytes(body[at + 2 : at + 5], "little")
            sizes = {1: 0, 2: 4 * count, 3: 0, 4: 0, 5: 8, 6: 8 + 8 * count}
            operands = body[at + 5 : at + 5 + sizes.get(kind, 0)]
            if kind not in sizes or len(operands) < sizes[kind]:
                return answer(BAD_PROGRAM)
            if (kind in (1, 2, 5, 6) and count == 0) or (kind == 4 and count > 31):
                return answer(BAD_PROGRAM)
            address = int.from_bytes(operands[:8], "little")
            if kind in (5, 6) and address % 8:
                return answer(BAD_PROGRAM)
            if "memory" in self.dead and kind in (5, 6) or "bus" in self.dead and kind in (1, 2, 4):
                return answer(NO_ANSWER)
            needs = {1: 4 * count, 4: 4, 5: 8 * count}.get(kind, 0)
            if len(data) + needs > self.reply_buffer:
                return answer(MORE)
            word = 0
            try:
                if kind == 1:
                    for word in range(count):
                        data += struct.pack("<I", self.mmio.read32(offset + 4 * word))
                elif kind == 2:
                    for word in range(count):
                        self.mmio.write32(offset + 4 * word, *struct.unpack_from("<I", operands, 4 * word))
                elif kind == 3:
                    self.mmio.wait_idle()
                elif kind == 4:
                    while True:
                        if len(data) + 8 > self.reply_buffer:  # is there room for a record? then also for the last word
                            return answer(MORE)
                        low = self.mmio.read32(offset)
                        data += struct.pack("<I", low)
                        if not low >> count & 1:
                            break
                        word += 1
                        data += struct.pack("<I", self.mmio.read32(offset + 4))
                        word += 1
                elif kind == 5:
                    for word in range(count):
                        data += self.mmio.memory_read(address + 8 * word, 8)
                else:
                    for word in range(count):
                        lanes = offset & 0xFF if word == 0 else 0xFF
                        lanes &= offset >> 8 & 0xFF if word == count - 1 else 0xFF
                        for lane in range(8):
                            if lanes >> lane & 1:
                                self.mmio.memory_write(address + 8 * word + lane, operands[8 + 8 * word + lane :][:1])
            except IdleTimeout:
                return answer(MORE)
            except BusError as error:
                return answer(DECERR if "DECERR" in str(error) else SLVERR, word)
            position += 1
            at += 5 + sizes[kind]
        return answer(OK)


class FakeBridge(Protocol):
    """Behind a pty, `port`, from a thread. The arguments are those of `Protocol`."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.failed: BaseException | None = None  # a mistake in the fake itself, or in its registers
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self._slave)
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeBridge:
        return self

    def __exit__(self, *_) -> None:
        self.unplug()
        if self.failed:
            raise self.failed

    def unplug(self) -> None:
        """The port goes away."""
        if self._wake is not None:
            os.close(self._wake)
            self._wake = None
            self._thread.join()

    def _serve(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self.master, self._stop], [], [])
                if self._stop in ready:
                    return
                data = os.read(self.master, 4096)
                self.hear(data, RATES.get(termios.tcgetattr(self._slave)[5], 0))
        except BaseException as error:
            self.failed = error
        finally:
            for fd in (self.master, self._slave, self._stop):
                os.close(fd)

    def _write(self, data: bytes) -> None:
        """To a host that may have stopped reading: a bridge does not wait for it, and neither does the end of a test."""
        while data:
            stop, _, _ = select.select([self._stop], [self.master], [])
            if stop:
                return
            data = data[os.write(self.master, data) :]


class TurnedBridge(Protocol):
    """In the place of a `SerialPort`; `open_port` is what transport/uart/link.py calls instead. `now()` is its clock: only a host
    that sends or waits turns it, by the time of the line, and to the end of a wait in vain. `quiet`: seconds more until the first
    byte of what it says comes, `pause`: between two chunks of it."""

    port = "/dev/turned"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.time = self.quiet = self.pause = 0.0
        self.coming: list[tuple[float, bytes]] = []  # when, and what

    def open_port(self, path: str, baud: int) -> TurnedBridge:
        self.rate = baud
        return self

    def set_baud(self, baud: int) -> bool:
        self.rate = baud
        return True

    def now(self) -> float:
        return self.time

    def write(self, data: bytes) -> None:
        self._first = True
        self.time += 10 * len(data) / self.rate
        self.hear(data, self.rate)

    def read(self, timeout: float) -> bytes:
        until = self.time + timeout
        if not self.coming or self.coming[0][0] > until:
            self.time = until
            return b""
        self.time = max(self.time, self.coming[0][0])
        return self.coming.pop(0)[1]

    def close(self) -> None:
        pass

    def _write(self, data: bytes) -> None:
        """Behind what is on its way already, as on a wire."""
        if not data:
            return
        wait = self.quiet if self._first else self.pause
        self._first = False
        begun = max(self.time, self.coming[-1][0] if self.coming else 0.0)
        self.coming.append((begun + wait + 10 * len(data) / self.rate, data))
