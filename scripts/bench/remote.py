"""Checked commands per second through the remote target, beside the same directly in the process; and where the time goes.

    python -m scripts.bench.remote [--entries N] [--seconds S] [--json]

The same simulation serves all: in this process, and in a server process of its own behind unix:PATH and tcp://127.0.0.1 (CURVE).
Rounds of the three alternate, so that what else the machine does falls on all alike; the ratio is of the medians. A command is a
STEP over 64 blocks, in lockstep; a read is read32. The parts are measured one by one in this process: packing and unpacking the
messages, and an echo of the same bytes over the same kind of socket, between two threads, with nothing behind it. What is left is
the server's loop, its worker, and the waking up of two processes, which a busy machine makes longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import zmq
from rich.table import Table

from kvfpga.cli.output import print_rich
from kvfpga.contract.commands import Load, Set, Step
from kvfpga.device.device import Device
from kvfpga.device.regmap import REGISTERS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.recording import RecordingMmio
from kvfpga.transport.remote import keys as remote_keys
from kvfpga.transport.remote import protocol as wire
from kvfpga.transport.remote.client import RemoteMmio
from kvfpga.transport.sim.verilated import VerilatorSim
from scripts.interrupt import interruptible

LANES, DATA_BITS, BLOCKS, ROUNDS = 4, 128, 64, 5
PROCESS = [sys.executable, "-m", "tests.helpers.remote_process"]


class Way:
    """One way to the device: a lockstep pair with BLOCKS blocks that no STEP moves, and rates of rounds."""

    def __init__(self, name: str, mmio, entries: int):
        self.name, self.mmio = name, mmio
        self.pair = Lockstep(Device(mmio), ReferenceModel(entries))
        self.pair.reset()
        self.pair.execute(Set("EVICT_THRESH", 0))
        block = self.pair.block_bytes
        self.pair.execute_many([Load(1, 0, 0, 32 * n, 32 * n + 31, 0x7F000000 + block * n) for n in range(BLOCKS)])
        self.step, self.commands, self.reads = 0, [], []

    def round(self, seconds: float) -> None:
        self.commands.append(self._rate(self._command, seconds))
        self.reads.append(self._rate(lambda: self.mmio.read32(REGISTERS["STATUS"].offset), seconds / 4))

    def _command(self) -> None:
        self.step += 1
        self.pair.execute(Step(self.step))

    @staticmethod
    def _rate(perform, seconds: float) -> float:
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            for _ in range(10):
                perform()
            done += 10
        return done / spent


def echo(address: str, keys: remote_keys.Keys | None, request: bytes, reply: bytes, times: int = 2000) -> float:
    """Seconds of a round trip over a socket between two threads."""
    context = zmq.Context()
    near, far = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    if keys:
        far.curve_server, near.curve_serverkey = 1, keys.public
        for one in (near, far):
            one.curve_publickey, one.curve_secretkey = keys.public, keys.secret
    if address.startswith("ipc:"):
        far.bind(address)
    else:
        address += f":{far.bind_to_random_port(address)}"
    near.connect(address)

    def answer() -> None:
        for _ in range(times):
            far.recv()
            far.send(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        near.send(request)
        near.recv()
        spent.append(time.perf_counter() - start)
    thread.join()
    context.destroy()
    return statistics.median(spent)


def packing(request: wire.Run, reply: wire.Ran, batch, times: int = 2000) -> float:
    """Seconds for what both sides do to the messages of one command."""
    start = time.perf_counter()
    for _ in range(times):
        wire.unpack_batch(wire.decode_request(wire.encode(wire.Run(1, wire.pack_batch(batch)))).ops)
        wire.decode_reply(wire.encode(reply))
    return (time.perf_counter() - start) / times


def last_batch(way: Way):
    """The batch of a checked STEP, and its answer."""
    way.step += 1
    kept, inner = {}, way.mmio.run

    def run(batch):
        kept["batch"], kept["answer"] = batch, inner(batch)
        return kept["answer"]

    recorder = RecordingMmio(way.mmio)
    recorder.run = run
    way.pair.device.mmio = recorder
    way.pair.execute(Step(way.step))
    way.pair.device.mmio = way.mmio
    return kept["batch"], kept["answer"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size = (str(options.entries), str(LANES), str(DATA_BITS))
    with tempfile.TemporaryDirectory() as folder:
        keys = remote_keys.create(Path(folder) / "keys")
        remote_keys.authorize(keys.public.hex(), "bench", keys.folder)
        servers, ways = [], []
        try:
            ways.append(Way("in the process", VerilatorSim(options.entries, LANES, DATA_BITS), options.entries))
            for address in (f"unix:{folder}/socket", "tcp://127.0.0.1:0"):
                command = [*PROCESS, "sim", address, keys.folder, *size]
                servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
                at = servers[-1].stdout.readline().strip()
                if at.startswith("tcp:"):
                    remote_keys.trust(at, keys.public.hex(), keys.folder)
                ways.append(Way(address.partition(":")[0], RemoteMmio(at, keys), options.entries))
            for _ in range(ROUNDS):
                for way in ways:
                    way.round(options.seconds)
            batch, answer = last_batch(ways[0])
        finally:
            for way in ways:
                way.mmio.close()
            for server in servers:
                server.terminate()
                server.wait()
        request = wire.Run(1, wire.pack_batch(batch))
        reply = wire.Ran(1, answer.words.tobytes(), answer.records.tobytes())
        sent, got = wire.encode(request), wire.encode(reply)
        direct = statistics.median(ways[0].commands)
        found = {
            "entries": options.entries, "bytes": [len(sent), len(got)], "packing_us": 1e6 * packing(request, reply, batch),
            "echo_us": {"unix": 1e6 * echo(f"ipc://{folder}/echo", None, sent, got),
                        "tcp": 1e6 * echo("tcp://127.0.0.1", keys, sent, got)},
            "ways": {
                way.name: {"commands_per_s": statistics.median(way.commands), "reads_per_s": statistics.median(way.reads),
                           "us": 1e6 / statistics.median(way.commands), "ratio": statistics.median(way.commands) / direct,
                           "differences": way.pair.differences}
                for way in ways
            },
        }  # fmt: skip
    print(json.dumps(found)) if options.json else show(found)
    return 0


def show(found: dict) -> None:
    table = Table(title=f"checked STEPs, {found['entries']} entries, {BLOCKS} blocks; medians of {ROUNDS} rounds")
    names = ("way", "commands/s", "ratio", "µs each", "over direct", "echo µs", "packing µs", "the rest µs", "reads/s")
    for name in names:
        table.add_column(name, justify="left" if name == "way" else "right")
    direct = found["ways"]["in the process"]["us"]
    for name, way in found["ways"].items():
        parts = [""] * 4
        if name in found["echo_us"]:
            over, trip, pack = way["us"] - direct, found["echo_us"][name], found["packing_us"]
            parts = [f"{part:.0f}" for part in (over, trip, pack, over - trip - pack)]
        table.add_row(
            name, f"{way['commands_per_s']:,.0f}", f"{way['ratio']:.2f}", f"{way['us']:.0f}", *parts, f"{way['reads_per_s']:,.0f}"
        )
    print_rich(table)
    print(f"{found['bytes'][0]} bytes out, {found['bytes'][1]} in")


if __name__ == "__main__":
    sys.exit(interruptible(main))
