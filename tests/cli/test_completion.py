"""What the user's own shell offers at the TAB key, asked as its completion script asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from kvfpga.cli import completing
from tests.helpers.terminal import Terminal


def offered(line: str, **environment: str) -> list[str]:
    """What bash is told for a line, of which the last word is being typed."""
    asked = {"_KVFPGA_COMPLETE": "bash_complete", "COMP_WORDS": line}
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


@pytest.fixture
def bash(tmp_path):
    """The environment of a bash that finds kvfpga."""
    program = tmp_path / "bin" / "kvfpga"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kvfpga "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "KVFPGA_BOARDS": str(tmp_path)}


@pytest.mark.parametrize("line, found", [
    ("kvfpga reg read CTR", ["CTRL"]),
    ("kvfpga replay --policy linear:s", ["seed"]),
    ("kvfpga lab run generated:d", ["documents"]),
    ("kvfpga --target=si", ["sim"]),
    ("kvfpga lab run s", ["sample", "samples.jsonl", "sub"]),
    ("kvfpga --board mi", ["mine.yaml"]),
    ("kvfpga --board 'my ", ["my board.yaml"]),
])  # fmt: skip
def test_bash_is_given_what_it_puts_in_place_of_its_last_word(bash, tmp_path, line, found):
    """By the script that `kvfpga completion bash` prints."""
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True)
    for name in ("samples.jsonl", "mine.yaml", "my board.yaml"):
        (folder / name).touch()
    text = (
        'eval "$(kvfpga completion bash)"; compopt() { :; }; COMP_LINE=$1 COMP_POINT=${#1}; _kvfpga_completion kvfpga; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )  # fmt: skip
    command = [shutil.which("bash"), "-c", text, "bash", line]
    done = subprocess.run(command, env=os.environ | bash, cwd=folder, capture_output=True, text=True)
    assert done.stdout.splitlines() == found and done.stderr == ""


@pytest.mark.parametrize("typed, then", [
    ("kvfpga lab run generated:doc", "kvfpga lab run generated:documents "),
    ("kvfpga --target ua", "kvfpga --target uart:"),
    ("kvfpga step 5 --sess", "kvfpga step 5 --session "),
])  # fmt: skip
def test_at_the_tab_key_a_colon_stays(bash, typed, then):
    """As bash's own line editing has it; the line is shown, not run."""
    with Terminal(shutil.which("bash"), "--norc", "--noprofile", "-i", **bash) as bash_:
        bash_.type('PS1=; eval "$(kvfpga completion bash)"; echo r""eady\n')
        bash_.until("ready")
        bash_.type(typed + "\t")
        bash_.until(then)


@pytest.mark.parametrize("begun, rest, said", [
    ("kvfpga --target ua", "X info", "there is no port X"),
    ("kvfpga --entries 32", "X", "No such command 'X'"),
    ("kvfpga reg read scratc", "X", "unexpected extra argument (X)"),
])  # fmt: skip
def test_zsh_puts_a_space_behind_what_is_whole_alone(bash, tmp_path, begun, rest, said):
    """By the script that `kvfpga completion zsh` prints; the line is run, to see its words."""
    (tmp_path / ".zshrc").write_text("autoload -Uz compinit; compinit -u; eval \"$(kvfpga completion zsh)\"; echo rea''dy\n")
    with Terminal(shutil.which("zsh"), "-i", ZDOTDIR=str(tmp_path), **bash) as zsh:
        zsh.until("ready")
        zsh.type(f"{begun}\t{rest}\r")
        zsh.until(said)
