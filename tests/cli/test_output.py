"""Output never undoes what a command did: a terminal that lacks characters, a full disk behind stdout, a reader who goes away.

Real processes: what stdout is and how a process ends are the matter here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kvfpga.cli import output
from tests.helpers.command_line import BLOCK, LOAD, Kvfpga
from tests.helpers.terminal import Terminal

UNSAID = 74


@pytest.fixture
def kv(tmp_path):
    return Kvfpga(tmp_path / "s")


def kvfpga(kv, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "kvfpga.cli.main", *kv.options, *map(str, words)]
    return subprocess.run(command, stdout=stdout, stderr=stderr, env=os.environ | environment)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("words", [["evict", 0x7F000000, BLOCK], ["dump"], ["telemetry"], ["top", "--once"], ["demo"]])
def test_a_character_that_the_terminal_lacks_is_replaced(kv, words, encoding):
    kv(*LOAD)
    done = kvfpga(kv, *words, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    if words[0] == "evict":
        assert "T1 -> T2 DRAM" in text and kv("telemetry")["evict_count"] == 1
    elif words[0] != "demo":  # which has tables only of a device that is checked
        assert "T1" in text or "| current_step" in text, "tables are drawn with what is there"


PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python takes ASCII for files then, where nobody says another encoding."""


def test_files_are_utf8_whatever_the_locale(kv, tmp_path):
    board = tmp_path / "mine.yaml"
    build = "build: {entries: 256, lanes: 1, data_bits: 64}"
    board.write_text(f"description: Ö-Board, 1 µs\ntarget: uart:/dev/null\n{build}\n", "utf-8")
    done = kvfpga(kv, "--json", "board", "show", board, **PLAIN_LOCALE)
    assert done.returncode == 0, done.stderr
    assert "Ö-Board, 1 µs" in json.loads(done.stdout)["text"]
    moved = "from kvfpga import Difference, Report; import sys, pathlib\n"
    moved += "report = Report('step 1', 1, [Difference('result', 'trigger of 0', 'evict 1\\u21922', 'none')])\n"
    moved += "report.make_folder(pathlib.Path(sys.argv[1])); report.write()\n"
    subprocess.run([sys.executable, "-c", moved, tmp_path / "failures"], check=True, env=os.environ | PLAIN_LOCALE)
    (text,) = (tmp_path / "failures").glob("*/report.txt")
    assert "evict 1→2" in text.read_text("utf-8")


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_what_was_done_is_stored_where_stdout_takes_no_more(kv, tmp_path, json):
    (tmp_path / "script").write_text("step 5\nstep 6\n")
    with open("/dev/full", "wb") as full:
        for words, step in ((["step", 3], 3), (["run", tmp_path / "script"], 5), (["load", *LOAD[1:]], 5)):
            done = kvfpga(kv, *json, *words, stdout=full)
            said = done.stderr.decode()
            assert done.returncode == UNSAID and "Traceback" not in said
            (line,) = (line for line in said.splitlines() if "stdout takes no more: No space left on device" in line)
            assert "done and stored" in line and ("script, line 1" in line) == (words[0] == "run")
            assert kv("telemetry")["current_step"] == step
        assert kv("telemetry")["valid_entries"] == 1
        for words in (["dump"], ["telemetry"], ["info"], ["--help"], ["step", "--help"], ["reg", "list"], ["top", "--once"]):
            done = kvfpga(kv, *json, *words, stdout=full)
            assert done.returncode == UNSAID and len(done.stderr.splitlines()) == 1, done.stderr
        assert kvfpga(kv, *json, "step", 7, stdout=full, stderr=full).returncode == UNSAID
        assert kvfpga(kv, *json, "hot", 1, 0, stderr=full).returncode == 1
    assert kv("telemetry")["current_step"] == 7


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_reader_who_has_gone_is_no_error(kv, json):
    for words in (["step", 3], ["dump"], ["telemetry"], ["replay", "tests/data/chats.jsonl", "--t1-capacity", 64, "--limit", 2]):
        reading, writing = os.pipe()
        os.close(reading)
        done = kvfpga(kv, *json, *words, stdout=writing)
        os.close(writing)
        if words[0] != "replay":
            assert done.returncode == 0, done.stderr
            assert b"Traceback" not in done.stderr and b"stdout" not in done.stderr
    assert kv("telemetry")["current_step"] >= 3


