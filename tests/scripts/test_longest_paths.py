"""The ranking of paths by length, on netlists small enough to add up by hand."""

import json
import sys

import pytest

from scripts.bitstream import longest_paths
from scripts.bitstream.longest_paths import Netlist, read

IN, OUT = "input", "output"


def cell(kind, **ports):
    """Inputs first by name, the outputs Q, Z, S0, COUT and DO as such."""
    outputs = ("Q", "Z", "S0", "COUT", "DO")
    return {
        "type": kind,
        "port_directions": {port: OUT if port in outputs else IN for port in ports},
        "connections": {port: [bit] for port, bit in ports.items()},
    }


def module(cells, names):
    return {"attributes": {"top": "1"}, "cells": cells, "netnames": {name: {"bits": [bit]} for name, bit in names.items()}}


def one_lut():
    """Register a, a LUT, register b, whose enable is a."""
    cells = {"a": cell("TRELLIS_FF", DI="0", Q=1), "l": cell("LUT4", A=1, B="0", Z=2), "b": cell("TRELLIS_FF", DI=2, CE=1, Q=3)}
    return module(cells, {"u.a": 1, "u.b_TRELLIS_FF_Q_DI": 2, "u.b": 3})


def test_a_path_is_the_sum_of_its_parts():
    data, enable = Netlist(one_lut()).longest(9)
    assert (data.start, data.end, data.ends) == ("u.a", "u.b.DI", 1)
    assert data.ns == pytest.approx(0.52 + 0.95 + 0.15 + 0.24 + 0.13)  # a has a fan-out of 2; the LUT lies beside b
    assert enable.end == "u.b.CE" and enable.ns == pytest.approx(0.52 + 0.95 + 0.15)


def test_wires_to_carry_chains_and_memories_are_long_and_those_of_a_chain_are_none():
    cells = {
        "m": cell("DP16KD", ADA0="0", CLKA=9, DO=1),
        "c": cell("CCU2C", A0=1, CIN="0", COUT=2),
        "d": cell("CCU2C", A0="0", CIN=2, S0=3),
        "b": cell("TRELLIS_FF", DI=3, Q=4),
    }
    (path,) = Netlist(module(cells, {"m": 1, "carry": 2, "sum": 3, "b": 4})).longest(9)
    assert path.ns == pytest.approx(5.7 + (0.95 + 1.3 + 0.8) + 0.45 + 0.44 + 0.13)
    assert [(step.name, step.chain) for step in path.steps] == [("m", False), ("sum", True)]


def test_only_as_many_as_asked_for_the_longest_first():
    (path,) = Netlist(one_lut()).longest(1)
    assert path.end == "u.b.DI"


def test_a_loop_of_logic_ends():
    cells = {"l": cell("LUT4", A=2, Z=1), "k": cell("LUT4", A=1, Z=2), "b": cell("TRELLIS_FF", DI=2, Q=3)}
    assert Netlist(module(cells, {"b": 3})).longest(9)


def test_script(tmp_path, monkeypatch, capsys):
    netlist = tmp_path / "kvcpu_ulx3s.json"
    netlist.write_text(json.dumps({"modules": {"cell": {"attributes": {}}, "ulx3s": one_lut()}}))
    monkeypatch.setattr(sys, "argv", ["longest_paths.py", "--netlist", str(netlist), "--json", "--count", "1"])
    assert longest_paths.main() == 0
    (path,) = json.loads(capsys.readouterr().out)["paths"]
    assert path["end"] == "u.b.DI" and [step["name"] for step in path["steps"]] == ["u.a", "u.b"]


@pytest.mark.parametrize("text, says", [("{", "no netlist"), ('{"modules": {}}', "no top module"), ("[]", "no netlist")])
def test_what_is_no_netlist_is_refused_with_a_remedy(tmp_path, text, says):
    netlist = tmp_path / "netlist.json"
    netlist.write_text(text)
    with pytest.raises(longest_paths.UsageError, match=says) as error:
        read(netlist)
    assert "kvcpu_ulx3s.json" in error.value.remedy
