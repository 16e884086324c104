"""lockstep.py: every kind of disagreement is found, taken apart, and reported with what reproduces it."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest

from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Result, Trigger
from kvfpga.contract.errors import BusError, DeviceRefused, DifferenceError, UsageError
from kvfpga.contract.script import line
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from kvfpga.lockstep.report import Report
from tests.helpers.fake_device import FakeDevice
from tests.helpers.random_commands import random_commands

VA, BLOCK = 0x7F000000, 16384


def block(n: int) -> cmd.Load:
    return cmd.Load(1, 2, 3, 32 * n, 32 * n + 31, VA + BLOCK * n)


@pytest.fixture
def fake():
    return FakeDevice()


@pytest.fixture
def pair(fake):
    """Eight blocks loaded, on a device that is right so far."""
    pair = Lockstep(Device(fake), ReferenceModel(256))
    for n in range(8):
        pair.execute(block(n))
    return pair


A_LOOKUP = cmd.Lookup(9, 9, 9, 0)


def differences(pair, command=A_LOOKUP) -> list[tuple]:
    with pytest.raises(DifferenceError) as error:
        pair.execute(command) if command else pair.verify()
    return [tuple(d) for d in error.value.report.differences]


# ---- agreement -----------------------------------------------------------------------------------------------------
def test_agreement_is_counted(pair):
    assert (pair.checks, pair.differences, pair.commands, pair.checked) == (8, 0, 8, True)
    pair.execute_many([cmd.Step(1), cmd.Step(2)])
    assert (pair.checks, pair.commands) == (9, 10)
    assert pair.verify().blocks == 8
    assert pair.execute_many([]) == []


def test_sizes_must_agree(fake):
    with pytest.raises(UsageError, match="256 entries"):
        Lockstep(Device(fake), ReferenceModel(512))


def test_a_dump_is_the_devices_and_has_the_shape_of_section_8(pair):
    assert pair.dump() == pair.model.dump()
    assert [list(e) for e in pair.dump()] == [list(e) for e in pair.model.dump()]
    assert all(type(e["prefix"]) is bool and type(e["R"]) is int for e in pair.dump())


def test_entry_shows_all_fields(pair):
    assert pair.entry(3) == pair.model.entry(3)
    assert set(pair.entry(200).values()) == {0}


# ---- disagreement --------------------------------------------------------------------------------------------------
def test_a_wrong_code(fake, pair):
    fake.spoil_result = lambda result: Result("ERR_FULL")
    assert ("result", "code", "ERR_FULL", "OK") in differences(pair)


def test_a_wrong_count_of_matches(fake, pair):
    fake.spoil_result = lambda result: Result("OK", 3)
    assert differences(pair, cmd.Hot(0, 1)) == [("result", "matched", 3, 0)]


def test_a_wrong_tier_of_a_lookup(fake, pair):
    fake.spoil_result = lambda r: Result(r.code, r.matched, r.index, r.triggers, 3, r.phys_addr)
    assert differences(pair, cmd.Lookup(1, 2, 3, 0)) == [("result", "tier", 3, 1)]


def test_a_trigger_too_many_and_one_too_few(fake, pair):
    swap = {0: Trigger(77, "evict", 1, 2)}
    fake.spoil_result = lambda r: Result(r.code, r.matched, triggers=tuple(swap.get(t.index, t) for t in r.triggers))
    found = differences(pair, cmd.Step(1))
    assert ("result", "trigger of 77", "evict 1→2", "none") in found
    assert ("result", "trigger of 0", "none", "evict 1→2") in found


def test_a_wrong_counter(fake, pair):
    fake.model.execute(cmd.Lookup(9, 9, 9, 0))
    assert differences(pair) == [("telemetry", "misses", 2, 1)]


@pytest.mark.parametrize("where", [[0], [7], [2, 3], [0, 1, 6]])
def test_wrong_entries_are_found_by_bisection_and_taken_apart(fake, pair, where):
    for n in where:
        fake.model.execute(cmd.ShareIndex(n))
    found = differences(pair)
    entries = {d[0] for d in found if d[0].startswith("entry")}
    assert entries == {f"entry {n}" for n in where}
    assert [d[1:] for d in found if d[0] == f"entry {where[0]}"] == [("ref_count", 1, 0), ("prefix", 1, 0)]


def test_two_entries_changed_alike_do_not_cancel(fake, pair):
    for n in (4, 5):
        fake.model.execute(cmd.ShareIndex(n))
    assert {"entry 4", "entry 5"} <= {d[0] for d in differences(pair)}


def test_a_wrong_va(fake, pair):
    fake.model.execute(cmd.Unload(VA + 5 * BLOCK, 1))
    fake.model.execute(cmd.Load(1, 2, 3, 160, 191, 0xABC000))
    found = differences(pair)
    assert ("entry 5", "va", 0xABC000, VA + 5 * BLOCK) in found


def test_a_digest_unit_that_is_wrong_though_the_entries_are_right(fake, pair):
    right = fake.model.digest
    fake.model.digest = lambda lo=0, hi=None: right(lo, hi) ^ (lo <= 3 < (hi or 256))
    assert ("entry 3", "digest", "differs though every field agrees", "the same") in differences(pair)


def test_a_digest_unit_that_cannot_add(fake, pair):
    right = fake.model.digest
    fake.model.digest = lambda lo=0, hi=None: right(lo, hi) ^ (lo == 0 and hi == 256)
    assert any(d[1] == "digest of [0, 256)" for d in differences(pair))


def test_wrong_bytes_of_a_block_that_moved(fake, pair):
    home = pair.settings()["TIER_BASE1"] + 2 * BLOCK
    pair.memory_write(home, bytes(range(256)) * 64)
    fake.model.memory_write(home + 300, b"\xff")
    found = differences(pair, cmd.Evict(VA + 2 * BLOCK, 1))
    assert found == [
        (
            "bytes of block 2 in tier 2",
            "1 differ, from byte 0x12c",
            "ff 2d 2e 2f 30 31 32 33",
            "2c 2d 2e 2f 30 31 32 33",
        )
    ]


def test_blocks_that_did_not_move_are_left_to_verify(fake, pair):
    fake.model.memory_write(pair.settings()["TIER_BASE1"] + 2 * BLOCK, b"x")
    pair.execute(cmd.Evict(VA, 1))
    assert differences(pair, None)[0][0] == "bytes of block 2 in tier 1"


def test_verify_finds_settings_entries_and_counters(fake, pair):
    fake.model.execute(cmd.Set("WEIGHT_R", 9))
    fake.model.execute(cmd.ShareIndex(1))
    found = differences(pair, None)
    assert ("settings", "WEIGHT_R", 9, 1) in found
    assert ("telemetry", "share_count", 1, 0) in found
    assert ("entry 1", "ref_count", 1, 0) in found


def test_verify_looks_at_clean_copies_too(fake, pair):
    home = pair.settings()["TIER_BASE2"] + BLOCK
    pair.execute_many([cmd.Evict(VA + BLOCK, 1), cmd.Prefetch(VA + BLOCK, 1, 1)])
    assert pair.entry(1)["dirty"] == 0 and pair.entry(1)["tier"] == 1
    fake.model.memory_write(home, b"x")
    assert differences(pair, None)[0][0] == "bytes of block 1 in tier 2"


def test_in_a_batch_the_result_that_differs_is_named(fake, pair):
    fake.spoil_result = lambda result: Result(result.code, 5) if result.matched == 1 else result
    with pytest.raises(DifferenceError, match=r"result 1 \(hot 0x7f000000 0x1\)"):
        pair.execute_many([cmd.Hot(0, 1), cmd.Hot(VA, 1), cmd.Hot(0, 1)])


BATCH = [cmd.Hot(VA, 1), cmd.Step(1), cmd.Share(VA, 1), cmd.Lookup(1, 2, 3, 0), cmd.Touch(1, 2, 3, 32), cmd.Step(2)]


def spoil_after(fake, wrong: int, spoil) -> None:
    """Have `spoil()` called once the device has run `wrong` commands more."""
    run, done = fake._run, []

    def spoiled(opcode, command):
        run(opcode, command)
        done.append(command)
        if len(done) == wrong:
            spoil()

    fake._run = spoiled


def report_of(pair, checks) -> Report:
    with pytest.raises(DifferenceError) as error:
        list(pair.run_through(BATCH, checks))
    return error.value.report


@pytest.mark.parametrize("wrong", range(1, 7))
@pytest.mark.parametrize("what", ["misses", "directory"])
def test_with_checks_in_between_the_command_that_differed_is_named(fake, pair, wrong, what):
    def spoil():
        if what == "misses":
            fake.model.counters["misses"] += 1
        else:
            fake.model.execute(cmd.ShareIndex(7))

    spoil_after(fake, wrong, spoil)
    report = report_of(pair, range(1, 7))
    assert (report.command, report.number) == (line(BATCH[wrong - 1]), 8 + wrong)
    if what == "misses":
        assert report.differences == [("telemetry", "misses", 1, 0)]
    else:
        assert ("entry 7", "ref_count", 1, 0) in report.differences


def silently_wrong(fake, value: int = 9) -> None:
    """A field of entry 7 that no result and no counter shows."""
    fake.model.directory.ref_count[7] = value
    fake.model.directory.touched(7)


@pytest.mark.parametrize(
    ("wrong", "named", "register"),
    [(1, 0, "PASS_DIGEST"), (2, 4, "PASS_DIGEST"), (3, 4, "PASS_DIGEST"), (5, 4, "PASS_DIGEST"), (6, 5, "digest")],
)
def test_the_next_step_sees_what_was_wrong_silently(fake, pair, wrong, named, register):
    """R25: the last command before the STEP that saw it is named; behind the last STEP, DIGEST sees it."""
    spoil_after(fake, wrong, lambda: silently_wrong(fake))
    report = report_of(pair, range(1, 7))
    assert (report.command, report.number) == (line(BATCH[named]), 9 + named)
    assert report.differences[0][:2] == ("digest", register)
    assert ("entry 7", "ref_count", 9, 0) in report.differences


def test_what_was_wrong_before_one_step_and_right_again_is_seen(fake, pair):
    spoil_after(fake, 4, lambda: silently_wrong(fake))
    spoil_after(fake, 6, lambda: silently_wrong(fake, 0))
    report = report_of(pair, range(1, 7))
    assert report.command == line(BATCH[4])
    assert [(d.where, d.field) for d in report.differences] == [("digest", "PASS_DIGEST")]
    assert "any command since the check before" in report.text()


def digests_asked(fake) -> int:
    return sum(name == "DIGEST_END" for name, _ in fake.writes)


def test_a_digest_is_asked_for_only_behind_the_last_step(fake, pair):
    fake.writes.clear()
    checks = pair.checks
    list(pair.run_through(BATCH, range(1, 7)))
    assert (digests_asked(fake), pair.checks - checks) == (1, 6)
    fake.writes.clear()
    list(pair.run_through(BATCH[:5], [2, 4, 5]))
    assert digests_asked(fake) == 1


def test_a_step_that_is_refused_shows_nothing(fake, pair):
    """It has no pass (R10), so a STEP behind it, or DIGEST, must do."""
    pair.execute(cmd.Step(9))
    for refused in (cmd.Step(3), cmd.Step(1 << 32)):
        fake.writes.clear()
        results = [r.code for found in pair.run_through([cmd.Hot(VA, 1), refused], [1]) for r in found]
        assert results[0] == "OK" and results[1] in ("ERR_STEP_ORDER", "ERR_RANGE")
        assert digests_asked(fake) == 1
    spoil_after(fake, 1, lambda: silently_wrong(fake))
    with pytest.raises(DifferenceError) as error:
        list(pair.run_through([cmd.Hot(VA, 1), cmd.Step(3), cmd.Step(10)], [1]))
    assert error.value.report.command == line(cmd.Step(3))


def test_a_wrong_result_in_the_middle_of_a_batch_names_its_command(fake, pair):
    fake.spoil_result = lambda result: Result(result.code, 5, tier=result.tier) if result.phys_addr else result
    report = report_of(pair, range(1, 7))
    assert report.command == line(BATCH[3])
    assert report.differences[0] == ("result", "matched", 5, 1)


def test_the_checks_that_were_asked_for_are_made(fake, pair):
    spoil_after(fake, 1, lambda: fake.model.execute(cmd.ShareIndex(7)))
    report = report_of(pair, [4])
    assert (report.command, report.number) == (line(BATCH[3]), 12)


def test_an_entry_that_is_right_again_when_it_is_looked_at(fake, pair):
    spoil_after(fake, 3, lambda: fake.model.execute(cmd.ShareIndex(7)))
    spoil_after(fake, 4, lambda: fake.model.execute(cmd.ReleaseIndex(7)))
    fake.model.execute(cmd.ShareIndex(7)), pair.model.execute(cmd.ShareIndex(7))  # prefix stays
    report = report_of(pair, range(1, 6))
    assert report.command == line(BATCH[2])
    assert [d for d in report.differences if d.where != "telemetry"] == [d for d in report.differences if d.where == "digest"]
    assert "entries are as 2 commands more left them" in report.text()


def test_bytes_that_moved_are_looked_at_before_the_next_command(fake, pair):
    """They were wrong for a moment, between two moves of one batch."""
    home = pair.settings()["TIER_BASE2"]
    spoil_after(fake, 1, lambda: fake.model.memory_write(home + 300, b"\xff"))
    spoil_after(fake, 2, lambda: fake.model.memory_write(home + 300, bytes(1)))
    with pytest.raises(DifferenceError, match="bytes of block 0 in tier 2") as error:
        list(pair.run_through([cmd.Evict(VA, 1), cmd.Hot(VA + BLOCK, 1), cmd.Step(1)], [1, 2, 3]))
    assert error.value.report.command == line(cmd.Evict(VA, 1))


@pytest.mark.parametrize("seed", range(5))
def test_checks_in_between_change_nothing(seed):
    """Random commands one by one, and in batches with checks at random: the same results and the same state."""
    commands = list(random_commands(seed, 150))
    one, other = (Lockstep(Device(FakeDevice()), ReferenceModel(256)) for _ in range(2))
    checks = sorted(random.Random(seed).sample(range(1, 151), 40))
    found = list(other.run_through(commands, checks))
    assert [result for results in found for result in results] == [one.execute(command) for command in commands]
    assert (other.commands, other.checks) == (150, 40)
    assert len(found) < 40
    assert (other.telemetry(), other.digest()) == (one.telemetry(), one.digest())
    other.verify()


def test_a_command_that_cannot_be_sent_changes_nothing(fake, pair):
    with pytest.raises(UsageError):
        pair.execute_many([cmd.Hot(VA, 1), cmd.Hot(1 << 64, 1)])
    assert pair.execute(cmd.Step(1)) and pair.verify()


def test_a_report_is_text_table_and_json(fake, pair):
    fake.model.execute(cmd.ShareIndex(7))
    with pytest.raises(DifferenceError) as error:
        pair.execute(cmd.Hot(0xDEAD0000, 16))
    report = error.value.report
    assert error.value.exit_code == 4
    assert "after `hot 0xdead0000 0x10`" in str(error.value)
    assert report.number == 9
    text = io.StringIO()
    report.print(text)
    for shown in (text.getvalue(), report.text()):
        assert "entry 7" in shown and "ref_count" in shown
    found = json.loads(report.json())
    assert {"where": "entry 7", "field": "ref_count", "device": 1, "expected": 0} in found["differences"]


# ---- without checks ------------------------------------------------------------------------------------------------
def test_without_checks_the_model_follows_and_nothing_is_compared(fake):
    pair = Lockstep(Device(fake), ReferenceModel(256), check=False)
    fake.spoil_result = lambda result: Result("ERR_FULL")
    assert pair.execute(block(0)) == Result("ERR_FULL")
    assert (pair.checked, pair.checks, pair.model.telemetry()["valid_entries"]) == (False, 0, 1)


# ---- taking the device's word --------------------------------------------------------------------------------------
def test_sync_takes_entries_settings_counters_and_bytes(fake, pair):
    fake.model.memory_write(256 * BLOCK + BLOCK, b"some bytes")
    for command in (cmd.Hot(VA, 1), cmd.Evict(VA + BLOCK, 1), cmd.Set("WEIGHT_D", 7), cmd.Step(9)):
        fake.model.execute(command)
    assert pair.sync() == 8
    assert pair.verify().entries == 256
    assert pair.model.dump() == fake.model.dump()
    assert pair.model.memory_read(2 * 256 * BLOCK + BLOCK, 10) == b"some bytes"
    pair.execute(cmd.Step(10))


def test_reset_resets_both(fake, pair):
    pair.execute(cmd.Step(5))
    pair.reset()
    assert pair.telemetry()["current_step"] == pair.model.telemetry()["current_step"] == 0
    pair.execute(block(0))


@pytest.mark.parametrize(("named", "begin"), [("reset --raw", Lockstep.reset), ("sync", Lockstep.sync)])
def test_what_a_step_sees_behind_a_reset_or_a_sync_no_older_command_has_done(fake, pair, named, begin):
    pair.execute(cmd.Step(5))
    begin(pair)
    fake.model.execute(block(50))
    with pytest.raises(DifferenceError) as error:
        pair.execute(cmd.Step(6))
    assert error.value.report.command == named


def test_a_reset_that_leaves_something_behind_is_a_difference(fake, pair, monkeypatch):
    monkeypatch.setattr(fake.model, "reset", lambda: None)
    with pytest.raises(DifferenceError, match="valid_entries"):
        pair.reset()


def test_an_operand_that_a_reset_leaves_is_a_difference(fake, pair, monkeypatch):
    monkeypatch.setattr(fake, "stored", Everlasting(fake.stored))
    with pytest.raises(DifferenceError, match=r"operand\s+LOAD_VA"):
        pair.reset()


class Everlasting(dict):
    def clear(self) -> None:
        pass


# ---- the reference alone -------------------------------------------------------------------------------------------
def test_the_reference_alone_has_the_same_surface():
    alone = Reference(ReferenceModel(256))
    assert alone.execute(block(0)) == Result("OK", 1, 0)
    assert alone.checked is False
    assert list(alone.telemetry()) == list(Device(FakeDevice()).telemetry())
    assert alone.settings().keys() == Device(FakeDevice()).settings().keys()
    methods = (
        "execute execute_many telemetry settings digest dump entry memory_read memory_write reset verify sync "
        "read_register write_register read_word write_word close"
    )
    for name in methods.split():
        assert callable(getattr(alone, name)) and callable(getattr(Lockstep, name))
    for name in ("entries", "block_bytes", "checks", "differences", "commands", "recorder"):
        assert hasattr(alone, name)


# ---- the ranked policy -------------------------------------------------------------------------------------------------
CODES = np.random.default_rng(3).integers(0, 256, (256, 64)).astype(np.uint8)


def test_r48_theta_is_compared(fake, pair):
    pair.ranked(CODES)
    pair.set(T1_CAPACITY=3)
    spoil_after(fake, 1, lambda: fake.model.counters.update(theta=7))
    found = differences(pair, cmd.Step(1))
    assert ("telemetry", "theta", 7, pair.model.telemetry()["theta"]) in found


def test_r41_class_and_order_are_compared(fake, pair):
    fake.model.execute(cmd.Class(VA + BLOCK, 1, 9, base=5))
    found = differences(pair)
    assert ("entry 1", "class", 9, 0) in found and ("entry 1", "order", 250, 0) in found


def test_r45_another_table_in_force_shows_at_the_next_step(fake, pair):
    pair.ranked(CODES)
    fake.model.write_table(255 - CODES)
    fake.model.execute(cmd.Set("PTABLE_COMMIT", 1))
    assert ("entry 0", "priority") in [found[:2] for found in differences(pair, cmd.Step(1))]


@pytest.mark.parametrize("bank", [0, 1])
def test_r45_verify_finds_a_wrong_code_in_either_bank(fake, pair, bank):
    pair.ranked(CODES)
    pair.write_table(255 - CODES)
    right = int(pair.model.tables[bank, 200, 40])
    fake.model.tables[bank, 200, 40] ^= 0xFF
    assert differences(pair, None) == [(f"PTABLE bank {bank}, class 200", "bucket 40", right ^ 0xFF, right)]
    assert pair.device.settings()["PTABLE_COMMIT"] == fake.model.settings()["PTABLE_COMMIT"] == 1, "as it was"
    fake.model.tables[bank, 200, 40] ^= 0xFF
    pair.verify()


def test_r45_sync_takes_both_banks(fake, pair):
    fake.model.write_table(CODES)
    fake.model.execute(cmd.Set("PTABLE_COMMIT", 1))
    fake.model.write_table(255 - CODES)
    for setting in (cmd.Set("POLICY", 1), cmd.Set("FILL_AGE", 9), cmd.Set("T1_CAPACITY", 4)):
        fake.model.execute(setting)
    pair.sync()
    pair.verify()
    assert (pair.model.tables == np.stack([255 - CODES, CODES])).all()
    assert len(pair.execute(cmd.Step(1)).triggers) == 4


def test_r45_a_word_of_the_window_reaches_both(fake, pair):
    pair.write_word(0x4000 + 64 * 7 + 4, 0x04030201)
    assert pair.read_word(0x4000 + 64 * 7 + 4) == 0x04030201
    for side in (pair.read_table(), pair.model.read_table(), fake.model.read_table()):
        assert side[7, :8].tolist() == [0, 0, 0, 0, 1, 2, 3, 4]
    pair.verify()


@pytest.mark.parametrize("address", [0x8000 + 16384, 0x4000 + 2, 0x4000 - 4])
def test_r45_words_beside_the_window_are_none_of_it(pair, address):
    with pytest.raises(BusError):
        pair.write_word(address, 5)
    pair.verify()


@pytest.mark.parametrize("table, said", [
    (CODES.astype(np.int64), "int64"), (CODES[:16], "shape"), ("oldest", "no table"), ([[1], [2, 3]], "no array"),
    (None, "object"),
])  # fmt: skip
def test_r45_what_is_no_table_is_not_written(fake, pair, table, said):
    fake.writes.clear()
    with pytest.raises(UsageError, match=said):
        pair.write_table(table)
    assert not fake.model.read_table().any() and fake.writes == []


def test_r49_ranked_and_linear_from_python(pair):
    assert pair.ranked("age", fill_age=4)["POLICY"] == 1
    assert pair.settings()["FILL_AGE"] == 4 and pair.model.table[9, 3] == 255 - 4 * 3
    with pytest.raises(DeviceRefused, match="ERR_RANGE"):
        pair.ranked(CODES, fill_age=256)
    assert pair.model.table[9, 3] == 255 - 4 * 3 and not pair.read_table().any()
    pair.classify(VA, 2 * BLOCK, class_id=5, base=1)
    pair.lookup(1, 2, 3, 0, touch=True, order=3)
    pair.load(9, 0, 0, (0, 31), va=0, class_id=200, order=4)
    assert [(e["class"], e["order"]) for e in pair.dump()][:3] == [(0, 3), (5, 253), (0, 0)]
    assert pair.linear()["POLICY"] == 0
    with pytest.raises(UsageError, match="are for an access"):
        pair.lookup(1, 2, 3, 0, class_id=1)
    with pytest.raises(UsageError, match="class_id"):
        pair.load(9, 0, 0, (32, 63), va=0, class_id=256)
    pair.verify()
