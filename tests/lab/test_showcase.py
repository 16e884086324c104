"""How `kvfpga demo` ends: hit rates of the device's policies beside LRU and the optimum, on an emptied device each."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from kvfpga.contract.commands import Load, Set
from kvfpga.contract.errors import DifferenceError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import showcase
from kvfpga.lab.replay import ReplayOptions, replay
from kvfpga.lab.traces import SAMPLE
from kvfpga.lockstep.reference import Reference

ENTRIES = 512


class Dut(Reference):
    """The reference, which counts a check per command as Lockstep does when it has hardware beside it."""

    def __init__(self):
        super().__init__(ReferenceModel(ENTRIES))

    def run_through(self, commands, checks):
        self.checks += len(list(checks))
        return super().run_through(commands, ())


@pytest.fixture(scope="module")
def shown():
    dut = Dut()
    dut.execute(Set("WINDOW", 9))
    before = dut.settings()
    found = showcase.run(dut)
    assert dut.settings() == before | {"PTABLE_COMMIT": dut.settings()["PTABLE_COMMIT"]} and dut.telemetry()["valid_entries"] == 0
    return found


def text_of(found):
    out = io.StringIO()
    showcase.render(found, Console(file=out, width=100))
    return out.getvalue()


def test_the_rates_are_those_of_a_replay_on_a_device_of_its_own(shown):
    rows = {row.policy: row for row in shown.rows}
    for policy in showcase.POLICIES:
        options = ReplayOptions(policy=policy, t1_capacity=showcase.T1_CAPACITY, sample=0)
        alone = replay(Reference(ReferenceModel(ENTRIES)), SAMPLE, options)
        assert rows[policy].hits == alone.counters["hits_t1"] and rows[policy].hit_rate == alone.t1_hit_rate
        assert (rows["lru"].hits, rows["optimal"].hits) == (alone.baselines.hits["lru"], alone.baselines.hits["optimal"])


def test_only_the_optimum_is_marked_as_knowing_the_future(shown):
    assert [row.policy for row in shown.rows if row.uses_future] == ["optimal"]
    assert "optimal, which knows the future" in text_of(shown)


def test_a_line_a_policy_and_the_last_says_that_all_was_compared(shown):
    lines = text_of(shown).splitlines()
    for row in shown.rows:
        (line,) = (line for line in lines if f"{row.hit_rate:.2%}" in line)
        assert row.policy in line and ("device, " in line) == row.is_device
    assert shown.checks and lines[-1] == f"hardware and reference agree: {shown.checks:,} checks, 0 differences"


def test_no_agreement_is_claimed_where_nothing_was_compared(shown):
    unchecked = showcase.Showcase(**{**shown.__dict__, "checks": 0})
    assert "agree" not in text_of(unchecked)


def test_it_is_json(shown):
    found = json.loads(json.dumps(shown.to_json()))
    assert found["rows"][-1]["policy"] == "optimal" and found["differences"] == 0


def test_a_device_that_is_not_empty_is_refused():
    dut = Dut()
    dut.execute(Load(1, 0, 0, 0, 31, 0))
    with pytest.raises(UsageError, match="the comparison starts from an empty one"):
        showcase.run(dut)


def test_a_difference_goes_through():
    class Differs(Dut):
        def run_through(self, commands, checks):
            raise DifferenceError("they differ")

    with pytest.raises(DifferenceError, match="they differ"):
        showcase.run(Differs())
