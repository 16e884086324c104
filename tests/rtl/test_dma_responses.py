"""The DMA behind a memory that is slow to answer: write responses of several blocks then come at once."""

from kvfpga.contract.commands import Load, Set, Step
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.small_device import LEAST


def test_responses_that_come_faster_than_blocks_complete():
    """Blocks of one burst, moving both ways: a block's response comes while the completion of the one before waits for that of
    the other channel. (A channel that expects one block's responses at a time forgets it and never ends.)"""
    with VerilatorSim(**LEAST, seed=1, latency=(0, 800)) as sim:
        pair = Lockstep(Device(sim), ReferenceModel(256, 32, 2, 16))
        size = pair.block_bytes
        for setting in (Set("EVICT_THRESH", 0xFFFF), Set("PREFETCH_THRESH", 0)):  # every block leaves its tier at every step
            pair.execute(setting)
        for n in range(256):
            pair.execute(Load(1, 0, 0, 32 * n, 32 * n + 31, 0x1000000 + n * size, tier=1 + n % 2))
        for step in range(1, 11):
            assert len(pair.execute(Step(step)).triggers) == 256
        pair.verify()
