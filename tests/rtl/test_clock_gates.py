"""Nobody can tell from outside whether a simulation has clock gates (kvcpu_clock_gate, CLOCK_GATES): a device with them and one
without get the same stimulus, and every output is compared in every cycle, every answer and every cycle count too.

What can go wrong is a `work` that misses something: then a part of the device sleeps when it should act. So everything is begun
out of long rest as well as in the middle of something else: register accesses, hardware lookups, passes that overlap DMA, resets.
"""

import random
from contextlib import ExitStack
from dataclasses import replace

import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import KvfpgaError
from kvfpga.device.device import Device
from kvfpga.device.regmap import QUERY, REGISTERS, SCORES
from kvfpga.transport.sim.build import CORE
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

LINGER = 15  # of kvcpu_clock_gate
BLOCK, VA = 16384, 0x7F00_0000_0000
READABLE = [register for register in REGISTERS.values() if "r" in register.access]
WINDOW = 0x400000
FAULTY = 2 * ENTRIES * BLOCK  # the first blocks of tier 2
KINDS = (
    cmd.Load, cmd.Load, cmd.Load, cmd.Step, cmd.Step, cmd.Lookup, cmd.Touch, cmd.Evict, cmd.Hot, cmd.Share, cmd.Release,
    cmd.Unload, cmd.Prefetch, cmd.UnloadRequest, cmd.ShareIndex, cmd.ReleaseIndex, cmd.Set, cmd.Score, cmd.Score,
)  # fmt: skip
"""As often as they are drawn."""
# Outputs, and what says that they mean something in this cycle.
ALWAYS = "s_axil_arready", "s_axil_bvalid", "s_axil_rvalid", "irq", "idle", "lookup_done", "m_axi_bready", "m_axi_rready"
WHILE = {
    "m_axi_arvalid": ("m_axi_arid", "m_axi_araddr", "m_axi_arlen"),
    "m_axi_awvalid": ("m_axi_awid", "m_axi_awaddr", "m_axi_awlen"),
    "m_axi_wvalid": ("m_axi_wdata", "m_axi_wlast", "m_axi_wstrb"),
}
PER_PORT = ("lookup_hit", 1), ("lookup_unresolved", 1), ("lookup_index", 16), ("lookup_tier", 2)


