"""Commands that run many others: run, replay (of request traces), demo. And completion, for the user's shell."""

from __future__ import annotations

import shlex
from collections.abc import Container
from typing import TYPE_CHECKING, TextIO

import click

from ..contract.errors import KvfpgaError, UsageError
from ..contract.inputs import LARGEST_TEXT
from ..lab.device_policy import NAMES
from . import output
from .app import App, note, warn
from .values import ASKED, EXISTING, Number

if TYPE_CHECKING:
    from ..lab.replay import ReplaySummary

PROGRAM = "kvfpga"


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.pass_context
def run(ctx: click.Context, file: TextIO) -> None:
    """Run a script: one kvfpga command a line, with or without `kvfpga` before it, # comments. `-` reads it from standard input.

    It goes on past a line that the device refuses or that cannot be understood, and stops where the target fails or
    where hardware and reference differ. The exit code is the worst of its lines. The session is stored once, at the
    end.
    """
    app: App = ctx.obj
    app.live = True
    try:
        text = file.read(LARGEST_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file.name}: {error}", "a script is text in UTF-8") from error
    if len(text) > LARGEST_TEXT:
        raise UsageError(f"{file.name} has more than the {LARGEST_TEXT:,} characters that are read at once", "split the script")
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            if words := words_of(line):
                run_line(ctx.find_root(), words, but=("run", "shell"))
        except (click.UsageError, UsageError, ValueError) as error:
            text = error.format_message() if isinstance(error, click.UsageError) else str(error)
            warn(f"{file.name}, line {number}: {text}")
            app.code = max(app.code, UsageError.exit_code)
        except KvfpgaError:
            warn(f"{file.name}, line {number}: {line.strip()}")
            raise
        except output.OutputLost as lost:
            raise lost.at(f"{file.name}, line {number}") from lost


def words_of(line: str) -> list[str]:
    """The words of a command line, none where it is empty. `kvfpga` may stand before them, as people copy it. ValueError where it
    is no line."""
    words = shlex.split(line, comments=True)
    return words[1:] if words[:1] == [PROGRAM] else words


def run_line(root: click.Context, words: list[str], but: Container[str] = ()) -> None:
    """Run one command on the device of `root`, but none that `but` names. click.UsageError where it is none."""
    if not isinstance(root.command, click.Group):
        raise TypeError("run is a command beside those that it runs")
    if words[0].startswith("-"):
        raise click.UsageError(f"{words[0]} stands before the command: in a line of many it stands behind it, as step 5 --json.")
    name, command, rest = root.command.resolve_command(root, words)
    if command is None or command.name in but:
        raise click.UsageError(f"{name} cannot be a line among others: it runs such lines itself.")
    try:
        with root.obj.line(), command.make_context(name, rest, parent=root) as ctx:
            command.invoke(ctx)
    except click.exceptions.Exit:
        pass  # --help in a script


@click.command()
@click.argument("trace", type=EXISTING, required=False)
@click.option("--limit", type=Number(32), help="Only the first so many requests.")
@click.option("--time-unit", type=click.Choice(["s", "ms"]),
              help="Of the trace's timestamps.  [default: what its format says; asked for where it does not]")  # fmt: skip
@click.option("--policy", type=click.Choice(NAMES), help="How the device decides what T1 holds.  [default: as it does now]")
@click.option("--t1-capacity", type=Number(32), help="Blocks that fit into T1.  [default: 4096, or all of a smaller device]")
@click.option("--step-ms", type=float, default=100.0, show_default=True, help="Milliseconds of the trace for each decode step.")
@click.option("--sample", type=Number(32), default=1000, show_default=True, help="Blocks whose bytes are followed.")
@click.option("--check-every", type=Number(32), default=1, show_default=True,
              help="Commands between two checks of results, counters and moved bytes; 0: one check a request. The directory is "
              "compared at every step behind a check, and at the end of a batch.")  # fmt: skip
@click.pass_obj
def replay(
    app: App, trace: str | None, limit: int | None, time_unit: str | None, policy: str | None, t1_capacity: int | None,
    step_ms: float, sample: int, check_every: int,
) -> None:  # fmt: skip
    """Replay a request trace on an empty device, and sum it up.  [default: a small trace that comes with kvfpga]

    \b
    What a TRACE may be, told by its fields:
    Mooncake         a JSON object a line: timestamp (ms), input_length,
                     output_length, hash_ids or hash_ranges ([[first, count]…]).
                     Ids of 64 bits or hexadecimal (Dynamo, AIPerf) will do.
    Qwen-Bailian     the same with chat_id; timestamp in seconds
    kv-cache-tester  an object a conversation: requests with t (s), in, out,
                     hash_ids; on one line or many, subagents nested

    Timestamps may count from 1970. Where they may be seconds as well as milliseconds (GuideLLM writes Mooncake's fields in
    seconds), --time-unit says which.
    """
    from ..lab import replay as replays
    from ..lab.traces import SAMPLE, load_trace

    options = replays.ReplayOptions(
        limit=limit, time_unit=time_unit, policy=policy, t1_capacity=t1_capacity, step_ms=step_ms, sample=sample,
        check_every=check_every,
    )
    requests = load_trace(trace or SAMPLE, limit, time_unit)
    note(str(requests))
    with app.progress("replaying") as update:
        summary = replays.replay(app.device(), requests, options, update)
    app.present(summary.to_json(), lambda: _print_summary(summary))


def _print_summary(summary: ReplaySummary) -> None:
    from ..lab.replay import tables

    for table in tables(summary):
        output.print_rich(table)


@click.command()
@click.pass_obj
def demo(app: App) -> None:
    """A short guided run: several chats that share a system prompt, what moves where, and why. Then what that is good for: the
    hit rates of the device's policies on a small trace, beside LRU and the optimum.

    It has a device of its own; the session stays as it is.
    """
    from ..blackbox.attach import attach
    from ..lab import demo as demos
    from ..lab import showcase
    from ..session.session import default_folder

    target = app.target.filled()
    with target.open(app.check, app.trace) as device:
        if target.is_board:
            device.reset()
        attach(device, target, (app.folder or default_folder(target)) / "failures")
        summary = demos.run(device, output.console(), app.json)
        with app.progress("comparing policies") as update:
            compared = showcase.run(device, update)
    app.present(summary.to_json() | {"policies": compared.to_json()}, lambda: showcase.render(compared, output.console()))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    eval "$(kvfpga completion bash)"     # in ~/.bashrc
    eval "$(kvfpga completion zsh)"      # in ~/.zshrc
    kvfpga completion fish | source      # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from . import completing_bash, completing_zsh  # noqa: F401  tells click

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    output.echo(kind(ctx.find_root().command, {}, "kvfpga", ASKED).source())
