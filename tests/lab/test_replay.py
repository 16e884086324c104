"""`kvfpga replay`: what is sent for a trace, what the summary says about it, and that wrong bytes are found.

The device is the reference model with the surface of Lockstep (`lockstep.Reference`): how commands travel is tested
elsewhere, here it matters which are sent and what is made of the answers.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kvfpga.cli.main import cli
from kvfpga.contract.commands import Load, Release, Set, Share, Step, Touch, Unload
from kvfpga.contract.errors import DeviceRefused, DifferenceError, UsageError
from kvfpga.contract.presets import PRESETS, sets
from kvfpga.contract.script import line
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import replay
from kvfpga.lab.plan import key_of, va_of
from kvfpga.lab.policies.table import POLICIES
from kvfpga.lab.replay import ReplayOptions
from kvfpga.lab.trace_formats import MAX_BLOCK_ID
from kvfpga.lab.traces import SAMPLE, load_trace
from kvfpga.lab.workload import block_pattern
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from tests.helpers.fake_device import FakeDevice
from tests.helpers.traces import AGENTS, CHATS, ids, rows, write_trace

BLOCK = 16384


class Dut(Reference):
    """The reference, writing down what it was asked. It counts a check per batch, as Lockstep does."""

    def __init__(self, entries=256, preset="balanced"):
        super().__init__(ReferenceModel(entries))
        self.log = []
        self.batches = []
        for command in sets(PRESETS[preset]):
            assert self.model.execute(command).code == "OK"

    def execute_many(self, commands):
        self.checks += 1
        self.batches.append(len(commands))
        self.log += commands
        return super().execute_many(commands)


def run(tmp_path, requests, dut=None, progress=None, **options):
    dut = dut or Dut()
    summary = replay.replay(dut, write_trace(tmp_path / "t.jsonl", requests), ReplayOptions(**options), progress)
    return dut, summary


def chats(count=120, blocks=900, seed=3):
    """Requests that share prefixes and come back, more blocks than 256 entries hold; most overlap in time."""
    draw = random.Random(seed)
    requests, ms = [], 0
    for _ in range(count):
        ms += draw.choice((0, 100, 900, 40_000))
        first = draw.randrange(0, blocks, 30)
        ids = [0, 1, *range(first + 2, first + 2 + draw.randint(1, 28))]
        requests.append((ms, draw.randint(0, 120), ids))
    return requests


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_the_commands_of_two_requests(tmp_path):
    dut, _ = run(tmp_path, [(0, 3, [7, 8]), (200, 1, [7, 20])], t1_capacity=16)

    def touch(block):
        return Touch(1, 0, 0, block * 32)

    def load(block):
        return Load(1, 0, 0, block * 32, block * 32 + 31, va_of(block, BLOCK))

    assert dut.log == [
        Set("T1_CAPACITY", 16),
        touch(7), load(7), touch(8), load(8),
        Share(va_of(7, BLOCK), 2 * BLOCK),  # consecutive blocks are one range
        Step(1), Step(2),
        touch(7), touch(20), load(20),
        Share(va_of(7, BLOCK), BLOCK), Share(va_of(20, BLOCK), BLOCK),
        Step(3),  # both end here
        Release(va_of(7, BLOCK), 2 * BLOCK), Release(va_of(7, BLOCK), BLOCK), Release(va_of(20, BLOCK), BLOCK),
    ]  # fmt: skip


def test_idle_time_is_one_step(tmp_path):
    dut, summary = run(tmp_path, [(0, 2, [1]), (60_000, 1, [2])])
    assert [command.step for command in dut.log if isinstance(command, Step)] == [1, 2, 600, 601]
    assert summary.steps == 4


def test_the_length_of_a_step(tmp_path):
    dut, _ = run(tmp_path, [(0, 1, [1]), (1000, 1, [2])], step_ms=250)
    assert [command.step for command in dut.log if isinstance(command, Step)] == [1, 4, 5]


def test_a_used_device_goes_on_from_its_step(tmp_path):
    dut = Dut()
    dut.execute(Step(1000))
    run(tmp_path, [(0, 1, [1]), (200, 1, [2])], dut)
    assert [command.step for command in dut.log if isinstance(command, Step)] == [1001, 1002, 1003]


def test_a_block_named_twice_is_loaded_and_shared_once(tmp_path):
    dut, summary = run(tmp_path, [(0, 1, [5, 5, 5])])
    assert Counter(type(command) for command in dut.log)[Load] == 1
    assert (summary.touches, summary.loads, summary.counters["hits_t1"]) == (3, 1, 2)
    assert summary.counters["release_refusals"] == 0


def test_the_front_of_a_prefix_is_unloaded_last(tmp_path):
    dut, _ = run(tmp_path, [(0, 1, list(range(256))), (1000, 1, [999])], unload_batch=8)
    unloads = [command for command in dut.log if isinstance(command, Unload)]
    assert unloads == [Unload(va_of(248, BLOCK), 8 * BLOCK)]


def test_blocks_without_room_are_counted(tmp_path):
    dut, summary = run(tmp_path, [(0, 50, list(range(200))), (100, 50, list(range(500, 600)))])
    assert (summary.loads, summary.unloads, summary.unplaced) == (256, 0, 44)
    assert dut.telemetry()["valid_entries"] == 256


def test_a_shared_block_outlives_the_count_of_its_users(tmp_path):
    """More than 255 active requests on one block: the device's count saturates (R20), and the replay goes on."""
    _, summary = run(tmp_path, [(0, 5, [1])] * 300)
    assert summary.counters["saturations"] == 45
    assert summary.counters["release_refusals"] == 45


