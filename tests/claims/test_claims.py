"""`kvfpga claims`: what is measured on the small device, and that each verdict follows from what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kvfpga import claims
from kvfpga.claims import CLAIMS, cycles, scores
from kvfpga.contract.commands import Result
from kvfpga.contract.errors import DeviceRefused, TargetError
from kvfpga.device.device import Device
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import showcase
from kvfpga.lockstep.lockstep import Lockstep
from tests.helpers.command_line import Kvfpga
from tests.helpers.small_device import ENTRIES


class Opened(Lockstep):
    """On a simulation that others go on using."""

    def close(self):
        pass


@pytest.fixture(scope="module")
def measured(small_sim):
    """All claims by their words, and what was told on the way."""
    sim, fresh = small_sim

    def begin():
        sim.restore(fresh)
        return Opened(Device(sim), ReferenceModel(ENTRIES))

    told = []
    found = claims.measure(begin, "the small device", lambda done, total, text: told.append((done, total, text)))
    return {claim.claim: claim for claim in found}, told


@pytest.mark.parametrize("words, verdict", [
    ("first trigger", "only in the linear mode"),
    ("per lane and cycle", "held"),
    ("single-cycle lookup", "as a rate, not as a latency"),
    ("share a prefix", "held"),
    ("DMA", "held"),
    ("hits more often", "only in the ranked mode"),
    ("250 MHz", "not measurable here"),
    ("power", "not measurable here"),
    ("less traffic", "held"),
    ("64 heads", "refuted"),
    ("0.25 µs", "refuted"),
    ("exp within", "held"),
    ("keys scored", "held"),
])  # fmt: skip
def test_the_verdict_on_each_claim(measured, words, verdict):
    (claim,) = (claim for text, claim in measured[0].items() if words in text)
    assert claim.verdict == verdict
    assert (claim.on == "the small device") == bool(claim.figures) == (not verdict.startswith("not "))


def test_what_is_measured_stands_in_the_figures(measured):
    figures = {name: value for claim in measured[0].values() for name, value in claim.figures.items()}
    assert figures["linear_128_blocks"] == figures[f"linear_{ENTRIES}_blocks"] <= 12 < figures["ranked_128_blocks"]
    assert (figures["requests"], figures["entries"], figures["hits"]) == (16, 8, 128)
    assert figures["blocks_per_lane_and_cycle"] == figures["lookups_per_cycle"] == 1
    assert (figures["1_heads"], figures["8_heads"], figures["64_heads"]) == (25.6, 85.33, 120.47)
    assert figures["alone"] > 0 and figures["values"] > 19457 and figures["error"] < 0.0005
    assert figures["latency_cycles"] > 1 and figures["optimal"] > figures["ranked"] > figures["lru"]


def test_each_claim_is_announced(measured):
    assert measured[1] == [(n, len(CLAIMS), row.claim) for n, row in enumerate(CLAIMS)]
    assert json.loads(json.dumps([claim.to_json() for claim in measured[0].values()]))


# ---- verdicts -----------------------------------------------------------------------------------------------------------


class Nothing:
    """A device that answers nothing itself: what is measured on it is set beforehand."""

    entries, block_bytes = 256, 16384
    identity = type("Identity", (), {"lanes": 4, "data_bits": 512, "block_bytes": 16384})
    model = type("Model", (), {"block_tokens": 32})

    def __init__(self, telemetry=None):
        self.device, self._telemetry = self, telemetry

    def execute_many(self, commands):
        return [Result("OK")] * len(commands)

    def telemetry(self):
        return self._telemetry

    def close(self):
        pass


@pytest.fixture
def bench():
    return claims.Bench(Nothing)


@pytest.mark.parametrize("linear, ranked, verdict", [
    (12, 12, "held"), (12, 400, "only in the linear mode"), (13, 400, "refuted"),
])  # fmt: skip
def test_verdict_on_the_first_trigger(monkeypatch, bench, linear, ranked, verdict):
    monkeypatch.setattr(cycles, "step_to_trigger", lambda device, blocks, is_ranked: ranked if is_ranked else linear)
    assert claims.first_trigger(bench).verdict == verdict


@pytest.mark.parametrize("slope, verdict", [(0.25, "held"), (0.3, "refuted")])
def test_verdict_on_scoring(monkeypatch, bench, slope, verdict):
    monkeypatch.setattr(cycles, "pass_cost", lambda device, used: (slope, 10))
    assert claims.scoring(bench).verdict == verdict


@pytest.mark.parametrize("rate, latency, verdict", [(1, 1, "held"), (1, 7, "as a rate, not as a latency"), (0.5, 7, "refuted")])
def test_verdict_on_lookups(monkeypatch, bench, rate, latency, verdict):
    found = dict.fromkeys(("hit", "miss", "fall back to request 0"), latency) | {"alone": 1, "during a STEP": rate}
    monkeypatch.setattr(cycles, "lookup_ports", lambda device: found)
    assert claims.lookups(bench).verdict == verdict


@pytest.mark.parametrize("entries, hits, verdict", [(8, 128, "held"), (128, 128, "refuted"), (8, 127, "refuted")])
def test_verdict_on_a_shared_prefix(entries, hits, verdict):
    bench = claims.Bench(lambda: Nothing({"valid_entries": entries, "hits_t1": hits}))
    assert claims.prefix(bench).verdict == verdict


@pytest.mark.parametrize("each, verdict", [(256, "held"), (300, "refuted")])
def test_verdict_on_the_dma(monkeypatch, bench, each, verdict):
    monkeypatch.setattr(cycles, "dma_cycles", lambda device, evict, prefetch: 50 + each * max(evict, prefetch))
    assert claims.dma(bench).verdict == verdict


@pytest.mark.parametrize("link, verdict", [(320, "held"), (321, "refuted")])
def test_verdict_on_traffic(monkeypatch, bench, link, verdict):
    monkeypatch.setattr(scores, "traffic", lambda device, heads: scores.Traffic(link, 8192))
    found = claims.traffic(bench)
    assert found.verdict == verdict and f"({link} bytes in place of 8,192)" in found.measured


@pytest.mark.parametrize("each, verdict", [(62, "held"), (63, "refuted")])
def test_verdict_on_the_time_of_a_score(monkeypatch, bench, each, verdict):
    monkeypatch.setattr(scores, "alone", lambda device: 500)
    monkeypatch.setattr(scores, "back_to_back", lambda device, count, moved: 1000 + each * count)
    found = claims.score_time(bench)
    assert found.verdict == verdict and found.figures == {"alone": 500, "back_to_back": each}


@pytest.mark.parametrize("each, verdict", [(142, "held"), (143, "refuted")])
def test_verdict_on_the_rate_of_keys(monkeypatch, bench, each, verdict):
    monkeypatch.setattr(scores, "back_to_back", lambda device, count, moved: 1000 + each * count * (3 if moved else 1))
    found = claims.key_rate(bench)
    assert found.verdict == verdict and found.figures["beside both DMA channels"] == round(8192 / each / 3, 2)


@pytest.mark.parametrize("wrong, at, verdict, said", [
    (1, 0, "held", "monotone"), (1.0009, 3, "held", "monotone"), (1.0011, 3, "refuted", "monotone"),
    (0.9995, 3, "refuted", "not monotone"),
])  # fmt: skip
def test_verdict_on_exponentials(monkeypatch, bench, wrong, at, verdict, said):
    x = np.array([-16, -8, -1, -0.9999, 0])
    found = np.exp(x)
    found[at] *= wrong
    monkeypatch.setattr(scores, "exponentials", lambda device: (x, found))
    assert claims.exponentials(bench).verdict == verdict and claims.exponentials(bench).measured.endswith(f"; {said}")


@pytest.mark.parametrize("linear, ranked, verdict", [
    (6, 6, "held"), (5, 6, "only in the ranked mode"), (6, 5, "only in the linear mode"), (5, 4, "refuted"),
])  # fmt: skip
def test_verdict_on_hit_rates(monkeypatch, bench, linear, ranked, verdict):
    rows = [("lru", 5, False), ("linear:balanced", linear, True), ("ranked-age", ranked, True)]
    shown = showcase.Showcase("t", 1, 10, 4, tuple(showcase.Row(name, hits, hits / 10, own) for name, hits, own in rows), 0, 0)
    monkeypatch.setattr(showcase, "run", lambda device: shown)
    assert claims.hit_rates(bench).verdict == verdict


# ---- what makes no sense ------------------------------------------------------------------------------------------------


def test_a_refused_command_ends_a_measurement():
    class Refuses(Nothing):
        def execute_many(self, commands):
            return [Result("ERR_RANGE")] * len(commands)

    with pytest.raises(DeviceRefused, match="set EVICT_THRESH 0.*ERR_RANGE|EVICT_THRESH.*ERR_RANGE"):
        cycles.quiet(Refuses())


def test_a_step_that_evicts_nothing_is_no_figure():
    with pytest.raises(TargetError, match="0 of 8 blocks were evicted"):
        cycles.step_to_trigger(Nothing({"evict_triggers": 0}), 8)


def test_passes_that_are_no_line_are_no_figure():
    class Crooked(Nothing):
        spent = 0

        def execute_many(self, commands):
            self.spent = self.spent * 2 + 1
            return [Result("OK", cycles=self.spent)] * len(commands)

    with pytest.raises(TargetError, match="which is no line"):
        cycles.pass_cost(Crooked(), 64)


def test_only_a_simulation_can_be_measured(tmp_path):
    kv = Kvfpga(tmp_path / "s")
    kv("claims", code=2)
    assert "claims are measured on a simulation" in kv.err


def test_without_a_check_nothing_is_claimed(tmp_path):
    kv = Kvfpga(tmp_path / "s", "--target", "sim", "--no-check")
    kv("claims", code=2)
    assert "in lockstep" in kv.err
