"""`kvfpga lab prove`: what it says where all is well, on every kind of device, and that one touch that differs is named."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.lab import compiled
from kvfpga.lab.device_policy import LEARNT
from kvfpga.lab.traces import SAMPLE, load_trace
from tests.helpers.board_process import board
from tests.helpers.command_line import Kvfpga
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


SERVED = """\
target: uart:/dev/null
build: {entries: 256, lanes: 4, data_bits: 128}
"""


@pytest.mark.xdist_group("uart-board")
@pytest.mark.parametrize("way", ["uart", "xdma", "served"])
def test_the_proof_on_a_device_in_another_process(tmp_path, way):
    """A board on a serial port, one behind PCIe nodes, a simulation that `kvfpga serve` shares: each with the RTL, in lockstep,
    and with what an earlier command has left on it."""
    (tmp_path / "small.yaml").write_text(SERVED)
    words = {
        "uart": ["board", "serve", "uart", "--clock-hz", 24_000_000],
        "xdma": ["board", "serve", "xdma", tmp_path / "card", "--entries", 256, "--lanes", 4, "--data-bits", 128],
        "served": ["--board", tmp_path / "small.yaml", "--target", "sim", "serve", "--listen", f"unix:{tmp_path}/socket"],
    }
    kvfpga = Kvfpga(tmp_path / "session")
    with board(*words[way]) as target:
        kvfpga.options = ["--target", target, "--session", str(tmp_path / "session")]
        kvfpga("reset")
        kvfpga("load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", "0:1", "--va", 0x7F000000)
        found = kvfpga("lab", "prove", "sample", "--limit", 3, "--capacity", 16)
        assert f"{target} is reset" in kvfpga.err
    assert (found["different_touches"], found["differences"], found["checked"], found["entries"]) == (0, 0, True, 256)
    assert 0 < found["hits"] == found["compiled_hits"] < found["touches"]
    assert found["requests"] == 3 and found["checks"] > 0


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
