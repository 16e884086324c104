"""The virtual UART board: the whole design behind a pseudo terminal, its pins toggling (fpga/sim/uart).

The Verilated `kvcpu_uart_top` gets every byte as start, data and stop bits at the rate that the program at the other end has
set on its port, and what comes out of its pin is sampled at that rate too: a wrong rate shifts bits, as on a cable. The clock
stands still while nothing goes on. `clk_hz` is what the design believes its clock to be; fewer cycles per bit simulate quicker.

    with VirtualUartBoard(clk_hz=24_000_000).running() as port:
        UartBridge(port, 3_000_000)

Line faults hit single bytes at random, from a seed; incidents happen once, at a given byte.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import re
import select
import struct
import threading
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contract import waveforms
from ...contract.errors import TargetError, UsageError
from ...contract.parameters import Parameters
from ..sim.build import UART_BOARD, model
from ..sim.cache import unloadable
from ..uart.link import BAUD

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = Parameters(entries=256, lanes=1, data_bits=64, block_tokens=32, head_dim=2, classes=16)
"""The bring-up build: blocks of 256 bytes, so that the four tiers are 256 KiB."""
SLICE_CYCLES = 50_000
"""Clock cycles between two looks at the port."""
LEAST_CYCLES_PER_BIT = 8
FRAME_BITS, DATA_BITS = 10, 8

QUIET, RUNNING, FULL, SENT, BROKEN = 0, 1, 2, 3, -1
"""Status of fpga/sim/uart/board.h."""
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "ub_new": (c_void_p, c_uint32, c_uint32, c_uint32),
    "ub_free": (None, c_void_p),
    "ub_set_host_baud": (None, c_void_p, c_uint32),
    "ub_cycles": (c_uint64, c_void_p),
    "ub_broken": (c_char_p, c_void_p),
    "ub_exchange": (c_int32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p, c_uint64, c_void_p, c_uint64, c_int32),
    "ub_reset": (c_int32, c_void_p),
    "ub_trace_start": (c_int32, c_void_p, c_char_p),
    "ub_trace_stop": (None, c_void_p),
}
_TCGETS2 = 0x802C542A  # struct termios2, whose last two words are the rates as numbers


@dataclass(frozen=True)
class LineFaults:
    """Share of bytes, 0 to 1, in either direction: with one or two wrong levels among start, data and stop bits · lost · sent
    twice · sent `delay_bits` bit times late."""

    flip: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    delay_bits: int = 640

    def __post_init__(self) -> None:
        rates = self.flip, self.drop, self.double, self.delay
        if min(rates) < 0 or sum(rates) > 1:
            raise UsageError(f"fault rates {rates}: shares of bytes, from 0 to 1 in all")
        if not 0 <= self.delay_bits < 1 << 14:
            raise UsageError(f"a delay of {self.delay_bits} bit times: 0 to {(1 << 14) - 1}")


FAULTS = tuple(field.name for field in fields(LineFaults) if field.name != "delay_bits")


@dataclass(frozen=True)
class Incident:
    """Once `at` bytes have been received: stall (goes on working, but says nothing for `seconds`, None for ever) · reset (of the
    whole design) · unplug (the port goes away)."""

    kind: str
    at: int
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Incident:
        """KIND@N, and stall@N:SECONDS."""
        found = re.fullmatch(r"(stall|reset|unplug)@([0-9]+)(?::([0-9.]+))?", text)
        try:
            if not found:
                raise ValueError
            kind, at, seconds = found.groups()
            if seconds and kind != "stall":
                raise ValueError
            return cls(kind, int(at), float(seconds) if seconds else None)
        except ValueError:
            raise UsageError(f"{text!r} is no incident", "stall@N, stall@N:SECONDS, reset@N or unplug@N, N in bytes") from None


class VirtualUartBoard:
    """`baud`: of the board. `wave`: a waveform (.fst or .vcd) of all that happens. `fpga`: another folder to take the RTL from.
    `clock`: what the seconds of a stall are counted by.

    `port` is there from the beginning; `serve` answers on it until `stop`.
    """

    # The functions of the model's library, by _FUNCTIONS; what each gives back in Python.
    _ub_new: Callable[..., int]
    _ub_free: Callable[..., None]
    _ub_set_host_baud: Callable[..., None]
    _ub_cycles: Callable[..., int]
    _ub_broken: Callable[..., bytes]
    _ub_exchange: Callable[..., int]
    _ub_reset: Callable[..., int]
    _ub_trace_start: Callable[..., int]
    _ub_trace_stop: Callable[..., None]

    def __init__(
        self, parameters: Parameters = SMALL, clk_hz: int = 50_000_000, baud: int = BAUD, faults: LineFaults = LineFaults(),
        incidents: Sequence[Incident] = (), seed: int = 0, wave: str | Path | None = None, fpga: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        if not 0 < LEAST_CYCLES_PER_BIT * baud <= clk_hz < 1 << 32:
            raise UsageError(f"{baud} baud from a clock of {clk_hz} Hz", f"a bit takes {LEAST_CYCLES_PER_BIT} cycles at least")
        if wave:
            waveforms.make(Path(wave))
        self.parameters, self.clk_hz, self.baud = parameters, clk_hz, baud
        self.model = model(parameters, wave=Path(wave).suffix[1:] if wave else None, design=UART_BOARD, fpga=fpga)
        try:
            library = ctypes.CDLL(str(self.model.path))
        except OSError as error:
            raise unloadable(self.model.path, error) from None
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = library[name]
            function.restype, function.argtypes = result, arguments
            setattr(self, f"_{name}", function)
        self._board: c_void_p | None = c_void_p(self._ub_new(clk_hz, baud, seed))
        with contextlib.ExitStack() as undo:
            undo.callback(self._ub_free, self._board)
            if wave and not self._ub_trace_start(self._board, os.fsencode(wave)):
                raise UsageError(f"cannot write the waveform {wave}")
            self.counts: Counter[str] = Counter()
            self._to_board, self._to_host = (_Line(faults, f"{seed}/{way}") for way in ("in", "out"))
            self._incidents = sorted(incidents, key=lambda incident: incident.at)
            self._clock, self._silent_until = clock, 0.0
            self._status = RUNNING
            self._host_baud = baud
            self._characters = np.empty(4096, np.uint16)
            self._check(self._ub_reset(self._board))
            self.master, self._slave = os.openpty()
            for end in (self.master, self._slave):
                undo.callback(os.close, end)
            tty.setraw(self._slave)
            os.set_blocking(self.master, False)
            self.port = os.ttyname(self._slave)
            self._stopped, self._stop = os.pipe()
            undo.pop_all()

    # ---- life ----------------------------------------------------------------------------------------------------------
    def serve(self) -> None:
        """Answer until `stop` is called or the board is unplugged."""
        while self.master >= 0:
            ready, _, _ = select.select([self.master, self._stopped], [], [], 0 if self._status != QUIET else None)
            if self._stopped in ready:
                return
            chunk = b""
            if ready:
                chunk = os.read(self.master, 4096)
                self._follow_baud()
            self._receive(chunk)

    def stop(self) -> None:
        """Ends `serve`; may be called from another thread or a signal handler."""
        os.write(self._stop, b"x")

    def close(self) -> None:
        """The port goes away, a waveform is completed."""
        if self._board:
            self.cycles_at_end = self.cycles
            self._unplug()
            os.close(self._stop)
            os.close(self._stopped)
            self._ub_free(self._board)
            self._board = None

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread of this process; yields the port."""
        failed: list[Exception] = []

        def work() -> None:
            try:
                self.serve()
            except Exception as error:
                failed.append(error)
                self._unplug()

        thread = threading.Thread(target=work, name="virtual UART board")
        thread.start()
        try:
            yield self.port
        finally:
            self.stop()
            thread.join()
            self.close()
            if failed:
                raise failed[0]

    @property
    def cycles(self) -> int:
        """Clock cycles since power-up."""
        return self._ub_cycles(self._board) if self._board else self.cycles_at_end

    def reset(self) -> None:
        """A hard reset of the whole design. Only while nobody is in `serve`."""
        self._check(self._ub_reset(self._board))
        self._status = RUNNING

    def set_faults(self, faults: LineFaults) -> None:
        """From now on, in both directions."""
        for line in (self._to_board, self._to_host):
            line.set_faults(faults)

    def _unplug(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            os.close(self._slave)
            self.master = -1

    # ---- bytes ---------------------------------------------------------------------------------------------------------
    def _receive(self, chunk: bytes) -> None:
        """Bytes from the port into the design, incidents in their places; what comes out goes back."""
        while self.master >= 0:
            incident = self._incidents[0] if self._incidents else None
            room = incident.at - self.counts["bytes_in"] if incident else len(chunk)
            part, chunk = chunk[:room], chunk[room:]
            self.counts["bytes_in"] += len(part)
            due = incident is not None and self.counts["bytes_in"] == incident.at
            self._simulate(self._to_board.symbols(part), only_send=due)
            if not due:
                return
            self._happen(self._incidents.pop(0))

    def _happen(self, incident: Incident) -> None:
        self.counts[incident.kind] += 1
        if incident.kind == "stall":
            self._silent_until = float("inf") if incident.seconds is None else self._clock() + incident.seconds
        elif incident.kind == "reset":
            self.reset()
        else:
            self._unplug()

    def _simulate(self, symbols: NDArray[np.uint32], only_send: bool = False) -> None:
        """Until all symbols are sent, and, unless `only_send`, for the rest of a slice."""
        taken, produced = c_uint64(0), c_uint64(0)
        while True:
            produced.value = 0
            self._status = self._check(
                self._ub_exchange(
                    self._board, symbols.ctypes.data, len(symbols), ctypes.byref(taken), self._characters.ctypes.data,
                    len(self._characters), ctypes.byref(produced), SLICE_CYCLES, only_send,
                )  # fmt: skip
            )
            self._answer(self._characters[: produced.value])
            if taken.value == len(symbols) and self._status in (QUIET, SENT if only_send else RUNNING):
                return

    def _answer(self, characters: NDArray[np.uint16]) -> None:
        if not len(characters):
            return
        self.counts["bytes_out"] += len(characters)
        self.counts["bad_stop_bits"] += int((characters >> 8).sum())
        if self._clock() < self._silent_until:
            self.counts["unsaid"] += len(characters)
            return
        for number, part in enumerate(self._to_host.parts(characters.astype(np.uint8).tobytes())):
            if number:
                time.sleep(self._to_host.faults.delay_bits / self._host_baud)
            while part:
                if not select.select([], [self.master], [], 1.0)[1]:
                    self.counts["overrun"] += len(part)  # nobody reads: as on a wire, the bytes are lost
                    break
                part = part[os.write(self.master, part) :]

    def _follow_baud(self) -> None:
        buffer = bytearray(64)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.master, _TCGETS2, buffer)
            (baud,) = struct.unpack_from("<I", buffer, 40)
            if baud and baud != self._host_baud:
                self._host_baud = baud
                self._ub_set_host_baud(self._board, baud)

    def _check(self, status: int) -> int:
        if status == BROKEN:
            raise TargetError(f"the simulation broke: {self._ub_broken(self._board).decode(errors='replace')}")
        return status

    # ---- what happened -------------------------------------------------------------------------------------------------
    def statistics(self) -> dict[str, int]:
        """Counters since power-up; faults that hit are named by direction."""
        found = {name: self.counts[name] for name in ("bytes_in", "bytes_out", "bad_stop_bits", "overrun", "stall", "reset")}
        for way, line in (("in", self._to_board), ("out", self._to_host)):
            found |= {f"{name}_{way}": line.counts[name] for name in FAULTS}
        return found | {"cycles": self.cycles}


