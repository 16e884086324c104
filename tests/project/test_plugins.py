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


# ---- what is wrong with some ----------------------------------------------------------------------------------------
def bring(folder: Path, package: str, points: str) -> None:
    """A package as pip leaves it, with these entry points, beside a module that they may name."""
    info = folder / f"{package}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(points)
    (folder / "kvfpga_broken.py").write_text(
        "from kvfpga.targets.kinds import Kind\nTEXT = 'kind'\nNOWHERE = Kind('broken', 'broken:X')\n"
    )


def run(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`kvfpga` where that is installed; it never ends in a traceback."""
    paths = os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-m", "kvfpga", *words]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths} | more, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "value, message",
    [("kvfpga_broken:MISSING", "cannot be loaded: AttributeError"), ("kvfpga_broken:TEXT", "is of type str, not Kind"),
     ("kvfpga_broken:NOWHERE", "has no connect")],
)  # fmt: skip
def test_a_plugin_that_is_broken_is_named_with_its_package(tmp_path, value, message):
    bring(tmp_path, "broken", f"[kvfpga.targets]\nbroken = {value}\n")
    done = run(tmp_path, "--target", "broken:x", "info")
    assert done.returncode == 2 and message in done.stderr and "broken" in done.stderr


@pytest.mark.parametrize("words, group, there", [
    (["board", "list"], "boards", "ulx3s"), (["lab", "policies"], "policies", "sieve"),
])  # fmt: skip
def test_a_broken_one_does_not_hide_the_others(tmp_path, words, group, there):
    bring(tmp_path, "broken", f"[kvfpga.{group}]\nbad = kvfpga_broken:TEXT\n")
    done = run(tmp_path, *words)
    assert done.returncode == 0 and there in done.stdout
    assert "left out bad: the plugin bad of broken" in done.stderr


def test_a_board_that_is_none_is_said_beside_a_broken_one(tmp_path):
    bring(tmp_path, "broken", "[kvfpga.boards]\nbad = kvfpga_broken:TEXT\n")
    done = run(tmp_path, "--board", "nonsense", "info")
    assert done.returncode == 2 and "no such board; there are bad, u250, ulx3s" in done.stderr


def test_a_name_that_two_packages_bring_is_none_of_theirs(tmp_path):
    for package in ("one", "another"):
        bring(tmp_path, package, "[kvfpga.targets]\nx = kvfpga_broken:NOWHERE\n")
    done = run(tmp_path, "--target", "x:y", "info")
    assert done.returncode == 2 and "is brought by another and one" in done.stderr


@pytest.mark.parametrize("line, found", [
    ("kvfpga --target ba", "plain,bad:"), ("kvfpga --board ba", "plain,bad"), ("kvfpga lab run sample --policy ba", "plain,bad"),
])  # fmt: skip
def test_the_tab_key_offers_them_and_loads_none(tmp_path, line, found):
    bring(tmp_path, "broken", "".join(f"[kvfpga.{group}]\nbad = nowhere:X\n" for group in ("targets", "boards", "policies")))
    done = run(tmp_path, _KVFPGA_COMPLETE="bash_complete", COMP_WORDS=line)
    assert found in done.stdout.splitlines() and not done.stderr
