"""`kvfpga`: its commands, what `kvfpga --help` says, and how the process ends (contract section 8).

Results go to stdout, everything else to stderr. The options are in options.py, the end of a command is in ending.py.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn

import click

from ..contract.version import __version__
from . import output
from .app import App
from .ending import INTERRUPTED, OF_STDOUT, UNSAID, closed, complain_of_line, end_without_output, ended
from .later import Later
from .options import before_the_command, options_of
from .output import Stderr
from .signals import interrupt_again
from .values import ASKED

INTERNAL = 70
"""Exit code after an error that kvfpga did not expect (EX_SOFTWARE)."""
EXIT_CODES = {
    "0": "done",
    "1": "the device refused (ERR_…)",
    "2": "usage: an option, a file or a value that cannot be meant",
    "3": "target unreachable, bus error, or a session that cannot be used",
    "4": "hardware and reference model differ",
    "70": "a mistake in kvfpga itself",
    "74": "done, but stdout took no more",
    "130": "interrupted by Ctrl-C",
}
ENVIRONMENT = {
    "KVFPGA_TARGET, KVFPGA_BOARD, KVFPGA_SESSION, KVFPGA_JSON": "The options of those names, where they are not given.",
    "KVFPGA_CONFIG": "The configuration file; an empty name is for none.  "
                     "[default: kvfpga/config.toml in XDG_CONFIG_HOME, or ~/.config]",
    "KVFPGA_BOARDS": "A folder with board files of your own.",
    "KVFPGA_CACHE": "Where built models are kept.  [default: kvfpga in XDG_CACHE_HOME, or ~/.cache]",
    "KVFPGA_KEYS": "Where the keys for devices over TCP are.  [default: kvfpga in XDG_CONFIG_HOME, or ~/.config]",
    "KVFPGA_RTL": "Another copy of the folder fpga/, to simulate.",
    "CXX": "The C++ compiler of simulations, with arguments if need be.  [default: g++]",
    "KVFPGA_ASSERTIONS": "1: simulations also check what the RTL promises itself.",
}  # fmt: skip


class Cli(Later):
    """Ends every command the same way: store the state, say what went wrong, exit code."""

    sections = {
        "Blocks": {
            **dict.fromkeys(("load", "step", "hot", "evict", "prefetch", "share", "release"), "blocks"),
            **dict.fromkeys(("unload", "lookup", "class"), "blocks"),
            **dict.fromkeys(("query", "score"), "scores"),
        },
        "Settings": dict.fromkeys(("weights", "policy", "config", "reset"), "settings"),
        "Looking": {
            **dict.fromkeys(("telemetry", "dump", "info", "verify", "sync"), "inspect"),
            "top": "top",
            **dict.fromkeys(("reg", "mem"), "registers"),
        },
        "Many commands at a time": {
            **dict.fromkeys(("run", "replay", "demo"), "batch"),
            "shell": "shell",
            "completion": "batch",
        },
        "Policies and figures": {"lab": "lab", "claims": "claims"},
        "Boards": {"board": "board", "program": "program", "bringup": "bringup", "handoff": "handoff"},
        "Other programs": {**dict.fromkeys(("serve", "keys"), "serve"), "vfio": "vfio", "follow": "follow"},
    }
    """Title → commands, in the order that a newcomer meets them in, and the modules that they are in."""
    places = {name: module for section in sections.values() for name, module in section.items()}

    def main(self, *given: Any, **more: Any) -> Any:
        """As click has it, but what it says itself is said as everything else is, and Ctrl-C has one exit code everywhere."""
        if not more.get("standalone_mode", True):
            return super().main(*given, **more)
        try:
            code = super().main(*given, **more | {"standalone_mode": False})
        except click.ClickException as error:
            complain_of_line(error)
            code = error.exit_code
        except click.Abort:  # before a command has begun, or behind its end
            output.complain("kvfpga: interrupted")
            code = INTERRUPTED
        sys.exit(code)

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*given, **more)
        except OSError as error:  # the help, which click writes
            if error.filename or error.errno not in OF_STDOUT:
                raise
            raise click.exceptions.Exit(end_without_output(None, output.lost(error))) from None

    def invoke(self, ctx: click.Context) -> NoReturn:
        code = 0
        try:
            code = ended(ctx, lambda: super(Cli, self).invoke(ctx))
        finally:
            if ctx.obj:
                code = closed(ctx.obj, code)
        ctx.exit(code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in self.sections.items():
            self.format_section(ctx, formatter, title, section)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in (("Exit codes", EXIT_CODES), ("Environment", ENVIRONMENT)):
            with formatter.section(title):
                formatter.write_dl(list(rows.items()), col_max=20)


@click.group(cls=Cli, params=before_the_command(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Drive a KV-CPU: a directory of KV-cache blocks that scores them at every decode step and moves them between
    memory tiers by itself. Every command is checked against a reference model.

    The device lives on between commands:

    \b
    kvfpga reset
    kvfpga load --request 1 --layer 0 --head 0 --tokens 0:31 --va 0x7f001000
    kvfpga step 120
    kvfpga dump

    Numbers are decimal or 0x. `kvfpga demo` shows it all at work. The options below may stand behind the command, too.
    R14 and the like are rules of the device contract, docs/device-contract.md.
    """
    app = ctx.obj = App(options_of(ctx, given))
    app.settle()
    if app.options.recover:
        app.recover()


def main() -> None:
    """Entry point of the `kvfpga` script."""
    gc.set_threshold(100_000)  # importing makes many objects and no garbage
    _open_streams()
    sys.stderr = Stderr(sys.stderr)
    sys.unraisablehook = interrupt_again
    if ASKED in os.environ:
        from . import completing_bash  # noqa: F401  tells click
    try:
        cli(prog_name="kvfpga")
    except SystemExit as end:
        _leave(end)
    except OSError as error:
        if error.filename or not error.errno:
            raise
        output.complain(f"kvfpga: stdout takes no more: {error.strerror}")  # completions, which click writes
        os._exit(UNSAID)
    except Exception:  # a mistake in kvfpga itself: not to be taken for "the device refused", which Python's 1 would say
        traceback.print_exc()
        sys.exit(INTERNAL)


def _open_streams() -> None:
    """What was closed before kvfpga began goes nowhere. Without this the next file that is opened would have the number of stdin
    or stdout, and a compiler that is started would write into it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _leave(end: SystemExit) -> None:
    """End the process at once, whatever is typed: all is stored and closed, and taking an interpreter down object by object is a
    tenth of a command. Not where a thread still runs, or where the code is no number, which Python prints."""
    if threading.active_count() > 1 or not isinstance(end.code, int):
        raise end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code)


if __name__ == "__main__":
    main()
