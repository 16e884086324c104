"""scripts/bench/simulator.py in its smallest form: there is a figure for everything it measures. How fast anything is, no test
can tell."""

import json

import pytest

from scripts.bench import simulator as bench

TINY = bench.Sizes(entries=256, lanes=4, data_bits=128, reads=200, slow_reads=66, steps=2, processes=1, repeat=2)
"""The size of the other tests, whose models are built already."""


@pytest.mark.parametrize(
    "section, figures, aims",
    [
        ("reads", {"kvfpga read32", "kvfpga Batch", "plain C++ loop", "pyverilator, signal by signal",
                   "cocotb, a read at a time"}, [50, 20, 200, 0.9]),
        ("check", {"STEP without check", "STEP with the full check", "device: DIGEST", "cycles of DIGEST"}, [1.5]),
        ("process", {'python -c "import numpy"', "kvfpga step, 64 blocks loaded", "kvfpga step, 256 blocks loaded"}, [0.5, 0.5]),
    ],
)  # fmt: skip
def test_a_section_has_its_figures(section, figures, aims):
    said = []
    sizes = TINY._replace(lanes=8) if section == "process" else TINY  # as tests of the command line have it
    found = bench.measure(sizes, (section,), said.append)
    assert said
    assert figures <= {figure.name for figure in found}
    assert {figure.section for figure in found} == {section}
    assert all(figure.value > 0 for figure in found)
    assert [figure.aim for figure in found if figure.aim is not None] == aims
    assert all((figure.ratio is None) == (figure.beside == "") for figure in found)
    assert len(bench.table(found, TINY).rows) == len(found)
    json.dumps([figure.as_json() for figure in found])


@pytest.mark.parametrize(
    "ratio, aim, at_most, met",
    [
        (50, 50, False, True),
        (49, 50, False, False),
        (1.4, 1.5, True, True),
        (1.6, 1.5, True, False),
        (9, None, False, None),
    ],
)
def test_a_verdict_compares_with_the_aim(ratio, aim, at_most, met):
    assert bench.Figure("reads", "x", 1, "s", "y", ratio, aim, at_most).met is met


def test_a_value_with_nothing_beside_it_is_compared_itself():
    assert bench.Figure("process", "x", 0.4, "s", aim=0.5, at_most=True).met is True
