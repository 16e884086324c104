"""`kvfpga top`: the device, live."""

from __future__ import annotations

import itertools
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..contract.errors import UsageError
from . import output
from .app import App, note

if TYPE_CHECKING:
    from ..monitor.look import Snapshot
    from ..monitor.view import View

LEAST, MOST = 0.1, 3600.0
"""Seconds between two looks."""
IN_USE = "in use by another command; this is how it was before"
PLAIN_WIDTH = 100
"""Of snapshots that no terminal shows."""


@click.command()
@click.option("--interval", type=float, default=1.0, show_default=True, metavar="S", help="Seconds between two looks.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Look N times, then end.")
@click.option("--once", is_flag=True, help="Look once.")
@click.pass_obj
def top(app: App, interval: float, count: int | None, once: bool) -> None:
    """Watch the device: tiers, triggers and bytes by channel, hit rates, guards and denials, hottest and coldest blocks.

    It only looks, and lets go of the device between two looks, so that other commands run meanwhile; what a command does
    shows once it has ended. A large directory is read over several looks, with --once in one. Ends with Ctrl-C. Where no
    terminal is, each look is printed below the one before; with --json it is one object.
    """
    if not LEAST <= interval <= MOST:
        raise click.BadParameter(f"{interval:g} is not between {LEAST:g} and {MOST:g} seconds.", param_hint="--interval")
    if once and count:
        raise click.UsageError("Give --once or --count, not both.")
    if app.trace or app.target.record:
        raise UsageError("--trace and --record are not for top: it looks, and runs no commands", "leave them out")
    from ..monitor.look import Watch, change
    from ..monitor.view import View

    live = sys.stdout.isatty() and not app.json and not once
    looks: Iterable[int] = range(1) if once else range(count) if count else itertools.count()
    before: Snapshot | None = None
    now: Snapshot | None = None
    notes: list[str] = []  # of the last look
    told: set[str] = set()

    def say(text: str) -> None:
        notes.append(text)
        if text not in told and not (live and now):  # each look has the same to say; a live view shows it at its foot
            note(text)
            told.add(text)

    watch = Watch(app.target, app.folder, app.check, say)
    try:
        due = time.monotonic()
        found = watch.look(math.inf if once else interval / 4)
        with _screen(app, live) as show:
            for number in looks:
                if number:
                    due = max(due + interval, time.monotonic())
                    time.sleep(max(0.0, due - time.monotonic()))
                    notes.clear()
                    found = watch.look(interval / 4, wait=interval / 2)
                if found:
                    before, now = now, found
                if now:  # the first look waits for its turn, so there is always one
                    grown = change(before, now) if found or live else None
                    foot = () if not live else (*notes,) if found else (IN_USE,)
                    show(View(now, grown, None if once else interval, foot), not found)
    except KeyboardInterrupt:
        pass


@contextmanager
def _screen(app: App, live: bool) -> Iterator[Callable[[View, bool], None]]:
    """Yields `show(view, in_use)`."""
    if not live:
        yield lambda view, in_use: _plain(view) if not app.json else output.print_json(view.to_json(in_use))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    last: View | None = None

    def show(view: View, in_use: bool) -> None:
        nonlocal last
        last = view
        screen.update(view, refresh=True)

    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # not to leave the terminal in the other screen
    try:
        with Live(console=console, screen=True, auto_refresh=False) as screen:
            yield show
    finally:
        signal.signal(signal.SIGTERM, usual)
        if last:
            console.print(last)


def _plain(view: View) -> None:
    output.console(None if sys.stdout.isatty() else PLAIN_WIDTH).print(view)
    output.echo("")
