"""What the user's own shell offers at the TAB key, asked as its completion script asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from kvfpga.cli import completing


def offered(line: str, **environment: str) -> list[str]:
    """What bash is told for a line, of which the last word is being typed."""
    asked = {"_KVFPGA_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "kvfpga"], env=os.environ | asked | environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.stderr == ""
    return [word for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize("line, found", [
    ("kvfpga --target m", ["plain,model"]),
    ("kvfpga --target t", ["plain,tcp://"]),
    ("kvfpga step 5 --target si", ["plain,sim"]),
    ("kvfpga --board ul", ["plain,ulx3s", "file,ul"]),
    ("kvfpga --entries 3", ["plain,32768"]),
    ("kvfpga reg read T_MISS", ["plain,T_MISSES"]),
    ("kvfpga reg write window", ["plain,window"]),
    ("kvfpga weights preset s", ["plain,seed"]),
    ("kvfpga replay --policy linear:s", ["plain,linear:seed"]),
    ("kvfpga replay tra", ["file,tra"]),
    ("kvfpga lab run sam", ["plain,sample", "file,sam"]),
    ("kvfpga lab run sample generated:d", ["plain,generated:documents", "file,generated:d"]),
    ("kvfpga lab run sample --policy lru,siev", ["plain,lru,sieve"]),
    ("kvfpga lab run sample --policy sieve,siev", []),
    ("kvfpga policy table a", ["plain,age", "file,a"]),
    ("kvfpga step 5 --sess", ["plain,--session"]),
    ("kvfpga lab run --entr", ["plain,--entries"]),
])  # fmt: skip
def test_what_is_offered(line, found):
    assert offered(line) == found


def test_boards_of_the_user_are_offered(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert "plain,mine" in offered("kvfpga --board m", KVFPGA_BOARDS=str(tmp_path))


def test_a_bad_configuration_file_is_no_reason_to_offer_nothing(tmp_path):
    (tmp_path / "config.toml").write_text("nonsense")
    assert offered("kvfpga tele", KVFPGA_CONFIG=str(tmp_path / "config.toml")) == ["plain,telemetry"]


def test_boards_that_are_plugged_in_are_offered(monkeypatch):
    there = {"/dev/ttyUSB*": ["/dev/ttyUSB0"], completing.XDMA: ["/dev/xdma0_user"]}
    monkeypatch.setattr(completing, "glob", lambda pattern: there.get(pattern, []))
    found = {item.value for item in completing.targets("")}
    assert {"uart:/dev/ttyUSB0", "xdma:/dev/xdma0"} <= found


def test_bash_itself_completes(tmp_path):
    """By the script that `kvfpga completion bash` prints."""
    program = tmp_path / "kvfpga"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kvfpga "$@"\n')
    program.chmod(0o755)
    text = (
        'eval "$(kvfpga completion bash)"; COMP_WORDS=(kvfpga reg read CTR); COMP_CWORD=3; '
        '_kvfpga_completion kvfpga; echo "${COMPREPLY[@]}"'
    )  # fmt: skip
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([shutil.which("bash"), "-c", text], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["CTRL"], done.stderr
