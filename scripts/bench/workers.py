"""Processes that work for the bench, each asked over a line of its own, so that they can take turns round by round."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from kvfpga.contract.errors import TargetError

from .sizes import Sizes
from .worker.line import Line

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "scripts" / "bench" / "worker"


class Version(NamedTuple):
    """A version of kvfpga: the Python of the virtual environment that has it. `name` is what figures call it."""

    name: str
    python: Path

    @property
    def program(self) -> Path:
        return self.python.parent / "kvfpga"


TODAY = Version("kvfpga", Path(sys.executable))


class Worker:
    """A process that gets the path of a socket as its last argument, connects, and answers one request after the other.
    `versions`: of the packages that it uses, where it is a kvfpga."""

    versions: dict[str, str]

    def __init__(self, name: str, command: list[str | Path]):
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="kvfpga-bench-")
        path = f"{self._folder.name}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self._process = subprocess.Popen([*command, path], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self._line = Line(self._accept(listener))

    def _accept(self, listener: socket.socket) -> socket.socket:
        listener.settimeout(0.1)
        while True:
            try:
                end, _ = listener.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise self._gone() from None
            else:
                end.setblocking(True)
                return end

    def ask(self, what: str, **arguments: Any) -> Any:
        try:
            self._line.send([what, arguments])
            return next(iter(self._line))
        except (OSError, StopIteration):
            raise self._gone() from None

    def _gone(self) -> TargetError:
        code = self._process.wait()
        return TargetError(f"the process that measures {self.name} ended with exit code {code}", "what it said stands above")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._line.close()
        self._process.wait()
        self._folder.cleanup()


def simulation(version: Version, sizes: Sizes) -> Worker:
    """A version of kvfpga with a device, empty and ready. Its model is built now if there is none."""
    worker = Worker(version.name, [version.python, WORKER])
    worker.versions = worker.ask("open", **sizes.device)
    return worker


def cocotb(sizes: Sizes) -> Worker:
    """The same RTL under cocotb: scripts/bench/cocotb_reads.py."""
    return Worker("cocotb", [sys.executable, "-m", "scripts.bench.cocotb_reads", json.dumps(sizes.device)])
