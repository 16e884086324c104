"""What a notebook shows: short results, tables, remedies below errors; and `kvfpga.open` with a waveform, `dev.replay`."""

from __future__ import annotations

import os
import pickle
import traceback
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas
import pytest

import kvfpga
from kvfpga.contract.commands import SHOWN_TRIGGERS
from kvfpga.lockstep.report import Difference, Report
from tests.helpers.command_line import BLOCK


def cells(html: str) -> list[list[str]]:
    """The rows of a table, which is well-formed."""
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


@pytest.fixture
def dev():
    with kvfpga.open("model", entries=256) as found:
        for n in range(30):
            found.load(1, n, 0, (0, 31), va=n * BLOCK)
        yield found


def test_a_result_says_what_there_is_to_say(dev):
    assert repr(dev.load(2, 0, 0, (0, 31), va=1 << 30)) == "<Result OK, matched=1, index=30>"
    assert repr(dev.lookup(9, 0, 0, 5)) == "<Result OK, matched=0>"
    assert repr(dev.evict(0, 3 * BLOCK)) == "<Result OK, matched=3, triggers: 3 evict>"
    assert repr(dev.execute(kvfpga.Evict(0, 0))) == "<Result ERR_LEN, matched=0: length is 0; a range has 1 byte or more (R10)>"


def test_a_result_is_a_table_of_its_triggers_and_not_an_endless_one(dev):
    found = cells(dev.evict(0, 2 * BLOCK)._repr_html_())
    assert found == [["block", "channel", "way"], ["0", "evict", "T1 to T2"], ["1", "evict", "T1 to T2"]]
    assert dev.lookup(9, 0, 0, 5)._repr_html_() is None  # nothing to show in a table: the text is shown
    many = cells(dev.evict(0, 30 * BLOCK)._repr_html_())
    assert len(many) == 1 + SHOWN_TRIGGERS + 1 and many[-1][0] == "8 more"


def test_scores_are_a_line_and_a_table_of_the_tokens_that_there_are(dev):
    keys = np.zeros((2, 32, 128), np.float16)
    keys[0, :3, 0] = 1, 2, -4
    dev.load(2, 0, 0, (0, 2), va=1 << 30, data=keys)
    dev.query_write(0, np.full(128, 128**0.5, np.float16))
    plain, full = dev.score(2, 0, 0, 0, slot=0), dev.score(2, 0, 0, 0, slot=0, exp=True)
    assert repr(plain) == f"<BlockScores of 3 tokens, {plain.scores[2]:.6g} to {plain.scores[1]:.6g}>"
    assert repr(full) == repr(plain)[:-1] + ", exps>"
    assert [row[0] for row in cells(plain._repr_html_())] == ["token", "0", "1", "2"]
    assert cells(full._repr_html_())[0] == ["token", "score", "exp"] and cells(full._repr_html_())[2][2] == "1"


