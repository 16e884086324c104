"""The register BAR of a virtual XDMA board mapped into a program: c/mapped_bar.c, preloaded, makes each access one to the node.

Files in place of a BAR show where words go. What they cannot show is here: how many accesses an expression makes, of which width,
and that registers with side effects answer to them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kvfpga.transport.virtual.xdma import USER

SOURCE = Path(__file__).resolve().parent / "c" / "mapped_bar.c"
IS_POSSIBLE = platform.machine() == "x86_64"


class Access(NamedTuple):
    """`width`: bytes that the processor's instruction moved, 0 where it is none of the plain ones."""

    kind: str
    offset: int
    width: int


class Mapped:
    """Programs of Python that can map the user node of the board in `folder`."""

    def __init__(self, folder: Path, scratch: Path):
        library, self._log = scratch / "mapped_bar.so", scratch / "accesses.log"
        command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", SOURCE, "-o", library]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"gcc: {done.stderr}")
        node = os.path.realpath(folder / USER[1:])
        self._environment = os.environ | {"LD_PRELOAD": str(library), "MAPPED_BAR": node, "MAPPED_BAR_LOG": str(self._log)}

    def run(self, words: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], list[Access]]:
        """`python WORDS`, and what it did with the mapping."""
        self._log.write_text("")
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=self._environment)
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return done, [Access(kind, int(offset), int(width)) for kind, offset, width in lines]
