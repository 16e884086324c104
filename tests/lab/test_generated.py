"""Generated traffic: the same everywhere, read like any trace, and blocks mean in it what they mean in a real one."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.lab import generated
from kvfpga.lab.generated.draws import Draws, Popularity
from kvfpga.lab.traces import load_trace

DIGESTS = {
    "generated-documents": "6ff02eab7ed70fcf",
    "generated-batches": "9cc0a2b71a50ce79",
    "generated-agents": "881885f6aa0ca51e",
    "generated-sessions": "a0b1b4b2dfe5728e",
    "generated-chats": "887724f5840d5767",
}
COMMAND = [sys.executable, "-m", "kvfpga.lab.generated", "generated-chats"]


def test_every_workload_is_pinned():
    assert tuple(DIGESTS) == generated.NAMES


@pytest.mark.parametrize("name", generated.NAMES)
def test_it_is_the_same_on_every_machine(name):
    found = generated.trace(name, 500, seed=7)
    assert hashlib.sha256(repr(found.requests).encode()).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", generated.NAMES)
def test_a_longer_one_begins_with_a_shorter_one_and_a_seed_changes_it(name):
    short = generated.trace(name, 50, seed=3).requests
    assert generated.trace(name, 200, seed=3).requests[:50] == short
    assert generated.trace(name, 50, seed=4).requests != short


@pytest.mark.parametrize("name", generated.NAMES)
def test_a_block_stands_for_all_that_is_before_it(name):
    """So wherever it occurs, the same block is before it."""
    before = {}
    for request in generated.trace(name, 600).requests:
        previous = -1
        for block in request.blocks.tolist():
            assert before.setdefault(block, previous) == previous
            previous = block
    assert len(before) > 600


@pytest.mark.parametrize("name", generated.NAMES)
def test_a_request_is_as_long_as_its_blocks(name):
    found = generated.trace(name, 300)
    for request in found.requests:
        assert -(-request.input_length // found.block_tokens) == request.size > 0
        assert request.output_length > 0
    times = [request.timestamp_ms for request in found.requests]
    assert times == sorted(times)


def test_a_file_of_it_is_read_like_any_trace(tmp_path):
    file = tmp_path / "generated-chats.jsonl"
    file.write_bytes(subprocess.run([*COMMAND, "--requests", "40", "--seed", "2"], stdout=subprocess.PIPE, check=True).stdout)
    assert load_trace(file).requests == generated.trace("generated-chats", 40, 2).requests


def test_a_stdout_that_takes_no_more_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (74, "kvfpga.lab.generated: stdout takes no more: No space left on device\n")


def test_a_reader_who_has_enough_is_no_error():
    with subprocess.Popen([*COMMAND, "--requests", "2000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        assert it.stdout.readline().startswith(b"{")
        it.stdout.close()
        assert (it.stderr.read(), it.wait()) == (b"", 0)


def test_an_unknown_workload_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="no generated workload 'chats'") as refused:
        generated.trace("chats", 10)
    assert "generated-chats" in refused.value.remedy


def test_a_trace_of_nothing_is_refused():
    with pytest.raises(UsageError, match="a trace of 0 requests"):
        generated.trace("generated-chats", 0)


def test_draws_have_the_sizes_that_they_say():
    draws = Draws(1)
    waits = [draws.wait(100) for _ in range(4000)]
    sizes = sorted(draws.size(100) for _ in range(4000))
    assert 90 < sum(waits) / len(waits) < 115
    assert 95 < sizes[2000] < 105
    assert max(sizes) > 500


def test_a_popular_rank_is_drawn_more_often():
    draws, popular = Draws(1), Popularity(10, 1)
    drawn = [popular.draw(draws) for _ in range(2000)]
    assert set(drawn) == set(range(10))
    assert 1.7 < drawn.count(0) / drawn.count(1) < 2.4
