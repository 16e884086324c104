"""`kvfpga shell`: the same commands at a prompt, on a device that stays open.

A line is what stands behind `kvfpga`. It runs, ends and says what went wrong as a process would (ending.py), the state is stored
behind it, and the shell goes on; a command that was interrupted or met an error leaves the session as it was, and the next line
opens it anew. Lines come from prompt_toolkit, with completion by the types of the parameters (completing.py); where no
terminal is they are a script, as for `kvfpga run -`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..contract import extras, folders
from ..contract.errors import KvfpgaError, UsageError
from . import batch, output
from .app import App, note
from .ending import INTERRUPTED, complain_of_line, ended

if TYPE_CHECKING:
    from pathlib import Path

    from prompt_toolkit import PromptSession

PROMPT = "kvfpga> "
OWN = {"help": "What commands there are, or what one does.", "exit": "Leave the shell, as Ctrl-D does."}
"""What only the shell has."""
ON_THE_DEVICE = ("blocks", "scores", "settings", "inspect", "registers", "batch")
"""Modules whose commands use the device that is open. The others open it themselves, and find it closed."""
OPENS_ITS_OWN = ("demo",)
"""Of these modules."""


@click.command()
@click.pass_context
def shell(ctx: click.Context) -> None:
    """A prompt for these commands, on a device that stays open: a command takes no start of a process.

    \b
    kvfpga --target model shell
    kvfpga> load --request 7 --layer 0 --head 0 --tokens 0:31 --va 0x7f001000
    kvfpga> step 120 --json
    kvfpga> help score
    kvfpga> exit

    The TAB key completes commands, options, registers, presets and files; the history outlives the shell. Ctrl-C ends a command,
    Ctrl-D the shell, whose exit code is that of its last command. The state is stored behind each command, and other kvfpga
    processes wait for the session until the shell ends. Lines from a pipe are a script, as for `kvfpga run -`.

    It takes another library: pip install 'kvfpga[shell]'.
    """
    app: App = ctx.obj
    if not sys.stdin.isatty():
        ctx.invoke(batch.run, file=sys.stdin)
        return
    extras.require("the shell", "shell", "prompt_toolkit")
    if app.trace:
        raise UsageError("--trace records one command or script, and a shell has many", "kvfpga --trace FILE run SCRIPT")
    app.code = serve(ctx.find_root(), _lines())


def serve(root: click.Context, lines: Iterator[str]) -> int:
    """Run lines one after the other, each to its end; the exit code of the last one. `root` is the context of `kvfpga`, with the
    App."""
    app: App = root.obj
    code = 0
    for line in lines:
        try:
            words = batch.words_of(line)
        except ValueError as error:
            output.complain(f"kvfpga: {error}")
            code = UsageError.exit_code
            continue
        if words[:1] in (["exit"], ["quit"]):
            break
        if words:
            try:
                code = _run(root, app, words)
            except KeyboardInterrupt:  # another one, before the first was dealt with
                app.close()
                code = INTERRUPTED
    return code


def _run(root: click.Context, app: App, words: list[str]) -> int:
    """One line, as if in a process of its own; its exit code."""
    if words[0] == "help":
        words = [*words[1:], "--help"]
    app.begin()
    if not _uses_the_open_device(words[0]):
        app.close()
    try:
        code = ended(root, lambda: _execute(root, words))
    except click.ClickException as error:
        complain_of_line(error)
        code = error.exit_code
    # What the device went through and nobody stored is not the session's; and who was interrupted may have read half an answer.
    if app.changed or code == INTERRUPTED:
        app.close()
    return code


def _execute(root: click.Context, words: list[str]) -> None:
    if words == ["--help"]:
        output.echo(root.get_help())
        output.echo("\nShell:\n" + "\n".join(f"  {name}  {text}" for name, text in OWN.items()))
        return
    batch.run_line(root, words, but=("shell",))


def _uses_the_open_device(name: str) -> bool:
    from .main import Cli

    return Cli.places.get(name, "batch") in ON_THE_DEVICE and name not in OPENS_ITS_OWN


# ---- the prompt ------------------------------------------------------------------------------------------------------


def _lines() -> Iterator[str]:
    """What is typed, until Ctrl-D."""
    session = _session()
    while True:
        try:
            yield session.prompt(PROMPT)
        except KeyboardInterrupt:  # a line that was not meant
            continue
        except EOFError:
            return


def _session() -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    from .shell_words import Words

    place = _history()
    history: History = FileHistory(str(place)) if place else InMemoryHistory()
    return PromptSession(history=history, completer=Words(OWN), complete_while_typing=False)


def _history() -> Path | None:
    """The file of the history; None where there can be none, which is no reason to have no shell."""
    try:
        place = folders.state() / "shell-history"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o600)
        return place
    except KvfpgaError as error:
        note(f"no history: {error.message}")
    except OSError as error:
        note(f"no history in {error.filename}: {error.strerror}")
    return None