class _Line:
    """One direction, with its faults. The same seed and the same bytes give the same faults."""

    def __init__(self, faults: LineFaults, seed: str):
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self.set_faults(faults)

    def set_faults(self, faults: LineFaults) -> None:
        self.faults = faults
        self._limits = np.cumsum([getattr(faults, name) for name in FAULTS]).tolist()

    def _hits(self, count: int) -> list[tuple[int, str]]:
        """Which of `count` bytes are hit, and by what."""
        if not self._limits[-1]:
            return []
        draw, found = self._random.random, []
        for at in range(count):
            number = draw()
            if number < self._limits[-1]:
                found.append((at, FAULTS[next(i for i, limit in enumerate(self._limits) if number < limit)]))
                self.counts[found[-1][1]] += 1
        return found

    def _flips(self, bits: int) -> int:
        flips = 1 << self._random.randrange(bits)
        return flips if self._random.random() < 0.7 else flips ^ 1 << self._random.randrange(bits) or flips

    def symbols(self, data: bytes) -> NDArray[np.uint32]:
        """As fpga/sim/uart/line.h takes them: byte, levels to invert from bit 8, idle bit times before from bit 18."""
        symbols = np.frombuffer(data, np.uint8).astype(np.uint32)
        hits = self._hits(len(data))
        if not hits:
            return symbols
        copies = np.ones(len(data), np.intp)
        for at, kind in hits:
            if kind == "flip":
                symbols[at] |= self._flips(FRAME_BITS) << 8
            elif kind == "delay":
                symbols[at] |= self.faults.delay_bits << 18
            else:
                copies[at] = 2 if kind == "double" else 0
        return np.repeat(symbols, copies)

    def parts(self, data: bytes) -> list[bytes]:
        """What arrives; between two parts time passes."""
        parts, first = [], 0
        out = bytearray()
        for at, kind in self._hits(len(data)):
            out += data[first:at]
            first = at + 1
            byte = data[at]
            if kind == "delay":
                parts.append(bytes(out))
                out.clear()
            if kind == "flip":
                byte ^= self._flips(DATA_BITS)
            out += bytes((byte,)) * {"drop": 0, "double": 2}.get(kind, 1)
        parts.append(bytes(out + data[first:]))
        return parts
