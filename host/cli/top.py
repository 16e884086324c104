"""`kvfpga top`: the device, live."""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..contract.errors import TargetError, UsageError
from ..contract.extras import require
from . import metrics, output
from .app import App, note

if TYPE_CHECKING:
    from ..monitor.look import Snapshot
    from ..monitor.metrics import Reading
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
@metrics.option
@click.pass_obj
def top(app: App, interval: float, count: int | None, once: bool, metrics_at: str | None) -> None:
    """Watch the device: tiers, triggers and bytes by channel, hit rates, guards and denials, all blocks, the policy in force.

    It only looks, and lets go of the device between two looks, so that other commands run meanwhile; what a command does
    shows once it has ended. A large directory is read over several looks, with --once in one.

    On a terminal there are three panes (keys 1 to 3): an overview; every block, sorted by any column (s, r, or a click);
    blocks by class, with the rank table of the ranked policy. Arrow keys scroll, q ends. That takes
    pip install 'kvfpga[top]'. With --once, or where no terminal is, each look is printed, below the one before; with --json
    it is one object. With --metrics, what the last look found is there for Prometheus at http://HOST:PORT/metrics.
    """
    if not LEAST <= interval <= MOST:
        raise click.BadParameter(f"{interval:g} is not between {LEAST:g} and {MOST:g} seconds.", param_hint="--interval")
    if once and count:
        raise click.UsageError("Give --once or --count, not both.")
    if app.trace or app.target.record:
        raise UsageError("--trace and --record are not for top: it looks, and runs no commands", "leave them out")
    live = sys.stdout.isatty() and not app.json and not once
    if live:
        require("kvfpga top on a terminal (--once and `| cat` go without)", "top", "textual")
    metrics.check(metrics_at)
    looks: Iterable[int] = range(1) if once else range(count) if count else itertools.count()
    stop = threading.Event()
    views = _views(app, None if once else interval, looks, stop.wait if live else time.sleep, live)
    try:
        with _scraped(metrics_at, views) as shown:
            if live:
                _live((view for view, _ in shown), stop)
            else:
                _print(app, shown)
    except KeyboardInterrupt:
        pass


def _print(app: App, views: Iterable[tuple[View, bool]]) -> None:
    for view, in_use in views:
        if app.json:
            output.print_json(view.to_json(in_use))
        else:
            output.console(None if sys.stdout.isatty() else PLAIN_WIDTH).print(view)
            output.echo("")


def _live(views: Iterator[View], stop: threading.Event) -> None:
    from ..monitor.screen import run_screen

    first = next(views)  # waits for its turn, and tells what there is to say about the session, before the screen opens
    output.console(None).print(run_screen(itertools.chain([first], views), stop) or first)


@contextmanager
def _scraped(address: str | None, views: Iterator[tuple[View, bool]]) -> Iterator[Iterator[tuple[View, bool]]]:
    """The same views; scrapes are meanwhile told what the last one has, where --metrics was given."""
    last: Snapshot | None = None

    def passed_on() -> Iterator[tuple[View, bool]]:
        nonlocal last
        for view, in_use in views:
            last = view.snapshot
            yield view, in_use

    def read() -> Reading:
        from ..monitor.metrics import looked

        if last is None:
            raise TargetError("the first look has not ended", "scrape again")
        return looked(last)

    with metrics.exposed(address, read):
        yield passed_on()


def _views(
    app: App, interval: float | None, looks: Iterable[int], pause: Callable[[float], bool | None], live: bool = False
) -> Iterator[tuple[View, bool]]:
    """A view for each of `looks`, every `interval` seconds (None: there is one only), and was the session in use by another?
    `pause(seconds)` waits, and says whether nobody looks any more. `live`: what there is to say stands in the view."""
    from ..monitor.look import Watch, change
    from ..monitor.view import View

    before: Snapshot | None = None
    now: Snapshot | None = None
    notes: list[str] = []  # of the last look
    told: set[str] = set()

    def say(text: str) -> None:
        notes.append(text)
        if text not in told and not (live and now):  # each look has the same to say
            note(text)
            told.add(text)

    watch = Watch(app.target, app.folder, app.check, say)
    due = time.monotonic()
    for number in looks:
        if number == 0 or interval is None:
            found = watch.look(math.inf if interval is None else interval / 4)
        else:
            due = max(due + interval, time.monotonic())
            if pause(max(0.0, due - time.monotonic())):
                return
            notes.clear()
            found = watch.look(interval / 4, wait=interval / 2)
        if found:
            before, now = now, found
        if now:  # the first look waits for its turn, so there is always one
            grown = change(before, now) if found or live else None
            foot = () if not live else (*notes,) if found else (IN_USE,)
            yield View(now, grown, interval, foot), not found
