"""`kvfpga lab run --scheduler`: the same cells, with one of two workers killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.helpers.command_line import Kvfpga
from tests.helpers.traces import write_trace
from tests.helpers.waiting import LONG, until
from tests.lab.test_lab_run import REQUESTS, but_for_times


@pytest.fixture
def started(tmp_path):
    """Starts a module of Dask as a process with a folder of its own; it is killed in the end, with its children."""
    processes = []

    def start(*words: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-m", *map(str, words)], cwd=tmp_path,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_two_workers_of_which_one_is_killed_compute_the_same_cells(tmp_path, started):
    kvfpga = Kvfpga(tmp_path / "session")
    trace = write_trace(tmp_path / "t.jsonl", REQUESTS)
    words = ("lab", "run", trace, "--policy", "mq,lhd,random,arc,ranked-age", "--capacity", "4,8,12")
    alone = kvfpga(*words, "--jobs", 1)

    told = tmp_path / "scheduler.json"
    started("distributed.cli.dask_scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", told)
    until(told.exists)
    workers = [
        started("distributed.cli.dask_worker", "--scheduler-file", told, "--nthreads", 1, "--no-dashboard", "--no-nanny",
                "--local-directory", tmp_path / f"worker{number}")
        for number in range(2)
    ]  # fmt: skip
    from distributed import Client

    with Client(scheduler_file=str(told), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=LONG)
        address = client.scheduler.address

    out = tmp_path / "out"

    def kill_one():
        until(lambda: len(list(out.glob("cells/*.json"))) >= 8)
        workers[0].kill()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found = kvfpga(*words, "--scheduler", address, "--out", out)
    killer.join(LONG)
    assert workers[0].wait() != 0 and workers[1].poll() is None
    assert but_for_times(found) == but_for_times(alone)


def test_no_scheduler_at_the_address_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kvfpga.lab.dask_pool.CONNECT_S", 1)
    kvfpga = Kvfpga(tmp_path / "session")
    kvfpga("lab", "run", "sample", "--policy", "lru", "--scheduler", "tcp://127.0.0.1:9", code=3)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in kvfpga.err
    kvfpga("lab", "run", "sample", "--policy", "lru", "--scheduler", "nonsense://x", code=3)
    assert "no Dask scheduler answers at nonsense://x" in kvfpga.err
