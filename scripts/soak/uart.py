"""Drive the virtual UART board over a line that damages bytes, and count what goes wrong above it: nothing may.

    python -m scripts.soak.uart                       100,000 frames to the board, 1% of bytes damaged in either direction
    python -m scripts.soak.uart --frames 5000 --kinds flip drop

First each kind of damage by itself, for how long the link takes to recover from it; then all of them together. Half of the
requests are STEP doorbells with their results, half write random words to operand registers and read them back, so that a
request that ran twice, not at all, or with other bytes shows: in the results, in step_count, and in the bridge's own count of
executed requests. Recovery is the time of an exchange that needed repetitions beyond that of one that needed none: in
milliseconds of the simulated line, and in those of the host, whose timeouts follow the speed of the simulation. Exit code 1
when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kvfpga.cli.output import print_rich
from kvfpga.contract.errors import KvfpgaError
from kvfpga.device.regmap import REGISTERS, Opcode
from kvfpga.transport.mmio import Batch
from kvfpga.transport.virtual.uart import FAULTS, LineFaults, VirtualUartBoard
from kvfpga.uart_bridge import UartBridge
from scripts.interrupt import interruptible

CLOCK_HZ, BAUD = 24_000_000, 3_000_000
OPERANDS = ("BOOST_ADDR", "SHARE_ADDR", "LOAD_VA", "UNLOAD_ADDR")
STEP, RESULT, COUNT = (REGISTERS[name].offset for name in ("STEP_FAST", "RESULT_STATUS", "T_STEP_COUNT"))


class Work:
    """Requests whose right answers are known here, and what was wrong with them."""

    def __init__(self, link: UartBridge, seed: str):
        self.link, self.random = link, random.Random(seed)
        self.step, self.steps, self.requests, self.wrong = 0, 0, 0, 0

    def one(self) -> None:
        self.requests += 1
        (self._step if self.random.random() < 0.5 else self._operand)()

    def _step(self) -> None:
        self.step += self.random.randrange(3)
        self.steps += 1
        batch = Batch()
        batch.write(STEP, self.step)
        batch.wait_idle()
        result = batch.burst(RESULT, 6)
        status, matched, *_ = self.link.run(batch).words[result].tolist()
        self.wrong += (status, matched) != (1 << 31 | Opcode.STEP << 8, 0)

    def _operand(self) -> None:
        offset, value = REGISTERS[self.random.choice(OPERANDS)].offset, self.random.getrandbits(64)
        batch = Batch()
        batch.write64(offset, value)
        back = batch.read64(offset)
        words = self.link.run(batch).words.tolist()
        self.wrong += words[back] | words[back + 1] << 32 != value


@contextmanager
def damaged(board: VirtualUartBoard, faults: LineFaults):
    """Only while this is entered: connecting and the last look are over a good line."""
    board.set_faults(faults)
    try:
        yield
    finally:
        board.set_faults(LineFaults())


def run(name: str, faults: LineFaults, frames: int, seed: int, progress: Progress) -> dict:
    """Until the host has sent so many frames. What happened."""
    board = VirtualUartBoard(clk_hz=CLOCK_HZ, baud=BAUD, seed=seed)
    plain, repaired = [], []
    started, error = time.perf_counter(), None
    task = progress.add_task(name, total=frames)
    with board.running() as port, UartBridge(port, BAUD) as link:
        work, before = Work(link, f"{seed}/{name}"), link.bridge_statistics()
        with damaged(board, faults):
            while link.link.frames_sent < frames and error is None:
                repeats, cycles, began = link.link.repeats, board.cycles, time.perf_counter()
                try:
                    work.one()
                except KvfpgaError as failure:
                    error = failure.message
                times = (board.cycles - cycles) / CLOCK_HZ * 1e3, (time.perf_counter() - began) * 1e3
                (repaired if link.link.repeats > repeats else plain).append(times)
                progress.update(task, completed=link.link.frames_sent)
        if error is None:
            after, steps = link.bridge_statistics(), link.read64(COUNT)
            executed = after["runs_executed"] - before["runs_executed"]
        else:
            after, steps, executed = {}, None, None
        counts, host = board.statistics(), link.link
    return {
        "damage": name, "frames_sent": host.frames_sent, "requests": work.requests, "repeated": host.repeats,
        "bytes_damaged": {way: sum(counts[f"{kind}_{way}"] for kind in FAULTS) for way in ("in", "out")},
        "bytes": {"in": counts["bytes_in"], "out": counts["bytes_out"]},
        "wrong_results": work.wrong, "steps_sent": work.steps, "step_count": steps,
        "runs_executed": executed, "runs_expected": work.requests, "runs_answered_from_store": after.get("runs_repeated"),
        "recovery_line_ms": recovery(plain, repaired, 0), "recovery_host_ms": recovery(plain, repaired, 1),
        "error": error, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def recovery(plain: list[tuple], repaired: list[tuple], column: int) -> dict:
    """Milliseconds that exchanges with repetitions took beyond the usual."""
    if not repaired:
        return {"median": 0.0, "p99": 0.0}
    usual = statistics.median(times[column] for times in plain)
    extra = sorted(max(0.0, times[column] - usual) for times in repaired)
    return {"median": round(statistics.median(extra), 3), "p99": round(extra[int(0.99 * (len(extra) - 1))], 3)}


def right(found: dict) -> bool:
    return (
        found["error"] is None and found["wrong_results"] == 0 and found["step_count"] == found["steps_sent"]
        and found["runs_executed"] == found["runs_expected"]
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000, help="frames that the host sends, all kinds of damage together")
    parser.add_argument("--damage", type=float, default=0.01, help="share of bytes that are damaged")
    parser.add_argument("--kinds", nargs="*", choices=FAULTS, default=list(FAULTS), help="kinds that get a run of their own")
    parser.add_argument("--kind-frames", type=int, default=3000, help="frames of each such run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a run instead of the table")
    options = parser.parse_args()
    os.environ["KVFPGA_ASSERTIONS"] = "1"  # the board's RTL checks what it promises
    jobs = [(kind, LineFaults(**{kind: options.damage}), options.kind_frames) for kind in options.kinds]
    jobs.append(("all", LineFaults(**dict.fromkeys(FAULTS, options.damage / len(FAULTS))), options.frames))
    found = []
    with Progress(console=Console(stderr=True)) as progress:
        for name, faults, frames in jobs:
            found.append(run(name, faults, frames, options.seed, progress))
            if options.json:
                print(json.dumps(found[-1]), flush=True)
    if not options.json:
        table = Table(title=f"{options.damage:.1%} of bytes damaged in either direction")
        names = "damage frames requests repeats wrong steps step_count executed line_ms host_ms verdict"
        for name in names.split():
            table.add_column(name, justify="right")
        for f in found:
            line, host = (f"{f[key]['median']} (99%: {f[key]['p99']})" for key in ("recovery_line_ms", "recovery_host_ms"))
            keys = "damage", "frames_sent", "requests", "repeated", "wrong_results", "steps_sent", "step_count", "runs_executed"
            verdict = f["error"] or ("right" if right(f) else "WRONG")
            table.add_row(*(str(f[key]) for key in keys), line, host, verdict)
        print_rich(table)
    return int(not all(map(right, found)))


if __name__ == "__main__":
    sys.exit(interruptible(main))
