"""`kvfpga replay --policy`: what is programmed and hinted for each policy, and that a ranked replay finds every block where a
plain restatement of the rules has it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.cli.main import cli
from kvfpga.contract import presets, rank_tables
from kvfpga.contract.commands import Class, Load, Prefetch, Release, Set, Share, Step, Touch, hint_of
from kvfpga.contract.errors import UsageError
from kvfpga.contract.settings import LINEAR, RANKED
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import device_policy, replay
from kvfpga.lab.device_policy import LEARNT, NAMES, RANKED_AGE, Ranked
from kvfpga.lab.plan import va_of
from kvfpga.lab.replay import ReplayOptions
from kvfpga.lab.traces import SAMPLE, Request, Trace
from kvfpga.lockstep.reference import Reference
from kvfpga.policy.hints import Hints
from tests.helpers.plain_ranked import PlainRanked
from tests.helpers.traces import AGENTS, CHATS
from tests.lab.test_replay import BLOCK, Dut, chats, run

AGE_TABLE = rank_tables.by_age(256)


class Seen(Dut):
    """It also writes down in which tier each TOUCH found its block, 0 for a miss."""

    def __init__(self, entries=256):
        super().__init__(entries)
        self.tiers = []

    def execute_many(self, commands):
        results = super().execute_many(commands)
        self.tiers += [result.tier or 0 for command, result in zip(commands, results, strict=True) if type(command) is Touch]
        return results


def conversation(requests):
    """A trace of (step, output tokens, first block, blocks)."""
    return Trace("t", "mooncake", "ms", False, None, "", [Request(100.0 * s, 9, out, ((f, n),)) for s, out, f, n in requests])


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_the_commands_of_two_ranked_requests(tmp_path):
    dut, summary = run(tmp_path, [(0, 3, [7, 8]), (200, 1, [7, 20])], t1_capacity=16, policy=RANKED_AGE)

    def touch(block, order):
        return Touch(1, 0, 0, block * 32, hint_of(0, order))

    def load(block, order):
        return Load(1, 0, 0, block * 32, block * 32 + 31, va_of(block, BLOCK), hint=hint_of(0, order))

    assert dut.log == [
        Set("T1_CAPACITY", 16), Set("FILL_AGE", 1), Set("POLICY", RANKED), Set("PTABLE_COMMIT", 1),
        touch(7, 255), load(7, 255), touch(8, 254), load(8, 254),
        Step(1), Step(2),
        touch(7, 255), touch(20, 254), load(20, 254),
        Step(3),
    ]  # fmt: skip
    assert (dut.model.table == AGE_TABLE).all()
    assert summary.policy == RANKED_AGE


def test_a_ranked_replay_holds_nothing_by_sharing(tmp_path):
    dut, summary = run(tmp_path, chats(), t1_capacity=64, policy=RANKED_AGE)
    assert not [command for command in dut.log if isinstance(command, (Share, Release))]
    assert not any(entry["ref_count"] or entry["prefix"] for entry in dut.dump())
    assert summary.counters["guards"] == 0 and summary.unloads
    assert dut.telemetry()["ranked_steps"] and dut.telemetry()["t1_used"] == 64


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_linear_replay_is_what_it_was(tmp_path, preset):
    """The named policy sends the same as none, on a device whose weights are the preset's; whatever was in force before."""
    other = Dut(preset=next(name for name in presets.PRESETS if name != preset))
    other.ranked("age")
    named, one = run(tmp_path, chats(40), other, t1_capacity=64, policy=f"linear:{preset}")
    plain, same = run(tmp_path, chats(40), Dut(preset=preset), t1_capacity=64)
    programmed = [*presets.sets(presets.PRESETS[preset]), Set("POLICY", LINEAR)]
    assert named.log == [plain.log[0], *programmed, *plain.log[1:]]
    assert named.digest() == plain.digest()
    assert one.policy == same.policy == f"linear:{preset}"
    assert one.counters == same.counters


