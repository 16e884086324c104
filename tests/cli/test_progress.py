"""Progress in a pipe, a line every ten seconds of a clock that the test turns, and on a terminal, a bar."""

from __future__ import annotations

import re
import sys

import pytest

from kvfpga.cli import progress
from kvfpga.cli.progress import EVERY, Lines
from tests.helpers.terminal import CONTROLS, Terminal


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


def shown_by(program, columns=80):
    """What a program shows on a terminal; it has `progress` and `output`."""
    begin = "import sys; from kvfpga.cli import output, progress; sys.stderr = output.Stderr(sys.stderr)\n"
    with Terminal(sys.executable, "-c", begin + program, columns=columns) as terminal:
        assert terminal.ended() == 0, terminal.seen
        return terminal.raw


def test_a_note_comes_above_the_bar_of_a_terminal():
    seen = shown_by("with progress.shown('following'): output.complain('kvfpga: a note')")
    assert re.search(r"\r\x1b\[2K(\x1b\[\d*m)*kvfpga: a note", seen), seen  # the bar's line is emptied before it


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("what, text", [
    ("cells", "generated:tool-agents: ranked+final+announce 65,536: 80.21% of 98.70%"),
    ("comparing policies", "step 1,234,567, 1,234,567 commands"),
    ("measuring claims", "keys scored at 0.9 of the memory's width or more, in each of 64 heads of a layer that share them"),
    ("following", "65,536 blocks · 12,345 requests · hit 98.5%, LRU 91.0% · 123,456 events · 12 gaps · 3 lost"),
])  # fmt: skip
def test_what_is_going_on_is_whole_however_narrow(what, text, columns):
    seen = shown_by(f"with progress.shown({what!r}) as update: update(12345, 45678, {text!r})", columns)
    lines = [CONTROLS.sub("", line) for line in re.split("[\r\n]+", seen)]
    assert text in " ".join(" ".join(lines).split()) and "…" not in seen, seen
    assert re.search(f"{what} [━╸╺]+ 12345/45678 0:00:0", "\n".join(lines)) and max(map(len, lines)) <= columns
