"""What `make test` shares out: a group of tests goes to one worker, which is nothing that pytest would tell if it were not so."""

from __future__ import annotations

import os
import subprocess
import sys

GROUP = """\
import os
from pathlib import Path

import pytest


@pytest.mark.xdist_group("group")
@pytest.mark.parametrize("number", range(8))
def test_of_a_group(number):
    Path(__file__).with_name(f"worker-{number}").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_a_group_is_tested_by_one_worker(tmp_path):
    (tmp_path / "test_group.py").write_text(GROUP)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = [path.read_text() for path in tmp_path.glob("worker-*")]
    assert len(workers) == 8 and len(set(workers)) == 1, "see pytest in pyproject.toml"