@pytest.mark.parametrize("unload_batch", [1, 7, 256])
def test_active_requests_hold_their_blocks(tmp_path, unload_batch):
    """Seen from the device: every block of a range that is shared, released or unloaded is there at that time."""

    class Watched(Dut):
        def execute_many(self, commands):
            results = super().execute_many(commands)
            for command, result in zip(commands, results, strict=True):
                if isinstance(command, (Share, Release, Unload)):
                    assert result.matched * BLOCK == command.length
            return results

    before = Watched()
    dut, summary = run(tmp_path, chats(), before, t1_capacity=64, unload_batch=unload_batch)
    assert summary.unloads > 100
    assert summary.counters["release_refusals"] == summary.counters["saturations"] == 0
    assert all(entry["ref_count"] == 0 for entry in dut.dump())


@given(st.integers(0, MAX_BLOCK_ID), st.integers(0, MAX_BLOCK_ID))
def test_every_block_id_has_a_key_of_its_own(one, other):
    for block in (one, other):
        request, layer, head, start = key_of(block, 32)
        assert 1 <= request <= 0xFFFF and layer <= 0xFF and head <= 0xFF
        assert start % 32 == 0 and start + 31 < 1 << 32
        assert va_of(block, BLOCK) + BLOCK <= 1 << 64
    assert (key_of(one, 32) == key_of(other, 32)) == (one == other)


def test_neighbours_are_consecutive_tokens():
    assert [key_of(block, 32) for block in (0, 1, 255)] == [(1, 0, 0, 0), (1, 0, 0, 32), (1, 0, 0, 8160)]
    assert key_of(256, 32) == (2, 0, 0, 0)


# ---- what the summary says ------------------------------------------------------------------------------------------


def test_the_summary_adds_up(tmp_path):
    requests = chats()
    dut, s = run(tmp_path, requests, t1_capacity=64)
    references = [block for _, _, ids in requests for block in ids]
    counted, telemetry = s.counters, dut.telemetry()
    assert (s.requests, s.touches) == (len(requests), len(references))
    assert sum(counted[f"hits_t{tier}"] for tier in range(4)) + counted["misses"] == s.touches
    assert s.loads + s.unplaced == counted["misses"]
    assert s.loads - s.unloads == telemetry["valid_entries"]
    assert s.commands == len(dut.log) == s.checks
    assert s.t1_hit_rate == counted["hits_t1"] / s.touches
    assert counted["evict_triggers"] and counted["prefetch_triggers"]
    assert counted["prefetch_bytes"] == counted["prefetch_triggers"] * BLOCK
    assert s.baselines.capacity == 64 and s.baselines.references == s.touches
    assert max(s.baselines.hits["lru"], s.baselines.hits["lfu"], counted["hits_t1"]) <= s.baselines.hits["optimal"]


