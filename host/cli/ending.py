"""How a command ends: the state stored, what went wrong said, an exit code (contract section 8)."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable

import click

from ..contract.errors import BusError, DifferenceError, KvfpgaError, TargetError
from ..contract.files import advice
from . import output
from .app import STAYS, App, warn
from .output import OutputLost

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
UNSAID = 74
"""Exit code where all is done but could not be shown (EX_IOERR)."""
OF_STDOUT = {errno.ENOSPC, errno.EPIPE, errno.EIO}
"""What writing to it may fail with."""


def ended(ctx: click.Context, body: Callable[[], object]) -> int:
    """Run `body`, which is one command, and end it; its exit code. `ctx.obj` is the App from where `body` makes it. Mistakes in
    the line itself (click.ClickException) are the caller's."""
    output.drop()
    try:
        body()
        return _finish(ctx.obj)
    except KvfpgaError as error:
        return _fail(ctx.obj, error)
    except OutputLost as lost:
        return end_without_output(ctx.obj, lost)
    except OSError as error:  # what the system refuses where no command reckons with it, such as a file descriptor
        if not error.filename and error.errno in OF_STDOUT:  # the help of a command, which click writes
            return end_without_output(ctx.obj, output.lost(error))
        return _fail(ctx.obj, TargetError(f"{error.filename or 'the system'}: {error.strerror or error}", advice(error)))
    except MemoryError:
        return _fail(ctx.obj, TargetError("there is not enough memory", "use fewer --entries, or a larger machine"))
    except KeyboardInterrupt:
        app: App | None = ctx.obj
        stays = app.stays if app else STAYS
        warn(f"interrupted; {'the command is done and stored' if app and app.stored else stays}")
        return INTERRUPTED


def _fail(app: App | None, error: KvfpgaError) -> int:
    complain(error)
    if app is None:
        return error.exit_code
    try:
        if isinstance(error, BusError):  # of a plain access: the device's ERROR register remembers it, so the session
            app.finish()
        elif app.changed:
            warn(STAYS)
            if isinstance(error, (DifferenceError, TargetError)):
                app.record(hung=isinstance(error, TargetError))
        output.release()
    except OutputLost:
        pass  # there is something worse to tell
    except (KvfpgaError, OSError) as another:
        complain(another if isinstance(another, KvfpgaError) else TargetError(str(another), advice(another)))
    return max(error.exit_code, app.code)


def closed(app: App, code: int) -> int:
    """Let go of device and session behind a command that ended with `code`; the exit code."""
    try:
        app.close()
    except KvfpgaError as error:  # such as a recording that takes no more; all else is done and stored
        complain(error)
        return max(code, error.exit_code)
    return code


def end_without_output(app: App | None, lost: OutputLost) -> int:
    """What was done was done, whether or not anybody could see it."""
    try:
        code = _finish(app)
    except KvfpgaError as error:
        return _fail(app, error)
    except OutputLost:
        code = app.code if app else 0
    if lost.is_closed:
        return code
    warn(f"stdout takes no more: {lost}{'; what was done is done and stored' if app and app.stored else ''}")
    return max(code, UNSAID)


def _finish(app: App | None) -> int:
    if app is None:
        return 0
    app.finish()
    return app.code


def complain_of_line(error: click.ClickException) -> None:
    """A mistake in the line itself, as click says it, on stderr."""
    said = io.StringIO()
    error.show(said)
    output.complain(said.getvalue().removesuffix("\n"))


def complain(error: KvfpgaError, who: str = "kvfpga") -> None:
    """What is wrong and what to do about it, on stderr; `who` says it."""
    report = getattr(error, "report", None)
    if report:
        report.print(sys.stderr)
        return
    output.complain(f"{who}: {error.message}")
    if error.remedy:
        output.complain(f"  {error.remedy}")
