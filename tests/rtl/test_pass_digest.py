"""PASS_DIGEST (R25) on the RTL beside DIGEST (R24), of which it must be the value right before the STEP."""

from __future__ import annotations

import pytest

from kvfpga.contract import commands as cmd
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, REGISTERS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.random_commands import random_commands
from tests.helpers.small_device import ONE_LANE, SMALL, WIDE

VA, BLOCK = 0x7F00_0000_0000, 16384


@pytest.fixture(params=[SMALL, ONE_LANE, WIDE], ids=["small", "one lane", "wide"])
def device(request):
    with VerilatorSim(**request.param) as sim:
        yield Device(sim)


def load(n: int, request: int = 1) -> cmd.Load:
    return cmd.Load(request, 0, 0, 32 * n, 32 * n + 31, VA + n * BLOCK, 1)


def pass_digest(device: Device) -> int:
    return device.mmio.read64(REGISTERS["PASS_DIGEST"].offset)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_digest_before_the_step(device, seed):
    steps = 0
    for command in random_commands(seed, 200):
        before, passed = device.digest(), pass_digest(device)
        result = device.execute(command)
        stepped = type(command) is cmd.Step and result.code == "OK"
        assert pass_digest(device) == (before if stepped else passed), command
        steps += stepped
    assert steps > 5


def test_no_blocks_have_none_and_a_reset_forgets_it(device):
    device.execute(load(0))
    device.execute(cmd.Step(1))
    assert pass_digest(device) != 0
    device.soft_reset()
    assert pass_digest(device) == 0
    device.execute(load(0))
    device.execute(cmd.Step(1))
    device.execute(cmd.UnloadRequest(1))
    assert pass_digest(device) != 0
    device.execute(cmd.Step(2))
    assert pass_digest(device) == 0


@pytest.mark.parametrize("blocks", [0, 1, 5, 40, 1 << 16])
@pytest.mark.parametrize("order", ["S", "SS", "SD", "DS", "SDSSD"])
def test_steps_and_digests_that_follow_each_other_at_once(device, blocks, order):
    """The hash of one pass is still on its way when the next begins."""
    entries = device.identity.entries
    model, loads = ReferenceModel(entries), [*map(load, range(min(blocks, entries))), cmd.Set("EVICT_THRESH", 0)]
    device.execute_many(loads)
    for command in loads:
        model.execute(command)
    passed = asked = 0
    batch = Batch()
    device.append_write(batch, "DIGEST_FIRST", 0)
    for number, which in enumerate(order):
        if which == "D":
            asked = model.digest()
            device.append_write(batch, "DIGEST_END", entries)
        else:
            passed = model.digest()
            model.execute(cmd.Step(number))
            device.append_write(batch, "STEP_FAST", number)
    device.mmio.run(batch)
    device.mmio.wait_idle()
    assert pass_digest(device) == passed
    assert device.mmio.read64(REGISTERS["DIGEST"].offset) == asked


def test_a_refused_step_leaves_it(device):
    device.execute_many([load(0), cmd.Step(5), load(1)])
    passed = pass_digest(device)
    assert device.execute(cmd.Step(4)).code == "ERR_STEP_ORDER"
    assert device.execute(cmd.Step(1 << 32)).code == "ERR_RANGE"
    assert pass_digest(device) == passed != device.digest()


def test_the_window_read_while_a_step_runs_changes_nothing(device):
    """A host's read holds the pass and reads another row in between."""
    entries = device.identity.entries
    device.execute_many([load(n) for n in range(entries)])
    device.execute(cmd.Set("EVICT_THRESH", 0))
    before, batch = device.digest(), Batch()
    device.append_write(batch, "STEP_FAST", 1)
    batch.burst(BAR2_ENTRIES + 32 * (entries - 2), 16)
    device.mmio.run(batch)
    device.mmio.wait_idle()
    assert pass_digest(device) == before


def test_a_read_behind_the_result_waits_for_the_hash(device):
    """A STEP is over some cycles before its hash is there. More and more reads in front try all cycles behind the doorbell."""
    device.execute_many([load(n) for n in range(12)])
    device.execute(cmd.Set("EVICT_THRESH", 0))
    over = 0
    for step in range(1, 90):
        before, batch = device.digest(), Batch()
        device.append_write(batch, "STEP_FAST", step)
        for _ in range(step):
            batch.read(REGISTERS["SCRATCH"].offset)
        status = batch.read(REGISTERS["STATUS"].offset)
        found = batch.read64(REGISTERS["PASS_DIGEST"].offset)
        words = device.mmio.run(batch).words
        device.mmio.wait_idle()
        if not words[status] & 1:
            over += 1
            assert int(words[found]) | int(words[found + 1]) << 32 == before, step
        device.mmio.read32(REGISTERS["RESULT_CYCLES"].offset)  # takes the result
    assert 0 < over < 80