def test_the_account_of_tier_1_is_the_devices(tmp_path):
    """The replay follows tiers by results alone. Where it ends up is what the directory says."""
    dut = Dut()
    path = write_trace(tmp_path / "t.jsonl", chats())
    run_ = replay._Run(dut, load_trace(path), ReplayOptions(t1_capacity=64), lambda done, total, note: None, None)
    run_.go()
    assert run_.sampler.t1_used == dut.telemetry()["t1_used"]
    assert run_.sampler.tier_at == {entry["index"]: entry["tier"] for entry in dut.dump()}
    assert run_.sampler.index_of == {
        (entry["va"] - va_of(0, BLOCK)) // BLOCK: entry["index"] for entry in dut.dump()
    }  # fmt: skip


@pytest.mark.parametrize(("check_every", "largest"), [(0, 174), (2, 2), (50, 50)])
def test_batches_send_the_same(tmp_path, check_every, largest):
    """0: a check for each request."""
    single, one = run(tmp_path, chats(), t1_capacity=64, sample=20)
    batched, many = run(tmp_path, chats(), t1_capacity=64, sample=20, check_every=check_every)
    assert batched.log == single.log
    assert batched.digest() == single.digest()
    assert many.counters == one.counters
    assert set(single.batches) == {1}
    assert many.checks == len(batched.batches) < len(single.batches)
    assert max(batched.batches) == largest


def behind_registers():
    """A device behind a register file, in lockstep; what it is asked, in `asked`."""

    class Counted(FakeDevice):
        asked = 0

        def run(self, batch):
            self.asked += 1
            return super().run(batch)

    fake = Counted()
    pair = Lockstep(Device(fake), ReferenceModel(256))
    for command in sets(PRESETS["balanced"]):
        pair.execute(command)
    fake.asked = 0
    return fake, pair


