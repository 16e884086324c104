"""Real `kvfpga` processes that are killed, or meet a full disk, at a chosen change of a file: c/file_events.cpp, preloaded.

A full disk is a real one as well, a small tmpfs, wherever this user may mount one (`MAY_MOUNT`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KVFPGA = [sys.executable, "-m", "kvfpga.cli.main"]
SOURCE = Path(__file__).resolve().parent / "c" / "file_events.cpp"
NAMESPACE = ["unshare", "--map-root-user", "--mount"]
MAY_MOUNT = not subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode


def compile_library(folder: Path) -> Path:
    library = folder / "file_events.so"
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", SOURCE, "-o", library, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"g++: {done.stderr}")
    return library


class Watched:
    """`kvfpga` with these options, its changes below `folder` counted. `log`: what the last run changed, a line each."""

    def __init__(self, library: Path, folder: Path, *options: str):
        self.folder, self.options = folder, options
        self._log = library.parent / "events.log"
        self._environment = {"LD_PRELOAD": str(library), "EVENTS_UNDER": str(folder), "EVENTS_LOG": str(self._log)}

    def __call__(self, *words, **at: int) -> subprocess.CompletedProcess:
        """`kill=N` or `full=N`: see file_events.cpp."""
        self._log.unlink(missing_ok=True)
        more = self._environment | {f"EVENTS_{name.upper()}": str(number) for name, number in at.items()}
        command = [*KVFPGA, *self.options, "--session", str(self.folder), *map(str, words)]
        return subprocess.run(command, env=os.environ | more, capture_output=True, text=True, timeout=300)

    @property
    def log(self) -> list[str]:
        return self._log.read_text().splitlines()
