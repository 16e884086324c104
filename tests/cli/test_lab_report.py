"""`kvfpga lab report`, and that `kvfpga lab run --out` and `kvfpga claims --out` leave what it takes."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from kvfpga import claims
from kvfpga.claims import Claim
from kvfpga.targets.target import Target
from tests.helpers import lab_cells
from tests.helpers.command_line import Kvfpga

pytestmark = pytest.mark.xdist_group("lab")  # with those in tests/lab: Numba compiles once


@pytest.fixture
def kv(tmp_path):
    return Kvfpga(tmp_path / "session")


def test_a_report_of_a_folder(kv, tmp_path):
    lab_cells.fill(tmp_path, policies=["lru", "ranked"], capacities=[64])
    found = kv("lab", "report", tmp_path, "--block-bytes", 1 << 20)
    assert found == {"command": "lab report", "page": f"{tmp_path}/report.html", "json": f"{tmp_path}/report.json"}
    page = (tmp_path / "report.html").read_text()
    assert "1,048,576 bytes: as given on the command line" in page and "BUILD_ID 0x" in page
    assert kv.text("lab", "report", tmp_path) == f"report: {tmp_path}/report.html\n"


def test_a_folder_without_cells_is_refused(kv, tmp_path):
    kv("lab", "report", tmp_path, code=2)
    assert "no finished cells" in kv.err
    kv("lab", "report", tmp_path / "nowhere", code=2)
    lab_cells.fill(tmp_path, policies=["lru"], capacities=[64])
    kv("lab", "report", tmp_path, "--block-bytes", 0, code=2)


def test_a_run_ends_with_its_report(kv, tmp_path):
    kv("lab", "run", "sample", "--limit", 20, "--capacity", 16, "--policy", "ranked", "--jobs", 1, "--out", tmp_path / "out")
    assert f"report: {tmp_path}/out/report.html" in kv.err
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [cell["policy"] for cell in found["cells"]] == ["lru", "optimal", "ranked"]


def test_claims_are_kept_for_the_report(tmp_path, monkeypatch):
    kv = Kvfpga(tmp_path / "session", "--target", "sim")
    device = SimpleNamespace(device=SimpleNamespace(identity=SimpleNamespace(build_id=0xAB)))
    monkeypatch.setattr(Target, "open_lockstep", lambda self: nullcontext(device))
    claim = Claim("twelve cycles", "design figure", "eleven", "there", "held", {"cycles": 11})
    monkeypatch.setattr(claims, "measure", lambda begin, on, progress: [claim])
    found = kv("claims", "--out", tmp_path)
    assert found["on"] == "the Verilated RTL, ENTRIES=256, LANES=8, BUILD_ID 0x00000000000000ab"
    assert found["claims"] == [claim.to_json()]
    assert json.loads((tmp_path / "claims.json").read_text()) == found
    assert "twelve cycles" in kv.text("claims")
    lab_cells.fill(tmp_path, policies=["lru"], capacities=[64])
    kv("lab", "report", tmp_path)
    assert "twelve cycles" in (tmp_path / "report.html").read_text()
