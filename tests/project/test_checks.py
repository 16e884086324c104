"""What looks at the source text: style, types, and that generated files follow from what they are made of.

Tests like others, so that they run beside them and not before them.
"""

import subprocess
import sys

import pytest

from tests.helpers.places import ROOT

CHECKS = {
    "style": ("-m", "ruff", "check", "."),
    "types": ("-m", "mypy"),
    "registers": ("scripts/gen_regs.py", "--check"),
    "constants of exp": ("scripts/gen_exp.py", "--check"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_check(check):
    done = subprocess.run([sys.executable, *CHECKS[check]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
