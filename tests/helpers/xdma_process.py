"""A virtual XDMA board in a process of its own, for tests and scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvfpga import TargetError


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    """A board in a process of its own while the block lasts (in the client's own process it would wait for itself). `options`:
    of `kvfpga board serve xdma`."""
    command = [sys.executable, "-m", "kvfpga.cli.main", "board", "serve", "xdma", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if not server.stdout.readline():
                raise TargetError(f"the virtual XDMA board did not start (exit code {server.wait()})")
            yield server
        finally:
            server.terminate()
