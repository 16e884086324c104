"""What the tests and the soak of /dev/kvcpu0 share: the small target, the C program, and a server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvfpga.contract.parameters import Parameters
from kvfpga.targets.boards import Board
from kvfpga.targets.target import Target
from tests.helpers.places import ROOT
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

SOURCE = Path(__file__).parent / "c" / "kvcpu0_test.c"
SERVER = """
import sys, threading
from pathlib import Path
from kvfpga.linux.node import Kvcpu0, serve
from kvfpga.session import serving
from kvfpga.session.serving import Served
from tests.helpers.node import small_target

serving.SAVE_SECONDS = 0.0  # all the time, so that a kill is likely to meet it
stop = threading.Event()
with Served(small_target(sys.argv[1]), Path(sys.argv[2]), on_failure=stop.set) as served:
    def save_in_time():
        while not stop.wait(0.03):
            served.save_in_time()
    threading.Thread(target=save_in_time, daemon=True).start()
    serve(Path(sys.argv[3]), Kvcpu0(served), Path(sys.argv[4]), lambda: print("ready", flush=True), stop)
"""


def small_target(kind: str) -> Target:
    """The reference model alone, or the simulation that the other tests have built already."""
    if kind == "model":
        return Target("model", ENTRIES)
    return Target("sim", board=Board("small", Path("small.yaml"), "", "sim", Parameters(ENTRIES, LANES, DATA_BITS)))


def compile_program(folder: Path, compiler: str = "gcc") -> Path:
    """The C program, as C or (g++) as C++."""
    program = folder / f"kvcpu0_test_{compiler}"
    language = ["-x", "c++"] if compiler == "g++" else []
    command = [compiler, *language, "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", SOURCE, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{compiler}: {done.stderr}")
    return program


@contextmanager
def server(kind: str, session: Path, path: Path, sysfs: Path) -> Iterator[subprocess.Popen]:
    """A process that serves; ended by SIGTERM unless it is over."""
    command = [sys.executable, "-c", SERVER, kind, *(str(place.absolute()) for place in (session, path, sysfs))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the server did not start (exit code {process.wait()})")
            yield process
        finally:
            process.terminate()
