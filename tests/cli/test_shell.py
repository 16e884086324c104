"""`kvfpga shell`: typed at a terminal, and its lines run one by one in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import click
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from kvfpga.cli import shell
from kvfpga.cli.app import App
from kvfpga.cli.ending import INTERRUPTED
from kvfpga.cli.main import cli
from kvfpga.cli.options import Options
from kvfpga.cli.shell_words import Words
from kvfpga.contract.errors import TargetError
from kvfpga.session.session import Session
from kvfpga.targets.target import Target
from tests.helpers.command_line import LOAD, Kvfpga
from tests.helpers.places import DATA
from tests.helpers.terminal import Terminal

PROMPT = shell.PROMPT.strip()  # a space is a movement of the cursor, which `Terminal` leaves out


class Typed(Terminal):
    """`kvfpga shell` on a session, with a state folder of its own."""

    def __init__(self, folder, *options, start=("-m", "kvfpga")):
        words = [*start, "--target", "model", "--entries", "256", "--session", str(folder / "session"), *options, "shell"]
        super().__init__(sys.executable, *words, XDG_STATE_HOME=str(folder / "state"))

    def line(self, text):
        """Type a line at the prompt. Whoever waits for what it shows is sure that the next prompt is a new one."""
        self.until(PROMPT)
        self.type(text + "\r")
        return self


@pytest.fixture
def kv(tmp_path):
    return Kvfpga(tmp_path / "session")


# ---- at a terminal ---------------------------------------------------------------------------------------------------
def test_commands_run_and_errors_do_not_end_it(tmp_path, kv):
    with Typed(tmp_path) as at:
        at.line("step 5").until("step: OK")
        at.line("step 4").until("steps do not go back, 5 or more")
        at.line("stop").until("No such command 'stop'")
        at.line("step 'x").until("No closing quotation")
        at.line("step x").until("'x' is not a number")
        at.line("reg write T_MISSES 0").until("bus error on write")
        at.line("step 6 --json").until('"code": "OK"')
        at.line("step 7").until("step: OK")
        at.line("exit")
        assert at.ended() == 0
    assert kv("telemetry")["current_step"] == 7


def test_the_state_is_stored_behind_each_command(tmp_path, kv):
    with Typed(tmp_path) as at:
        at.line("step 5").until("step: OK")
        at.until(PROMPT)
        at.kill()
    assert kv("telemetry")["current_step"] == 5


def test_ctrl_d_ends_it_with_the_code_of_the_last_command(tmp_path):
    with Typed(tmp_path, "--json") as at:
        at.line("step 5").until('"command": "step"')
        at.line("step 4").until("ERR_STEP_ORDER")
        at.until(PROMPT)
        at.type("\x04")
        assert at.ended() == 1


def test_ctrl_c_ends_a_command_and_not_the_shell(tmp_path, kv):
    kv("step", 1)
    many = tmp_path / "many.kvfpga"
    many.write_text("".join(f"step {n}\n" for n in range(2, 100_000)))
    with Typed(tmp_path) as at:
        at.line(f"run {many}").until("step: OK")
        at.type("\x03")
        at.until("interrupted; the session stays as it was before this command")
        at.line("step 2").until("step: OK")
        at.until(PROMPT)
        at.type("half")
        at.until("half")
        at.type("\x03")
        at.until(PROMPT)  # drawn once more, with what was typed
        at.line("step 3").until("step: OK")
        at.line("quit")
        assert at.ended() == 0
    assert kv("telemetry")["current_step"] == 3


def test_after_ctrl_c_in_a_replay_the_session_is_whole(tmp_path):
    with Typed(tmp_path, "--target", "sim") as at:
        at.line("step 1").until("step: OK")
        at.line(f"replay {DATA / 'chats.jsonl'} --t1-capacity 64").until("replaying")
        at.type("\x03")
        at.until("interrupted; the session stays as it was before this command")
        at.line("verify").until("agree")
        at.line("telemetry --json").until('"current_step": 1,')
        at.line("exit")
        assert at.ended() == 0


def test_the_tab_key_completes_and_the_history_outlives_it(tmp_path):
    with Typed(tmp_path) as at:
        at.until(PROMPT)
        at.type("reg read CTR\t")
        at.until("CTRL")
        at.type("\r")
        at.until("CTRL at 0x5c")
        at.until(PROMPT)
        at.type("\x04")
        at.ended()
    with Typed(tmp_path) as at:
        at.until(PROMPT)
        at.type("\x1b[A\r")
        at.until("CTRL at 0x5c")


def test_where_no_history_can_be_it_goes_on(tmp_path):
    (tmp_path / "state").write_text("no folder")
    with Typed(tmp_path) as at:
        at.until(f"no history in {tmp_path / 'state'}")
        at.until("Not a directory")
        at.line("step 5").until("step: OK")


def test_help_of_all_and_of_one(tmp_path):
    with Typed(tmp_path) as at:
        at.line("help").until("Exit codes:")
        at.until("Leave the shell")
        at.line("help weights set").until("Weight of recency R")


def test_without_its_library_it_says_what_to_install(tmp_path):
    start = "import sys; sys.modules['prompt_toolkit'] = None; from kvfpga.cli.main import main; main()"
    with Typed(tmp_path, start=("-c", start)) as at:
        at.until("the shell needs prompt_toolkit")
        at.until("pip install 'kvfpga[shell]'")
        assert at.ended() == 2


def test_a_waveform_is_of_one_command(tmp_path):
    with Typed(tmp_path, "--target", "sim", "--trace", str(tmp_path / "x.fst")) as at:
        at.until("kvfpga --trace FILE run SCRIPT")
        assert at.ended() == 2


def test_lines_from_a_pipe_are_a_script(tmp_path, kv):
    words = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "session"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "kvfpga", *words, "shell"], input="step 5\nstep 4\nshell\nstep 6\n", capture_output=True, text=True
    )
    assert [json.loads(line)["code"] for line in done.stdout.splitlines()] == ["OK", "ERR_STEP_ORDER", "OK"]
    assert done.returncode == 2 and "line 3: shell cannot be a line among others" in done.stderr
    assert kv("telemetry")["current_step"] == 6


# ---- in this process -------------------------------------------------------------------------------------------------
@pytest.fixture
def lines(tmp_path, capsys):
    """Runs lines: their exit codes. Attributes: `app`, and `out` and `err` of the last."""

    class Lines:
        app = App(Options("model", entries=256, session=tmp_path / "session"))

        def __call__(self, *texts):
            codes = [shell.serve(root, iter([text])) for text in texts]
            self.out, self.err = capsys.readouterr()
            return codes

    found = Lines()
    with click.Context(cli, info_name="kvfpga", obj=found.app) as root:
        yield found
        found.app.close()


def test_the_next_command_imports_nothing_and_opens_nothing(lines):
    lines("step 1")
    modules, session, device = set(sys.modules), lines.app.session, lines.app.device()
    assert lines("step 2", "step 3") == [0, 0]
    assert set(sys.modules) == modules and lines.app.session is session and lines.app.device() is device


def test_after_an_error_the_session_is_as_it_was_stored(lines, tmp_path):
    (tmp_path / "b.npy").write_text("no array")
    assert lines("step 1", f"{' '.join(LOAD)} --data {tmp_path}/b.npy", "dump --json") == [0, 2, 0]
    assert lines.out.splitlines()[-1] == '{"entries": []}' and "no array in numpy's format" in lines.err
    assert lines("step 2", "reset", "step 1") == [0, 0, 0]


def test_a_device_that_does_not_open_leaves_the_session_free(lines, monkeypatch):
    """Until the next line, which would wait for a lock of its own process."""
    monkeypatch.setattr("kvfpga.session.session.LOCK_TIMEOUT", 0.1)
    opening = Target.open
    monkeypatch.setattr(Target, "open", Mock(side_effect=TargetError("nobody serves")))
    assert lines("step 1", "step 1") == [3, 3]
    assert lines.err.count("nobody serves") == 2
    monkeypatch.setattr(Target, "open", opening)
    assert lines("step 1") == [0]


def test_commands_with_a_device_of_their_own_find_the_session_free(lines):
    """`top` opens the session itself: with the shell's lock on it, it would wait for ever."""
    assert lines("step 4", "top --once --json", "step 5") == [0, 0, 0]
    assert '"step": 4' in lines.out


