"""Real `kvfpga` processes that are killed, or meet a full disk, at a chosen change of a file: c/file_events.cpp, preloaded.

A full disk is a real one as well, a small tmpfs, wherever this user may mount one (`MAY_MOUNT`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


SERVER = """
import ctypes, json, os, sys
from kvfpga.cli.main import main
import kvfpga.blackbox.simulation, kvfpga.hepc_ref, kvfpga.transport.sim.verilated

for line in sys.stdin:
    sys.argv[1:], places, at = json.loads(line)
    child = os.fork()
    if not child:
        for fd, place in enumerate(places, start=1):
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
        ctypes.CDLL(None).events_at(*map(ctypes.c_long, at))
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Each command is a process of its own that begins where importing ends: there are hundreds, and nothing changes before that."""


class Watched:
    """`kvfpga` with these options, its changes below `folder` counted; to be closed. `log`: what the last run changed, a line
    each."""

    def __init__(self, library: Path, folder: Path, *options: str):
        self.options = [*options, "--session", str(folder)]
        self._log, *self._said = (folder.parent / f"{name}.log" for name in ("events", "out", "err"))
        environment = {"LD_PRELOAD": str(library), "EVENTS_UNDER": str(folder), "EVENTS_LOG": str(self._log)}
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *words: object, kill: int = 0, full: int = 0) -> subprocess.CompletedProcess[str]:
        """`kill`, `full`: see file_events.cpp."""
        self._log.unlink(missing_ok=True)
        command = [*self.options, *map(str, words)]
        print(json.dumps([command, [*map(str, self._said)], [kill, full]]), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(command, code, *(place.read_text() for place in self._said))

    @property
    def log(self) -> list[str]:
        return self._log.read_text().splitlines()

    def close(self) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()
