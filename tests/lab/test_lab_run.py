"""`kvfpga lab run`, `policies`, `traces`: what comes out, what is kept and used again, what is refused."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from kvfpga.contract import extras
from kvfpga.contract.errors import UsageError
from kvfpga.lab import cells, pools, runs, stream_files
from kvfpga.lab import worker as lab_worker
from kvfpga.lab.measure import Laboratory
from kvfpga.lab.policies import lru, optimal
from kvfpga.lab.policies.contender import Options
from kvfpga.lab.sources import opened
from tests.helpers.command_line import Kvfpga
from tests.helpers.traces import write_trace
from tests.helpers.waiting import until

KEYS = {"command", "trace", "policy", "capacity", "touches", "hits", "hit_rate", "prefix_hits", "fills", "gap_closed", "seconds",
        "uses_future", "status", "entries", "step_ms", "requests", "generated", "seed", "final_accuracy", "versions"}  # fmt: skip
TIMES = ("seconds", "learn_seconds")
REQUESTS = [(1000 * n, 3, [n % 3, *range(10 * (n % 5), 10 * (n % 5) + 4)]) for n in range(30)]


@pytest.fixture
def kvfpga(tmp_path):
    return Kvfpga(tmp_path / "session")


@pytest.fixture
def trace(tmp_path):
    return write_trace(tmp_path / "t.jsonl", REQUESTS)


def but_for_times(lines: list[dict]) -> list[dict]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def notes(kvfpga: Kvfpga) -> str:
    return kvfpga.err


# ---- what comes out ------------------------------------------------------------------------------------------------------


def test_a_line_for_each_cell(kvfpga, trace):
    lines = kvfpga("lab", "run", trace, "--policy", "mq,ranked-age,lru", "--capacity", "4,10", "--jobs", 1)
    assert [(line["policy"], line["capacity"]) for line in lines] == [
        ("optimal", 4), ("optimal", 10), ("mq", 4), ("mq", 10), ("ranked-age", 4), ("ranked-age", 10), ("lru", 4), ("lru", 10)
    ]  # fmt: skip
    stream = opened(str(trace)).stream
    by_cell = {(line["policy"], line["capacity"]): line for line in lines}
    for size in (4, 10):
        low, high = lru.hits(stream.blocks, size), optimal.hits(stream.blocks, size)
        for policy in ("optimal", "lru", "mq", "ranked-age"):
            line = by_cell[policy, size]
            assert line.keys() >= KEYS
            assert (line["command"], line["trace"], line["status"], line["requests"]) == ("lab", "t.jsonl", "done", 30)
            assert line["hit_rate"] == line["hits"] / stream.touches
            assert line["prefix_hits"] <= line["hits"] <= high
            assert line["gap_closed"] == (line["hits"] - low) / (high - low)
        assert by_cell["lru", size]["hits"] == low and by_cell["optimal", size]["hits"] == high
        assert [by_cell[policy, size]["uses_future"] for policy in ("optimal", "lru")] == [True, False]
        assert by_cell["ranked-age", size]["entries"] == 65536 and by_cell["lru", size]["entries"] is None


def test_the_sample_under_the_learnt_policies(kvfpga):
    lines = kvfpga("lab", "run", "sample", "--limit", 60, "--policy", "ranked,ranked+final,linear:balanced", "--capacity", "25%",
                   "--final-accuracy", "0.8", "--seed", 5, "--jobs", 1)  # fmt: skip
    found = {line["policy"]: line for line in lines}
    assert list(found) == ["optimal", "lru", "ranked", "ranked+final", "linear:balanced"]
    capacity = -(-found["lru"]["blocks"] // 4)
    assert {line["capacity"] for line in lines} == {capacity}
    assert all(0 < line["hits"] <= found["optimal"]["hits"] and line["generated"] for line in lines)
    final = found["ranked+final"]
    assert (final["uses_future"], final["final_accuracy"], final["seed"]) == (True, 0.8, 5)
    assert (found["ranked"]["uses_future"], found["ranked"]["final_accuracy"]) == (False, None)
    assert found["ranked"]["learn_seconds"] > 0 and found["ranked"]["device"]["steps"] > 0
    assert found["ranked"]["classes"] == 256 and found["linear:balanced"]["classes"] is None


def test_what_is_announced_hits_without_a_miss_before(kvfpga):
    """More than the optimum of those that fetch what misses. The usual accuracy goes with FINAL, wherever that is in the list."""
    policies = "ranked, ranked+announce, ranked+final+announce"
    lines = kvfpga("lab", "run", "sample", "--limit", 60, "--policy", policies, "--capacity", "25%", "--jobs", 1)
    found = {line["policy"]: line for line in lines}
    assert found["ranked"]["hits"] < found["optimal"]["hits"] < found["ranked+announce"]["hits"]
    assert found["ranked+announce"]["gap_closed"] > 1
    assert [found[name]["uses_future"] for name in policies.split(", ")] == [False, True, True]
    assert [found[name]["final_accuracy"] for name in policies.split(", ")] == [None, None, 0.9]
    shown = kvfpga.text("lab", "run", "sample", "--limit", 60, "--policy", policies, "--capacity", "25%", "--jobs", 1)
    assert "ranked+announce*" in shown and "ranked+final+announce*" in shown


def test_a_device_of_few_classes_is_told_less(kvfpga):
    runs = {}
    for classes in (16, 256):
        lines = kvfpga("lab", "run", "sample", "--policy", "ranked", "--capacity", "25%", "--classes", classes, "--jobs", 1)
        (runs[classes],) = (line for line in lines if line["policy"] == "ranked")
    assert runs[16]["classes"] == 16 and runs[16]["hits"] != runs[256]["hits"]


def test_classes_that_no_device_has_are_refused(kvfpga):
    kvfpga("lab", "run", "sample", "--policy", "ranked", "--classes", 48, code=2)
    assert "--classes must be a power of two from 16 to 256, not 48" in notes(kvfpga)


def test_people_see_every_policy_and_what_it_comes_to(kvfpga, trace):
    shown = kvfpga.text("lab", "run", trace, "--policy", "lfu,ranked-age", "--capacity", "5", "--jobs", 1)
    assert "t.jsonl" in shown and "best published" in shown and "optimal*" in shown and "* uses the future" in shown
    for policy in ("lfu", "ranked-age", "lru"):
        assert policy in shown


def test_generated_traffic_is_said_to_be_generated(kvfpga):
    words = ("--limit", 20, "--policy", "lru", "--capacity", 16, "--jobs", 1)
    lines = kvfpga("lab", "run", "generated:chats", "generated:chats:2", *words)
    assert [(line["trace"], line["policy"], line["generated"], line["requests"]) for line in lines] == [
        ("generated-chats", "optimal", True, 20), ("generated-chats", "lru", True, 20),
        ("generated-chats-2", "optimal", True, 20), ("generated-chats-2", "lru", True, 20),
    ]  # fmt: skip


def test_jobs_change_no_result(kvfpga, trace):
    words = ("lab", "run", trace, "--policy", "mq,lhd,random,arc", "--capacity", "4,8")
    assert but_for_times(kvfpga(*words, "--jobs", 1)) == but_for_times(kvfpga(*words, "--jobs", 3))


# ---- what does not come to an end ----------------------------------------------------------------------------------------


def test_what_takes_too_long_is_a_row(kvfpga, trace, tmp_path):
    words = ("lab", "run", trace, "--policy", "lru,mq", "--capacity", 4, "--jobs", 1, "--out", tmp_path / "out")
    lines = kvfpga(*words, "--timeout", 0.001)
    assert [(line["status"], line["hits"], line["gap_closed"]) for line in lines] == [("timed out", None, None)] * 3
    assert {line["reason"] for line in lines} == {"did not finish in 0.001 s of processor time"}
    assert "timed out" in kvfpga.text(*words, "--timeout", 0.0005)
    assert "3 cells of 3 are there already" in notes(kvfpga)  # in less time they would not finish either
    assert {line["status"] for line in kvfpga(*words)} == {"done"}
    assert "t.jsonl.mq.4 is computed again: it timed out" in notes(kvfpga)


@pytest.fixture
def worker():
    worker = pools.Worker()
    yield worker
    worker.end()


def test_a_worker_keeps_the_trace_that_it_works_on_and_none_before(tmp_path, monkeypatch):
    loaded, load = [], stream_files.load
    monkeypatch.setattr(stream_files, "load", lambda path: loaded.append(path.stem) or load(path))
    laboratory, arrays = Laboratory(), {}
    for name, limit in (("a", 20), ("b", 30)):
        source = opened("sample", limit=limit)
        stream_files.save(tmp_path / f"{name}.npz", source.stream)
        for capacity in (32, 64):
            asked = {"stream": str(tmp_path / f"{name}.npz"), "digest": source.digest, "policy": "lru", "capacity": capacity,
                     "options": Options()._asdict(), "generated": False}  # fmt: skip
            assert lab_worker.answer(laboratory, asked)["cell"]["requests"] == limit
        arrays[name] = weakref.ref(lab_worker._stream(asked["stream"]).blocks)
    gc.collect()
    assert loaded == ["a", "b"] and arrays["a"]() is None and arrays["b"]() is not None


def test_time_that_other_programs_take_is_not_the_cells(worker, tmp_path):
    """The process stands still for longer than its cell may take, and the cell finishes."""
    source = opened("sample", limit=20)
    stream_files.save(tmp_path / "stream.npz", source.stream)
    blank = cells.Cell("sample", "lru", 64, source.stream.requests, source.stream.touches, len(source.stream.ids))
    task = pools.Task(str(tmp_path / "stream.npz"), source.digest, blank, Options()._asdict(), False)
    worker.compute(task)  # what it must import, it has
    worker._process.send_signal(signal.SIGSTOP)
    answers = []
    computes = threading.Thread(target=lambda: answers.append(worker.compute(task, timeout=1.0)))
    computes.start()
    computes.join(2.0)
    assert not answers
    worker._process.send_signal(signal.SIGCONT)
    computes.join()
    assert [answer.cell.status for answer in answers] == ["done"]


def test_what_only_waits_ends_by_the_clock(worker, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "SOONEST", 0.1)
    monkeypatch.setattr(pools, "SLOWEST", 2)
    os.mkfifo(tmp_path / "stream")  # reading it takes for ever
    task = pools.Task(str(tmp_path / "stream"), "d", cells.Cell("t", "lru", 4, 1, 1, 1), Options()._asdict(), False)
    cell = worker.compute(task, timeout=0.1).cell
    assert (cell.status, cell.reason) == ("timed out", "gave no answer in 0.2 s by the clock")


def test_a_policy_that_takes_its_process_along_is_a_row(kvfpga, trace):
    """libcachesim's S3-FIFO ends the process where its small queue would have no place."""
    lines = kvfpga("lab", "run", trace, "--policy", "s3fifo,lfu", "--capacity", 3, "--jobs", 1, code=3)
    found = {line["policy"]: line for line in lines}
    assert (found["s3fifo"]["status"], found["s3fifo"]["hits"]) == ("failed", None)
    assert found["s3fifo"]["reason"] == (
        "its process ended with signal 6: Invalid cache size configuration: small_fifo=0 bytes, main_fifo=3 bytes"
    )
    assert "t.jsonl.s3fifo.3 failed" in notes(kvfpga)
    assert found["lfu"]["status"] == "done"


