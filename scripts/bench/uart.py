"""What a checked `step` costs over the UART: exchanges, bytes, and time on the simulated line.

    python -m scripts.bench.uart            at 115,200 and 3,000,000 baud

The virtual UART board runs at its real clock, so the time is cycles of the design divided by that clock: bits on the line, the
bridge's work, the command and the DIGEST. The host's own time does not count. Beside it, the same accesses in the wire format of
UARTBone (LiteX): command, length and 4 address bytes, then 4 bytes a word; no answer to a write; a wait until idle is one read
of STATUS at least, and each record that is drained a read of its own. Its time is that of its bytes alone, so it is a lower
bound; what a USB adapter adds to each exchange is shown for 1 ms.
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.progress import track
from rich.table import Table

from kvfpga.cli.output import print_rich
from kvfpga.contract.commands import Load, Step
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.mmio import OpKind
from kvfpga.transport.recording import RecordingMmio
from kvfpga.transport.virtual.uart import SMALL, VirtualUartBoard
from kvfpga.uart_bridge import UartBridge
from scripts.interrupt import interruptible

CLOCK_HZ = 50_000_000
BLOCKS = 16
UARTBONE_HEADER = 6
MOST_WORDS = 255
USB_MS = 1.0


def uartbone(call: dict) -> tuple[int, int, int]:
    """(round trips, bytes out, bytes in) of a recorded batch in UARTBone's wire format."""
    trips = out = back = 0
    records = len(call["answer"]["records"])
    for kind, _, count, _ in call["ops"]:
        match OpKind[kind]:
            case OpKind.READ:
                requests = -(-count // MOST_WORDS)
                trips, out, back = trips + requests, out + requests * UARTBONE_HEADER, back + 4 * count
            case OpKind.WRITE:
                out += UARTBONE_HEADER + 4
            case OpKind.WRITE64:
                out += UARTBONE_HEADER + 8
            case OpKind.WAIT_IDLE:
                trips, out, back = trips + 1, out + UARTBONE_HEADER, back + 4
            case OpKind.DRAIN:
                trips, out, back = trips + records + 1, out + (records + 1) * UARTBONE_HEADER, back + (records + 1) * 8
    return trips, out, back


def measure(baud: int, steps: int) -> dict:
    """Averages of `steps` checked STEPs without triggers over BLOCKS blocks."""
    board = VirtualUartBoard(clk_hz=CLOCK_HZ, baud=baud)
    with board.running() as port, UartBridge(port, baud, patience=60) as link:
        mmio = RecordingMmio(link, keep=True)
        pair = Lockstep(Device(mmio), ReferenceModel(SMALL.entries, SMALL.block_tokens, SMALL.head_dim, SMALL.classes))
        pair.execute_many([Load(1, 0, 0, 32 * n, 32 * n + 31, 0x7F000000 + SMALL.block_bytes * n) for n in range(BLOCKS)])
        pair.execute(Step(1))  # the reset values evict everything at once
        mmio.forget()
        before, cycles = (link.link.exchanges, link.link.bytes_out, link.link.bytes_in, link.link.repeats), board.cycles
        for step in track(range(2, 2 + steps), f"{baud:,} baud", console=Console(stderr=True)):
            pair.execute(Step(step))
        after = link.link.exchanges, link.link.bytes_out, link.link.bytes_in, link.link.repeats
        trips, out, back, repeats = (b - a for a, b in zip(before, after))
        seconds = (board.cycles - cycles) / CLOCK_HZ
        peer = [sum(column) / steps for column in zip(*(uartbone(call) for call in mmio.calls if call["call"] == "run"))]
    peer_ms = 10 * (peer[1] + peer[2]) / baud * 1e3
    ours_ms = seconds / steps * 1e3
    return {
        "baud": baud, "steps": steps, "repeats": repeats,
        "kvfpga": {"round_trips": trips / steps, "bytes_out": out / steps, "bytes_in": back / steps, "ms": round(ours_ms, 3),
                   "ms_with_usb": round(ours_ms + USB_MS * trips / steps, 3)},
        "uartbone": {"round_trips": peer[0], "bytes_out": peer[1], "bytes_in": peer[2], "ms": round(peer_ms, 3),
                     "ms_with_usb": round(peer_ms + USB_MS * peer[0], 3)},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baud", type=int, nargs="+", default=[115_200, 3_000_000])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object a rate instead of the table")
    options = parser.parse_args()
    found = [measure(baud, options.steps) for baud in options.baud]
    if options.json:
        for one in found:
            print(json.dumps(one))
        return 0
    table = Table(title=f"a checked step, {BLOCKS} blocks, averages of {options.steps}")
    for name in ("baud", "protocol", "round trips", "bytes out", "bytes in", "line ms", f"with {USB_MS:g} ms a round trip"):
        table.add_column(name, justify="right")
    for one in found:
        for name in ("kvfpga", "uartbone"):
            row = one[name]
            cells = [f"{row[key]:g}" for key in ("round_trips", "bytes_out", "bytes_in", "ms", "ms_with_usb")]
            table.add_row(f"{one['baud']:,}", name, *cells)
    print_rich(table)
    return 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
