"""blackbox/simulation.py: what a difference leaves behind, and that it can be had again from there.

The devices are fakes with a fault that follows from their state, as a fault in RTL does; test_cli_sim.py has RTL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from unittest.mock import Mock

import numpy as np
import pytest

from kvfpga.blackbox import simulation as blackboxes
from kvfpga.blackbox.attach import attach
from kvfpga.blackbox.history import History, MemoryWrite, QueryWrite, TableWrite
from kvfpga.blackbox.retrace import trace
from kvfpga.blackbox.simulation import SimulationBlackBox
from kvfpga.contract import commands as cmd
from kvfpga.contract.commands import Step
from kvfpga.contract.errors import BuildError, BusError, DifferenceError, IdleTimeout, TargetError, UsageError
from kvfpga.session.session import Session
from kvfpga.targets.target import Target
from tests.helpers.command_line import Kvfpga
from tests.helpers.fake_device import FakeDevice
from tests.helpers.keys import random_block, random_query

VA, BLOCK = 0x7F000000, 16384


def block(n: int) -> cmd.Load:
    return cmd.Load(1, 2, 3, 32 * n, 32 * n + 31, VA + BLOCK * n)


class Faulty(FakeDevice):
    """Wrong about the number of matches of the STEP to 3, and hangs on the STEP to 30."""

    def __init__(self, entries):
        super().__init__(entries)
        self.spoil_result = self._spoil

    def _spoil(self, result):
        step = self.model.telemetry()["current_step"]
        if step == 30:
            raise IdleTimeout("still busy")
        return replace(result, matched=result.matched + 1) if step == 3 and result.matched == 2 else result


@dataclass(frozen=True)
class FakeTarget(Target):
    def open_mmio(self, wave=None, restore=None):
        fake = Faulty(self.entries)
        if restore:
            fake.restore(restore)
        return fake


TARGET = FakeTarget("sim", 256, 8)


@pytest.fixture
def session(tmp_path):
    with Session(TARGET, tmp_path) as session:
        session.open()
        yield session


@pytest.fixture
def pair(session):
    return session._device


def fail(pair, *commands):
    """Run as one batch; the report of the difference that it makes."""
    with pytest.raises(DifferenceError) as error:
        pair.execute_many(commands)
    return error.value.report


def test_a_failure_folder_has_it_all(pair, tmp_path):
    pair.execute_many([block(0), block(1)])
    pair.memory_write(1 << 22, b"bytes")
    report = fail(pair, Step(3))
    folder = report.folder
    assert folder.parent == tmp_path / "failures"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bytes-2.bin", "checksums.json", "commands.kvfpga", "failing.kvfpga", "mmio.jsonl", "report.json", "report.txt", "sim",
        "waveform.fst",
    ]  # fmt: skip
    assert (folder / "failing.kvfpga").read_text() == "step 3\n"
    lines = (folder / "commands.kvfpga").read_text().splitlines()
    assert (
        lines[-1] == "step 3"
        and lines[-2].startswith("mem write 0x400000 --data")
        and "load --request 0x1" in lines[-4]
    )
    assert "matched  3" in (folder / "report.txt").read_text()
    assert json.loads((folder / "report.json").read_text())["reproduce"] == report.reproduce
    calls = [json.loads(line) for line in (folder / "mmio.jsonl").read_text().splitlines()]
    assert any(op[:3] == ["WRITE", 0, 3] for call in calls for op in call.get("ops", []))


def test_a_failure_folder_has_the_ranked_policy(pair, tmp_path):
    """Its script leads to the same state as its session, tables included."""
    codes = np.random.default_rng(1).integers(0, 256, (256, 64)).astype(np.uint8)
    pair.ranked(codes, fill_age=3)
    pair.write_table(255 - codes)
    pair.execute_many([block(1), cmd.Load(1, 2, 3, 0, 31, VA, 1, cmd.hint_of(9, 8)), cmd.Class(VA, BLOCK, 7, base=2)])
    folder = fail(pair, Step(3)).folder
    again = Kvfpga(tmp_path / "again", "--target", "model")
    again("reset", "--raw")
    again("run", folder / "commands.kvfpga")
    shown = {name: value for name, value in again("policy").items() if name not in ("command", "code")}
    assert shown == {"policy": "ranked", "fill_age": 3, "bank": 1, "classes": 256}
    assert again("reg", "read", 0x4000)["value"].to_bytes(4, "little") == (255 - codes[0, :4]).tobytes()
    assert [(entry["class"], entry["order"]) for entry in again("dump")["entries"]] == [(0, 0), (7, 253)]
    with Session(TARGET, folder) as session:
        device = session.open()
        assert (device.model.tables == np.stack([255 - codes, codes])).all()
        assert TableWrite(codes.tobytes()) in list(session._history.old())
        device.verify()
        assert fail(device, Step(3)).differences


def test_a_failure_folder_has_the_queries(pair, tmp_path):
    """Those that were there at the last reset as well, which its script writes before it."""
    pair.query_write(62, np.stack([random_query(1), random_query(2)]))
    pair.reset()
    pair.query_write(5, random_query(3))
    pair.load(1, 2, 3, (0, 31), VA, data=random_block(1))
    scored = pair.score(1, 2, 3, 0, slot=5, exp=True)
    folder = fail(pair, block(1), Step(3)).folder
    assert "query write 5 " in (folder / "commands.kvfpga").read_text()
    again = Kvfpga(tmp_path / "again", "--target", "model")
    again("run", folder / "commands.kvfpga")
    assert again("query", "read", 5)["query_bits"] == random_query(3).view(np.uint16).tolist()
    with Session(TARGET, folder) as session:
        device = session.open()
        writes = [item for item in session._history.old() if isinstance(item, QueryWrite)]
        assert [(write.slot, write.amount, write.kept) for write in writes] == [(0, 64, True), (5, 1, False)]
        assert (device.query_read(63) == random_query(2)).all()
        device.verify()
        assert device.score(1, 2, 3, 0, slot=5, exp=True).result == scored.result


def test_the_one_command_that_reproduces_it(pair):
    pair.execute_many([block(0), block(1)])
    report = fail(pair, Step(3))
    assert report.reproduce == (
        f"kvfpga --target sim --entries 256 --lanes 8 --session {report.folder} "
        f"--trace {report.folder}/again.fst run {report.folder}/failing.kvfpga"
    )
    with Session(TARGET, report.folder) as again:
        device = again.open()
        assert device.telemetry()["valid_entries"] == 2
        assert fail(device, Step(3)).differences == report.differences
        again.trace(report.folder / "again.fst")
    assert report.folder.joinpath("again.fst").exists()
    assert not report.folder.joinpath("failures").exists()


def test_in_a_batch_the_failing_command_is_found(pair):
    report = fail(pair, block(0), block(1), Step(1), Step(3), Step(4), Step(5))
    assert "the failing command of the batch is `step 3`" in report.notes
    with Session(TARGET, report.folder) as again:
        assert again.open().telemetry()["current_step"] == 1
        assert list(again._history.old())[-3:] == [block(0), block(1), Step(1)]


def test_a_batch_with_checks_in_between_names_the_failing_command(pair):
    before = pair.commands
    with pytest.raises(DifferenceError) as error:
        list(pair.run_through([block(0), block(1), Step(1), Step(3), Step(4), Step(5)], range(1, 7)))
    report = error.value.report
    assert (report.command, report.number) == ("step 3", before + 4)
    assert not any("failing command of the batch" in note for note in report.notes)
    assert (report.folder / "failing.kvfpga").read_text() == "step 3\n"
    assert (report.folder / "commands.kvfpga").read_text().splitlines()[-2:] == ["step 1", "step 3"]
    with Session(TARGET, report.folder) as again:
        assert fail(again.open(), Step(3)).differences == report.differences[:1]


def test_history_of_earlier_processes_is_part_of_it(tmp_path):
    for commands in ([block(0)], [block(1)]):
        with Session(TARGET, tmp_path) as session:
            session.open().execute_many(commands)
            session.save()
    with Session(TARGET, tmp_path) as session:
        report = fail(session.open(), Step(3))
    with Session(TARGET, report.folder) as again:
        again.open()
        assert list(again._history.old())[-2:] == [block(0), block(1)]


def test_verify_that_fails_has_a_folder_too(pair):
    pair.execute(block(0))
    pair.device.mmio.model.execute(cmd.ShareIndex(0))
    with pytest.raises(DifferenceError) as error:
        pair.verify()
    report = error.value.report
    assert any("did not show again" in note for note in report.notes)
    assert report.reproduce is None
    assert (report.folder / "commands.kvfpga").read_text().splitlines()[-1] == "verify"


def test_a_device_that_hangs_has_a_folder_too(pair):
    pair.execute(block(0))
    with pytest.raises(TargetError) as error:
        pair.execute(Step(30))
    assert "failures" in error.value.remedy and "again.fst" in error.value.remedy
    assert str(error.value).endswith(error.value.remedy)  # which a notebook shows


def test_without_a_start_there_is_still_a_report(pair, monkeypatch):
    monkeypatch.setattr(pair.model, "reset", lambda: None)
    pair.execute(block(0))
    with pytest.raises(DifferenceError) as error:
        pair.reset()
    assert "nothing was recorded before it" in error.value.report.notes
    assert (error.value.report.folder / "report.txt").exists()


def test_trouble_with_the_folder_does_not_hide_the_difference(pair, monkeypatch, tmp_path):
    (tmp_path / "failures").write_text("in the way")
    pair.execute_many([block(0), block(1)])
    report = fail(pair, Step(3))
    assert any("incomplete" in note for note in report.notes)


@pytest.mark.parametrize("mistake, said", [
    (KeyError("lost"), "'lost'"), (MemoryError(), "MemoryError"), (UsageError("no zlib", "install it"), "no zlib"),
])  # fmt: skip
def test_a_mistake_while_the_folder_is_filled_does_not_hide_the_difference(pair, monkeypatch, mistake, said):
    monkeypatch.setattr(SimulationBlackBox, "_fill", Mock(side_effect=mistake))
    pair.execute_many([block(0), block(1)])
    report = fail(pair, Step(3))
    assert f"the failure folder is incomplete: {said}" in report.notes and (report.folder / "report.txt").exists()


def test_without_zlib_the_waveform_is_a_vcd_file(pair, monkeypatch):
    def build(target, wave=None, restore=None):
        if wave == "fst":
            raise BuildError("zlib.h is missing")
        return plain(target, wave, restore)

    plain = FakeTarget.open_mmio
    monkeypatch.setattr(FakeTarget, "open_mmio", build)
    pair.execute_many([block(0), block(1)])
    report = fail(pair, Step(3))
    assert (report.folder / "waveform.vcd").exists()
    assert "again.vcd" in report.reproduce


def test_starts_are_made_anew_when_the_list_gets_long(pair, monkeypatch):
    pair.execute(block(0))
    monkeypatch.setattr(blackboxes, "LOG_BYTES", 100)
    pair.memory_write(0, bytes(101))
    assert len(pair.recorder.log) > 1
    pair.execute(block(1))
    assert pair.recorder.log == [(block(1),)]
    monkeypatch.setattr(blackboxes, "EVERY", 0)
    pair.execute(cmd.Hot(0, 1))
    assert pair.recorder.log == [(cmd.Hot(0, 1),)]
    report = fail(pair, Step(3))
    assert (report.folder / "failing.kvfpga").read_text() == "step 3\n"


def test_what_the_session_has_stored_is_the_start_of_what_comes_next(session, pair, monkeypatch):
    """A state that is on the disk is not written a second time, and a difference is found from there."""
    pair.execute_many([block(0), block(1)])
    session.save()
    made = []
    monkeypatch.setattr(blackboxes, "write_generation", lambda home, *more: made.append(home))
    for step in (1, 2):
        pair.execute_many([Step(step)])
        session.save()
    monkeypatch.undo()
    assert made == []
    report = fail(pair, Step(3))
    assert report.notes == []
    assert (report.folder / "commands.kvfpga").read_text().splitlines() == ["step 3"]
    assert (report.folder / "failing.kvfpga").read_text() == "step 3\n"


def test_a_trace_repeats_the_history_and_shows_the_rest(tmp_path):
    seen = []

    class Watched(Faulty):
        def trace_start(self, path):
            counted = self.model.telemetry()
            found = self.model.memory_read(5, 1), self.model.table[255, 63], *self.model.queries[8:10, 7]
            seen.append((counted["valid_entries"], *found, counted["query_bytes"]))

        def close(self):
            seen.append(self.model.telemetry()["valid_entries"])

    @dataclass(frozen=True)
    class WatchedTarget(Target):
        def open_mmio(self, wave=None, restore=None):
            assert (wave, restore) == ("vcd", None)
            return Watched(self.entries)

    kept = QueryWrite.of(0, np.full((64, 128), 3, np.uint16), kept=True)
    query = QueryWrite.of(9, np.full((1, 128), 4, np.uint16))
    before = [kept, query, block(0), MemoryWrite(5, b"x"), TableWrite(bytes([7]) * 16384), cmd.Set("PTABLE_COMMIT", 1), block(1)]
    trace(WatchedTarget("sim", 256, 8), iter(before), [block(2)], tmp_path / "x.vcd")
    assert seen == [(2, b"x", 7, 3, 4, 256), 3]


def test_a_box_without_history_makes_no_waveform(tmp_path):
    pair = TARGET.open()
    pair.recorder = SimulationBlackBox(TARGET, tmp_path)
    pair.execute_many([block(0), block(1)])
    assert not (fail(pair, Step(3)).folder / "waveform.fst").exists()
    pair.close()


def test_a_device_of_a_program_can_have_a_box_too(tmp_path):
    with TARGET.open() as pair:
        attach(pair, TARGET, tmp_path)
        pair.execute_many([block(0), block(1)])
        assert (fail(pair, Step(3)).folder / "waveform.fst").exists()


def test_a_bus_error_of_a_command_is_not_taken_for_one_of_a_plain_access(pair, monkeypatch):
    def refuse(batch):
        raise BusError(0x100, True)

    monkeypatch.setattr(pair.device.mmio, "run", refuse)
    with pytest.raises(TargetError, match="a command met a bus error on write to offset 0x100") as error:
        pair.execute(Step(1))
    assert not isinstance(error.value, BusError)


def test_a_box_of_a_long_life_keeps_its_history(tmp_path):
    """A reset starts it anew; clearing the counters does not."""
    pair = TARGET.open()
    history = History(tmp_path)
    pair.recorder = SimulationBlackBox(TARGET, tmp_path, history)
    pair.execute(block(0))
    pair.execute(cmd.Set("CLEAR_COUNTERS", 0))
    assert len(history.new) == 2
    pair.reset()
    assert history.new == []
    pair.close()