# ---- what is used again --------------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_computed_again(kvfpga, trace, tmp_path):
    out = tmp_path / "out"
    words = ("lab", "run", trace, "--policy", "mq,ranked-age", "--capacity", "4,8", "--jobs", 1, "--out", out)
    first = kvfpga(*words)
    assert "there already" not in notes(kvfpga)
    assert kvfpga(*words) == first  # times as well: nothing was run
    assert "8 cells of 8 are there already" in notes(kvfpga)
    stepped = kvfpga(*words, "--step-ms", 50)
    assert "6 cells of 8 are there already" in notes(kvfpga)
    assert "t.jsonl.ranked-age.4 is computed again: step_ms was 100.0, is 50.0" in notes(kvfpga)
    assert [line for line in stepped if line["policy"] == "mq"] == [line for line in first if line["policy"] == "mq"]
    write_trace(trace, REQUESTS[:-1])
    kvfpga(*words, "--step-ms", 50)
    assert "there already" not in notes(kvfpga) and "touches was 150, is 145" in notes(kvfpga)


def test_other_source_or_libraries_make_other_cells(trace, monkeypatch):
    from kvfpga.lab import digests
    from kvfpga.lab.policies.contender import Options
    from kvfpga.lab.policies.contenders import named

    options = Options()
    before = {name: digests.of_cell("trace", named(name), 4, options) for name in ("lru", "ranked", "optimal")}
    version = digests.version
    monkeypatch.setattr(digests, "version", lambda name: "0.0" if name == "libcachesim" else version(name))
    after = {name: digests.of_cell("trace", named(name), 4, options) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["lru"]
    monkeypatch.setattr(digests, "of_code", lambda *places: "other" if "policy" in places else "same")
    last = {name: digests.of_cell("trace", named(name), 4, options) for name in before}
    assert last["ranked"] not in (after["ranked"], before["ranked"])


def test_a_kill_loses_one_cell_at_most(kvfpga, trace, tmp_path):
    out = tmp_path / "out"
    policies = "mq,lhd,random,cacheus,lecar,hyperbolic"
    words = ["lab", "run", str(trace), "--policy", policies, "--capacity", "4,8,12", "--jobs", "1"]
    process = subprocess.Popen([sys.executable, "-m", "kvfpga", "--target", "model", *words, "--out", str(out)],
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        until(lambda: len(list(out.glob("cells/*.json"))) >= 9 or process.poll() is not None, seconds=600)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("cells/*.json")}
    assert 9 <= len(kept) < 24  # some were done, and some were not
    assert all(cell.status == "done" for cell in cells.load(out))
    resumed = kvfpga(*words, "--out", out)
    assert f"{len(kept)} cells of 24 are there already" in notes(kvfpga)
    assert but_for_times(resumed) == but_for_times(kvfpga(*words))
    for name, written in kept.items():  # LRU and the optimum may be written again: their gap takes both
        if ".lru." not in name and ".optimal." not in name:
            assert (out / "cells" / name).stat().st_mtime_ns == written


def test_a_folder_takes_one_run_at_a_time(kvfpga, trace, tmp_path):
    """The other one is told who has it. A kill leaves no lock behind, and nothing half written."""
    out = tmp_path / "out"
    code = ("import sys, time; from pathlib import Path; from kvfpga.lab.one_run import alone_in\n"
            "with alone_in(Path(sys.argv[1])): time.sleep(600)")  # fmt: skip
    words = ("lab", "run", trace, "--policy", "lru", "--capacity", 4, "--jobs", 1, "--out", out)
    with subprocess.Popen([sys.executable, "-c", code, str(out)]) as holder:
        try:
            until(lambda: (out / "cells" / "lock").exists() and str(holder.pid) in (out / "cells" / "lock").read_text())
            kvfpga(*words, code=3)
            assert f"process {holder.pid} on" in notes(kvfpga) and "another folder with --out" in notes(kvfpga)
            kvfpga(*words[:-1], tmp_path / "other")
        finally:
            holder.kill()
    (out / "cells" / "t.jsonl.lru.4.json.1.part").write_text("{")
    assert {line["status"] for line in kvfpga(*words)} == {"done"}
    assert not list(out.glob("cells/*.part"))


def test_a_pool_that_is_closed_closes_nothing_that_a_thread_waits_for(tmp_path, monkeypatch):
    """Ctrl-C, or a disk that is full, in the middle of a cell: the thread that waits for it must see its process end."""
    os.mkfifo(tmp_path / "stream")  # reading it takes for ever
    task = pools.Task(str(tmp_path / "stream"), "d", cells.Cell("t", "lru", 4, 1, 1, 1), Options()._asdict(), False)
    pool = pools.Local(1)
    (thread,), closed, closes = pool._threads, [], pools._closed
    monkeypatch.setattr(pools, "_closed", lambda stream: (
        closed.append(threading.current_thread() is thread or not thread.is_alive()), closes(stream)
    ))  # fmt: skip
    waits = threading.Thread(target=lambda: next(pool.answers([task])), daemon=True)
    waits.start()
    until(lambda: pool._workers[0]._process is not None)
    pool.close()
    assert closed and all(closed) and not thread.is_alive()


def test_workers_end_with_the_run(trace, tmp_path):
    """However it ends: here its process is killed while a worker waits for work."""
    code = ("import sys, time; from kvfpga.lab.pools import Worker; w = Worker(); p = w._started(); "
            "print(p.pid, flush=True); time.sleep(600)")  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        worker = Path("/proc") / owner.stdout.readline().strip()
        assert worker.exists()
        owner.kill()
    until(lambda: not _runs(worker))


def _runs(process: Path) -> bool:
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


# ---- cells ---------------------------------------------------------------------------------------------------------------


def test_a_cell_comes_back_as_it_was_stored(tmp_path):
    cell = cells.Cell("t", "lru", 4, 2, 10, 5, hits=3, prefix_hits=2, fills=7, device={"steps": 3}, digest="d")
    cells.store(tmp_path, cell, {"step": [1, 2]})
    assert cells.load(tmp_path) == [cell]
    assert cells.samples(tmp_path, cell)["step"].tolist() == [1, 2]
    assert [path.name for path in sorted((tmp_path / "cells").iterdir())] == ["t.lru.4.json", "t.lru.4.npz"]
    assert cells.samples(tmp_path, cell.having(capacity=5)) is None


def test_a_damaged_cell_is_refused_by_name(kvfpga, trace, tmp_path):
    words = ("lab", "run", trace, "--policy", "lru", "--capacity", 4, "--jobs", 1, "--out", tmp_path)
    kvfpga(*words)
    (tmp_path / "cells" / "t.jsonl.lru.4.json").write_text('{"policy": "lru"}')
    kvfpga(*words, code=2)
    assert "t.jsonl.lru.4.json is no cell of the lab" in notes(kvfpga) and "remove it" in notes(kvfpga)


def test_a_full_disk_is_named_with_the_file(kvfpga, trace, tmp_path, monkeypatch):
    """A write that fails names no file by itself. What was half written goes."""

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cells.os, "fsync", full)
    kvfpga("lab", "run", trace, "--policy", "lru", "--capacity", 4, "--jobs", 1, "--out", tmp_path / "out", code=3)
    assert "t.jsonl.optimal.4.json: No space left on device" in notes(kvfpga) and "make room on that disk" in notes(kvfpga)
    assert [path.name for path in (tmp_path / "out" / "cells").iterdir()] == ["lock"]


