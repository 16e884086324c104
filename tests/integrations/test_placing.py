"""Requests placed on a device under a policy: the same decisions as a replay's, hints that come true, and nothing left behind."""

from __future__ import annotations

import heapq
import random

import pytest

from kvfpga.contract.commands import Unload
from kvfpga.contract.errors import DeviceRefused, DifferenceError, UsageError
from kvfpga.contract.parameters import Parameters
from kvfpga.hepc_ref import ReferenceModel, reference_of
from kvfpga.integrations.vllm.placing import Placement
from kvfpga.integrations.vllm.window import VA_BASE
from kvfpga.lab.replay import ReplayOptions, replay
from kvfpga.lab.stream import of as stream_of
from kvfpga.lab.traces import SAMPLE, load_trace
from kvfpga.lockstep.reference import Reference
from kvfpga.policy import programs

pytestmark = pytest.mark.timeout(300)


def model(entries=256) -> Reference:
    return Reference(ReferenceModel(entries))


def run_through(placement: Placement, requests, block_tokens: int, tail: bool = True) -> None:
    """Requests of a trace, as a replay has them come and end."""
    active: list = []

    def until(step):
        while active and active[0][0] <= step:
            end, _, request, output = heapq.heappop(active)
            placement.advance(end)
            placement.complete(request, output)
        placement.advance(step)

    for number, request in enumerate(requests):
        step = int(request.timestamp_ms / placement.step_ms)
        until(step)
        placed = placement.arrive(request.blocks.tolist(), request.input_length, block_tokens)
        heapq.heappush(active, (step + max(1, request.output_length), number, placed, request.output_length))
    if tail:
        until(max(end for end, *_ in active))


