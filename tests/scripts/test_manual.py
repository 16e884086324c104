"""Help of scripts in a terminal of 80 columns (scripts/manual.py)."""

import os
import subprocess
import sys

import pytest

SCRIPTS = ("scripts.bench", "scripts.guest", "scripts.lint_rtl", "scripts.mutation.mutate", "tests.formal.prove")


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_line_is_broken_by_the_terminal(script):
    words = [sys.executable, "-m", script, "--help"]
    said = subprocess.run(words, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, check=True).stdout
    assert max(map(len, said.splitlines())) <= 80
