"""Importing pyverilator 0.7.0 where its own import fails, and quickly.

`import pyverilator` imports `tclwrapper`, which it needs for nothing but remote-controlling GTKWave. On Python >= 3.11
that import raises (`_tkinter.tkapp.split` is gone), and where Python was built without Tk it raises everywhere. So the
name `tclwrapper` is lent to an empty stand-in while pyverilator is imported; a `tclwrapper` that somebody has imported
already is left in place. What is lost: `PyVerilator.start_gtkwave()`, which then raises AttributeError. Waveforms are
files here (`VerilatorSim.trace_start`), and GTKWave opens them.
"""

from __future__ import annotations

import sys
import types
from typing import Any


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
