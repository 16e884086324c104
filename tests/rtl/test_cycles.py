"""The aims in clock cycles, on small builds; scripts/bench/cycles.py measures the big ones with the same functions."""

import json
import sys

import pytest

from scripts.bench import cycles as measure

BUILDS = ((256, 1), (256, 4), (1024, 16))
"""(ENTRIES, LANES): few, because building one takes longer than all measurements on it."""


@pytest.mark.parametrize("register", ["STEP_FAST", "STEP_ADVANCE"])
def test_step_to_first_trigger_does_not_depend_on_entries(register):
    found = [measure.step_to_trigger(entries, lanes, blocks=64, register=register) for entries, lanes in BUILDS]
    assert len(set(found)) == 1 and found[0] <= measure.TRIGGER_AIM


def test_step_to_first_trigger_does_not_depend_on_what_is_used():
    assert measure.step_to_trigger(256, 4, blocks=8) == measure.step_to_trigger(256, 4, blocks=256)


@pytest.mark.parametrize("entries, lanes", BUILDS)
def test_a_pass_takes_one_cycle_for_lanes_entries(entries, lanes):
    slope, constant = measure.pass_cost(lanes, entries)
    assert slope == 1 / lanes
    assert constant <= 16


def test_lookup_ports():
    found = measure.lookup_ports()
    for what in ("hit", "miss", "fall back to request 0"):
        assert found[what] <= measure.LOOKUP_AIM
    assert found["alone"] == found["during a STEP"] == 1


@pytest.mark.parametrize("memory", measure.MEMORIES)
@pytest.mark.parametrize("channels", measure.CHANNELS)
def test_dma_fills_the_memory_port(memory, channels):
    rate = measure.dma_rate(128, measure.MEMORIES[memory], *measure.CHANNELS[channels])
    assert 0.9 * 16 <= rate <= 16


@pytest.mark.parametrize("memory", measure.MEMORIES)
@pytest.mark.parametrize("scoring", measure.SCORING)
def test_keys_are_read_as_fast_as_the_memory_gives_them(memory, scoring):
    readers, counts, moved = measure.SCORING[scoring]
    rate = measure.key_rate(128, measure.MEMORIES[memory], counts, moved)
    assert 0.9 * 16 / readers <= rate <= 16


def test_script(monkeypatch, capsys):
    """One JSON object per figure; exit code 1 where an aim is missed."""
    figures = [measure.Figure("g", "a", 7, "cycles", "≤ 8", True), measure.Figure("g", "b", 3, "cycles")]
    monkeypatch.setattr(measure, "GROUPS", (lambda sizes: figures,))
    monkeypatch.setattr(sys, "argv", ["cycles.py", "--json"])
    assert measure.main() == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"group": "g", "what": "a", "value": 7, "unit": "cycles", "aim": "≤ 8", "reached": True}
    figures[0] = measure.Figure("g", "a", 9, "cycles", "≤ 8", False)
    monkeypatch.setattr(sys, "argv", ["cycles.py"])
    assert measure.main() == 1
    assert "≤ 8" in capsys.readouterr().out