@pytest.mark.parametrize("words", [["--help"], ["step", "--help"], ["--version"], ["lab", "--help"]], ids=" ".join)
def test_a_reader_of_the_help_who_has_gone_is_no_error(kv, words):
    reading, writing = os.pipe()
    os.close(reading)
    done = kvfpga(kv, *words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [
    ["step", 9], ["top", "--once"], ["--json", "top", "--once"], ["dump"], ["shell"], ["run", "-"], ["--help"], ["telemetry"],
], ids=str)  # fmt: skip
def test_streams_that_are_closed_go_nowhere(kv, words):
    command = [sys.executable, "-m", "kvfpga.cli.main", *kv.options, *map(str, words)]
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], capture_output=True, input=b"")
        assert done.returncode == 0 and b"Traceback" not in done.stderr, (closed, done.stderr)
    assert kv("telemetry")["current_step"] == (9 if words[0] == "step" else 0)


def test_nothing_is_said_to_be_done_that_could_not_be_stored(kv, monkeypatch):
    kv("step", 3)

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kvfpga.blackbox.generation.replace_file", full)
    assert kv("step", 4, code=3) == [] and ": No space left on device; it stays" in kv.err
    assert kv.text("step", 4, code=3) == ""
    monkeypatch.undo()
    assert kv("telemetry")["current_step"] == 3


def on_a_terminal(kv, columns, *words, code=0) -> str:
    """What a command shows there."""
    with Terminal(sys.executable, "-m", "kvfpga.cli.main", *kv.options, *map(str, words), columns=columns) as terminal:
        assert terminal.ended() == code
        return terminal.seen


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_numbers_are_whole_in_a_narrow_terminal(kv, columns):
    """What does not fit goes on in the next line."""
    kv(*LOAD)
    text = on_a_terminal(kv, columns, "dump")
    [entry] = kv("dump")["entries"]
    assert "…" not in text and f"{entry['va']:#x}" in text and str(entry["priority"]) in text


def test_entries_fit_into_80_columns_without_the_lines_of_the_table(kv):
    kv(*LOAD)
    assert max(map(len, on_a_terminal(kv, 80, "dump").splitlines())) <= 80
    assert "│" in on_a_terminal(kv, 120, "dump") and "│" not in on_a_terminal(kv, 80, "dump")


def test_entries_with_classes_fit_into_80_columns_with_short_names(kv):
    kv(*LOAD, "--class", 255, "--order", 255)
    kv("hot", 0x7F000000, BLOCK)
    kv("step", 12345)
    header, *rows = on_a_terminal(kv, 80, "dump").splitlines()[1:]
    assert max(map(len, (header, *rows))) <= 80 and {"L", "P", "cls", "flags"} <= set(header.split())
    assert {"layer", "priority", "class"} <= set(kv.text("dump").split()), "a pipe has the whole names"


