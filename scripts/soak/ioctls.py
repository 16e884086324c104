"""Many C programs at once on /dev/kvcpu0 in user space: every ioctl must be counted once.

    python -m scripts.soak.ioctls                            16 processes, 10,000 ioctls each, on the simulation, in lockstep
    python -m scripts.soak.ioctls --target model --auto-load

Each process sends STEP_ADVANCE, MARK_HOT, EVICT, PREFETCH and SHARE_PREFIX in turn and now and then looks whether a counter went
back (tests/helpers/c/kvcpu0_test.c). At the end the counters are compared with what was sent, and everything is read back from
the device and compared with the reference model. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from kvfpga.contract.commands import Load
from kvfpga.contract.errors import KvfpgaError
from kvfpga.linux.node import Kvcpu0, running
from kvfpga.session.serving import Served
from kvfpga.targets.target import Target
from scripts.interrupt import interruptible
from tests.helpers.node import compile_program

VA, BLOCKS = 0x7F00_0000_0000, 97
COUNTERS = ("step_count", "hot_count", "evict_count", "prefetch_count", "share_count")
"""In the order in which the program sends them."""


def run(target: Target, processes: int, ioctls: int, auto_load: bool, folder: Path) -> dict:
    program, path = compile_program(folder), folder / "kvcpu0"
    with Served(target, folder / "session") as served, Progress(console=Console(stderr=True)) as progress:
        if not auto_load:
            size = served.device.block_bytes
            served.execute(*(Load(1, 0, 0, 32 * n, 32 * n + 31, VA + n * size) for n in range(BLOCKS)))
        task = progress.add_task("ioctls", total=processes * ioctls)
        with running(path, Kvcpu0(served, auto_load)):
            began = time.perf_counter()
            crowd = [subprocess.Popen([program, path, "hammer", str(ioctls), "0"]) for _ in range(processes)]
            while any(one.poll() is None for one in crowd):
                time.sleep(0.2)
                with served.lock:
                    found = served.device.telemetry()
                progress.update(task, completed=sum(found[name] for name in COUNTERS))
            seconds = time.perf_counter() - began
        found = served.device.telemetry()
        sent = {name: processes * len(range(place, ioctls, 5)) for place, name in enumerate(COUNTERS)}
        error = served.failed.message if served.failed else ""
        try:
            served.device.verify()
        except KvfpgaError as difference:
            error = difference.message
    return {
        "target": target.kind, "processes": processes, "ioctls_each": ioctls, "auto_load": auto_load,
        "sent": sent, "counted": {name: found[name] for name in COUNTERS}, "blocks": found["valid_entries"],
        "exit_codes": sorted({one.returncode for one in crowd}), "error": error,
        "seconds": round(seconds, 1), "ioctls_per_second": round(processes * ioctls / seconds),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("sim", "model"), default="sim")
    parser.add_argument("--entries", type=int, default=65536)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--ioctls", type=int, default=10_000, help="of each process")
    parser.add_argument("--auto-load", action="store_true", help="let the hints load the blocks")
    options = parser.parse_args()
    os.environ["KVFPGA_ASSERTIONS"] = "1"
    target = Target(options.target, options.entries, options.lanes)
    with tempfile.TemporaryDirectory(prefix="kvfpga-soak-") as folder:
        found = run(target, options.processes, options.ioctls, options.auto_load, Path(folder))
    right = found["sent"] == found["counted"] and found["exit_codes"] == [0] and not found["error"] and found["blocks"] == BLOCKS
    print(json.dumps(found | {"verdict": "right" if right else "WRONG"}))
    return int(not right)


if __name__ == "__main__":
    sys.exit(interruptible(main))