def test_a_capacity_that_cannot_be_meant_is_refused_before_a_trace_is_read(kvfpga):
    kvfpga("lab", "run", "nothing.jsonl", "--capacity", "4,x", code=2)
    assert "a capacity of x" in notes(kvfpga)


def test_there_is_no_gap_where_the_bounds_are_equal_or_missing():
    hits = {"lru": 3, "optimal": 7, "mq": 5}
    low, high, some = (cells.Cell("t", policy, 4, 1, 10, 5, hits=number) for policy, number in hits.items())
    assert [cell.gap_closed for cell in cells.with_gaps([low, high, some])] == [0, 1, 0.5]
    assert [cell.gap_closed for cell in cells.with_gaps([low, some])] == [None, None]
    assert [cell.gap_closed for cell in cells.with_gaps([low, high.having(hits=3), some])] == [None] * 3
    assert cells.with_gaps([low, high, some.having(hits=None)])[-1].gap_closed is None
    assert [cell.gap_closed for cell in cells.with_gaps([low, high, some.having(capacity=5)])] == [0, 1, None]


# ---- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, said", [
    (["--policy", "lru,mru"], "no policy 'mru' in the lab"),
    (["--capacity", "0"], "a capacity of 0"),
    (["--capacity", "4,x"], "a capacity of x"),
    (["--capacity", "101%"], "a capacity of 101%"),
    (["--capacity", "4,"], "a capacity of nothing"),
    (["--capacity", "512", "--entries", "256"], "a T1 of 512 blocks on a directory of 256 entries"),
    (["--entries", "0"], "a directory of 0 entries"),
    (["--step-ms", "0"], "decode steps of 0 ms"),
    (["--final-accuracy", "2"], "a FINAL accuracy of 2"),
    (["--timeout", "0"], "a timeout of 0 seconds"),
    (["--timeout", "inf"], "a timeout of inf seconds"),
    (["--jobs", "0"], "0 processes"),
    (["--jobs", "20000"], "20,000 processes"),
    (["--policy", ""], "no policy '' in the lab"),
    (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "--jobs is of this machine"),
    (["--limit", "0"], "a limit of 0 requests"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_value(kvfpga, trace, words, said):
    kvfpga("lab", "run", trace, *words, code=2)
    assert said in notes(kvfpga)


@pytest.mark.parametrize("traces, said", [
    (["nothing.jsonl"], "cannot read the trace nothing.jsonl"), (["sampel"], "takes `sample` and"),
    (["generated:nothing"], "no generated traffic 'nothing'"),
    (["generated:chats:x"], "a seed of x"),
    (["generated:chats", "--limit", "0"], "a trace of 0 requests"),
    (["sample", "sample"], "two traces have the name sample"),
])  # fmt: skip
def test_a_trace_that_is_none_is_refused_by_name(kvfpga, traces, said):
    kvfpga("lab", "run", *traces, "--policy", "lru", code=2)
    assert said in notes(kvfpga)


def test_a_trace_that_is_not_there_is_named_before_the_others_are_read(kvfpga, trace):
    """The first one cannot be read to its end, which is not found out."""
    trace.write_text(trace.read_text() + "{")
    kvfpga("lab", "run", trace, "nothing.jsonl", "--policy", "lru", code=2)
    assert "cannot read the trace nothing.jsonl" in notes(kvfpga)


@pytest.mark.parametrize("words", [["run", "sample"], ["tune", "sample"], ["run", "sample", "--scheduler", "tcp://a:1"]])
def test_without_the_extra_it_says_what_to_install(kvfpga, monkeypatch, words):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    kvfpga("lab", *words, code=2)
    assert "the policy lab needs numba" in notes(kvfpga) and "pip install 'kvfpga[lab]'" in notes(kvfpga)


@pytest.mark.parametrize("library, variable", [("numba", "NUMBA_CACHE_DIR"), ("libcachesim", "LCS_HUB_CACHE")])
def test_a_library_without_a_place_for_its_files_is_told_with_what_names_one(kvfpga, monkeypatch, tmp_path, library, variable):
    """As where the user has no home folder: the libraries themselves end with a traceback, or each cell fails."""
    monkeypatch.setenv(variable, "/dev/null/nothing")
    kvfpga("lab", "run", "sample", "--policy", "lru", "--capacity", "64", code=2)
    assert notes(kvfpga).splitlines() == [
        f"kvfpga: {library} keeps files in /dev/null/nothing, which cannot be written",
        f"  set {variable} to a folder of yours that can be",
    ]
    monkeypatch.setenv(variable, str(tmp_path / "kept"))
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setenv("LCS_HUB_CACHE", str(tmp_path / "hub"))
    kvfpga("lab", "run", "sample", "--policy", "lru", "--capacity", "64", "--jobs", 1)


def test_a_user_without_a_home_folder_is_told_too(kvfpga, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.delenv("LCS_HUB_CACHE", raising=False)
    kvfpga("lab", "run", "sample", "--policy", "lru", code=2)
    assert "libcachesim keeps files in /dev/null/home/.cache/libcachesim, which cannot be written" in notes(kvfpga)


def test_the_folder_for_a_librarys_files_may_be_that_in_which_one_is(kvfpga, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", ".")
    kvfpga("lab", "run", "sample", "--policy", "lru", "--capacity", "64", "--jobs", 1)


def test_shares_are_of_the_different_blocks():
    assert runs.capacities("1%,50%,7,0.1%,7", 250, 1000) == [3, 125, 7, 1]
    with pytest.raises(UsageError, match="a T1 of 125 blocks on a directory of 100 entries"):
        runs.capacities("50%", 250, 100)


# ---- lists ---------------------------------------------------------------------------------------------------------------


def test_policies_are_listed_with_what_uses_the_future(kvfpga):
    lines = {line["policy"]: line for line in kvfpga("lab", "policies")}
    assert [name for name, line in lines.items() if line["uses_future"]] == [
        "optimal", "ranked+final", "ranked+announce", "ranked+final+announce"
    ]  # fmt: skip
    assert {"lru", "arc", "mq", "s3fifo", "linear:balanced", "ranked-age", "ranked"} <= lines.keys()
    assert (lines["mq"]["source"], lines["ranked"]["source"]) == ("libcachesim", "the device")
    shown = kvfpga.text("lab", "policies")
    assert all(name in shown for name in lines)


def test_a_trace_is_described(kvfpga, trace):
    (trace.parent / "LICENSE.txt").write_text("free")
    found = kvfpga("lab", "traces", trace)
    assert found == {
        "command": "lab traces", "trace": "t.jsonl", "format": "Mooncake trace: 30 requests, timestamps in milliseconds",
        "generated": False, "requests": 30, "touches": 150, "blocks": 20, "reuse_share": 1 - 20 / 150, "largest_request": 5,
        "block_tokens": 512, "seconds": 29.0, "licence": ["LICENSE.txt"],
    }  # fmt: skip
    assert "86.7%" in kvfpga.text("lab", "traces", trace) and "LICENSE.txt" in kvfpga.text("lab", "traces", trace)


def test_a_notice_of_its_own_is_the_trace_s_licence(kvfpga, trace):
    for name in ("NOTICE.t.txt", "LICENSE.other.txt"):
        (trace.parent / name).write_text(json.dumps(name))
    assert kvfpga("lab", "traces", trace)["licence"] == ["NOTICE.t.txt"]
