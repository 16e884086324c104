"""Progress in a pipe: a line every ten seconds of a clock that the test turns."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from kvfpga.cli import progress
from kvfpga.cli.progress import EVERY, Lines


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines(capsys):
    found = capsys.readouterr()
    assert not found.out
    return found.err.splitlines()


def test_a_line_every_ten_seconds(clock, capsys):
    update = Lines("replaying", clock)
    for second in range(35):
        clock.now = 1000.0 + second
        update(second * 100, 5000, f"step {second}")
    assert EVERY == 10 and lines(capsys) == [
        "kvfpga: replaying, 1,000 of 5,000: step 10",
        "kvfpga: replaying, 2,000 of 5,000: step 20",
        "kvfpga: replaying, 3,000 of 5,000: step 30",
    ]


def test_after_a_long_silence_there_is_one_line(clock, capsys):
    update = Lines("verifying", clock)
    clock.now += 95
    for done in (1, 2, 3):
        update(done, 3)
    assert lines(capsys) == ["kvfpga: verifying, 1 of 3"]


def test_what_is_over_sooner_says_nothing(clock, capsys):
    update = Lines("replaying", clock)
    clock.now += EVERY - 0.1
    update(10, 10)
    assert not lines(capsys)


def test_what_has_no_end_has_no_lines(clock, capsys):
    update = Lines("following", clock)
    clock.now += 95
    update(10, None)
    assert not lines(capsys)


def test_a_pipe_gets_lines(monkeypatch, clock, capsys):
    monkeypatch.setattr(progress, "Lines", lambda what: Lines(what, clock))
    with progress.shown("replaying") as update:
        clock.now += EVERY
        update(1, 2)
    assert lines(capsys) == ["kvfpga: replaying, 1 of 2"]


def test_a_note_comes_above_the_bar_of_a_terminal():
    program = (
        "import sys; from kvfpga.cli import output, progress; sys.stderr = output.Stderr(sys.stderr)\n"
        "with progress.shown('following'): output.complain('kvfpga: a note')"
    )
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=slave, check=True, env=os.environ | {"TERM": "xterm"})
    seen = os.read(master, 1 << 16).decode()
    os.close(slave)
    os.close(master)
    assert re.search(r"\r\x1b\[2K(\x1b\[\d*m)*kvfpga: a note", seen), seen  # the bar's line is emptied before it
