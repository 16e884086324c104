"""The mutation test itself (scripts/mutation/mutate.py): its table fits the RTL, and a sample runs end to end.

All mutations take a quarter of an hour: `python -m scripts.mutation.mutate` runs them.
"""

import re
import sys

import pytest

from kvfpga.transport.sim import build as verilator_build
from scripts.mutation import mutate
from scripts.mutation.mutations import MUTATIONS
from scripts.mutation.scenarios import ABOUT, scenarios
from tests.helpers import runtime

BY_LOCKSTEP, BY_ASSERTION = "dma-read-burst", "check-handshake"
"""One that only the bytes of a block give away, and one that the check of a handshake must notice."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutations")
    runtime.bring(folder / "models")
    return folder


def test_every_mutation_applies_in_exactly_one_place():
    mutate.check_places(list(MUTATIONS), verilator_build.rtl_root() / "rtl")


def test_mutations_are_spread_over_the_design():
    untouched = {"kvcpu_ram.sv", "kvcpu_ram_2r.sv", "kvcpu_handshake_check.sv"}  # nothing in them but a memory or an assertion
    files = {path.name for path in verilator_build.rtl_sources() if path.parent.name != "gen"}
    generated = {"kvcpu_regs.sv"}  # of what is generated, the storage of registers
    assert len(MUTATIONS) >= 28 and {mutation.file for mutation in MUTATIONS} == (files - untouched) | generated


def test_a_mutation_names_an_assertion_that_is_there():
    text = "".join(path.read_text() for path in verilator_build.rtl_sources())
    wanted = {mutation.assertion for mutation in MUTATIONS} - {""}
    assert len(wanted) >= 12 and wanted <= set(re.findall(r"^ *(\w+): assert\b", text, re.MULTILINE))


@pytest.mark.parametrize(
    "change", [{"old": "no such text"}, {"old": "clk"}, {"file": "no_such_file.sv"}, {"new": MUTATIONS[0].old}]
)
def test_a_mutation_that_does_not_fit_is_refused_by_name(change):
    with pytest.raises(mutate.Unfit, match=MUTATIONS[0].name):
        mutate.check_places([MUTATIONS[0]._replace(**change)], verilator_build.rtl_root() / "rtl")


def test_two_mutations_of_one_name_are_refused():
    with pytest.raises(mutate.Unfit, match="more than one"):
        mutate.check_places([MUTATIONS[0], MUTATIONS[0]], verilator_build.rtl_root() / "rtl")


def test_the_scenarios_are_the_same_every_time():
    first, again = list(scenarios(2, 50)), list(scenarios(2, 50))
    assert first == again and len({scenario.name for scenario in first}) == len(first)
    assert [len(scenario.lines) for scenario in first[-2:]] == [50, 50]


def test_what_is_about_a_module_comes_first_and_nothing_is_left_out():
    rtl = verilator_build.rtl_root() / "rtl"
    usual, ours = ([*scenarios(1, 5, place)] for place in (None, rtl / "nmce" / "kvcpu_nmce.sv"))
    assert {scenario.name for scenario in ours[: len(ABOUT["nmce"])]} == set(ABOUT["nmce"]) and ours != usual
    assert sorted(usual) == sorted(ours)
    assert {name for names in ABOUT.values() for name in names} <= {scenario.name for scenario in usual}
    assert all(any(rtl.rglob(part)) for part in ABOUT)


def test_a_run_that_was_interrupted_goes_on(monkeypatch, tmp_path):
    """What was caught is taken as it was found; survivors are tried again, and all is if more random scripts are asked for."""
    tried = []

    def attempt(name, *how):
        tried.append(name)
        return {"name": name, "caught": name != "dma-dirty"}

    monkeypatch.setattr(mutate, "attempt", attempt)
    names = ["lane-evict-threshold", "dma-dirty"]
    first, again = (mutate.run_all(names, 1, 2, 3, tmp_path, lambda result: None) for _ in range(2))
    assert first == again and [result["caught"] for result in first] == [True, False] and tried == [*names, names[1]]
    mutate.run_all(names, 1, 2, 4, tmp_path, lambda result: None)
    assert tried[3:] == names


def test_mutations_are_caught(work):
    results = burst, handshake = mutate.run_all([BY_LOCKSTEP, BY_ASSERTION], 1, 1, 200, work, lambda result: None)
    assert [(result["name"], result["caught"]) for result in results] == [(BY_LOCKSTEP, True), (BY_ASSERTION, True)]
    assert burst["where"].startswith("bytes of block")
    assert "assertion stays of kvcpu_handshake_check failed in kvcpu.u_pass.u_free_check: " in handshake["device"]
    assert all(0 < result["commands"] < sum(len(s.lines) for s in scenarios(1, 200)) for result in results)
    assert len(mutate.table(results).rows) == len(results)


def test_places_found_are_in_one_model_and_one_is_chosen(work):
    """Two that results give away, and the design with none chosen, which goes through all that is directed."""
    among = ["ram_2r.dfffa9.if", "settings.bed3dd.hold"]
    original = mutate.attempt(mutate.ORIGINAL, 0, 0, work, assertions=True, among=among)
    first, second = (mutate.attempt(name, 0, 0, work, assertions=True, among=among) for name in among)
    assert not original["caught"] and first["caught"] and second["caught"], (original, first, second)
    assert original["scenarios"] == {scenario.name: len(scenario.lines) for scenario in scenarios(0, 0)}
    assert (first["scenario"], first["where"], first["field"]) == ("ranges_and_refusals", "result", "matched")
    assert (second["scenario"], second["field"]) == ("settings", "phys_addr")
    assert 0 < second["commands"] < first["commands"] < original["commands"], "settings come first where they are at fault"


def test_only_its_own_assertion_is_proof():
    proof = "the simulation broke: assertion place_granted of kvcpu_pass failed"
    assert mutate.is_proof("check-capacity", {"device": proof}) and mutate.is_proof("pass-capacity", {"device": "evict 1→2"})
    assert not mutate.is_proof("check-capacity", {"device": "evict 1→2"})
    assert not mutate.is_proof("check-writers", {"device": proof})


def test_one_that_comes_to_no_end_counts_as_caught(monkeypatch, work):
    """Its own processor time counts, so that a busy machine catches nothing."""
    endless = (
        "import sys\nfrom scripts.mutation import mutate\nmutate.TIME_LIMIT = 1\n"
        "def endless(*arguments):\n    while True: pass\nmutate.try_one = endless\nsys.exit(mutate.main())"
    )
    monkeypatch.setattr(mutate, "WORKER", (sys.executable, "-c", endless))
    result = mutate.attempt(BY_LOCKSTEP, 1, 10, work)
    assert result["caught"] and "s of processor time" in result["field"]


def test_a_crash_of_the_simulation_counts_as_caught(monkeypatch, work):
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(mutate, "WORKER", (sys.executable, str(work / "crash.py")))
    (work / "crash.py").write_text(crash)
    result = mutate.attempt(BY_LOCKSTEP, 1, 10, work)
    assert result["caught"] and "signal 11" in result["field"]