def test_without_a_name_the_policy_in_force_stays(tmp_path):
    dut = Dut()
    dut.weights(w_r=7)
    assert run(tmp_path, [(0, 1, [1])], dut)[1].policy == "linear"
    dut = Dut()
    table = np.full((256, 64), 9, np.uint8)
    dut.ranked(table, fill_age=3)
    dut.log.clear()
    dut, summary = run(tmp_path, [(0, 1, [1, 2])], dut, t1_capacity=8)
    assert summary.policy == "ranked-as-set"
    assert [command for command in dut.log if isinstance(command, (Set, Share))] == [Set("T1_CAPACITY", 8)]
    assert [command.hint for command in dut.log if isinstance(command, Load)] == [hint_of(0, 255), hint_of(0, 254)]
    assert (dut.model.table == table).all() and dut.settings()["FILL_AGE"] == 3


@pytest.mark.parametrize("check_every", [0, 1, 1000])
def test_a_table_is_in_force_before_the_request_that_it_is_due_for(tmp_path, monkeypatch, check_every):
    """As a policy that learns will have it: the commands planned so far still rank by the table before."""
    tables = {number: np.full((256, 64), 10 * number, np.uint8) for number in (0, 2, 3)}

    class Learning(Ranked):
        number = -1

        def table(self, request):
            self.number += 1
            return tables.get(self.number)

    class Watched(Dut):
        def execute_many(self, commands):
            results = []
            for command in commands:
                results += super().execute_many([command])
                if isinstance(command, Load):
                    codes.append(self.entry(results[-1].index)["priority"] >> 8)
            return results

    codes = []
    monkeypatch.setattr(device_policy, "named", lambda name, classes: Learning(name, [Set("POLICY", RANKED)]))
    run(tmp_path, [(100 * n, 2, [n]) for n in range(5)], Watched(), policy=RANKED_AGE, check_every=check_every, sample=0)
    assert codes == [0, 0, 20, 30, 30]


# ---- touch by touch --------------------------------------------------------------------------------------------------


def compare(trace, entries, t1_capacity, **options):
    """The replay on the reference model, every TOUCH of it beside the plain restatement."""
    dut = Seen(entries)
    summary = replay.replay(dut, trace, ReplayOptions(t1_capacity=t1_capacity, policy=RANKED_AGE, check_every=0, **options))
    plain = PlainRanked(entries, t1_capacity, AGE_TABLE)
    assert dut.tiers == plain.tiers(dut.log)
    assert {entry["index"]: entry["tier"] for entry in dut.dump()} == {i: entry.tier for i, entry in plain.entries.items()}
    assert summary.counters["hits_t1"] == dut.tiers.count(1)
    return summary


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 2, 7, 40, 3000]),  # steps since the request before
        st.integers(0, 30),
        st.integers(0, 12).map(lambda n: 25 * n),
        st.integers(1, 90),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(REQUESTS.filter(bool), st.integers(0, 200), st.integers(1, 64))
def test_every_touch_of_a_generated_trace(requests, t1_capacity, unload_batch):
    steps = np.cumsum([gap for gap, *_ in requests]).tolist()
    trace = conversation([(step, *rest) for step, (_, *rest) in zip(steps, requests)])
    compare(trace, 256, t1_capacity, unload_batch=unload_batch)


@pytest.mark.parametrize(("path", "entries", "t1_capacity"), [(CHATS, 1024, 128), (AGENTS, 2048, 256)], ids=["ids", "ranges"])
def test_every_touch_of_a_whole_trace(path, entries, t1_capacity):
    summary = compare(path, entries, t1_capacity)
    assert summary.unplaced == 0
    assert 0 < summary.counters["hits_t1"] <= summary.baselines.hits["optimal"]
    assert summary.counters["evict_triggers"] and summary.counters["prefetch_triggers"]


