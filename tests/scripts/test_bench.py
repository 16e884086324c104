"""scripts/bench in its quick form: there is a figure for everything it measures, and a ratio that got worse is seen. How fast
anything is, no test can tell."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from kvfpga.contract.errors import TargetError, UsageError
from kvfpga.hepc_ref import ReferenceModel
from scripts.bench import __main__ as bench
from scripts.bench import baseline, figures, output, records, replay
from scripts.bench.figures import Agreement, Figure, Report, Series
from scripts.bench.sizes import FULL
from scripts.bench.worker import names
from scripts.bench.workers import Version, Worker
from tests.helpers.places import DATA

OLDER = Version("1234567", Path(sys.executable))
"""In the place of an older commit, which takes a virtual environment of its own: this one once more."""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command, with a small trace in the place of the real one: exit code, stdout, stderr."""
    monkeypatch.setattr(baseline, "checkout", lambda commit, say: OLDER)
    monkeypatch.setenv("KVFPGA_TRACES", str(tmp_path))
    shutil.copy(DATA / "chats.jsonl", tmp_path / replay.TRACE)

    def run(*given):
        code = bench.main(given)
        return code, *capsys.readouterr()

    return run


# ---- the sections ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "section, names, aims",
    [
        ("model", {"idle clock", "STEP over 256 valid entries", "LOAD", "DIGEST of 256 valid entries", "read32"}, [6, 1.9, 1.6]),
        ("reads", {"kvfpga read32", "kvfpga Batch", "plain C++ loop", "pyverilator, signal by signal",
                   "cocotb, a read at a time"}, [50, 20, 300, 0.9]),
        ("check", {"STEP without check", "STEP with the full check", "device: DIGEST", "model: STEP"}, [1.25]),
        ("process", {'python -c "import numpy"', "kvfpga step, 64 blocks", "kvfpga step, 256 blocks",
                     'python -c "import kvfpga"', "kvfpga --version"}, [1.6, 2]),
        ("lab", {"compiled device, ranked", "compiled device, ranked-age", "compiled device, linear:balanced", "libcachesim LRU",
                 "libcachesim S3FIFO", "libcachesim WTinyLFU"}, [1, 1, 1]),
        ("replay", {"replay of 2 conversations' requests", "replay of 2 conversations' requests, ranked-age"}, [4, 3]),
    ],
)  # fmt: skip
def test_a_section_has_its_figures(run, section, names, aims):
    code, out, err = run("--quick", "--json", "--only", section)
    assert code == 0, err
    assert f"{section}: " in err  # progress, in a pipe too
    found = json.loads(out)
    assert set(found) == {"commit", "processor", "sizes", "figures", "agreements", "notes"}
    assert names <= {figure["name"] for figure in found["figures"]}
    for figure in found["figures"]:
        assert figure["section"] == section
        assert figure["value"] > 0
        assert (figure["ratio"] is None) == (figure["beside"] == "") == (figure["other"] is None)
        assert (figure["last"], figure["loss"]) == (None, False)  # what is recorded are full runs
    assert [figure["aim"] for figure in found["figures"] if figure["aim"] is not None] == aims
    assert (OLDER.name in {figure["beside"] for figure in found["figures"]}) == (section not in ("reads", "lab"))
    assert bool(found["agreements"]) == (section in ("model", "replay"))
    assert all(agreement["same"] for agreement in found["agreements"])
    assert "mean nothing" in found["notes"][0]


def test_a_trace_that_is_not_there_is_a_note(run, tmp_path):
    (tmp_path / replay.TRACE).unlink()
    code, out, _ = run("--quick", "--json", "--only", "replay")
    assert (code, json.loads(out)["figures"]) == (0, [])
    assert str(tmp_path) in json.loads(out)["notes"][1] and "KVFPGA_TRACES" in json.loads(out)["notes"][1]


