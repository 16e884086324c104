"""The options of every command: before it, behind it, in the environment, in the configuration file; help, notes, calls told."""

from __future__ import annotations

import json
import os
import re

import click
import pytest
from click.testing import CliRunner

from kvfpga.cli.main import cli
from kvfpga.cli.options import TABLE
from tests.helpers.command_line import Kvfpga
from tests.helpers.places import HOST

SMALL = ["--entries", "256"]


def kvfpga(*words, code=0, environment=None):
    """One command without any options of a helper: its stdout, and its stderr."""
    done = CliRunner().invoke(cli, [str(word) for word in words], prog_name="kvfpga", env=environment)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user with a configuration folder and a state folder of their own: the folder of the configuration file."""
    monkeypatch.delenv("KVFPGA_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "config" / "kvfpga").mkdir(parents=True)
    return tmp_path / "config" / "kvfpga"


# ---- behind the command ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("words", [
    ["step", "5", "--json"], ["step", "--json", "5"], ["weights", "--json"], ["weights", "set", "--w-r", "9", "--json"],
    ["reg", "read", "CTRL", "--json"], ["dump", "--json"], ["board", "list", "--json"],
    ["lab", "traces", "sample", "--json"],
], ids=" ".join)  # fmt: skip
def test_json_may_stand_behind_any_command(tmp_path, words):
    out, _ = kvfpga("--target", "model", *SMALL, "--session", tmp_path, *words)
    assert isinstance(json.loads(out), dict)


def test_so_may_all_that_name_the_device(tmp_path):
    kvfpga("step", 7, "--target", "model", "--entries", 512, "--session", tmp_path)
    out, _ = kvfpga("info", "--session", tmp_path, "--json", "--target", "model")
    assert (json.loads(out)["entries"], json.loads(out)["session"]) == (512, str(tmp_path))


def test_what_stands_behind_goes_before_what_stands_before(tmp_path):
    out, _ = kvfpga("--target", "sim", "--json", "reg", "read", "CTRL", "--target", "model", *SMALL, "--session", tmp_path)
    assert json.loads(out)["code"] == "OK" and (tmp_path / "model").is_dir() and not (tmp_path / "sim").exists()


@pytest.mark.parametrize("words, said", [
    (["step", "1", "--recover"], "--recover goes before the command: kvfpga --recover COMMAND"),
    (["step", "1", "--target", "nothing"], "no such target"), (["step", "1", "--lanes", "3"], "power of two from 1 to 16, not 3"),
    (["step", "1", "--trace", "x.txt"], "name it .fst or .vcd"),
    (["step", "1", "--trace", "nowhere/x.fst"], "there is no folder nowhere"),
    (["step", "1", "--quiet", "-v"], "leave one of them out"),
])  # fmt: skip
def test_what_is_wrong_behind_is_told(tmp_path, words, said):
    assert said in kvfpga("--target", "model", *SMALL, "--session", tmp_path, *words, code=2)[1]


def test_a_command_keeps_an_option_of_its_own():
    out, _ = kvfpga("lab", "run", "--help")
    assert "--entries NUMBER" in out


def test_a_line_of_a_script_may_ask_for_json_and_for_no_other_device(tmp_path):
    script = tmp_path / "lines.kvfpga"
    script.write_text("step 1 --json\nstep 2\nstep 3 --session elsewhere\n--json step 4\nstep 5\n")
    out, err = kvfpga("--target", "model", *SMALL, "--session", tmp_path / "s", "run", script, code=2)
    shown = out.splitlines()
    assert json.loads(shown[0])["command"] == "step" and shown[1:] == ["step: OK · 0 blocks · not checked"] * 2
    assert "line 3: --session cannot change from line to line" in err and "line 4: --json stands before the command" in err


# ---- environment and file --------------------------------------------------------------------------------------------
def test_the_environment_says_what_no_option_does(tmp_path):
    environment = {"KVFPGA_TARGET": "model", "KVFPGA_SESSION": str(tmp_path), "KVFPGA_JSON": "1"}
    assert json.loads(kvfpga(*SMALL, "step", 1, environment=environment)[0])["code"] == "OK"
    assert kvfpga(*SMALL, "step", 2, "--no-json", environment=environment)[0].startswith("step: OK")


def test_the_file_says_what_neither_does(home):
    (home / "config.toml").write_text('target = "model"\nsession = "mine"\njson = true\n')
    found = json.loads(kvfpga(*SMALL, "info")[0])
    assert (found["target"], found["session"]) == ("model", str(home / "mine"))
    assert found["config"] == {
        "file": str(home / "config.toml"), "used": {"session": str(home / "mine"), "json": True, "target": "model"}
    }  # fmt: skip


def test_people_see_which_values_came_from_the_file(home, tmp_path):
    (home / "config.toml").write_text('target = "model"\n')
    shown, _ = kvfpga(*SMALL, "--session", tmp_path / "s", "info")
    assert re.search(r"configuration file .*config\.toml", shown) and re.search(r"target \(from there\) +\S+ model", shown)


def test_an_option_goes_before_the_environment_and_that_before_the_file(home, tmp_path):
    (home / "config.toml").write_text('target = "uart:/dev/nothing"\njson = true\n')
    environment = {"KVFPGA_TARGET": "xdma:/nowhere"}
    assert "/dev/nothing" in kvfpga("step", 1, code=3)[1]
    assert "/nowhere" in kvfpga("step", 1, environment=environment, code=3)[1]
    out, _ = kvfpga("--target", "model", *SMALL, "--session", tmp_path / "s", "info", environment=environment)
    assert json.loads(out)["config"]["used"] == {"json": True}


def test_who_names_a_target_is_not_given_the_board_of_the_file(home, tmp_path):
    (home / "config.toml").write_text('board = "ulx3s"\n')
    assert '"entries": 512' in kvfpga("--target", "model", "--entries", 512, "--session", tmp_path / "s", "--json", "info")[0]
    _, err = kvfpga("--entries", 512, "step", 1, code=2)
    assert f"{home / 'config.toml'} says board = ulx3s" in err


@pytest.mark.parametrize("text, said", [
    ('# mine\ntarget = "modl"\n', "line 2: target modl: no such target"),
    ('target = "model"\ncolour = 3\n', "line 2: colour is no setting of this file"),
    ("[target]\n", "line 1: target is {}, not text in quotes"),
    ('json = "yes"\n', "line 1: json is 'yes', not true or false"),
    ('session = ""\n', "line 1: session is '', no name of a folder"),
    ('session = "~nobody-of-that-name/s"\n', "line 1: session is '~nobody-of-that-name/s', and ~nobody-of-that-name has no home"),
    ("target = model\n", "line 1"), ('json = true\njson = false\n', "line 2"),
    pytest.param(f"colour = {'9' * 5000}\n", "a number of too many digits", id="digits"),
    pytest.param("colour = " + "[" * 3000, "nested too deep", id="nested"),
    ('# mine\nsession = "a\\u0000b"\n', "line 2: session is 'a\\x00b', not text that a name can be"),
])  # fmt: skip
def test_a_bad_file_is_refused_with_line_and_remedy(home, text, said):
    (home / "config.toml").write_text(text)
    _, err = kvfpga("step", 1, code=2)
    assert str(home / "config.toml") in err and said in err and len(err.splitlines()) == 2


@pytest.mark.parametrize("kind, said", [
    ("folder", "it is a folder, a pipe or a device"), ("fifo", "it is a folder, a pipe or a device"),
    ("latin-1", "not text in UTF-8"), ("nul", "line 1"),
])  # fmt: skip
def test_what_is_no_file_of_text_is_refused(home, kind, said):
    place = home / "config.toml"
    match kind:
        case "folder":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case "latin-1":
            place.write_bytes(b'target = "m\xf6del"\n')
        case "nul":
            place.write_bytes(b"\0\0\0")
    _, err = kvfpga("step", 1, code=2)
    assert str(place) in err and said in err and len(err.splitlines()) == 2


def test_a_file_that_is_named_must_be_there(home):
    assert "nothing.toml" in kvfpga("step", 1, environment={"KVFPGA_CONFIG": str(home / "nothing.toml")}, code=2)[1]


def test_a_folder_that_cannot_be_looked_into_is_told_with_what_names_another(home, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "a" * 300)
    _, err = kvfpga("--target", "model", *SMALL, "--session", tmp_path / "s", "step", 1, code=2)
    assert f"cannot read /{'a' * 300}/kvfpga/config.toml: File name too long" in err and "KVFPGA_CONFIG names another one" in err
    environment = {"KVFPGA_CONFIG": ""}
    kvfpga("--target", "model", *SMALL, "--session", tmp_path / "s", "step", 1, environment=environment)


def test_whoever_has_no_home_folder_has_no_file(home, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    kvfpga("--target", "model", *SMALL, "--session", tmp_path / "s", "step", 1)


# ---- help ------------------------------------------------------------------------------------------------------------
def test_the_help_has_groups_exit_codes_and_environment():
    out, _ = kvfpga("--help")
    assert [line for line in out.splitlines() if re.fullmatch(r"[A-Z][A-Za-z ]+:", line)] == [
        "Options:", *[f"{title}:" for title in cli.sections], "Exit codes:", "Environment:"
    ]  # fmt: skip
    assert re.search(r"^  4 +hardware and reference model differ", out, re.MULTILINE) and "KVFPGA_SESSION" in out


def test_the_help_names_each_variable_of_the_users_that_is_read():
    source = "".join(path.read_text("utf-8") for path in HOST.rglob("*.py"))
    read = set(re.findall(r"environ(?:\.get\(|\[)[\"'](KVFPGA_\w+|CXX)", source)) - {"KVFPGA_QUICK_BUILD"}  # of tests
    out, _ = kvfpga("--help")
    assert len(read) > 5 and {name for name in read if not re.search(rf"\b{name}\b", out)} == set()


def commands(command=cli, *words):
    """Every command, by the words that lead to it."""
    yield words
    for name in getattr(command, "list_commands", lambda context: [])(click.Context(command)):
        yield from commands(command.get_command(click.Context(command), name), *words, name)


@pytest.mark.parametrize("words", list(commands()), ids=lambda words: " ".join(words) or "kvfpga")
def test_no_help_is_cut_off_in_80_columns(words):
    out, _ = kvfpga(*words, "--help", environment={"COLUMNS": "80"})
    usage, *lines = out.splitlines()
    assert not any(line.endswith("...") for line in lines) and max(map(len, (usage, *lines))) <= 80


@pytest.mark.parametrize("words", [["load"], ["score"], ["shell"], ["completion"], ["lab"], ["keys"], ["follow"]], ids=str)
def test_the_explanation_of_an_example_is_a_comment(words):
    """So that the whole line can be pasted."""
    _, *lines = kvfpga(*words, "--help")[0].splitlines()
    examples = [line for line in lines if re.search(r"(^|: )  ?(kvfpga|eval) ", line)]
    assert examples and not [line for line in examples if ":  " in line or re.search(r"\S {2,}[^# ]", line)]


def test_each_command_says_where_the_other_options_are():
    assert "Options of every command" in kvfpga("step", "--help")[0]
    for names, _ in TABLE:
        assert names[0].split("/")[0] in kvfpga("--help")[0]


# ---- notes and calls -------------------------------------------------------------------------------------------------
def test_quiet_leaves_out_notes_and_no_errors(tmp_path):
    kv = Kvfpga(tmp_path)
    kv("step", 1)
    assert "new session" in kv.err
    kv = Kvfpga(tmp_path / "other", "--quiet")
    kv("step", 1)
    assert kv.err == ""
    kv("weights", "set", "--w-r", 255)
    assert "add up to" in kv.err
    kv("step", 0, code=1)
    assert "steps do not go back" in kv.err


def test_a_quiet_command_has_its_calls_in_a_file(tmp_path):
    kv = Kvfpga(tmp_path / "s", "--target", "sim", "--quiet", "--log", str(tmp_path / "calls"))
    kv("step", 1)
    assert kv.err == "" and "write STEP_FAST 0x1" in (tmp_path / "calls").read_text()


def test_a_model_has_no_calls_to_show(tmp_path):
    kv = Kvfpga(tmp_path, "-v")
    kv("step", 1)
    assert "no calls to show" in kv.err


def test_a_model_has_no_accesses_to_record(tmp_path):
    kv = Kvfpga(tmp_path / "s", "--record", str(tmp_path / "calls"))
    kv("step", 1, code=2)
    assert "no accesses to record" in kv.err and not (tmp_path / "calls").exists()


def test_calls_are_told_with_name_value_and_time(tmp_path):
    kv = Kvfpga(tmp_path, "--target", "sim")
    kv("step", 1)
    assert "µs" not in kv.err
    kv("step", 2, "-v")
    assert re.search(r"^kvfpga: batch of \d+: write STEP_FAST 0x2, wait, .* · [\d.]+ µs$", kv.err, re.MULTILINE)
    plain = len(kv.err.splitlines())
    kv("step", 3, "-vv")
    assert re.search(r"^kvfpga:   write STEP_FAST 0x3$", kv.err, re.MULTILINE) and len(kv.err.splitlines()) > plain
    kv("reg", "read", "SCRATCH", "-v")
    assert re.search(r"read SCRATCH 0x0 · [\d.]+ µs", kv.err)


def test_a_log_takes_the_calls_instead_of_stderr(tmp_path):
    kv, log = Kvfpga(tmp_path, "--target", "sim"), tmp_path / "calls.log"
    for step in (1, 2):
        kv("--log", log, "step", step)
        assert "µs" not in kv.err
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} batch of \d+: write STEP_FAST 0x%d, wait, .* · [\d.]+ µs"
    text = log.read_text()
    assert re.search(line % 1, text) and re.search(line % 2, text)
    kv("--log", tmp_path / "no" / "folder", "step", 3, code=2)
    assert "cannot write" in kv.err


def test_a_log_that_takes_no_more_is_said_once_and_undoes_nothing(tmp_path):
    kv = Kvfpga(tmp_path / "s", "--target", "sim")
    kv("step", 1)
    kv("--log", "/dev/full", "step", 2)
    assert kv.err == "kvfpga: --log: /dev/full takes no more: No space left on device; later calls are not in it\n"
    assert kv("telemetry")["current_step"] == 2


def test_a_log_may_be_a_pipe_that_somebody_reads(tmp_path):
    """One that nobody reads would be waited for without a word, and for ever."""
    kv, pipe = Kvfpga(tmp_path / "s", "--target", "sim"), tmp_path / "pipe"
    os.mkfifo(pipe)
    kv("--log", pipe, "step", 1, code=2)
    assert f"cannot write {pipe}: it is a pipe that nobody reads" in kv.err
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    kv("--log", pipe, "step", 1)
    assert b"write STEP_FAST 0x1" in os.read(reader, 1 << 16)
    os.close(reader)
    for place in (tmp_path / "no" / "log", tmp_path):
        kv("--log", place, "step", 2, code=2)
        assert "Traceback" not in kv.err and str(place) in kv.err


def test_a_recording_that_takes_no_more_is_told_behind_what_is_done(tmp_path):
    kv, pipe = Kvfpga(tmp_path / "s", "--target", "sim"), tmp_path / "pipe"
    kv("step", 1)
    done = kv("--record", "/dev/full", "step", 2, code=2)
    assert done["code"] == "OK" and kv.err == (
        "kvfpga: cannot record into /dev/full: No space left on device\n  name a file that can be written\n"
    )
    assert kv("telemetry")["current_step"] == 2
    kv("--record", "/dev/full", "replay", "tests/data/chats.jsonl", "--t1-capacity", 64, "--limit", 20, code=2)
    assert "cannot record into /dev/full" in kv.err and "the session stays as it was" in kv.err
    os.mkfifo(pipe)
    for words in (["--record", pipe, "step", 3], ["mem", "read", 0, 64, "--out", pipe]):
        kv(*words, code=2)
        assert f"{pipe}: it is a pipe that nobody reads" in kv.err
    assert kv("telemetry")["current_step"] == 2


def test_a_waveform_that_cannot_be_written_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("KVFPGA_CACHE", str(tmp_path / "cache"))
    pipe = tmp_path / "w.fst"
    os.mkfifo(pipe)
    kv = Kvfpga(tmp_path / "s", "--target", "sim")
    kv("--trace", pipe, "step", 1, code=2)
    assert f"cannot write the waveform {pipe}: it is a pipe that nobody reads" in kv.err
    assert not (tmp_path / "cache").exists()


def test_without_a_device_the_waveform_of_before_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("KVFPGA_CACHE", "/dev/null/nothing")  # so that no model is there
    (tmp_path / "w.fst").write_text("of before")
    Kvfpga(tmp_path / "s", "--target", "sim")("--trace", tmp_path / "w.fst", "step", 1, code=3)
    assert (tmp_path / "w.fst").read_text() == "of before"


def test_a_bring_up_tells_its_calls(tmp_path):
    kv = Kvfpga(tmp_path, "--target", "sim", "-v")
    kv("bringup", "--only", "identity")
    assert re.search(r"^kvfpga: read DEVICE_ID .*· [\d.]+ µs$", kv.err, re.MULTILINE)


def test_a_call_that_fails_is_told_too(tmp_path):
    kv = Kvfpga(tmp_path, "--target", "sim", "-v")
    kv("reg", "write", "T_MISSES", 0, code=3)
    assert re.search(r"write T_MISSES 0x0 · [\d.]+ µs · BusError", kv.err)