def test_a_trace_does_not_say_all_of_its_requests(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp": 1, "input_length": 32, "output_length": 1, "hash_ids": [1]}\n' * 500)
    assert len(repr(kvfpga.load_trace(path))) < 300


def test_a_device_says_its_size_and_what_it_did_without_being_asked():
    dev = kvfpga.open("model", entries=256)
    dev.step(1)
    assert repr(dev) == "<Reference: 256 blocks of 16384 bytes, 1 commands>"
    dev.close()
    assert repr(dev).endswith("closed>")


def test_a_report_is_a_table_in_which_nothing_is_markup():
    report = Report("step 3", 1, [Difference("entry 17", "<b>tier</b>", 2, 1)])
    assert cells(report._repr_html_())[1] == ["entry 17", "<b>tier</b>", "2", "1"]
    assert repr(report) == "<Report: hardware and reference model differ in 1 place after `step 3`>"


def test_the_text_of_an_error_has_the_remedy_and_the_message_does_not(dev):
    with pytest.raises(kvfpga.UsageError) as error:
        dev.step("3")
    assert str(error.value) == f"{error.value.message}\n  {error.value.remedy}" and error.value.remedy not in error.value.message
    assert "".join(traceback.format_exception(error.value)).endswith(f": {error.value}\n")
    assert str(kvfpga.KvfpgaError("no remedy")) == "no remedy"


@pytest.mark.parametrize("make", [
    lambda dev: dev.step("3"), lambda dev: dev.entry(999), lambda dev: dev.block(200), lambda dev: dev.weights(w_r=300),
    lambda dev: dev.write_register("VERSION", 1), lambda dev: kvfpga.open("uart:/nowhere"),
])  # fmt: skip
def test_an_error_comes_out_of_another_process_as_it_was(dev, make):
    with pytest.raises(kvfpga.KvfpgaError) as error:
        make(dev)
    found = pickle.loads(pickle.dumps(error.value))
    assert type(found) is type(error.value) and vars(found) == vars(error.value) and str(found) == str(error.value)


def test_readings_make_a_data_frame_with_a_row_each(dev):
    readings = []
    for step in range(3):
        dev.step(step)
        readings.append(dev.telemetry())
    frame = pandas.DataFrame(readings).set_index("current_step")
    assert frame.index.tolist() == [0, 1, 2] and set(frame.dtypes) == {np.dtype("int64")}
    assert frame["step_count"].diff().tolist()[1:] == [1, 1] and list(frame.columns) == list(readings[0])[1:]


def test_the_table_is_a_data_frame_with_a_column_for_each_field(dev):
    dev.evict(0, 5 * BLOCK)
    frame = pandas.DataFrame(dev.table())
    assert list(frame.columns) == list(dev.table().dtype.names) and len(frame) == 30
    assert frame.groupby("tier").size().to_dict() == {1: 25, 2: 5} and frame["dirty"].dtype == bool


# ---- replay ----------------------------------------------------------------------------------------------------------
def test_a_device_replays_the_sample_by_a_policy():
    with kvfpga.open("model", entries=256) as dev:
        found = dev.replay(limit=20, policy="ranked-age", t1_capacity=64)
    assert isinstance(found, kvfpga.ReplaySummary) and (found.requests, found.policy) == (20, "ranked-age")
    assert repr(found).startswith("<ReplaySummary ranked-age: 20 requests, ") and repr(found).endswith("in T1 of 64>")
    shown = cells(found._repr_html_())
    assert shown[1][:2] == ["device, ranked-age", str(found.counters["hits_t1"])] and shown[-1][0] == "optimal (Belady)"


def test_bad_replays_are_refused():
    with kvfpga.open("model", entries=256) as dev:
        with pytest.raises(kvfpga.UsageError, match="speed: no such option") as error:
            dev.replay(speed=2)
        assert "limit" in error.value.remedy
        with pytest.raises(kvfpga.UsageError, match="no path"):
            dev.replay(7)
        dev.load(1, 0, 0, (0, 31), va=0)
        with pytest.raises(kvfpga.UsageError, match="empty"):
            dev.replay(limit=2)
    bare = kvfpga.Reference(kvfpga.ReferenceModel(256))
    with pytest.raises(kvfpga.UsageError, match=r"not opened by kvfpga\.open"):
        bare.replay()


# ---- waveforms -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target, trace, message",
    [("sim", "w.txt", r"a waveform is \.fst or \.vcd"), ("model", "w.vcd", "no signals"), ("sim", 7, "no path"),
     ("sim", "nowhere/w.fst", "cannot write the waveform nowhere/w.fst: No such file")],
)  # fmt: skip
def test_what_is_no_waveform_is_refused_before_a_device_is_built(target, trace, message):
    with pytest.raises(kvfpga.UsageError, match=message):
        kvfpga.open(target, entries=256, trace=trace)


def test_a_pipe_that_nobody_reads_is_no_waveform(tmp_path):
    """It would be waited for without a word, and for ever."""
    os.mkfifo(tmp_path / "w.fst")
    with pytest.raises(kvfpga.UsageError, match="it is a pipe that nobody reads"):
        kvfpga.open("sim", entries=256, trace=tmp_path / "w.fst")


def test_a_waveform_and_its_view_are_there_once_the_device_is_closed(tmp_path, monkeypatch):
    """On a stand-in for the model that records, which takes minutes to build: tests/blackbox/test_wave_view.py has a real one."""
    from kvfpga.targets.target import Target

    path = tmp_path / "w.vcd"
    real = Target.open

    def record(self, check, wave):
        wave.write_text("$scope module TOP $end\n$scope module kvcpu $end\n$var wire 1 a clk $end\n"
                        "$upscope $end\n$upscope $end\n$enddefinitions $end\n#0\n0a\n")  # fmt: skip
        return real(kvfpga.parse_target("model", 256), check)

    monkeypatch.setattr(Target, "open", record)
    with kvfpga.open("sim", entries=256, trace=path):
        assert not path.with_suffix(".gtkw").exists()
    assert "TOP.kvcpu.clk" in path.with_suffix(".gtkw").read_text()
