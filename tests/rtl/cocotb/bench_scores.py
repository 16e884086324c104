"""SCORE at pin level: keys come through an AXI that nobody here wrote, beside blocks that move, with pauses on every channel.

Device, Lockstep and reference model of kvfpga run on top of the pins, so scores and numerators are compared to the bit.
"""

import cocotb
import numpy as np
from cocotb.task import bridge

from kvfpga.contract.commands import NUMERATORS, Evict, Score, Set, Step
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from tests.rtl.cocotb.dut_bench import BLOCK, VA, Bench, PinMmio, load

KEYS = 2  # its id on the bus
BLOCKS, SLOTS = 6, 3


def session(bench: Bench, strict: int, fixed: int) -> None:
    """Scores of blocks that come and go, compared after each command: blocking code for `bridge`."""
    pins = Lockstep(Device(PinMmio(bench)), ReferenceModel(256))
    for name, value in (("EVICT_THRESH", 0), ("PREFETCH_THRESH", 0xFFFF), ("STRICT", strict), ("CONTEND_POLICY", fixed)):
        assert pins.execute(Set(name, value)).code == "OK"
    draw = bench.random
    for slot in range(SLOTS):
        pins.query_write(slot, np.frombuffer(draw.randbytes(256), np.float16))
    for n in range(BLOCKS):
        pins.memory_write((256 + n) * BLOCK, draw.randbytes(BLOCK))
        pins.execute(load(n))
    codes = set()
    for step in range(1, 8):
        pins.execute(Evict(VA + draw.randrange(BLOCKS) * BLOCK, BLOCK))
        pins.execute(Step(step))
        for _ in range(3):
            token, slot, flags = 32 * draw.randrange(BLOCKS), draw.randrange(SLOTS), draw.choice((0, NUMERATORS))
            codes.add(pins.execute(Score(1, 0, 0, token, slot, flags)).code)
    assert codes == {"OK", "ERR_NOT_RESIDENT"}
    assert pins.differences == 0 and pins.checks > 30


@cocotb.test()
async def lockstep_strict(dut):
    bench = await Bench(dut, seed=1, pause=0.2).start()
    await bridge(session)(bench, 1, 0)
    assert bench.memory.bursts["r", KEYS] >= 10 and not bench.memory.bursts["w", KEYS]
    await bench.finish()


@cocotb.test()
async def lockstep_overlapping(dut):
    """STRICT 0 and fixed priority: keys stream beside blocks that move, behind whom they come."""
    bench = await Bench(dut, seed=2, pause=0.1).start()
    await bridge(session)(bench, 0, 1)
    assert bench.memory.bursts["r", KEYS] >= 10
    await bench.finish()
