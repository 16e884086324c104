"""What starts with a shebang can be run, and nothing else can."""

from __future__ import annotations

from tests.helpers.places import ROOT
from tests.helpers.tracked import tracked


def test_a_shebang_goes_with_the_run_bit():
    files = tracked()
    assert "scripts/setup.sh" in files
    for path in files:
        with open(ROOT / path, "rb") as file:
            runs = bool((ROOT / path).stat().st_mode & 0o100)
            assert runs == (file.read(2) == b"#!"), f"{path}: chmod puts it right"
