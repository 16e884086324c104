"""`kvfpga`: the options before the command, and how everything ends (contract section 8).

Exit codes: 0 done · 1 the device refused (ERR_…) · 2 usage · 3 target unreachable or bus error · 4 hardware and
reference model differ. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ..contract.errors import BusError, DifferenceError, KvfpgaError, TargetError, UsageError
from ..contract.files import advice
from ..contract.parameters import DEFAULT
from ..contract.version import __version__
from ..contract.waveforms import SUFFIXES
from ..targets.kinds import KINDS
from ..targets.target import parse_target
from . import output
from .app import App, note
from .later import Later
from .output import OutputLost, Stderr
from .values import Number

if TYPE_CHECKING:
    from ..targets.boards import Board

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


INTERNAL = 70
"""Exit code after an error that kvfpga did not expect (EX_SOFTWARE)."""
UNSAID = 74
"""Exit code where all is done but could not be shown (EX_IOERR)."""
OF_STDOUT = {errno.ENOSPC, errno.EPIPE, errno.EIO}
"""What writing to it may fail with."""
STAYS = "the session stays as it was before this command"


class Cli(Later):
    """Ends every command the same way: store the state, say what went wrong, exit code."""

    places = {
        **dict.fromkeys(("load", "step", "hot", "evict", "prefetch", "share", "release", "unload", "lookup", "class"), "blocks"),
        **dict.fromkeys(("query", "score"), "scores"),
        **dict.fromkeys(("weights", "policy", "config", "reset"), "settings"),
        **dict.fromkeys(("telemetry", "dump", "info", "verify", "sync"), "inspect"),
        "top": "top",
        **dict.fromkeys(("run", "replay", "demo", "completion"), "batch"),
        "lab": "lab",
        "claims": "claims",
        **dict.fromkeys(("reg", "mem"), "registers"),
        "board": "board",
        "handoff": "handoff",
        "program": "program",
        "bringup": "bringup",
        **dict.fromkeys(("serve", "keys"), "serve"),
        "vfio": "vfio",
        "follow": "follow",
    }
    """In the order that a newcomer meets them in."""

    def invoke(self, ctx: click.Context) -> NoReturn:
        output.drop()
        try:
            super().invoke(ctx)
            code = self._finish(ctx.obj)
        except KvfpgaError as error:
            code = self._fail(ctx.obj, error)
        except OutputLost as lost:
            code = self._end_without_output(ctx.obj, lost)
        except OSError as error:  # what the system refuses where no command reckons with it, such as a file descriptor
            if not error.filename and error.errno in OF_STDOUT:  # the help of a command, which click writes
                raise
            code = self._fail(ctx.obj, TargetError(f"{error.filename or 'the system'}: {error.strerror or error}", advice(error)))
        except MemoryError:
            code = self._fail(ctx.obj, TargetError("there is not enough memory", "use fewer --entries, or a larger machine"))
        except KeyboardInterrupt:
            code = INTERRUPTED
            is_done = ctx.obj and ctx.obj.stored
            note(f"interrupted; {'the command is done and stored' if is_done else STAYS}")
        finally:
            if ctx.obj:
                ctx.obj.close()
        ctx.exit(code)

    def _fail(self, app: App | None, error: KvfpgaError) -> int:
        complain(error)
        if app is None:
            return error.exit_code
        try:
            if isinstance(error, BusError):  # of a plain access: the device's ERROR register remembers it, so the session
                app.finish()
            elif app.changed:
                note(STAYS)
                if isinstance(error, (DifferenceError, TargetError)):
                    app.record(hung=isinstance(error, TargetError))
            output.release()
        except OutputLost:
            pass  # there is something worse to tell
        except (KvfpgaError, OSError) as another:
            complain(another if isinstance(another, KvfpgaError) else TargetError(str(another), advice(another)))
        return max(error.exit_code, app.code)

    def _end_without_output(self, app: App | None, lost: OutputLost) -> int:
        """What was done was done, whether or not anybody could see it."""
        try:
            code = self._finish(app)
        except KvfpgaError as error:
            return self._fail(app, error)
        except OutputLost:
            code = app.code if app else 0
        if lost.is_closed:
            return code
        note(f"stdout takes no more: {lost}{'; what was done is done and stored' if app and app.stored else ''}")
        return max(code, UNSAID)

    @staticmethod
    def _finish(app: App | None) -> int:
        if app is None:
            return 0
        app.finish()
        return app.code


def complain(error: KvfpgaError) -> None:
    report = getattr(error, "report", None)
    if report:
        report.print(sys.stderr)
        return
    output.complain(f"kvfpga: {error}")
    if error.remedy:
        output.complain(f"  {error.remedy}")


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--target", metavar="|".join(kind.form for kind in KINDS.values()),
              help="The simulated RTL in lockstep with the reference model, the model alone, a board, or a served device.  "
                   "[default: sim, or what --board says]")  # fmt: skip
@click.option("--board", metavar="NAME", help="A board by its name or YAML file (`kvfpga board list`).")
@click.option("--entries", type=Number(32), help=f"Directory entries, 256 to 65536.  [default: {DEFAULT.entries}]")
@click.option("--lanes", type=Number(32), help=f"Entries that a pass handles per cycle, 1 to 16.  [default: {DEFAULT.lanes}]")
@click.option("--session", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where the state between commands lives.  [default: per user, target and size]")  # fmt: skip
@click.option("--recover", is_flag=True,
              help="Where the session is damaged, go on from the newest state in it that is whole.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object per command on stdout, nothing else there.")
@click.option("--no-check", is_flag=True, help="Do not compare with the reference model.")
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write every access to the device into FILE, for `kvfpga handoff`.")  # fmt: skip
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Record a waveform (.fst or .vcd).")  # fmt: skip
@click.version_option(__version__)
@click.pass_context
def cli(
    ctx: click.Context, target: str | None, board: str | None, entries: int | None, lanes: int | None, session: Path | None,
    recover: bool, as_json: bool, no_check: bool, record: Path | None, trace: Path | None,
) -> None:  # fmt: skip
    """Drive a KV-CPU: a directory of KV-cache blocks that scores them at every decode step and moves them between
    memory tiers by itself. Every command is checked against a reference model.

    The device lives on between commands:

    \b
    kvfpga reset
    kvfpga load --request 1 --layer 0 --head 0 --tokens 0:31 --va 0x7f001000
    kvfpga step 120
    kvfpga dump

    Numbers are decimal or 0x. `kvfpga demo` shows it all at work.
    """
    if trace and (trace.suffix not in SUFFIXES or not trace.parent.is_dir()):
        raise click.BadParameter(f"{trace} is not a file that can be made; name it .fst or .vcd.", param_hint="--trace")
    chosen = replace(parse_target(target, entries, lanes, _board(board)), record=record)
    if trace and chosen.kind == "model":
        raise UsageError("--trace: the reference model has no signals to record", "use --target sim")
    ctx.obj = App(chosen, session, as_json, not no_check, trace)
    if recover:
        ctx.obj.recover()


def _board(name: str | None) -> Board | None:
    """What --board names; reading it takes libraries that other starts do without."""
    if name is None:
        return None
    from ..targets.boards import find_board

    return find_board(name)


def main() -> None:
    """Entry point of the `kvfpga` script."""
    gc.set_threshold(100_000)  # importing makes many objects and no garbage
    sys.stderr = Stderr(sys.stderr)
    try:
        cli(prog_name="kvfpga")
    except SystemExit as end:
        _leave(end)
    except OSError as error:
        if error.filename or not error.errno:
            raise
        output.complain(f"kvfpga: stdout takes no more: {error.strerror}")  # help and the like, which click writes
        os._exit(UNSAID)
    except Exception:  # a mistake in kvfpga itself: not to be taken for "the device refused", which Python's 1 would say
        traceback.print_exc()
        sys.exit(INTERNAL)


def _leave(end: SystemExit) -> None:
    """End the process at once: all is stored and closed, and taking an interpreter down object by object is a tenth of a command.
    Not where a thread still runs, or where the code is no number, which Python prints."""
    if threading.active_count() > 1 or not isinstance(end.code, int):
        raise end
    if sys.stdout:
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code)


if __name__ == "__main__":
    main()
