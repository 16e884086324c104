"""`kvfpga lab prove`: what it says where all is well, and that one touch that differs is named."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.lab import compiled
from kvfpga.lab.device_policy import LEARNT
from kvfpga.lab.traces import SAMPLE, load_trace
from tests.helpers.traces import CHATS


def lab_prove(*words, before=("--json",)):
    words = ["--target", "model", "--entries", "256", *before, "lab", "prove", "--capacity", "40", "--limit", "25", *words]
    return CliRunner().invoke(cli, words)


def test_the_proof_as_json():
    done = lab_prove(str(SAMPLE))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    requests = load_trace(SAMPLE, 25).requests
    assert found["policy"] == LEARNT and found["requests"] == 25 and found["capacity"] == 40 and found["entries"] == 256
    assert found["touches"] == sum(request.size for request in requests)
    assert 0 < found["hits"] == found["compiled_hits"] < found["touches"]
    assert found["different_touches"] == 0 and found["first"] is None
    assert found["checked"] is False  # the model alone


def test_the_proof_for_people():
    done = lab_prove(str(SAMPLE), "--policy", "ranked-age", before=())
    assert done.exit_code == 0, done.output
    assert "ranked-age" in done.stdout and "all alike" in done.stdout and "nothing was checked" in done.stdout


@pytest.mark.parametrize("policy", ["ranked-age", "linear:seed"])
def test_the_first_touch_that_differs_is_named(monkeypatch, policy):
    """Here the compiled device is wrong on two touches of the third request."""
    name = "run_ranked" if policy.startswith("ranked") else "run_linear"
    right = getattr(compiled, name)

    def wrong(stream, *arguments, **options):
        outcome = right(stream, *arguments, **options)
        at = stream.offsets[2]
        outcome.hits[[at + 1, at + 4]] ^= True
        return outcome

    monkeypatch.setattr(compiled, name, wrong)
    done = lab_prove(str(CHATS), "--policy", policy)
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    first = found["first"]
    requests = load_trace(CHATS, 3).requests
    assert found["different_touches"] == 2
    assert (first["request"], first["place"], first["block"]) == (2, 1, requests[2].blocks[1])
    assert first["touch"] == requests[0].size + requests[1].size + 1
    ours = "hits" if first["device_hit"] else "misses"
    assert f"block {first['block']} at place 1 of request 2: it {ours} on the device" in done.stderr


def test_without_a_capacity_tier_1_is_as_large_as_the_device():
    """And the trace is one that comes along, by its name."""
    words = ["--target", "model", "--entries", "256", "--json", "lab", "prove", "sample", "--limit", "9"]
    found = json.loads(CliRunner().invoke(cli, words).stdout)
    assert (found["trace"], found["capacity"], found["different_touches"]) == ("sample", 256, 0)


def test_a_capacity_that_the_device_does_not_have():
    done = lab_prove(str(SAMPLE), "--capacity", "257")
    assert done.exit_code == 2 and "256 entries" in done.stderr
