"""The views beside a waveform: their groups, and that each signal in them is one of the file's."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pywellen import Waveform
from vcd.reader import TokenKind, tokenize

from kvfpga.blackbox import wave_view
from kvfpga.contract.waveforms import SUFFIXES
from kvfpga.targets.target import rtl_sources
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

SMALL = """\
$timescale 1ns $end
$scope module TOP $end
$scope module kvcpu $end
$var wire 1 a clk $end
$var wire 32 b s_axil_wdata [31:0] $end
$var wire 1 c secret $end
$scope module u_engine $end
$var wire 4 d state [3:0] $end
$upscope $end
$scope module u_pass $end
$var wire 1 e l_evict [0:0] $end
$var wire 1 f active $end
$upscope $end
$upscope $end
$upscope $end
$enddefinitions $end
#0
0a
b0 b
0c
b0 d
0e
0f
"""
"""As of a device with one lane, whose vectors by lane have a range of one bit."""


def names_in_view(path) -> list[str]:
    return re.findall(r"^TOP\..+$", path.read_text(), re.M)


def commands_in_view(path) -> list[list[str]]:
    """Of Surfer's view: [command, word], and no more words, for it would take none of the line then."""
    found = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(len(words) == 2 for words in found)
    return found


def names_for_surfer(names: set[str]) -> set[str]:
    """It knows a vector without its range, and one of a single bit by its index."""
    return {re.sub(r"\[\d+:\d+\]$", "", re.sub(r"\[(\d+):\1\]$", r"[\1]", name)) for name in names}


def names_in_vcd(path) -> set[str]:
    """As GTKWave has them, by a reader of its own: with the range that the file says."""
    scopes, found = [], set()
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                index = token.var.bit_index
                found.add(".".join([*scopes, token.var.reference]) + (f"[{index[0]}:{index[1]}]" if index else ""))
            elif token.kind is TokenKind.ENDDEFINITIONS:
                return found
    raise AssertionError("no end of the definitions")


@pytest.fixture(params=[pytest.param(suffix, marks=pytest.mark.xdist_group("mutant")) for suffix in SUFFIXES])
def waveform(request, tmp_path, mutant, monkeypatch):
    """Of the whole device, a few cycles long. By models that others need as well: the one of docs/own-benches.md, and that of a
    wrong design."""
    path = tmp_path / f"w{request.param}"
    size = {"entries": ENTRIES, "lanes": LANES, "data_bits": DATA_BITS}
    if request.param == ".vcd":
        monkeypatch.delenv("KVFPGA_ASSERTIONS")
    else:
        monkeypatch.setenv("KVFPGA_RTL", str(mutant))
        size = {"entries": 256, "lanes": 8, "data_bits": 512}
    with VerilatorSim(**size, sources=rtl_sources(), trace=path) as sim:
        sim.read32(0)
    return path


def test_a_view_of_the_device_has_every_group_and_no_dead_signal(waveform):
    wave_view.write(waveform)
    view = waveform.with_suffix(".gtkw")
    shown = names_in_view(view)
    assert set(re.findall(r"^-(.+)$", view.read_text(), re.M)) == set(wave_view.GROUPS)
    if waveform.suffix == ".vcd":
        assert not set(shown) - names_in_vcd(waveform)
    widths = {var.full_name: var.length for var in Waveform(str(waveform)).all_vars()}
    for name in shown:
        plain, _, range_ = name.partition("[")
        assert widths[plain] == (int(range_.split(":")[0]) + 1 if range_ else 1)
    assert len(shown) == len(set(shown)) > 90


def test_surfer_is_given_the_same_signals_below_the_same_titles(waveform):
    wave_view.write(waveform)
    commands = commands_in_view(waveform.with_suffix(".sucl"))
    assert [word for command, word in commands if command == "divider_add"] == [t.replace(" ", "_") for t in wave_view.GROUPS]
    added = [word for command, word in commands if command == "variable_add"]
    assert len(added) + len(wave_view.GROUPS) == len(commands)
    shown = names_in_view(waveform.with_suffix(".gtkw"))
    assert len(added) == len(shown) and set(added) == names_for_surfer(set(shown))
    if waveform.suffix == ".vcd":
        assert not set(added) - names_for_surfer(names_in_vcd(waveform))
    assert not {name.partition("[")[0] for name in added} - {var.full_name for var in Waveform(str(waveform)).all_vars()}