class Stimulus:
    """Drives one device from a seed, action by action. `seen` is all that an action showed."""

    def __init__(self, sim: VerilatorSim, seed: int):
        self.sim, self.device, self.io, self.random = sim, Device(sim), sim.sim.io, random.Random(seed)
        self.step = 0
        self.seen: list = []

    def act(self) -> list:
        self.seen = []
        actions = (
            self.command, self.doorbells, self.scores, self.read, self.window, self.lookups, self.look, self.rest, self.reset,
            self.pops,
        )  # fmt: skip
        (action,) = self.random.choices(actions, weights=(30, 12, 8, 12, 6, 8, 6, 10, 2, 6))
        self.note(action.__name__)
        try:
            action()
        except KvfpgaError as error:  # a full queue, the result of a doorbell that nobody waited for
            self.note(str(error))
        if self.random.random() < 0.5:
            self.clock(self.random.choice((1, 5, LINGER - 1, LINGER, LINGER + 1, 3 * LINGER)))
        return self.seen

    def note(self, *what) -> None:
        self.seen.append((self.sim.clock_cycles, *what))

    # ---- what one device does ----------------------------------------------------------------------------------------
    def clock(self, cycles: int) -> None:
        """Cycle by cycle, with all outputs."""
        for _ in range(cycles):
            self.sim.clock(1)
            self.note(*self.outputs())

    def outputs(self) -> list[int]:
        found = [int(getattr(self.io, name)) for name in ALWAYS]
        for valid, payload in WHILE.items():
            found += [int(getattr(self.io, name)) for name in payload] if self.io[valid] else [-1]
        done = int(self.io.lookup_done)
        for name, width in PER_PORT:
            value = int(getattr(self.io, name))
            found += [(value >> (port * width)) & ((1 << width) - 1) for port in range(2) if done >> port & 1]
        return found

    def range(self) -> tuple[int, int]:
        return VA + self.random.randrange(300) * BLOCK, self.random.randrange(1, 9) * BLOCK

    def any_command(self):
        r = self.random
        token = r.randrange(64) * 32
        kind = r.choice(KINDS)
        if kind is cmd.Load:
            return cmd.Load(r.randrange(4), 0, r.randrange(2), token, token + 31, VA + r.randrange(300) * BLOCK, r.randrange(4))
        if kind is cmd.Step:
            self.step += r.choice((0, 1, 1, 40))
            return cmd.Step(self.step)
        if kind is cmd.Score:
            return cmd.Score(r.randrange(4), 0, r.randrange(2), token, r.randrange(66), r.randrange(3))
        if kind in (cmd.Lookup, cmd.Touch):
            return kind(r.randrange(4), 0, r.randrange(2), token)
        if kind is cmd.Prefetch:
            return cmd.Prefetch(*self.range(), self.step + r.randrange(9))
        if kind is cmd.UnloadRequest:
            return cmd.UnloadRequest(r.randrange(4))
        if kind in (cmd.ShareIndex, cmd.ReleaseIndex):
            return kind(r.randrange(ENTRIES))
        if kind is cmd.Set:
            name, most = r.choice((("EVICT_THRESH", 65535), ("PREFETCH_THRESH", 65535), ("T1_CAPACITY", ENTRIES), ("STRICT", 1)))
            return cmd.Set(name, r.randint(0, most))
        return kind(*self.range())

    def command(self) -> None:
        self.note(self.device.execute(self.any_command()))

    def doorbells(self) -> None:
        """Several at once, and nobody waits: the queue fills, passes overlap the DMA where STRICT is off."""
        for _ in range(self.random.randrange(1, 6)):
            self.step += 1
            self.sim.write32(REGISTERS["STEP_FAST"].offset, self.step)
            self.clock(self.random.randrange(12))

    def scores(self) -> None:
        """Queries, doorbells of SCORE that nobody waits for, and the window while they run."""
        for _ in range(self.random.randrange(1, 5)):
            self.sim.write32(QUERY + 4 * self.random.randrange(4096), self.random.getrandbits(32) & 0x3FFF3FFF)
            token, request, slot = self.random.randrange(64) * 32, self.random.randrange(4), self.random.randrange(64)
            for name, value in (("ID", request), ("POS", token), ("SLOT", slot), ("FLAGS", self.random.randrange(2))):
                self.sim.write32(REGISTERS[f"SCORE_{name}"].offset, value)
            self.clock(self.random.choice((0, 3, 40)))
            self.note("scores", self.sim.read32(SCORES + 4 * self.random.randrange(1024)))
            self.note("query", self.sim.read32(QUERY + 4 * self.random.randrange(4096)))

    def read(self) -> None:
        register = self.random.choice(READABLE)
        for word in range(register.width // 32):
            self.note(register.name, self.sim.read32(register.offset + 4 * word))

    def window(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            self.note("window", self.sim.read32(WINDOW + 4 * self.random.randrange(8 * ENTRIES)))

    def pops(self) -> None:
        for name in ("RESULT_STATUS", "COMPLETION"):
            self.note(name, self.sim.read32(REGISTERS[name].offset))

    def lookups(self) -> None:
        """Hardware lookups, one or both ports, beside whatever is going on."""
        for _ in range(self.random.randrange(1, 20)):
            self.io.lookup_key = self.lookup_key() << 64 | self.lookup_key()
            self.io.lookup_valid = self.random.randrange(4)
            self.clock(1)
        self.io.lookup_valid = 0
        self.clock(12)

    def lookup_key(self) -> int:
        token, head, request = self.random.randrange(64) * 32, self.random.randrange(2), self.random.randrange(4)
        return token << 32 | head << 16 | request

    def look(self) -> None:
        self.note(self.device.telemetry())
        self.note(self.device.digest())

    def rest(self) -> None:
        self.sim.wait_idle()
        self.clock(self.random.choice((LINGER - 2, LINGER, LINGER + 2, 4 * LINGER)))

    def reset(self) -> None:
        """A soft reset, also in the middle of something."""
        if self.random.random() < 0.5:
            self.doorbells()
        self.sim.write32(REGISTERS["CTRL"].offset, 1)
        self.clock(self.random.randrange(40))
        self.sim.wait_idle()
        self.step = 0


@pytest.mark.parametrize("seed, latency, stalls", [(1, (0, 0), 0), (2, (4, 24), 0), (3, (0, 60), 30)])
def test_nobody_can_tell_whether_clocks_are_gated(seed, latency, stalls):
    with ExitStack() as stack:
        gated, free = (
            Stimulus(
                stack.enter_context(
                    VerilatorSim(ENTRIES, LANES, DATA_BITS, seed=seed, latency=latency, stall_percent=stalls, design=design)
                ),
                seed,
            )
            for design in (CORE, replace(CORE, clock_gates=False))
        )
        for stimulus in gated, free:
            stimulus.sim.memory_fault(FAULTY, FAULTY + 8 * BLOCK - 1)
        for action in range(600):
            assert gated.act() == free.act(), f"action {action}"
        assert gated.sim.clock_cycles > 10_000
