"""The ranked STEP on the RTL (R43 to R48) beside the reference model, and what only the RTL has: passes, queues, cycles."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kvfpga.contract import commands as cmd
from kvfpga.device.answers import empty_queues
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, PTABLE, REGISTERS
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.small_device import ENTRIES, LANES, LEAST, ONE_LANE, SMALL, WIDE

VA, BLOCK = 0x7F00_0000_0000, 16384
ROWS = ENTRIES // LANES
AGE = (255 - 4 * np.arange(64)).astype(np.uint8) + np.zeros((256, 1), np.uint8)
PASSES_AND_SCANS = 4 * ROWS + 600
"""Cycles of a STEP that moves something, but for those in which it waits for a queue (R47)."""


class Pair:
    """Device and reference model, which get the same."""

    def __init__(self, sim: VerilatorSim):
        self.device = Device(sim)
        known = self.device.identity
        self.entries = known.entries
        self.model = ReferenceModel(known.entries, known.block_tokens, known.head_dim, known.classes)

    def table(self, codes) -> None:
        for side in (self.device, self.model):
            side.write_table(codes[: self.device.classes])
        self.do(cmd.Set("PTABLE_COMMIT", 1))

    def do(self, command: cmd.Command) -> cmd.Result:
        found, expected = self.device.execute(command), self.model.execute(command)
        assert found == expected, command
        self.same(command)
        return found

    def same(self, behind: object) -> None:
        shown, expected = self.device.telemetry(), self.model.telemetry()
        assert {name: shown[name] for name in expected} == expected, behind
        assert self.device.digest() == self.model.digest(), behind

    def run(self, batch: Batch) -> None:
        """Doorbells that nobody waits for, and what they leave in the queues."""
        self.device.mmio.run(batch)
        empty_queues(self.device.mmio)

    def contest(self, capacity: int = 40) -> None:
        """As many blocks as there are entries, in tiers 1 and 2, of three ranks, with the last touched outside: a STEP moves."""
        self.table(AGE)
        for name, value in (("POLICY", 1), ("FILL_AGE", 255), ("T1_CAPACITY", capacity)):
            self.do(cmd.Set(name, value))
        loads = [load(n, 1 + n % 2, cmd.hint_of(n % 3, 50 * (n % 3))) for n in range(ENTRIES)]
        self.device.execute_many(loads)
        for each in loads:
            self.model.execute(each)
        self.do(cmd.Step(1))


def load(n: int, tier: int = 1, hint: int = 0) -> cmd.Load:
    return cmd.Load(1, 0, 0, 32 * n, 32 * n + 31, VA + n * BLOCK, tier, hint)


@pytest.fixture(params=[SMALL, ONE_LANE, WIDE], ids=["small", "one lane", "wide"])
def pair(request):
    with VerilatorSim(**request.param) as sim:
        yield Pair(sim)


@pytest.fixture
def slow(request):
    """A memory that answers long after a pass has filled both queues. Its latency, where a test names another."""
    with VerilatorSim(**SMALL, latency=getattr(request, "param", (2000, 4000))) as sim:
        yield Pair(sim)


def drawn(pick: random.Random, step: int) -> cmd.Command:
    """Few ranks, so that ties are the rule; `step` is that of the next STEP."""
    n, size = pick.randrange(ENTRIES), pick.choice((1, BLOCK, 9 * BLOCK, 60 * BLOCK))
    place, hint = (VA + n * BLOCK + pick.choice((0, 777)), size), pick.choice((0, cmd.hint_of(n % 3, 9 * (n % 2))))
    return pick.choice((
        cmd.Step(step), cmd.Step(step), cmd.Step(step), load(n, pick.randrange(4), hint), cmd.Touch(1, 0, 0, 32 * n, hint),
        cmd.Touch(1, 0, 0, 32 * n, hint), cmd.Class(*place, n % 3, n, n % 16), cmd.Share(*place), cmd.Release(*place),
        cmd.Hot(*place), cmd.Evict(*place), cmd.Prefetch(*place, step + n), cmd.Unload(*place),
        cmd.Set("T1_CAPACITY", pick.choice((0, 1, 30, 31, ENTRIES))), cmd.Set("FILL_AGE", pick.choice((0, 1, 9, 255))),
        cmd.Set("POLICY", pick.choice((0, 1, 1, 1))),
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_R46_random_commands(pair, seed):
    pick, step, moved = random.Random(seed), 0, 0
    pair.contest(30)
    for _ in range(160):
        if pick.random() < 0.05:
            pair.table(np.random.default_rng(pick.randrange(99)).choice(np.array([0, 7, 255], np.uint8), (256, 64)))
        step += pick.choice((0, 1, 1, 5, 400))
        moved += len(pair.do(drawn(pick, step)).triggers)
    assert moved > 20 and pair.model.telemetry()["ranked_steps"] > 3


def test_R47_evictions_are_queued_before_prefetches_each_by_index(pair):
    pair.contest()
    for n in range(0, pair.entries, 5):
        pair.do(cmd.Touch(1, 0, 0, 32 * n))  # denied outside tier 1, which is full
    queued = [(t.channel, t.index) for t in pair.do(cmd.Step(2)).triggers]
    assert queued == sorted(queued)
    assert [channel for channel, _ in queued] == ["evict"] * (len(queued) // 2) + ["prefetch"] * (len(queued) // 2) != []


@pytest.mark.parametrize("latency", [(2000, 4000)])
def test_R16_full_queues_stall_the_third_and_the_fourth_pass(slow, latency):
    """40 blocks leave and 40 come, and either queue has room for a few."""
    slow.contest(80)
    slow.do(cmd.Set("T1_CAPACITY", 40))
    result = slow.do(cmd.Step(2))
    assert [t.channel for t in result.triggers] == ["evict"] * 40 and result.cycles > PASSES_AND_SCANS + 5 * latency[0]
    slow.do(cmd.Set("T1_CAPACITY", 80))
    result = slow.do(cmd.Step(3))
    assert [t.channel for t in result.triggers] == ["prefetch"] * 40 and result.cycles > 2 * ROWS + 5 * latency[0]


def test_R47_cycles(pair):
    """One pass where nothing moves, four and two scans where something does; the first trigger is timed in both modes (R48)."""
    rows = pair.entries // pair.device.identity.lanes
    pair.contest()
    pair.do(cmd.Set("FILL_AGE", 0))
    idle = pair.do(cmd.Step(2))
    assert idle.triggers == () and idle.cycles <= rows + 15
    pair.do(cmd.Set("FILL_AGE", 255))
    pair.do(cmd.Touch(1, 0, 0, 32 * int((pair.model.directory.tier == 2).argmax())))  # denied
    moving = pair.do(cmd.Step(3))
    assert pair.model.telemetry()["theta"] > 0 and len(moving.triggers) == 2
    assert 4 * rows < moving.cycles <= 4 * rows + 600
    assert 2 * rows < pair.device.telemetry()["step_to_trigger_cycles"] < moving.cycles


@pytest.mark.parametrize("slow", [(200, 400)], indirect=True)
def test_a_soft_reset_in_each_pass_leaves_an_empty_device(slow):
    """CTRL.soft_reset while the first, second, third and fourth pass run, and while θ is looked for."""
    states = set()
    for wait in range(0, 900, 37):
        slow.model.reset()
        slow.device.soft_reset()
        slow.contest()
        batch = Batch()
        slow.device.append_write(batch, "T1_CAPACITY", 33)
        slow.device.append_write(batch, "STEP_FAST", 2)
        for _ in range(wait // 9):
            batch.read(REGISTERS["SCRATCH"].offset)
        busy = batch.read(REGISTERS["STATUS"].offset)
        states.add(int(slow.device.mmio.run(batch).words[busy]) & 1)
        slow.device.soft_reset()
        slow.model.reset()
        slow.same(wait)
        assert not slow.device.read_table().any()
        slow.do(load(3))
        slow.do(cmd.Step(1))
    assert 1 in states


def test_R45_banks_swap_between_two_steps_that_follow_each_other(pair):
    """STEP, COMMIT, STEP in the queue at once, and the idle bank written while the first STEP runs."""
    pair.contest(pair.entries)
    flipped = 255 - AGE
    for side in (pair.device, pair.model):
        side.write_table(flipped[: pair.device.classes])
    batch, commands = Batch(), [cmd.Step(9), cmd.Set("PTABLE_COMMIT", 1), cmd.Step(10)]
    for name, value in (("STEP_FAST", 9), ("PTABLE_COMMIT", 1), ("STEP_FAST", 10)):
        pair.device.append_write(batch, name, value)
    pair.run(batch)
    for command in commands:
        pair.model.execute(command)
    pair.same("STEP, COMMIT, STEP")
    batch = Batch()
    pair.device.append_write(batch, "STEP_FAST", 11)
    for word in range(0, 256, 4):
        batch.write(PTABLE + word, 0x01020304)
    pair.run(batch)
    pair.model.execute(cmd.Step(11))
    for word in range(64):
        pair.model.write_table_word(word, 0x01020304)
    pair.same("the idle bank was written")
    assert np.array_equal(pair.device.read_table(), pair.model.read_table())
    pair.do(cmd.Set("PTABLE_COMMIT", 1))
    pair.do(cmd.Step(12))


def test_the_windows_read_while_a_ranked_step_runs_change_nothing(pair):
    pair.contest()
    before, batch = pair.device.digest(), Batch()
    pair.device.append_write(batch, "T1_CAPACITY", 33)
    pair.device.append_write(batch, "STEP_FAST", 2)
    for _ in range(6):
        batch.burst(BAR2_ENTRIES + 32 * (pair.entries - 2), 16)
        batch.burst(PTABLE + 64, 16)
    pair.run(batch)
    assert pair.device.mmio.read64(REGISTERS["PASS_DIGEST"].offset) == before
    for command in (cmd.Set("T1_CAPACITY", 33), cmd.Step(2)):
        pair.model.execute(command)
    assert pair.device.digest() == pair.model.digest()


def test_R22_steps_that_overlap_moves_keep_their_places(slow):
    """Not strict, one doorbell behind the other: the pool is that of a STEP's first pass, whatever arrives in the later ones.
    Which blocks it has depends on the memory; how many hold a place, and where all are in the end, does not."""
    slow.contest()
    pick, batch = random.Random(1), Batch()
    slow.device.append_write(batch, "CTRL", 0)
    for step in range(2, 40):
        slow.device.append_write(batch, "T1_CAPACITY", pick.choice((20, 30, 40)))
        slow.device.append_write(batch, "STEP_FAST", step)
        slow.device.append_write(batch, "LOOKUP_ID", 1)
        slow.device.append_write(batch, "TOUCH_POS", 32 * pick.randrange(ENTRIES))
        batch.wait_idle() if step % 6 == 0 else None
    slow.device.append_write(batch, "T1_CAPACITY", 25)
    slow.device.append_write(batch, "STEP_FAST", 41)
    batch.wait_idle()
    slow.device.append_write(batch, "STEP_FAST", 42)
    batch.wait_idle()
    slow.run(batch)
    entries, _ = slow.device.read_entries()
    tier, inflight = entries[:, 3] & 3, entries[:, 7] >> 14 & 1
    telemetry = slow.device.telemetry()
    assert not inflight.any()
    assert int((tier == 1).sum()) == telemetry["t1_used"] == 25
    assert telemetry["evict_triggers"] == telemetry["evict_completions"] > 40
    assert telemetry["prefetch_triggers"] == telemetry["prefetch_completions"] > 20


def test_R45_a_small_table_refuses_classes_beyond_it():
    with VerilatorSim(**LEAST) as sim:
        pair = Pair(sim)
        pair.contest()
        assert pair.device.classes == 16
        assert pair.do(load(300 % ENTRIES, 1, cmd.hint_of(16, 0))).code == "ERR_RANGE"
        assert pair.do(cmd.Touch(1, 0, 0, 0, cmd.hint_of(16, 0))).code == "ERR_RANGE"
        assert pair.do(cmd.Class(VA, BLOCK, 16)).code == "ERR_RANGE"
        assert pair.do(cmd.Class(VA, BLOCK, 15)).code == "OK"
        assert pair.do(cmd.Touch(1, 0, 0, 0, 16)).code == "OK"  # not set: left alone
        pair.do(cmd.Step(2))