@pytest.mark.parametrize("folder", ["keys", "keys" * 20])
def test_a_key_is_whole_in_80_columns(kv, tmp_path, monkeypatch, folder):
    """Beside a folder of any length: what is broken into two lines cannot be copied."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KVFPGA_KEYS", folder)
    made = kv("keys", "create")
    assert made["public"] in on_a_terminal(kv, 80, "keys", "show")


def test_what_is_too_long_for_a_terminal_widens_no_other_line(tmp_path):
    """Padded to its width, each would be followed by an empty one."""
    kv = Kvfpga(tmp_path / ("long" * 25))
    kv("step", 1)
    wide = [line for line in on_a_terminal(kv, 80, "info").splitlines() if len(line) > 80]
    assert [line.split()[0] for line in wide] == ["session"] and wide[0].endswith("long")


def test_an_error_breaks_between_words_on_a_terminal_alone(kv):
    words = "--target", "kvcpu:/dev/kvcpu0", "step", 3
    lines = on_a_terminal(kv, 80, *words, code=2).splitlines()
    assert max(map(len, lines)) <= 80 and lines[1] == "  the size that was built"
    assert "a board has the size that was built\n" in kvfpga(kv, *words).stderr.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_mistake_in_the_line_breaks_between_words_too(kv, columns):
    """What click says of it, and in the shell."""
    words = "score", 1, 2, 3, 0, "--slot", "9" * 30
    said = f"'--slot': {'9' * 30} does not fit into 64 bits: 0 to 18,446,744,073,709,551,615."
    lines = on_a_terminal(kv, columns, *words, code=2).splitlines()
    assert said in " ".join(" ".join(lines).split()) and max(map(len, lines)) <= columns
    assert f"Error: Invalid value for {said}\n" in kvfpga(kv, *words).stderr.decode()
    with Terminal(sys.executable, "-m", "kvfpga.cli.main", *kv.options, "shell", columns=columns) as shell:
        shell.until("kvfpga>")
        shell.type(" ".join(map(str, words)) + "\r")
        shell.until("Error: Invalid value")
        shown = shell.until("615.")
    assert max(map(len, shown.splitlines())) <= columns and len(shown.splitlines()) > 1


def test_the_remedy_of_a_line_of_a_script_has_a_line_of_its_own_on_a_terminal(kv, tmp_path):
    (tmp_path / "s.kvfpga").write_text("policy ranked --table nowhere.npy\n")
    lines = on_a_terminal(kv, 60, "run", tmp_path / "s.kvfpga", code=2).splitlines()
    assert lines[-1] == "  name a file as numpy.save writes it, or `age`"


def test_the_reason_of_a_refusal_breaks_between_words_on_a_terminal_alone(kv):
    kv("step", 1)
    words = "score", 1, 2, 3, 4, "--slot", 0
    lines = on_a_terminal(kv, 80, *words, code=1).splitlines()
    assert max(map(len, lines)) <= 80 and lines[1].endswith("SCORE takes one that is") and lines[2] == "  loaded (R30)"
    assert "takes one that is loaded (R30)\n" in kv.text(*words, code=1)


def test_a_terminal_that_can_do_nothing_shows_whole_numbers(kv):
    """rich takes it to have 80 columns, whatever it is told."""
    kv(*LOAD)
    kv("hot", 0x7F000000, BLOCK)
    with Terminal(sys.executable, "-m", "kvfpga.cli.main", *kv.options, "dump", TERM="dumb", LINES="") as terminal:
        assert terminal.ended() == 0 and {"0x7f000000", "priority", "pinned"} <= set(terminal.seen.split())


def test_a_command_to_copy_stays_whole():
    text = "  ask whoever runs it for its public key (`kvfpga keys show`), then `kvfpga keys trust tcp://localhost:7300 KEY`"
    assert output.broken(text, 80).splitlines()[1] == "  `kvfpga keys trust tcp://localhost:7300 KEY`"
    assert output.broken(text, 20).count("`kvfpga keys trust tcp://localhost:7300 KEY`") == 1
    assert output.broken(text, None) == text


def test_a_column_of_zeros_is_left_out_and_no_other(kv):
    kv(*LOAD)
    assert not {"refs", "class", "order"} & set(kv.text("dump").split())
    kv("share", 0x7F000000, BLOCK)
    shown = set(kv.text("dump").split())
    assert "refs" in shown and not {"class", "order"} & shown


def test_the_title_of_a_narrow_table_is_one_line(kv):
    kv(*LOAD)
    assert kv.text("score", 1, 2, 3, 0, "--slot", 0).splitlines()[1] == "query in slot 0, block 0"