@pytest.mark.parametrize("option, said", [
    ("--out {}", "finished cells are in {}, and the same command goes on"),
    ("", "nothing is kept without --out"),
])  # fmt: skip
def test_an_interrupted_lab_says_what_stays_of_it(option, said, lines, monkeypatch, tmp_path):
    """It has no session. What one command says of itself is forgotten behind it."""
    monkeypatch.setattr("kvfpga.lab.runs.run", Mock(side_effect=KeyboardInterrupt))
    assert lines(f"lab run sample --policy lru --capacity 64 {option}".format(tmp_path / "out")) == [130]
    assert f"interrupted; {said}".format(tmp_path / "out") in lines.err and "session" not in lines.err
    monkeypatch.setattr(App, "execute", Mock(side_effect=KeyboardInterrupt))
    assert lines("step 1") == [130] and "interrupted; the session stays as it was" in lines.err


def test_options_of_one_line_are_forgotten(lines):
    assert lines("step 1 --json", "step 2", "step 3 --session x", "--json step 4", "shell") == [0, 0, 2, 2, 2]
    assert '"code": "OK"' in lines.out and "step: OK" in lines.out
    assert "--session cannot change" in lines.err and "or kvfpga --session … shell" in lines.err
    assert "stands before the command" in lines.err and "shell cannot be" in lines.err


