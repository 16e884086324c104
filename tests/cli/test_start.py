"""What a process imports before it does what it is for, seen from outside: the start is paid at every command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest

from kvfpga.cli.main import cli
from tests.helpers.command_line import LOAD, Kvfpga


def imported(*words: object, **environment: str) -> set[str]:
    """The modules that one `kvfpga` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "kvfpga", *map(str, words)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["step", "--help"], ["board", "serve", "--help"]], ids=" ".join)
def test_who_asks_about_kvfpga_waits_for_no_numpy(words):
    found = imported(*words)
    assert "click" in found and "numpy" not in found


@pytest.mark.parametrize("line", [
    "kvfpga st", "kvfpga step ", "kvfpga --tar", "kvfpga board serve ", "kvfpga --target ", "kvfpga --board u",
    "kvfpga --entries ", "kvfpga reg read CT", "kvfpga weights preset ", "kvfpga replay --policy ", "kvfpga lab run ",
    "kvfpga lab run --policy lru,", "kvfpga policy ranked --table ", "kvfpga step 5 --js",
])  # fmt: skip
def test_nor_does_completion(line):
    found = imported(_KVFPGA_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
    assert "click" in found and "numpy" not in found


def test_a_step_imports_what_it_uses(tmp_path):
    kv = Kvfpga(tmp_path)
    kv("reset")
    kv(*LOAD)
    found = imported("--target", "model", "--session", tmp_path, "step", 3)
    assert {"kvfpga.session.session", "numpy"} <= found
    assert not found & {"kvfpga.cli.serve", "numpy.ma", "zipfile", "tempfile", "subprocess", "shutil", "rich", "zmq"}
    assert not found & {"logging", "tomllib", "prompt_toolkit", "kvfpga.transport.telling", "kvfpga.cli.completing"}


def test_ctrl_c_while_it_is_imported_ends_it_without_a_word(tmp_path):
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-m", "kvfpga"], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


DROPPED = """
import signal, time, weakref
from kvfpga.cli.app import App
from kvfpga.cli.main import main

class Lock: pass

def drop(self):
    lock = Lock()
    watcher = weakref.ref(lock, lambda gone: signal.raise_signal(signal.SIGINT))
    del lock  # what its watcher raises goes nowhere, as in Python's import locks
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background has it ignored
App.settle = drop
main()
"""


def test_ctrl_c_is_not_lost_where_python_drops_what_is_raised(tmp_path):
    command = [sys.executable, "-c", DROPPED, "--target", "model", "--session", tmp_path, "info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 130 and done.stderr.startswith("kvfpga: interrupted")


def test_every_command_is_where_the_table_says():
    with click.Context(cli) as context:
        assert [cli.get_command(context, name).name for name in cli.list_commands(context)] == list(cli.places)
        assert cli.get_command(context, "nonsense") is None
