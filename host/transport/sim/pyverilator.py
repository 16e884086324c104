"""Importing pyverilator 0.7.0 where its own import fails, and quickly.

`import pyverilator` imports `tclwrapper`, which it needs for nothing but remote-controlling GTKWave. On Python >= 3.11
that import raises (`_tkinter.tkapp.split` is gone), and where Python was built without Tk it raises everywhere. So the
name `tclwrapper` is lent to an empty stand-in while pyverilator is imported; a `tclwrapper` that somebody has imported
already is left in place. What is lost: `PyVerilator.start_gtkwave()`, which then raises AttributeError. Waveforms are
files here (`VerilatorSim.trace_start`), and GTKWave opens them.
"""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

from ...contract.errors import TargetError, UsageError


def load_pyverilator() -> Any:
    """The class `pyverilator.PyVerilator`, which has no types."""
    if "pyverilator" not in sys.modules and "tclwrapper" not in sys.modules:
        sys.modules["tclwrapper"] = types.ModuleType("tclwrapper")
        try:
            import pyverilator
        finally:
            del sys.modules["tclwrapper"]
    import pyverilator

    return pyverilator.PyVerilator


def open_signals(library: str, seed: int, has_vcd: bool) -> Any:
    """The model in `library` as pyverilator's users know one: each assignment to an input takes effect at once."""

    class Signals(load_pyverilator()):  # type: ignore[misc]
        """pyverilator's class, which says what went wrong where that one would go on or fail somewhere else."""

        def eval(self) -> None:
            super().eval()
            self.lib.kv_broken.restype, self.lib.kv_broken.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
            if broken := self.lib.kv_broken(self.model):
                raise TargetError(f"the simulation broke: {broken.decode(errors='replace')}")

        def start_vcd_trace(self, filename: str, auto_tracing: bool = True) -> None:
            if not has_vcd:
                raise UsageError("this model cannot write a VCD", "open it with vcd=True")
            super().start_vcd_trace(filename, auto_tracing)

        def start_gtkwave(self) -> None:
            raise TargetError("pyverilator's remote control of GTKWave does not run here",
                              "write a file with start_vcd_trace(FILE), and open that in GTKWave")  # fmt: skip

    return Signals(library, command_args=["+verilator+rand+reset+2", f"+verilator+seed+{seed % 0x7FFFFFFF + 1}"])