@pytest.mark.parametrize("entries", [1024, 256])
@pytest.mark.parametrize("policy", programs.NAMES)
def test_it_decides_as_a_replay_does(policy, entries):
    """The sample has 354 blocks: one directory holds them all, the other does not. There a replay unloads bit by bit what here
    goes at once, so LOADs can find more room in tier 1; by rank nothing comes of that."""
    trace = load_trace(SAMPLE)
    options = ReplayOptions(policy=policy, t1_capacity=64, sample=0, check_every=0, unload_batch=min(256, entries // 8))
    expected = replay(model(entries), trace, options)
    placement = Placement(model(entries), policy, 64)
    run_through(placement, trace.requests, stream_of(trace).block_tokens)
    placement.verify()
    found = placement.decisions
    assert found.hits == pytest.approx(expected.counters["hits_t1"], rel=0 if entries == 1024 or "ranked" in policy else 0.01)
    assert found.lru_hits == expected.baselines.hits["lru"]
    assert (found.touches, found.loads, found.unloads) == (expected.touches, expected.loads, expected.unloads)
    assert (found.tables > 1) == (policy == "ranked") and (found.classed > 0) == (policy == "ranked")


def test_in_lockstep_with_the_rtl(lockstep):
    """Requests that come, grow, are announced, end, and now and then everything is cleared."""
    draw, placement = random.Random(5), Placement(lockstep, "ranked", 24, announces=True, final=True)
    active, waiting = [], {}
    for number in range(150):
        length = draw.randint(1, 12)
        names = [(draw.randrange(12), place) for place in [0] * length]
        names = [(names[0][0], place) for place in range(length)]
        placement.announce(number, names)
        waiting[number] = names
        placement.advance(placement.step + draw.choice([1, 1, 3, 200]))
        for one in [one for one in waiting if draw.random() < 0.7]:
            placement.withdraw(one)
            active.append((placement.arrive(waiting[one], 32 * len(waiting[one]), 32), one))
            del waiting[one]
        for request, one in active:
            if draw.random() < 0.3:
                placement.grow(request, [("answer", one, draw.random())], 32)
        for item in [item for item in active if draw.random() < 0.4]:
            active.remove(item)
            placement.complete(item[0], 64, final=draw.random() < 0.3)
        if number % 50 == 49:
            placement.clear()
        if number % 10 == 9:
            placement.verify()
    found, telemetry = placement.figures(), lockstep.telemetry()
    assert lockstep.checks > 20 and lockstep.differences == 0
    assert found["tables"] > 3 and found["unloads"] > 100 and found["finals"] > 10 and found["hits"] > 50
    assert found["evictions"] == telemetry["evict_triggers"] > 0 and found["prefetches"] == telemetry["prefetch_triggers"] > 0
    assert telemetry["prefetch_count"] > 0 and found["theta"] == telemetry["theta"]


def pushed_out(placement: Placement) -> None:
    """Blocks 0 to 3 are not in tier 1 any more, which has room for four."""
    for first in (0, 10, 20):
        request = placement.arrive(range(first, first + 4), 128, 32)
        placement.advance(placement.step + 1)
        placement.complete(request, 1)
        placement.advance(placement.step + 1)


@pytest.mark.parametrize("policy", ["ranked", "ranked-age"])
def test_what_is_announced_is_there_before_it_is_touched(policy):
    def hits(announced: bool) -> tuple[int, int]:
        placement = Placement(model(), policy, 4, announces=True)
        pushed_out(placement)
        if announced:
            placement.announce("next", [*range(4), "never seen"])
        placement.advance(placement.step + 1)
        placement.withdraw("next")
        placement.arrive(range(4), 128, 32)
        placement.flush()
        return placement.decisions.hits, placement.decisions.lru_hits

    assert hits(announced=False) == (0, 0)
    assert hits(announced=True) == (4, 0)


def test_what_waits_is_expected_at_each_step_until_it_is_withdrawn():
    placement = Placement(model(), "ranked", 4, announces=True)
    pushed_out(placement)
    sent = placement.device.telemetry()["prefetch_count"]
    placement.announce("waits", range(4))
    placement.announce("waits too", range(4))
    for _ in range(3):
        placement.advance(placement.step + 1)
    placement.flush()
    assert placement.device.telemetry()["prefetch_count"] == sent + 3  # one range, at each of three steps
    assert {entry["access_step"] for entry in placement.device.dump() if entry["tier"] == 1} == {placement.step}
    placement.withdraw("waits")
    placement.withdraw("waits too")
    placement.withdraw("never announced")
    placement.advance(placement.step + 5)
    placement.flush()
    assert placement.device.telemetry()["prefetch_count"] == sent + 3
    assert placement.decisions.announced == 2


def test_what_a_final_request_leaves_alone_gets_a_class_of_its_own():
    placement = Placement(model(), "ranked", 16, final=True)
    prompt = placement.arrive(range(4), 128, 32)
    placement.grow(prompt, ["answer"], 32)
    placement.advance(3)
    other = placement.arrive([*range(2), 77], 96, 32)  # begins alike: two blocks are not its own any more
    placement.complete(prompt, 32, final=True)
    placement.flush()
    final = {entry["va"] for entry in placement.device.dump() if entry["class"] >= 248}
    assert final == {VA_BASE + 16384 * slot for slot in (2, 3, 4)}
    placement.complete(other, 5)
    placement.verify()


def test_the_linear_policy_shares_what_is_in_use():
    placement = Placement(model(), "linear:balanced", 16)
    requests = [placement.arrive(range(2), 64, 32) for _ in range(300)]
    placement.verify()  # ref_count is at its limit
    assert {entry["ref_count"] for entry in placement.device.dump()} == {255}
    for request in requests[:299]:
        placement.complete(request, 1)
    placement.verify()
    assert {entry["ref_count"] for entry in placement.device.dump()} == {1}
    placement.clear()
    assert placement.verify() == 0
    placement.complete(requests[-1], 1)  # its blocks are void: nothing to release
    placement.grow(requests[-1], [5], 32)
    assert placement.verify() == 0 and placement.device.telemetry()["release_refusals"] == 0


def test_what_finds_no_room_is_counted_and_comes_in_later():
    placement = Placement(model(), "ranked", 16)
    long = placement.arrive(range(300), 300 * 32, 32)
    placement.verify()
    assert placement.decisions.unplaced == 44 and placement.held == 256
    placement.complete(long, 1)
    placement.advance(1)
    placement.arrive(range(280, 310), 30 * 32, 32)
    placement.verify()
    assert placement.decisions.unplaced == 44 and placement.decisions.unloads == 32
    assert len(placement.gone()) == 44 + 32 and placement.gone() == []


def test_blocks_that_others_loaded_stay_where_they_are():
    device = model()
    for slot in range(56):
        device.load(request=9, layer=0, head=slot, tokens=(0, 31), va=0x1000_0000 + slot * 16384)
    placement = Placement(device, "ranked", 16)
    placement.arrive(range(300), 300 * 32, 32)
    assert placement.verify() == 200
    assert Placement(device, "ranked-age", 16).verify() == 0  # an earlier one's are unloaded
    assert device.telemetry()["valid_entries"] == 56


def test_somebody_else_changes_the_directory():
    placement = Placement(model(), "ranked", 16)
    placement.arrive(range(4), 128, 32)
    placement.flush()
    placement.device.execute(Unload(VA_BASE, 1))
    with pytest.raises(DifferenceError, match="no entry"):
        placement.verify()
    placement.arrive(range(4), 128, 32)
    with pytest.raises(DeviceRefused, match="not as the mirror left it"):
        placement.flush()


def test_what_cannot_be_placed_by_is_refused_before_anything_is_sent():
    device = model()
    with pytest.raises(UsageError, match="no policy 'lru'.*") as refused:
        Placement(device, "lru")
    assert "ranked-age" in refused.value.remedy
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="decode steps of"):
            Placement(device, step_ms=wrong)
    with pytest.raises(UsageError, match="a T1 of 257 blocks"):
        Placement(device, t1_capacity=257)
    coarse = Reference(reference_of(Parameters(entries=256, classes=128)))
    with pytest.raises(UsageError, match="hint that sessions end.*256 classes"):
        Placement(coarse, final=True)
    assert {one.commands for one in (device, coarse)} == {0}
    run_through(Placement(coarse, t1_capacity=64), load_trace(SAMPLE, 20).requests, 512)
