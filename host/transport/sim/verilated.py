"""The simulator as a target: the RTL, Verilated, in this process, loaded through pyverilator.

Whole accesses, batches, waits and the AXI4 memory run in C++ (fpga/sim); `sim` is the `pyverilator.PyVerilator` of the
same model for looking at and driving single signals. Clocking through `sim` moves the bare model, without memory and
bus master.

The memory answers with random latency, and with random pauses where `stall_percent` is above 0, all from `seed`: the
same seed gives the same run, cycle for cycle. What the RTL does not initialise starts with random values from the same
seed. A broken AXI rule or a failed assertion in the RTL is a `TargetError` from the call during which it happened, and
ends the simulation.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...contract import waveforms
from ...contract.errors import BusError, IdleTimeout, SessionError, TargetError, UsageError
from ...contract.parameters import Parameters
from ..mmio import Batch, BatchResult, Simulation, check_memory_range, endless
from .build import CORE, Design, model
from .cache import unloadable
from .pyverilator import load_pyverilator

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from numpy.typing import NDArray

OK, PAUSED = 0, 1
SLVERR, DECERR, HANG, IDLE_TIMEOUT, BROKEN, NO_END = -1, -2, -3, -4, -5, -6
"""Status of fpga/sim/axil_master.h."""

_FUNCTIONS = {
    "kv_read32": (c_int64, c_uint32),
    "kv_write32": (c_int64, c_uint32, c_uint32),
    "kv_run": (c_int32, c_void_p, c_uint64, c_void_p, c_uint64, c_int32),
    "kv_records": (c_void_p, c_void_p),
    "kv_wait_idle": (c_int32, c_uint64, c_int32),
    "kv_waited": (c_uint64,),
    "kv_clock": (c_int32, c_uint64),
    "kv_reset": (c_int32, c_uint64),
    "kv_cycles": (c_uint64,),
    "kv_broken": (c_char_p,),
    "kv_set_watchdog": (None, c_uint64),
    "kv_failure": (None, c_void_p),
    "kv_memory_configure": (None, c_uint64, c_uint32, c_uint32, c_uint32),
    "kv_memory_limit": (None, c_uint64),
    "kv_memory_fault": (None, c_uint64, c_uint64, c_uint32, c_uint32),
    "kv_memory_counters": (None, c_void_p),
    "kv_memory_read": (None, c_uint64, c_void_p, c_uint64),
    "kv_memory_write": (c_int32, c_uint64, c_char_p, c_uint64),
    "kv_memory_bound": (None, c_uint64),
    "kv_memory_read_blocks": (None, c_void_p, c_uint64, c_uint64, c_void_p),
    "kv_save": (c_int32, c_char_p, c_char_p),
    "kv_restore": (c_int32, c_char_p, c_char_p),
    "kv_trace_start": (c_int32, c_char_p),
    "kv_trace_stop": (None,),
    "kv_plain_reads": (c_uint64, c_uint32, c_uint64),
}
"""Result and argument types behind the handle, which comes first everywhere."""

_FILE_ERRORS = {
    1: "cannot be opened",
    2: "is damaged",
    3: "was made by another build of the simulator",
    4: "could not be written",
    5: "needs more memory than this machine gives",
}
RESET_CYCLES = 8


class VerilatorSim(Simulation):
    """One simulated device.

    latency: (fewest, most) extra cycles before the memory answers. trace: waveform file from the first cycle on, .fst
    or .vcd. wave: "fst" or "vcd" to build a model that can record one later. sources: other RTL files than the project's.
    restore: a checkpoint to start from, instead of a reset. design: the core, or a variant of it.
    """

    name = "sim"
    blank_memory = True

    # The functions of the model's library, by _FUNCTIONS; what each gives back in Python.
    _kv_read32: Callable[..., int]
    _kv_write32: Callable[..., int]
    _kv_run: Callable[..., int]
    _kv_records: Callable[..., int | None]
    _kv_wait_idle: Callable[..., int]
    _kv_waited: Callable[..., int]
    _kv_clock: Callable[..., int]
    _kv_reset: Callable[..., int]
    _kv_cycles: Callable[..., int]
    _kv_broken: Callable[..., bytes]
    _kv_set_watchdog: Callable[..., None]
    _kv_failure: Callable[..., None]
    _kv_memory_configure: Callable[..., None]
    _kv_memory_limit: Callable[..., None]
    _kv_memory_fault: Callable[..., None]
    _kv_memory_counters: Callable[..., None]
    _kv_memory_read: Callable[..., None]
    _kv_memory_write: Callable[..., int]
    _kv_memory_bound: Callable[..., None]
    _kv_memory_read_blocks: Callable[..., None]
    _kv_save: Callable[..., int]
    _kv_restore: Callable[..., int]
    _kv_trace_start: Callable[..., int]
    _kv_trace_stop: Callable[..., None]
    _kv_plain_reads: Callable[..., int]

    def __init__(
        self, entries: int = 65536, lanes: int = 8, data_bits: int = 512, seed: int = 0, trace: str | Path | None = None,
        latency: tuple[int, int] = (4, 24), stall_percent: int = 0, sources: list[Path] | None = None,
        wave: str | None = None, restore: str | Path | None = None, design: Design = CORE, **parameters: Any,
    ):  # fmt: skip
        if not 0 <= latency[0] <= latency[1] < 1 << 32 or not 0 <= stall_percent < 100:
            raise UsageError(f"memory latency {latency} or stall percentage {stall_percent} makes no sense")
        if trace:
            wave = Path(trace).suffix[1:]
        self.model = model(Parameters(entries, lanes, data_bits, **parameters), sources, wave, design)
        # 2: power-up values are random; 0: they are zero, which is quicker, and a checkpoint overwrites them all.
        power_up = [f"+verilator+rand+reset+{0 if restore else 2}", f"+verilator+seed+{seed % 0x7FFFFFFF + 1}"]
        try:
            self.sim = load_pyverilator()(str(self.model.path), auto_eval=False, command_args=power_up)
        except OSError as error:
            raise unloadable(self.model.path, error) from None
        handle = c_void_p(self.sim.model)
        short = ctypes.PyDLL(str(self.model.path))  # keeps the GIL: worth it in calls that take a microsecond
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = (short if name in ("kv_read32", "kv_write32") else self.sim.lib)[name]
            function.restype, function.argtypes = result, (c_void_p, *arguments)
            setattr(self, f"_{name}", function)
        self._handle: c_void_p | None = handle
        self._kv_memory_configure(handle, seed, *latency, stall_percent)
        p = self.model.parameters
        # Moving every block once, and a million cycles: whoever needs longer hangs.
        self.idle_budget = 1_000_000 + 4 * p.entries * (p.block_bytes * 8 // p.data_bits)
        if trace:
            self.trace_start(trace)
        if restore:
            self.restore(restore)
        else:
            self.reset()

    # ---- registers ---------------------------------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        word = self._kv_read32(self._handle, offset)
        if word < 0:
            self._raise(word)
        return word

    def write32(self, offset: int, value: int) -> None:
        if value >> 32:
            raise UsageError(f"{value:#x} does not fit into the register at {offset:#x}")
        status = self._kv_write32(self._handle, offset, value)
        if status:
            self._raise(status)

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        batch = Batch()
        batch.burst(offset, words)
        return self.run(batch).words

    def run(self, batch: Batch) -> BatchResult:
        words = np.empty(batch.words, np.uint32)
        address, length = batch.ops.buffer_info()
        arguments = self._handle, address, length // 4, words.__array_interface__["data"][0], self.idle_budget
        status = self._kv_run(*arguments, 0)
        while status == PAUSED:
            self._go_on()
            status = self._kv_run(*arguments, 1)
        if status:
            self._raise(status)
        count = c_uint64()
        records = self._kv_records(self._handle, ctypes.byref(count))
        return BatchResult(words, _copy(records, count.value))

    def wait_idle(self, budget: float | None = None) -> int:
        cycles = self.idle_budget if budget is None else int(budget)
        status = self._kv_wait_idle(self._handle, cycles, 0)
        while status == PAUSED:
            self._go_on()
            status = self._kv_wait_idle(self._handle, cycles, 1)
        if status:
            self._raise(status)
        return self._kv_waited(self._handle)

    # ---- clock and reset ---------------------------------------------------------------------------------------------
    @property
    def clock_cycles(self) -> int:
        return self._kv_cycles(self._handle)

    @property
    def build_id(self) -> int:
        """What the BUILD_ID register of this design says."""
        return self.model.build_id

    @property
    def handle(self) -> c_void_p | None:
        """What the functions of the model's library take first; None once it is closed."""
        return self._handle

    def clock(self, cycles: int = 1) -> None:
        """Let the clock run."""
        self._check(self._kv_clock(self._handle, cycles))

    def reset(self, wait: bool = True) -> None:
        """Hardware reset, then by default wait until the device has cleared its tables. Memory keeps its bytes."""
        self._check(self._kv_reset(self._handle, RESET_CYCLES))
        if wait:
            self.wait_idle()

    def set_watchdog(self, cycles: int) -> None:
        """How long an access may stay unanswered before it counts as hung."""
        self._kv_set_watchdog(self._handle, cycles)

    # ---- memory ------------------------------------------------------------------------------------------------------
    def memory_read(self, addr: int, size: int) -> bytes:
        check_memory_range(addr, size)
        data = ctypes.create_string_buffer(size)
        self._kv_memory_read(self._handle, addr, data, size)
        return data.raw

    def memory_write(self, addr: int, data: bytes) -> None:
        check_memory_range(addr, len(data))
        if self._kv_memory_write(self._handle, addr, bytes(data), len(data)):
            held = self.memory_counters()["pages"] << 12
            raise TargetError(
                f"no room for {len(data)} bytes at {addr:#x}: the simulated memory has grown to {held:,} bytes, and every page "
                "of 4 KiB that is written takes memory of this machine",
                "write to pages that are in use already, or begin a new simulation; `kvfpga serve --memory` sets the most",
            )

    def bound_memory(self, most: int) -> None:
        self._kv_memory_bound(self._handle, most)

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        addrs = np.ascontiguousarray(addrs, np.uint64)
        if len(addrs):
            check_memory_range(int(addrs.max()), size)
        data = np.empty((len(addrs), size), np.uint8)
        self._kv_memory_read_blocks(self._handle, addrs.ctypes.data, len(addrs), size, data.ctypes.data)
        return data

    def memory_limit(self, last_address: int = (1 << 64) - 1) -> None:
        """Bursts that reach beyond this address get DECERR."""
        self._kv_memory_limit(self._handle, last_address)

    def memory_fault(self, first: int, last: int, reads: bool = True, writes: bool = True) -> None:
        """Bursts that touch [first, last] get SLVERR from now on; both False takes it back."""
        self._kv_memory_fault(self._handle, first, last, reads, writes)

    def memory_counters(self) -> dict[str, int]:
        """Bursts and beats that the device's AXI4 master has moved, and 4 KiB pages that exist."""
        values = (c_uint64 * 5)()
        self._kv_memory_counters(self._handle, values)
        return dict(zip(("read_bursts", "read_beats", "write_bursts", "write_beats", "pages"), values))

    # ---- files -------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Checkpoint of device and memory into one file, written in place."""
        self._file(self._kv_save, path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go back to a checkpoint of this very build, memory settings and random state included. Else SessionError."""
        self._file(self._kv_restore, path)

    def _file(self, function: Callable[..., int], path: str | os.PathLike[str]) -> None:
        error = function(self._handle, os.fsencode(path), self.model.key.encode())
        if error < 0:
            self._raise(error)
        if error:
            remedy = "delete it, or use the version of kvfpga that made it" if error == 3 else None
            raise SessionError(f"checkpoint {path} {_FILE_ERRORS[error]}", remedy)

    def trace_start(self, path: str | os.PathLike[str]) -> None:
        """Write a waveform from here on. The model must have been built for this kind of file (`trace` or `wave`)."""
        if Path(path).suffix != f".{self.model.wave}":
            raise UsageError(f"this model cannot write {path}", "open the simulator with trace=… or wave=…")
        waveforms.make(Path(path))
        if not self._kv_trace_start(self._handle, os.fsencode(path)):
            raise UsageError(f"cannot write the waveform {path}")

    def trace_stop(self) -> None:
        """Complete the waveform file."""
        self._kv_trace_stop(self._handle)

    def plain_reads(self, offset: int, count: int) -> int:
        """`count` reads by a hand-written C++ loop around the same model, for benchmarks; the sum of the words mod
        2^64."""
        return self._kv_plain_reads(self._handle, offset, count)

    def close(self) -> None:
        """Ends a waveform; the model goes when nobody holds `sim` any more."""
        if self._handle:
            self.trace_stop()
            for name in _FUNCTIONS:
                setattr(self, f"_{name}", _closed)
            self._handle = self.sim = None

    # ---- errors ------------------------------------------------------------------------------------------------------
    def _check(self, status: int) -> None:
        if status:
            self._raise(status)

    def _raise(self, status: int) -> NoReturn:
        if status == BROKEN:
            raise TargetError(f"the simulation broke: {self._kv_broken(self._handle).decode(errors='replace')}")
        failure = (c_uint64 * 3)()
        self._kv_failure(self._handle, failure)
        position, offset, is_write = failure
        if status == HANG:
            kind = "write to" if is_write else "read of"
            raise TargetError(f"the device does not answer a {kind} offset {offset:#x}", "reset the device")
        if status == NO_END:
            raise endless(offset)
        if status == IDLE_TIMEOUT:
            raise IdleTimeout(
                f"the device is still busy after {self._kv_waited(self._handle)} cycles",
                "`kvfpga reg read STATUS` says with what",
            )
        raise BusError(offset, bool(is_write), position, "DECERR" if status == DECERR else "SLVERR")


def _copy(address: int | None, count: int) -> NDArray[np.uint64]:
    return np.frombuffer(ctypes.string_at(address, 8 * count), np.uint64) if address and count else np.empty(0, np.uint64)


def _closed(*_: object) -> NoReturn:
    raise TargetError("the simulator was closed")
