"""A `kvfpga` that others reach a device through, in a process of its own: a virtual board, or one that serves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KVFPGA = [sys.executable, "-m", "kvfpga.cli.main"]


@contextmanager
def board(*words: object) -> Iterator[str]:
    """Runs `kvfpga WORDS` while the block lasts; yields the target to use, which is its first line."""
    with subprocess.Popen([*KVFPGA, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
