"""`kvfpga` processes by the hundred: each begins where importing ends, is limited in memory and time, and may be killed.

with Processes(folder) as kvfpga:
    kvfpga("--target", "model", "step", "3", kill_after=0.01).code      -9
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ADDRESS_SPACE = 4 << 30
"""Bytes that a process can have: what grows without end ends there, and not with the machine."""
SECONDS = 120
"""Until a process that does not end is ended, with SIGALRM."""


class Ended(NamedTuple):
    """`code`: exit code, or minus the signal. `peak`: most bytes in memory. `seconds`: of the processor."""

    code: int
    out: str
    err: str
    peak: int
    seconds: float

    @property
    def traceback(self) -> bool:
        """A mistake of kvfpga itself, also where it ended without a word."""
        return self.code == 70 or self.code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS) or "Traceback" in self.err


class Processes:
    """To be entered. `at`: the folder that the processes work in, as far as it is there."""

    def __init__(self, at: Path):
        self._at = at

    def __enter__(self) -> Processes:
        self._folder = tempfile.TemporaryDirectory(prefix="kvfpga-soak-")
        self._said = [Path(self._folder.name) / name for name in ("out", "err")]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "scripts.soak.processes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self._folder.cleanup()

    def __call__(self, *words: object, kill_after: float | None = None) -> Ended:
        """`kill_after`: seconds until SIGKILL."""
        for path in self._said:
            path.write_text("")  # a process that is killed at once would leave what the one before said
        job = [list(map(str, words)), [str(path) for path in self._said], str(self._at), kill_after]
        print(json.dumps(job), file=self._server.stdin, flush=True)
        code, peak, seconds = json.loads(self._server.stdout.readline())
        out, err = (path.read_text(errors="replace") for path in self._said)
        return Ended(code, out, err, peak, seconds)


def begin(words: list[str], said: list[str], folder: str) -> None:
    """What the child does; it does not come back."""
    from kvfpga.cli.main import main

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, place in enumerate(said, start=1):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    if os.path.isdir(folder):
        os.chdir(folder)
    signal.alarm(SECONDS)
    sys.argv[1:] = words
    main()


def serve() -> None:
    """A job a line on stdin, how it ended a line on stdout."""
    import kvfpga.blackbox.simulation
    import kvfpga.cli.main
    import kvfpga.hepc_ref
    import kvfpga.transport.sim.verilated  # noqa: F401

    for line in sys.stdin:
        words, said, folder, kill_after = json.loads(line)
        child = os.fork()
        if not child:
            try:
                begin(words, said, folder)
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
            finally:
                os._exit(1)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # of one that has ended it is still the id: nobody has waited for it
        _, status, usage = os.wait4(child, 0)
        seconds = usage.ru_utime + usage.ru_stime
        print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss << 10, seconds]), flush=True)


if __name__ == "__main__":
    serve()