def test_lines_of_the_pages_may_be_pasted(lines, tmp_path):
    script = tmp_path / "s.kvfpga"
    script.write_text("kvfpga step 3  # as in README.md\nkvfpga\n")
    assert lines("kvfpga step 2", f"kvfpga run {script}", "kvfpga", "kvfpga help step", "kvfpga exit") == [0, 0, 0, 0, 0]
    assert lines.out.count("step: OK") == 2 and "Usage: kvfpga step" in lines.out and "Error" not in lines.err


def interrupt(*given, **more):
    raise KeyboardInterrupt


@pytest.mark.parametrize("line", ["step 2", "verify", "dump"])
def test_ctrl_c_while_the_session_opens_leaves_it_to_the_next_line(lines, monkeypatch, line):
    lines("step 1")
    lines.app.close()
    with monkeypatch.context() as patched:
        patched.setattr(Session, "open", interrupt)
        assert lines(line) == [INTERRUPTED] and "interrupted" in lines.err
    assert lines("step 3", "verify") == [0, 0], lines.err


def test_ctrl_c_while_it_looks_has_the_next_line_open_it_anew(lines, monkeypatch):
    """It may have read half an answer."""
    lines("step 1")
    with monkeypatch.context() as patched:
        patched.setattr(type(lines.app.device()), "telemetry", interrupt)
        assert lines("telemetry") == [INTERRUPTED]
    assert lines.app.session is None and lines("telemetry", "step 2") == [0, 0]


def test_a_second_ctrl_c_does_not_end_the_shell(lines, monkeypatch):
    lines("step 1")
    with monkeypatch.context() as patched:
        patched.setattr(type(lines.app.device()), "execute", interrupt)
        patched.setattr("kvfpga.cli.ending.warn", interrupt)
        assert lines("step 2") == [INTERRUPTED]
    assert lines("step 2", "verify") == [0, 0]


def test_ctrl_c_while_it_stores_counts_behind_it(lines, monkeypatch):
    lines("step 1")
    write = Session._write

    def interrupted(self, commands):
        os.kill(os.getpid(), signal.SIGINT)
        return write(self, commands)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_write", interrupted)
        assert lines("step 2") == [INTERRUPTED] and "interrupted; the command is done and stored" in lines.err
    assert lines("telemetry --json") == [0] and '"current_step": 2' in lines.out


def test_a_script_in_the_shell_stores_and_goes_on(lines, tmp_path):
    (tmp_path / "s.kvfpga").write_text("step 3\nstep 2\n")
    assert lines(f"run {tmp_path / 's.kvfpga'}", "step 4") == [1, 0]


def test_info_counts_the_commands_of_the_shell(lines):
    lines("reset --raw", "step 1", "step 2", "info --json")
    assert json.loads(lines.out.splitlines()[-1])["commands"] == 2


@pytest.mark.parametrize("typed, offered", [
    ("st", {"step"}), ("hel", {"help"}), ("help we", {"weights"}), ("weights ", {"set", "preset"}),
    ("weights preset b", {"balanced"}),
    ("reg read ctr", {"ctrl"}), ("step 5 --js", {"--json"}), ("--tar", set()), ("board show u2", {"u250"}), ("exit ", set()),
    ("kvfpga st", {"step"}), ("kvfpga help we", {"weights"}), ("kvf", set()),
    ("lab run sample --policy lru,sie", {"lru,sieve"}), ("policy ranked --table a", {"age"}), ("config --strict ", {"0", "1"}),
])  # fmt: skip
def test_what_is_offered(typed, offered):
    found = {completion.text: completion for completion in Words(shell.OWN).get_completions(Document(typed), CompleteEvent())}
    assert all(isinstance(completion.display_meta_text, str) for completion in found.values())  # what the menu shows
    found = set(found)
    assert found >= offered and ("step" in found) == (offered == {"step"})
    assert offered or not found


def test_files_are_offered_where_a_file_stands(tmp_path):
    (tmp_path / "blocks.csv").touch()
    typed = f"load {tmp_path}/blo"
    (found,) = Words(shell.OWN).get_completions(Document(typed), CompleteEvent())
    assert found.text == "cks.csv"
