"""scripts/setup.sh on machines that are made up: a PATH with stand-ins, which write down how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

EVERYTHING = ["python3-venv", "g++", "fuse3", "git", "libpython3-dev", "make", "perl", "zlib1g-dev", "zsh"]

PYTHON3 = """\
echo "python3 $*" >>"$HOME/calls"
if [ "$1" = -c ]; then [ -e "$HOME/complete" ]; exit; fi
for folder; do :; done
mkdir -p "$folder/bin"
cp "$HOME/venv-python" "$folder/bin/python"
"""

VENV_PYTHON = """\
echo "pip $*" >>"$HOME/calls"
[ ! -e "$HOME/cut" ]
"""

APT_GET = """\
echo "apt-get $*" >>"$HOME/calls"
if [ "$1" = install ] && [ ! -e "$HOME/useless" ]; then cp "$HOME"/shop/* "$HOME/bin"; touch "$HOME/complete"; fi
"""


class Machine:
    """`who` set it up: root or user. In its shop there are stand-ins for what apt-get installs."""

    def __init__(self, folder, script):
        self.folder, self.script, self.venv = folder, script, folder / "venv"
        for name in ("bin", "shop"):
            (folder / name).mkdir()
        for name in ("sh", "cp", "mkdir", "rm", "touch"):
            (folder / "bin" / name).symlink_to(shutil.which(name))
        self.program("bin/python3", PYTHON3)
        self.program("bin/apt-get", APT_GET)
        self.program("venv-python", VENV_PYTHON)
        for name in ("g++", "fusermount3", "git", "make", "perl", "zsh"):
            self.program(f"shop/{name}", "exit 0")

    def program(self, path, text):
        (self.folder / path).write_text(f"#!/bin/sh\n{text}\n")
        (self.folder / path).chmod(0o755)

    def mark(self, name):
        (self.folder / name).touch()

    def shell(self, command):
        return subprocess.run(
            ["/bin/sh", "-c", command], env={"PATH": str(self.folder / "bin"), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    def setup(self, *words, who="user"):
        self.program("bin/id", f"echo {0 if who == 'root' else 1000}")
        return self.shell(" ".join(map(str, [self.script, self.venv, *words])))

    def calls(self, start):
        return [call for call in (self.folder / "calls").read_text().splitlines() if call.startswith(start)]

    def marks(self):
        return sorted(path.name for path in self.venv.glob("ready*"))


@pytest.fixture
def machine(tmp_path, pytestconfig):
    return Machine(tmp_path, pytestconfig.rootpath / "scripts" / "setup.sh")


@pytest.fixture
def complete(machine):
    machine.shell("apt-get install")
    return machine


@pytest.mark.parametrize("words, packages", [([], EVERYTHING[:2]), (["test"], EVERYTHING)])
def test_a_user_is_told_all_that_is_missing_and_the_command_helps(machine, words, packages):
    told = machine.setup(*words)
    assert told.returncode == 1 and not machine.venv.exists()
    (line,) = told.stderr.splitlines()
    missing, remedy = line.removeprefix("kvfpga: missing: ").split(". Run this as root, then make again: ")
    assert missing.split() == packages
    assert remedy.endswith(" " + missing)

    assert machine.shell(remedy).returncode == 0
    again = machine.setup(*words)
    assert (again.returncode, again.stderr) == (0, "")


def test_who_has_sudo_is_told_to_use_it(machine):
    machine.program("bin/sudo", '"$@"')
    remedy = machine.setup().stderr.partition("Run this, then make again: ")[2]
    assert remedy.count("sudo apt-get") == 2 and machine.shell(remedy).returncode == 0
    assert machine.setup().returncode == 0


def test_without_apt_no_command_is_promised(machine):
    (machine.folder / "bin" / "apt-get").unlink()
    told = machine.setup(who="root")
    assert told.returncode == 1 and "python3-venv g++" in told.stderr and "apt-get" not in told.stderr


def test_as_root_what_is_missing_gets_installed(machine):
    done = machine.setup("test", who="root")
    assert (done.returncode, done.stderr) == (0, "")
    update, install = machine.calls("apt-get")
    assert "update" in update and install.split()[-len(EVERYTHING) :] == EVERYTHING


def test_what_is_still_missing_after_that_is_told(machine):
    machine.mark("useless")
    told = machine.setup(who="root")
    assert told.returncode == 1 and "missing: python3-venv g++" in told.stderr
    assert not machine.venv.exists()


def test_nothing_is_installed_where_nothing_is_missing(complete):
    calls = len(complete.calls("apt-get"))
    assert complete.setup("test", who="root").returncode == 0
    assert len(complete.calls("apt-get")) == calls


def test_what_was_cut_off_is_made_anew(complete):
    complete.mark("cut")
    assert complete.setup().returncode != 0
    assert complete.marks() == []
    (complete.folder / "cut").unlink()
    assert complete.setup().returncode == 0
    assert complete.marks() == ["ready"]
    assert complete.calls("python3 -m") == [f"python3 -m venv --clear {complete.venv}"] * 2


def test_what_tests_need_is_added(complete):
    complete.setup()
    assert complete.setup("test").returncode == 0
    assert complete.marks() == ["ready", "ready-for-tests"]
    assert len(complete.calls("python3 -m")) == 1
    assert [call.split()[-1] for call in complete.calls("pip")] == [".", ".[test]"]


def test_a_set_up_that_is_cut_off_while_it_adds_is_not_trusted(complete):
    complete.setup()
    complete.mark("cut")
    assert complete.setup("test").returncode != 0
    assert complete.marks() == []


@pytest.mark.parametrize("mark", ["ready", "ready-for-tests"])
def test_make_looks_at_the_marks(pytestconfig, tmp_path, mark):
    """What setup.sh touches is what the Makefile waits for."""

    def is_made():
        asked = ["make", "--question", f"VENV={tmp_path}", tmp_path / mark]
        return subprocess.run(asked, cwd=pytestconfig.rootpath, env={"PATH": os.environ["PATH"]}).returncode == 0

    assert not is_made()
    (tmp_path / mark).touch()
    assert is_made()
