"""What an ioctl on /dev/kvcpu0 in user space costs beside the same command in the process, and where the time goes.

    python -m scripts.bench.ioctls                 the simulation of the full device, 64 blocks loaded
    python -m scripts.bench.ioctls --target model --entries 256

Every kind of ioctl is measured four ways, in turns: through the node by a program of another process; as Kvcpu0.ioctl in the
server's; as the command itself, checked in lockstep; and the command unchecked. A number that is no ioctl (ENOTTY) shows what the
way through the kernel and FUSE costs by itself. The median of the rounds is shown. Then the rate of several programs at once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from kvfpga.cli.output import print_rich
from kvfpga.contract.commands import Load
from kvfpga.linux import ioctls
from kvfpga.linux.node import Kvcpu0, running
from kvfpga.session.serving import Served
from kvfpga.targets.target import Target
from scripts.interrupt import interruptible

VA, BLOCKS = 0x7F00_0000_0000, 64
ENOTTY = 0x4B00
CLIENT = """
import fcntl, sys, time
for line in sys.stdin:
    path, request, count, data = line.split()
    with open(path, "rb", buffering=0) as node:
        request, data = int(request), bytes.fromhex(data)
        began = time.perf_counter()
        for _ in range(int(count)):
            try:
                fcntl.ioctl(node, request, data)
            except OSError:
                pass
        print((time.perf_counter() - began) / int(count), flush=True)
"""
"""Reads jobs, one a line; answers each with the seconds of one ioctl."""


class Client:
    """A program of another process."""

    def __init__(self):
        self._process = subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, path: Path, request: int, data: bytes, count: int) -> None:
        self._process.stdin.write(f"{path} {request} {count} {data.hex()}\n")
        self._process.stdin.flush()

    def seconds(self) -> float:
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def seconds(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def jobs(block: int) -> dict[ioctls.Ioctl, bytes]:
    span = ioctls.MARK_HOT.layout.pack(VA + 5 * block, block, 9)
    return {
        ioctls.STEP_ADVANCE: ioctls.STEP_ADVANCE.layout.pack(9), ioctls.MARK_HOT: span, ioctls.EVICT: span, ioctls.PREFETCH: span,
        ioctls.SHARE_PREFIX: span, ioctls.SET_WEIGHTS: ioctls.SET_WEIGHTS.layout.pack(48, 16, 128, 64, 20000, 60000),
        ioctls.GET_TELEMETRY: bytes(96),
    }  # fmt: skip


def measure(target: Target, count: int, rounds: int, folder: Path, crowds=(1, 2, 4, 16)) -> tuple[list[dict], dict]:
    """(a row for each kind of ioctl, the rates of crowds of so many programs), times in microseconds."""
    clients = [Client() for _ in range(max(crowds))]
    one, path = clients[0], folder / "kvcpu0"
    with Served(target, folder / "checked") as served, Served(target, folder / "plain", check=False) as plain:
        block = served.device.block_bytes
        for device in (served, plain):
            device.execute(*(Load(1, 0, 0, 32 * n, 32 * n + 31, VA + n * block) for n in range(BLOCKS)))
        kvcpu0, rows = Kvcpu0(served), []

        def through(request: int, data: bytes) -> float:
            one.start(path, request, data, count)
            return one.seconds()

        with running(path, kvcpu0):
            for client in clients:  # until they are up
                client.start(path, ENOTTY, bytes(8), 1)
                client.seconds()
            for ioctl, data in [(None, bytes(8)), *jobs(block).items()]:
                times = []
                for _ in range(rounds):
                    if ioctl is None:
                        times.append([through(ENOTTY, data), *[0.0] * 3])
                        continue
                    if ioctl is ioctls.GET_TELEMETRY:
                        direct, unchecked = (
                            lambda d=d: (d.device.telemetry(), d.device.settings()) for d in (served, plain)
                        )  # fmt: skip
                    else:
                        commands = ioctls.commands(ioctl, data)
                        direct, unchecked = (lambda d=d: d.execute(*commands) for d in (served, plain))  # noqa: B023
                    times.append([
                        through(ioctl.request, data), seconds(lambda: kvcpu0.ioctl(ioctl.request, data), count),  # noqa: B023
                        seconds(direct, count), seconds(unchecked, count),
                    ])  # fmt: skip
                values = [round(1e6 * statistics.median(column), 1) for column in zip(*times)]
                name = ioctl.name if ioctl else "ENOTTY"
                rows.append({"name": name, **dict(zip(("node", "ioctl", "command", "unchecked"), values))})
            rates = {}
            for number in crowds:
                began = time.perf_counter()
                for client in clients[:number]:
                    client.start(path, ioctls.MARK_HOT.request, jobs(block)[ioctls.MARK_HOT], count)
                for client in clients[:number]:
                    client.seconds()
                rates[number] = round(number * count / (time.perf_counter() - began))
    for client in clients:
        client.close()
    return rows, rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("sim", "model"), default="sim")
    parser.add_argument("--entries", type=int, default=65536)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--count", type=int, default=500, help="ioctls in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        target = Target(options.target, options.entries, options.lanes)
        rows, rates = measure(target, options.count, options.rounds, Path(folder))
    if options.json:
        print(json.dumps({"target": options.target, "entries": options.entries, "us": rows, "hot_per_second_by_clients": rates}))
        return 0
    table = Table(title=f"{options.target}, {options.entries} entries, {BLOCKS} blocks: µs each, median of {options.rounds}")
    names = "ioctl,through the node,a second,Kvcpu0.ioctl,command,node : command,kernel + FUSE,decoding,check,device"
    for name in names.split(","):
        table.add_column(name, justify="right")
    for row in rows:
        node, ioctl, command, unchecked = (row[key] for key in ("node", "ioctl", "command", "unchecked"))
        cells = [row["name"], node, f"{1e6 / node:,.0f}"]
        if command:
            parts = [node - ioctl, ioctl - command, command - unchecked, unchecked]
            cells += [ioctl, command, f"{node / command:.2f}", *(round(part, 1) for part in parts)]
        table.add_row(*map(str, cells))
    print_rich(table)
    print("MARK_HOT a second by clients at once: " + ", ".join(f"{number}: {rate:,}" for number, rate in rates.items()))
    return 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