def test_how_much_is_replayed_can_be_said(run, monkeypatch):
    asked = []
    monkeypatch.setitem(bench.SECTIONS, "replay", lambda sizes, say, older: asked.append(sizes) or Report([], [], []))
    assert run("--only", "replay", "--requests", "2000", "--replays", "1", "--json")[0] == 0
    assert asked == [FULL._replace(requests=2000, replays=1)]


def test_reads_need_no_baseline(run, monkeypatch):
    monkeypatch.setattr(baseline, "checkout", lambda commit, say: pytest.fail("asked for"))
    monkeypatch.setitem(bench.SECTIONS, "reads", lambda sizes, say, older: Report([], [], []))
    assert run("--quick", "--json", "--only", "reads")[0] == 0


@pytest.mark.parametrize(
    "given, said",
    [
        (["--only", "reads,chess"], "no section 'chess'"),
        (["--quick", "--record"], "not recorded"),
        (["--requests", "0"], "--requests 0 leaves nothing"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, given, said):
    code, out, err = run(*given)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("commit", ["no-such-commit", "--all", "HEAD^{tree}"])
def test_a_baseline_must_be_a_commit(commit):
    with pytest.raises(UsageError, match="no commit"):
        baseline.revision(commit)


CONNECT = "from socket import *; import sys; socket(AF_UNIX).connect(sys.argv[1])"


@pytest.mark.parametrize("program", ["raise SystemExit(3)", CONNECT], ids=["before it connects", "before it answers"])
def test_a_worker_that_ends_is_an_error(program):
    with pytest.raises(TargetError, match="measures one ended with exit code"):
        with Worker("one", [sys.executable, "-c", program]) as worker:
            worker.ask("anything")


def test_what_moved_is_found_where_it_is():
    assert names.find("flat:ReferenceModel", "contract.tiers:ReferenceModel", "hepc_ref:ReferenceModel") is ReferenceModel
    with pytest.raises(ImportError, match="no flat:Nothing and no hepc_ref:Nothing"):
        names.find("flat:Nothing", "hepc_ref:Nothing")


# ---- figures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "unit, at_most, ratio",
    [("reads/s", False, 0.5), ("ms", False, 2), ("ms", True, 0.5)],
    ids=["a rate", "a time", "a time with a limit"],
)
def test_a_ratio_says_how_many_times_as_fast_or_as_long(unit, at_most, ratio):
    found = figures.beside("reads", Series("ours", [2, 2, 3]), unit, Series("theirs", [4, 4, 6]), 1, at_most)
    assert found[:6] == ("reads", "ours", 2, unit, "theirs", 4)
    assert (found.ratio, found.spread) == (ratio, 0)


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    """The machine was twice as slow from the second round on."""
    found = figures.beside("model", Series("ours", [1, 2, 2]), "ms", Series("theirs", [3, 6, 6]))
    assert (found.value, found.other, found.ratio) == (2, 6, 3)


def test_every_second_round_goes_backwards():
    order = []
    ways = {name: lambda name=name: order.append(name) or len(order) for name in "abc"}
    assert figures.alternate(2, ways, lambda text: None) == {"a": [1, 6], "b": [2, 5], "c": [3, 4]}
    assert order == list("abccba")


@pytest.mark.parametrize(
    "ratio, aim, at_most, met",
    [(50, 50, False, True), (49, 50, False, False), (1.2, 1.25, True, True), (1.3, 1.25, True, False), (9, None, False, None)],
)
def test_a_verdict_compares_with_the_aim(ratio, aim, at_most, met):
    assert figure(ratio, aim=aim, at_most=at_most).met is met


# ---- the history ----------------------------------------------------------------------------------------------------
def figure(ratio, name="LOAD", beside="1234567", **more):
    return Figure("model", name, 50.0, "µs", beside, 100.0, ratio, 0.01, **more)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "history.csv"


def test_the_newest_record_of_the_same_thing_is_the_one_to_compare_with(file):
    for commit, ratio in (("aaaaaaa", 2.0), ("bbbbbbb", 1.5)):
        found = [figure(ratio), figure(7, name="STEP"), figure(9, beside="7654321"), Figure("model", "alone", 1.0, "ms")]
        assert records.append(found, commit, "a processor, by somebody", "2026-01-02", file) == 3
    rows = records.read(file)
    assert len(rows) == 6 and len(file.read_text().splitlines()) == 7
    assert records.last(figure(1), rows) == records.Row(
        "2026-01-02", "bbbbbbb", "a processor, by somebody", "model", "LOAD", "1234567", "µs", 1.5, 50.0, 100.0
    )
    assert records.last(figure(1, name="other"), rows) is None


@pytest.mark.parametrize(
    "before, now, at_most, loss",
    [(2, 1.8, False, True), (2, 1.95, False, False), (2, 3, False, False), (1.5, 1.7, True, True), (1.5, 1.2, True, False)],
)
def test_a_ratio_that_got_worse_is_a_loss(file, before, now, at_most, loss):
    records.append([figure(before, at_most=at_most)], "aaaaaaa", "x", "2026-01-02", file)
    found = figure(now, at_most=at_most)
    assert records.is_loss(found, records.last(found, records.read(file))) is loss


def test_nothing_recorded_is_no_loss(file):
    assert records.read(file) == []
    assert not records.is_loss(figure(0.1), None)


@pytest.mark.parametrize("spoil", [lambda text: text.replace("ratio", "rate"), lambda text: text + "2026-01-03,ccccccc\n"])
def test_a_damaged_history_is_refused(file, spoil):
    records.append([figure(2)], "aaaaaaa", "x", "2026-01-02", file)
    file.write_text(spoil(file.read_text()))
    with pytest.raises(UsageError, match=str(file)):
        records.read(file)


def test_the_recorded_history_can_be_read():
    assert all(row.ratio > 0 for row in records.read())


# ---- what is printed ------------------------------------------------------------------------------------------------
def test_losses_and_differences_are_said(file, capsys):
    records.append([figure(2), figure(2, name="STEP")], "aaaaaaa", "x", "2026-01-02", file)
    recorded = records.read(file)
    agreements = [Agreement("model", "DIGEST", "0x1", "0x2"), Agreement("model", "clock cycles", 5, 5)]
    report = Report([figure(1, aim=1.5), figure(2, name="STEP", aim=1.5)], agreements, ["no [replay]"])
    output.show(report, recorded, FULL, "bbbbbbb")
    lines = capsys.readouterr().out.splitlines()
    load, step = (next(line for line in lines if f"│ {name} " in line) for name in ("LOAD", "STEP"))
    assert "missed" in load and "2.00 at aaaaaaa LOSS" in load
    assert "met" in step and "2.00 at aaaaaaa" in step and "LOSS" not in step
    assert "NOT THE SAME: model, DIGEST is 0x1, of the baseline 0x2" in lines
    assert "1 of 2 results and cycle counts are those of the baseline" in lines
    assert "no [replay]" in lines
    found = output.as_json(report, recorded, FULL, "bbbbbbb", "x")
    assert [figure["loss"] for figure in found["figures"]] == [True, False]
    assert [agreement["same"] for agreement in found["agreements"]] == [False, True]


def test_the_table_fits_into_80_columns(file, capsys, monkeypatch):
    """Of the longest there is, on a terminal; numbers stay whole."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    long = figure(1.5, name="STEP in a run of 1,000, without check", beside="cocotbext-axi, one by one", aim=1.25)
    records.append([long._replace(ratio=2)], "aaaaaaa", "x", "2026-01-02", file)
    output.show(Report([long], [], []), records.read(file), FULL, "bbbbbbb")
    text = re.sub(r"\x1b\[[\d;]+m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text and {"1.50", "LOSS"} <= set(text.split())
