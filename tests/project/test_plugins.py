"""Targets, boards, policies and trace formats of another package: tests/plugin_example, installed as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_start import imported

EXAMPLE = Path(__file__).parent.parent / "plugin_example"
LINES = [{"at": 0, "prompt": 64, "answer": 1, "kv": [1, 2]}, {"at": 40, "prompt": 96, "answer": 1, "kv": [1, 2, 3]}]


def pip_install(source: Path, folder: Path) -> Path:
    options = ["--isolated", "--disable-pip-version-check", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder, source]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    import shutil

    copy = tmp_path_factory.mktemp("source") / "example"  # building leaves things beside the source
    shutil.copytree(EXAMPLE, copy)
    return pip_install(copy, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def kv(installed, tmp_path):
    """`kvfpga` in a process of its own, where the example is installed."""

    def run(*words, code=0):
        paths = os.pathsep.join([str(installed), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        done = subprocess.run(
            [sys.executable, "-m", "kvfpga", "--session", str(tmp_path / "s"), *map(str, words)],
            env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_a_target_is_reached_by_the_plugin(kv, tmp_path):
    said = kv("--target", f"example:{tmp_path}/socket", "info", code=3)
    assert "nobody serves" in said and "no such target" not in said
    assert "example:…" in kv("--target", "nonsense", "info", code=2)


def test_a_board_is_found_shown_and_listed(kv):
    assert "a board that a plugin knows" in kv("board", "show", "example-board")
    assert "example-board" in kv("board", "list")
    assert "example-board" in kv("--board", "nonsense", "info", code=2)


def test_a_policy_runs_in_the_lab_and_its_package_counts_for_its_results(kv, tmp_path):
    assert "evicts what came first" in kv("lab", "policies")
    trace = tmp_path / "t.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    out = kv("--json", "lab", "run", trace, "--capacity", "2", "--policy", "example-fifo", "--out", tmp_path / "out")
    assert '"example-fifo"' in out


def test_a_trace_format_is_read(kv, tmp_path):
    trace = tmp_path / "t.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    found = json.loads(kv("--json", "--target", "model", "--entries", "256", "replay", trace))
    assert (found["trace_format"], found["requests"], found["touches"]) == ("example", 2, 5)
    trace.write_text(json.dumps(LINES[0]) + '\n{"at": 1}\n')
    said = kv("--target", "model", "--entries", "256", "replay", trace, code=2)
    assert "t.jsonl:2" in said and "not as the example's format has it" in said


def test_own_names_come_first_and_nothing_is_searched_for_them(tmp_path):
    words = ["--target", "model", "--entries", "256", "--session", tmp_path, "step", 1]
    assert "importlib.metadata" not in imported(*words)


@pytest.mark.parametrize(
    "value, message",
    [("kvfpga_broken:MISSING", "cannot be loaded: AttributeError"), ("kvfpga_broken:TEXT", "is a str, no Kind"),
     ("kvfpga_broken:NOWHERE", "has no connect")],
)  # fmt: skip
def test_a_plugin_that_is_broken_is_named_with_its_package(tmp_path, value, message):
    info = tmp_path / "broken-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[kvfpga.targets]\nbroken = {value}\n")
    (tmp_path / "kvfpga_broken.py").write_text(
        "from kvfpga.targets.kinds import Kind\nTEXT = 'kind'\nNOWHERE = Kind('broken', 'broken:X')\n"
    )
    paths = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-m", "kvfpga", "--target", "broken:x", "info"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and "broken" in done.stderr and "Traceback" not in done.stderr