@pytest.mark.parametrize("seed", [3, 4])
def test_batches_find_the_same(tmp_path, seed):
    """Whatever is checked together, and however few calls carry it: the summary is that of a check after every command."""
    found, asked = {}, {}
    for check_every in (1, 0, 7, 1000):
        fake, pair = behind_registers()
        _, summary = run(tmp_path, chats(30, seed=seed), pair, t1_capacity=64, sample=30, check_every=check_every)
        found[check_every] = summary.to_json()
        asked[check_every] = fake.asked
        expected = {1: summary.commands, 0: 31, 7: -(-summary.commands // 7), 1000: -(-summary.commands // 1000)}
        assert summary.checks == expected[check_every]
    for one in found.values():
        for name in ("seconds", "commands_per_second", "checks", "sampled_bytes_compared"):  # read back once a batch
            del one[name]
        assert one == found[1]
    assert found[1]["sampled_moved"] and found[1]["unloads"]
    assert asked[1000] < asked[0] < asked[1] < found[1]["commands"] / 3


@pytest.mark.parametrize("wrong", [50, 51, 333, 700])
def test_a_fault_in_the_middle_of_a_batch_is_reported_at_its_command(tmp_path, wrong):
    fake, pair = behind_registers()
    before, sent = fake._run, []

    def spoiled(opcode, command):
        sent.append(command)
        before(opcode, command)
        if len(sent) == wrong:
            fake.model.directory.F[0] ^= 1
            fake.model.directory.touched(slice(0, 1))

    fake._run = spoiled
    with pytest.raises(DifferenceError, match="entry 0 ") as caught:
        run(tmp_path, chats(25), pair, t1_capacity=64, sample=0)
    report = caught.value.report
    assert report.command == line(sent[wrong - 1])
    assert report.number == wrong + len(sets(PRESETS["balanced"]))
    assert (f"entries are as {len(sent) - wrong} command" in report.text()) == (len(sent) > wrong)


def test_progress_counts_requests(tmp_path):
    seen = []
    run(tmp_path, chats(9), progress=lambda done, total, note: seen.append((done, total, bool(note))))
    assert seen == [(n, 9, True) for n in range(1, 10)]


def test_the_limit(tmp_path):
    assert run(tmp_path, chats(9), limit=4)[1].requests == 4


def test_json_is_flat_and_complete(tmp_path):
    _, s = run(tmp_path, chats(20), t1_capacity=64)
    found = json.loads(json.dumps(s.to_json()))
    assert found["command"] == "replay" and found["trace"] == "t.jsonl" and found["checked"] is True
    assert found["trace_format"] == "mooncake" and found["time_unit"] == "ms"
    assert not [key for key, value in found.items() if isinstance(value, (dict, list))]
    assert found["hits_t1"] == s.counters["hits_t1"]
    assert found["lru_hits"] == s.baselines.hits["lru"] and found["optimal_hit_rate"] == s.baselines.rate("optimal")


def test_the_tables(tmp_path):
    """The device beside its peers comes first."""
    _, s = run(tmp_path, chats(20), t1_capacity=64)
    out = io.StringIO()
    Console(file=out, width=120).print(*replay.tables(s))
    text = out.getvalue()
    labels = [f"device, {s.policy}", *(policy.label for policy in POLICIES.values())]
    places = [text.index(found) for found in (f"{s.touches:,} touches", *labels, "t.jsonl: 20 requests", "decode steps")]
    assert places == sorted(places)
    assert f"{s.t1_hit_rate:.2%}" in text


# ---- bytes ----------------------------------------------------------------------------------------------------------


def test_patterns_differ_everywhere():
    one, other = (np.frombuffer(block_pattern(seed, BLOCK), np.uint64) for seed in (1, 2))
    assert (one != other).all()
    assert len(set(one.tolist())) == one.size
    assert block_pattern(1, 13) == one.tobytes()[:13]


def test_sampled_blocks_are_read_back_after_every_move(tmp_path):
    dut, s = run(tmp_path, chats(), t1_capacity=64, sample=10**6)
    triggers = s.counters["evict_triggers"] + s.counters["prefetch_triggers"]
    assert s.sampled_moves == triggers
    assert s.sampled_bytes_compared == (triggers + dut.telemetry()["valid_entries"]) * BLOCK
    assert 0 < s.sampled_moved <= s.sampled_blocks == len({b for _, _, ids in chats() for b in ids})


def test_the_sample_is_spread_over_the_run(tmp_path):
    _, s = run(tmp_path, [(0, 1, list(range(200)))], sample=5)
    assert s.sampled_blocks == 5
    assert replay._spread(np.arange(200), 5) == {0, 40, 80, 120, 160}
    assert replay._spread(np.arange(3), 5) == {0, 1, 2}
    assert replay._spread(np.arange(3), 0) == frozenset()


@pytest.mark.parametrize("check_every", [0, 1])
@pytest.mark.parametrize("fault", ["lost", "cut short", "of another block"])
def test_wrong_bytes_after_a_move_are_found(tmp_path, fault, check_every):
    """The device says that it moved a block, and its memory says otherwise."""

    class Faulty(Dut):
        def execute_many(self, commands):
            results = super().execute_many(commands)
            for trigger in (trigger for result in results for trigger in result.triggers):
                addr = self.settings()[f"TIER_BASE{trigger.to_tier}"] + trigger.index * BLOCK
                size, start = (64, BLOCK - 64) if fault == "cut short" else (BLOCK, 0)
                data = self.memory_read(addr + BLOCK, size) if fault == "of another block" else bytes(size)
                self.memory_write(addr + start, data)
            return results

    with pytest.raises(
        DifferenceError, match=r"block \d+ \(entry \d+, tier 2\) does not hold its own bytes: byte"
    ) as caught:
        run(tmp_path, chats(), Faulty(), t1_capacity=64, check_every=check_every)
    assert "kvfpga mem read" in caught.value.remedy


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_empty_is_refused(tmp_path):
    dut = Dut()
    dut.execute(Load(1, 0, 0, 0, 31, 0))
    with pytest.raises(UsageError, match="already holds 1 block,") as caught:
        run(tmp_path, [(0, 1, [1])], dut)
    assert "kvfpga reset" in caught.value.remedy and "dev.reset()" in caught.value.remedy


def test_a_tier_larger_than_the_directory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="257 blocks on a device of 256") as caught:
        run(tmp_path, [(0, 1, [1])], t1_capacity=257)
    assert "256 blocks or fewer" in caught.value.remedy  # a board could not be given more entries


def test_the_default_tier_fits_a_small_device(tmp_path):
    assert run(tmp_path, [(0, 1, [1])])[1].t1_capacity == 256


@pytest.mark.parametrize("requests", [[(10**12, 1, [1])], [(0, 1 << 32, [1])]])
def test_a_trace_past_the_last_step_is_refused_at_once(tmp_path, requests):
    dut = Dut()
    with pytest.raises(UsageError, match="steps end at 4294967295"):
        run(tmp_path, requests, dut)
    assert dut.log == []


@pytest.mark.parametrize(
    "option",
    [
        {"t1_capacity": -1},
        {"sample": -1},
        {"check_every": -1},
        {"unload_batch": 0},
        {"step_ms": 0},
        {"step_ms": float("nan")},
    ],
)
def test_options_that_cannot_be_meant(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        ReplayOptions(**option)


def test_a_refusal_of_the_device_ends_the_replay(tmp_path):
    class Full(Dut):
        def execute(self, command):
            result = super().execute(command)
            return super().execute(command) if isinstance(command, Load) else result  # the second: ERR_EXISTS

    with pytest.raises(DeviceRefused, match="ERR_EXISTS") as caught:
        run(tmp_path, [(0, 1, [1])], Full())
    assert caught.value.code == "ERR_EXISTS"


# ---- on the hardware ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check_every", [1, 0])
def test_the_verilated_device_agrees(lockstep, tmp_path, check_every):
    for command in sets(PRESETS["balanced"]):
        lockstep.execute(command)
    requests = chats(60)
    _, s = run(tmp_path, requests, lockstep, t1_capacity=64, sample=200, check_every=check_every)
    _, alone = run(tmp_path, requests, t1_capacity=64, sample=200)
    assert s.checks and s.cycles and s.differences == 0
    assert s.counters == alone.counters
    assert s.sampled_moves == alone.sampled_moves > 100


# ---- whole traces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "entries", "t1_capacity"), [(CHATS, 1024, 128), (AGENTS, 2048, 256)], ids=["ids", "ranges"])
def test_a_whole_trace(path, entries, t1_capacity):
    s = replay.replay(Dut(entries), path, ReplayOptions(t1_capacity=t1_capacity, sample=100, check_every=0))
    assert (s.requests, s.unplaced, s.differences) == (len(rows(path)), 0, 0)
    assert s.touches == sum(len(ids(row)) for row in rows(path))
    assert bool(s.unloads) == (len({block for row in rows(path) for block in ids(row)}) > entries)
    assert s.sampled_moved > 30 and s.counters["release_refusals"] == 0
    assert 0 < s.counters["hits_t1"] <= s.baselines.hits["optimal"]


@pytest.mark.parametrize("entries", [256, 1024, 8192])
def test_the_trace_that_comes_with_kvfpga_fits_any_device(entries, tmp_path):
    words = ["--target", "model", "--entries", str(entries), "--session", str(tmp_path / "s"), "--json", "replay"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["trace"] == SAMPLE.name and found["t1_capacity"] == min(4096, entries) and found["unplaced"] == 0
    assert found["requests"] == len(rows(SAMPLE)) and found["t1_hit_rate"] > 0.5
    assert "Mooncake trace: 186 requests, timestamps in milliseconds" in done.stderr


def test_the_unit_is_asked_for_on_the_command_line(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp": 0.5, "input_length": 9, "output_length": 2, "hash_ids": [1]}\n')
    words = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "s"), "--json", "replay", str(path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2 and "--time-unit" in done.stderr and not done.stdout
    done = CliRunner().invoke(cli, [*words, "--time-unit", "s"])
    assert done.exit_code == 0 and json.loads(done.stdout)["steps"] == 2