def test_each_pattern_finds_signals_of_the_device(waveform):
    """A signal of the RTL that was renamed would else go from the view unseen; of alternatives, each."""
    names = [var.full_name for var in Waveform(str(waveform)).all_vars()]
    for pattern in [pattern for patterns in wave_view.GROUPS.values() for pattern in patterns]:
        for one in alternatives(pattern):
            assert any(re.fullmatch(wave_view.TOP + one, name) for name in names), one


def alternatives(pattern: str) -> list[str]:
    """(a|b)c as ac and bc; of two parentheses only the last is taken apart."""
    found = re.fullmatch(r"(.*)\((.+)\)", pattern)
    return [found[1] + one for one in found[2].split("|")] if found else [pattern]


def test_states_of_an_fst_have_names(waveform):
    if waveform.suffix == ".fst":
        kinds = {var.full_name: var.enum_type for var in Waveform(str(waveform)).all_vars()}
        assert "PASS_WAIT" in [name for _, name in kinds["TOP.kvcpu.u_engine.state"][1]]
    assert "TOP.kvcpu.u_engine.state[3:0]" in wave_view.groups(waveform)["states"]


def test_a_group_of_which_the_design_has_nothing_is_left_out(tmp_path):
    path = tmp_path / "w.vcd"
    path.write_text(SMALL)
    assert wave_view.groups(path) == {
        "clock and reset": ["TOP.kvcpu.clk"], "bus writes": ["TOP.kvcpu.s_axil_wdata[31:0]"],
        "states": ["TOP.kvcpu.u_engine.state[3:0]"],
        "pass and lanes": ["TOP.kvcpu.u_pass.active", "TOP.kvcpu.u_pass.l_evict[0:0]"],
    }  # fmt: skip
    wave_view.write(path)
    text = path.with_suffix(".gtkw").read_text()
    assert '[dumpfile] "w.vcd"' in text and set(names_in_view(path.with_suffix(".gtkw"))) <= names_in_vcd(path)
    assert wave_view.opening(path) == f"gtkwave {path} {tmp_path}/w.gtkw"
    assert commands_in_view(path.with_suffix(".sucl")) == [
        ["divider_add", "clock_and_reset"], ["variable_add", "TOP.kvcpu.clk"],
        ["divider_add", "bus_writes"], ["variable_add", "TOP.kvcpu.s_axil_wdata"],
        ["divider_add", "states"], ["variable_add", "TOP.kvcpu.u_engine.state"],
        ["divider_add", "pass_and_lanes"], ["variable_add", "TOP.kvcpu.u_pass.active"],
        ["variable_add", "TOP.kvcpu.u_pass.l_evict[0]"],
    ]  # fmt: skip


@pytest.mark.parametrize("mine, other", [(".gtkw", ".sucl"), (".sucl", ".gtkw")])
def test_a_view_that_is_there_stays_and_the_other_is_written(tmp_path, mine, other):
    path = tmp_path / "w.vcd"
    path.write_text(SMALL)
    path.with_suffix(mine).write_text("mine")
    wave_view.write(path)
    assert path.with_suffix(mine).read_text() == "mine" and path.with_suffix(other).exists()


def test_without_the_extra_there_is_no_view(tmp_path):
    path = tmp_path / "w.vcd"
    path.write_text(SMALL)
    program = (
        "import sys; sys.modules['pywellen'] = None\nfrom pathlib import Path\nfrom kvfpga.blackbox import wave_view\n"
        f"wave_view.write(Path({str(path)!r})); print(wave_view.opening(Path({str(path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"gtkwave {path}\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "waveform\n", "\0" * 400])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_waveform_has_no_view_and_harms_nothing(tmp_path, suffix, content):
    if content is not None:
        (tmp_path / f"w{suffix}").write_text(content)
    wave_view.write(tmp_path / f"w{suffix}")
    assert not (tmp_path / "w.gtkw").exists() and not (tmp_path / "w.sucl").exists()