# ---- on the hardware, and on the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("check_every", [1, 0])
def test_the_verilated_device_ranks_alike(lockstep, tmp_path, check_every):
    requests = chats(60)
    _, found = run(tmp_path, requests, lockstep, t1_capacity=64, sample=200, policy=RANKED_AGE, check_every=check_every)
    _, alone = run(tmp_path, requests, Dut(lockstep.entries), t1_capacity=64, sample=200, policy=RANKED_AGE)
    assert found.checks and found.cycles and found.differences == 0
    assert found.counters == alone.counters
    assert found.sampled_moves == alone.sampled_moves > 100


@pytest.mark.parametrize("policy", NAMES)
def test_the_summary_says_which_policy(tmp_path, policy):
    words = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "s"), "--json", "replay", "--limit", "20"]
    done = CliRunner().invoke(cli, [*words, "--policy", policy, str(SAMPLE)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["policy"] == policy


def test_a_policy_that_there_is_not(tmp_path):
    with pytest.raises(UsageError, match="'lru'") as caught:
        ReplayOptions(policy="lru")
    assert RANKED_AGE in caught.value.remedy
    done = CliRunner().invoke(cli, ["--target", "model", "replay", "--policy", "linear"])
    assert done.exit_code == 2 and "linear:balanced" in done.stderr


# ---- what a host tells on the way ------------------------------------------------------------------------------------


def told(arrival, orders_, completion, table_of, codes=()):
    """Hints for a device of 256 classes: a table of each of the codes alone."""
    tables = np.array([np.full((256, 64), code) for code in codes], np.uint8).reshape(-1, 256, 64)
    return Hints(*(np.array(part, np.uint8) for part in (arrival, orders_, completion)), tables, np.array(table_of, np.int32))


def replayed(requests, hints, dut=None, **options):
    dut = dut or Dut()
    replay.replay(dut, conversation(requests), ReplayOptions(policy=LEARNT, **options), hints=hints)
    return dut


def test_hints_with_each_touch_and_classes_at_a_requests_end():
    """The second request touches block 9 before the first has ended, so it is the second's to class."""
    hints = told([1, 2, 3, 4, 5, 6], [255, 254, 253, 255, 254, 7], [21, 21, 22, 24, 25, 25], [-1, -1])
    dut = replayed([(0, 3, 7, 3), (1, 1, 9, 3)], hints, t1_capacity=8)
    carried = [hint_of(*hint) for hint in zip([1, 2, 3, 4, 5, 6], [255, 254, 253, 255, 254, 7])]
    assert [command.hint for command in dut.log if isinstance(command, Touch)] == carried
    assert [command.hint for command in dut.log if isinstance(command, Load)] == carried[:3] + carried[4:]
    assert [command for command in dut.log if isinstance(command, (Step, Class))] == [
        Step(1),
        Step(2),
        Class(va_of(9, BLOCK), BLOCK, 24), Class(va_of(10, BLOCK), BLOCK, 25, 1), Class(va_of(11, BLOCK), BLOCK, 25, 248),
        Step(3), Class(va_of(7, BLOCK), 2 * BLOCK, 21),
    ]  # fmt: skip
    assert not [command for command in dut.log if isinstance(command, (Share, Release))]


def test_requests_are_announced_with_the_last_step_before_them():
    """Those that arrive together, together; the first, for which there is no STEP, not at all. WINDOW 1 leaves it to the STEP."""
    hints = told([0] * 7, [255, 254, 253, 255, 255, 254, 253], [0] * 7, [-1] * 4)._replace(announced=True)
    dut = replayed([(0, 9, 7, 3), (2, 1, 9, 1), (2, 1, 30, 2), (900, 1, 7, 1)], hints, t1_capacity=8)
    assert [command for command in dut.log if isinstance(command, (Step, Prefetch, Touch))][3:] == [
        Step(1),
        Prefetch(va_of(9, BLOCK), BLOCK, 2), Prefetch(va_of(30, BLOCK), 2 * BLOCK, 2),
        Step(2),
        *[command for command in dut.log if isinstance(command, Touch)][3:6],
        *map(Step, range(3, 10)),
        Prefetch(va_of(7, BLOCK), BLOCK, 900),
        Step(900),
        [command for command in dut.log if isinstance(command, Touch)][6],
        Step(901),
    ]  # fmt: skip
    assert dut.log.index(Set("WINDOW", 1)) < dut.log.index(Step(1))
    assert not [command for command in replayed([(0, 9, 7, 3), (2, 1, 9, 1)], told([0] * 4, [9] * 4, [0] * 4, [-1] * 2)).log
                if isinstance(command, Prefetch) or command == Set("WINDOW", 1)]  # fmt: skip


def test_of_a_block_named_twice_the_last_touch_counts():
    hints = told([1, 2, 3], [255, 254, 9], [21, 22, 23], [-1])
    trace = Trace("t", "mooncake", "ms", False, None, "", [Request(0.0, 9, 1, ((7, 2), (7, 1)))])
    dut = Dut()
    replay.replay(dut, trace, ReplayOptions(policy=LEARNT), hints=hints)
    assert {entry["index"]: (entry["class"], entry["order"]) for entry in dut.dump()} == {0: (23, 9), 1: (22, 254)}


def test_a_table_comes_behind_the_steps_that_lead_to_its_request():
    """What was learnt up to a request must not rank before it. Until the first table all codes are 0, whatever the device has."""
    dut = Dut()
    dut.ranked(np.full((256, 64), 99, np.uint8))
    dut.log.clear()
    hints = told([0, 0, 0], [5, 5, 5], [0, 0, 0], [-1, 0, 1], codes=(10, 20))
    replayed([(0, 9, 1, 1), (2, 9, 2, 1), (4, 1, 3, 1)], hints, dut)
    kinds = [command for command in dut.log if isinstance(command, (Step, Load)) or command == Set("PTABLE_COMMIT", 1)]
    commit, load = Set("PTABLE_COMMIT", 1), Load
    assert [command if isinstance(command, (Set, Step)) else type(command) for command in kinds][:10] == [
        commit, load, Step(1), Step(2), commit, load, Step(3), Step(4), commit, load,
    ]  # fmt: skip
    assert [entry["priority"] >> 8 for entry in dut.dump()] == [20, 20, 20]


def test_hints_for_more_classes_than_the_device_has():
    dut = Reference(ReferenceModel(256, classes=64))
    with pytest.raises(UsageError, match="256 classes, for a device of 64") as caught:
        replayed([(0, 1, 1, 1)], told([0], [0], [0], [-1]), dut)
    assert "classes=64" in caught.value.remedy


@pytest.mark.parametrize("classes", [16, 64, 128])
def test_a_small_board_is_told_what_it_can_take(classes):
    dut = Seen(256)
    dut.model = ReferenceModel(256, classes=classes)
    summary = replay.replay(dut, SAMPLE, ReplayOptions(policy=LEARNT, limit=30, t1_capacity=40, check_every=0))
    assert summary.policy == LEARNT
    assert 1 < len({entry["class"] for entry in dut.dump()})


def test_where_classes_stay_nothing_is_sent():
    dut = replayed([(0, 3, 7, 3)], told([1, 2, 3], [255, 254, 253], [1, 2, 3], [-1]))
    assert not [command for command in dut.log if isinstance(command, Class)]


def test_every_touch_has_its_place_in_the_hits():
    dut = Seen()
    trace = conversation([(0, 9, 7, 3), (2, 9, 7, 5), (4, 1, 8, 2)])
    summary = replay.replay(dut, trace, ReplayOptions(policy=RANKED_AGE, t1_capacity=4))
    assert summary.hits.tolist() == [tier == 1 for tier in dut.tiers] == 3 * [False] + 3 * [True] + 2 * [False] + 2 * [True]
    assert "hits" not in summary.to_json()
