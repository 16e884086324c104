"""The other end of the remote target in a process of its own, to be killed: test_remote.py, scripts/bench/remote.py.

    python -m tests.helpers.remote_process serve ADDRESS KEYS [SECONDS]
        a fake device whose waits take SECONDS; prints the address
    python -m tests.helpers.remote_process sim ADDRESS KEYS ENTRIES LANES DATA_BITS
    python -m tests.helpers.remote_process hold ADDRESS KEYS
        a client that does one batch after the other; prints "in" once it has begun
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from kvfpga.device.regmap import REGISTERS
from kvfpga.transport.mmio import Batch
from kvfpga.transport.remote import keys as remote_keys
from kvfpga.transport.remote.client import RemoteMmio
from kvfpga.transport.remote.server import serve
from tests.helpers.fake_device import FakeDevice


class SlowDevice(FakeDevice):
    """Waits take `seconds`, or until `release` is set; `steps` counts the STEPs that were begun."""

    def __init__(self, seconds: float = 0.0):
        super().__init__(256)
        self.seconds, self.waiting, self.release, self.steps = seconds, threading.Event(), threading.Event(), 0

    def _run(self, opcode, command):
        self.steps += opcode == "STEP"
        super()._run(opcode, command)

    def wait_idle(self, budget=None):
        self.waiting.set()
        self.release.wait(self.seconds)
        return 0


def step_batch(step: int) -> Batch:
    """A STEP, a wait, and the result: what a client is killed in the middle of."""
    batch = Batch()
    batch.write(REGISTERS["STEP_FAST"].offset, step)
    batch.wait_idle()
    batch.burst(REGISTERS["RESULT_STATUS"].offset, 6)
    return batch


def main() -> None:
    what, address, folder, *more = sys.argv[1:]
    keys = remote_keys.load(Path(folder))
    if what == "hold":
        with RemoteMmio(address, keys) as mmio:
            print("in", flush=True)
            for step in range(1, 1 << 20):
                mmio.run(step_batch(step))
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if what == "sim":
        from kvfpga.transport.sim.verilated import VerilatorSim

        mmio = VerilatorSim(*map(int, more))
    else:
        mmio = SlowDevice(*map(float, more))
    serve(address, mmio, None, keys, lambda found: print(found, flush=True), stop)


if __name__ == "__main__":
    main()
