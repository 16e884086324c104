"""A session whose command is killed at any change of a file, or whose disk is full: whole, old or new, and usable."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from itertools import count, groupby
from pathlib import Path

import pytest

from tests.helpers.command_line import BLOCK, Kvfpga
from tests.helpers.file_events import MAY_MOUNT, NAMESPACE, Watched, compile_library

pytestmark = pytest.mark.timeout(1800)
BEFORE, AFTER, LATER = 4, 9, 12
"""Steps: of the session at first, of the command that is cut off, and of the one behind it."""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compile_library(tmp_path_factory.mktemp("file_events"))


@pytest.fixture
def victim_of(library, tmp_path):
    """Makes the victim of a kind of target."""
    with contextlib.ExitStack() as closing:
        yield lambda kind: closing.enter_context(contextlib.closing(Victim(library, tmp_path, kind)))


class Victim:
    """A session that is put back each time, and its command."""

    def __init__(self, library, folder: Path, kind: str):
        self.kind, self.session, self.first = kind, folder / "session", folder / "first"
        self.run = Watched(library, self.session, "--target", kind, "--entries", "256")
        (folder / "later.kvfpga").write_text(f"telemetry\nstep {LATER}\nverify\n")
        self.later = folder / "later.kvfpga"

    def close(self) -> None:
        self.run.close()

    def begin(self) -> None:
        """Two blocks, and something in the history."""
        kv = Kvfpga(self.first, "--target", self.kind)
        kv("reset", "--raw")
        for n in range(2):
            kv("load", "--request", 1, "--layer", 0, "--head", 0, "--tokens", f"{32 * n}:{32 * n + 31}", "--va", n * BLOCK)
        kv("step", BEFORE)

    def put_back(self) -> None:
        shutil.rmtree(self.session, ignore_errors=True)
        if self.first.exists():
            shutil.copytree(self.first, self.session)

    def step_found(self) -> int:
        """The step that the next command finds. It is checked, and leaves nothing else behind."""
        found, step, verified = Kvfpga(self.session, "--target", self.kind)("run", self.later)
        assert step["code"] == verified["code"] == "OK" and step["checked"] == verified["checked"] == (self.kind == "sim")
        home = self.session / self.kind
        assert len(list(home.glob("pages-*"))) == 1 and not list(home.glob("*.new"))
        return found["current_step"]


@pytest.mark.parametrize(
    ("kind", "words", "before", "after"),
    [
        ("sim", ["step", AFTER], BEFORE, AFTER),
        ("sim", ["reset", "--raw"], BEFORE, 0),
        ("model", ["step", AFTER], None, AFTER),
    ],
    ids=["step", "reset", "first command"],
)
def test_killed_at_any_change_of_a_file(victim_of, kind, words, before, after):
    victim = victim_of(kind)
    if before is not None:
        victim.begin()
    found = []
    for number in count(1):
        victim.put_back()
        done = victim.run(*words, kill=number)
        found.append(victim.step_found())
        if done.returncode != -signal.SIGKILL:
            break
    assert done.returncode == 0, done.stderr
    assert number > 15, "so many changes, and each was the last one once"
    assert [step for step, _ in groupby(found)] == [before or 0, after], "the old state up to some change, the new one from there"


def test_the_changes_are_on_the_disk_before_they_count(victim_of):
    victim = victim_of("sim")
    assert victim.run("step", 1).returncode == 0
    seen = [(line.split()[1], Path(line.split()[2]).name) for line in victim.run.log]
    seen = seen[seen.index(("write", "pages-1.bin")) :]  # behind the `current` of a session that has no state yet
    order = [
        ("write", "pages-1.bin"), ("fsync", "pages-1.bin"), ("fsync", "sim"), ("fsync", "history-0.jsonl"),
        ("write", "current.new"), ("fsync", "current.new"), ("rename", "current"),
    ]  # fmt: skip
    places = [seen.index(change) for change in order]
    assert places == sorted(places) and ("fsync", "sim") in seen[places[-1] :]


def test_a_disk_that_is_full_from_any_change_on(victim_of):
    """The command fails and says why, the state before stays, nothing half-written takes up room, and with room it goes on."""
    victim = victim_of("model")
    victim.begin()
    for number in count(1):
        victim.put_back()
        held = size_of(victim.session)
        done = victim.run("step", AFTER, full=number)
        if done.returncode == 0:
            break
        assert done.returncode == 3 and "No space left on device" in done.stderr, done.stderr
        assert size_of(victim.session) == held
        assert victim.step_found() == BEFORE
    assert number > 8 and victim.step_found() == AFTER


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


ON_TMPFS = """
import json, shutil, subprocess, sys
from pathlib import Path
folder, first, *command = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
session, filler = Path(folder) / "session", Path(folder) / "filler"
for pages in (0, 1, 2, 4, 6, 8, 12, 16, 600):
    shutil.rmtree(session, ignore_errors=True)
    shutil.copytree(first, session)
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - 4096 * pages))
    done = subprocess.run([*command, "--session", str(session), "step", "9"], capture_output=True, text=True)
    filler.unlink()
    words = ["--json", "--session", str(session), "run", first + ".later"]
    later = subprocess.run([*command, *words], capture_output=True, text=True)
    print(json.dumps([pages, done.returncode, done.stderr, later.returncode, later.stdout, later.stderr]), flush=True)
"""


if MAY_MOUNT:  # else the full disk above is the only one that this user can have

    @pytest.mark.parametrize("kind", ["sim", "model"])
    def test_a_small_tmpfs_that_is_full(victim_of, tmp_path, kind):
        victim = victim_of(kind)
        victim.begin()
        shutil.copy(victim.later, f"{victim.first}.later")
        command = [sys.executable, "-m", "kvfpga.cli.main", "--target", kind, "--entries", "256"]
        (tmp_path / "disk").mkdir()
        arguments = [sys.executable, "-c", ON_TMPFS, tmp_path / "disk", victim.first, *command]
        done = subprocess.run([*NAMESPACE, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        codes = []
        for pages, code, said, later_code, later, later_said in map(json.loads, done.stdout.splitlines()):
            codes.append(code)
            assert ("cannot store the session" in said and "make room" in said) == (code == 3), (pages, said)
            assert later_code == 0, (pages, later_said)
            assert json.loads(later.splitlines()[0])["current_step"] == (BEFORE if code else AFTER), pages
        assert codes == sorted(codes, reverse=True) and set(codes) == {0, 3}, "too little room, then enough"
