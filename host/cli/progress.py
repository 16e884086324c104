"""How far long work has got, on stderr: a bar on a terminal, and a line now and then in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from .output import complain, is_quiet

EVERY = 10.0
"""Seconds between two lines."""


class Update(Protocol):
    """So much is done, of so much (None: nobody knows), and what is going on."""

    def __call__(self, done: int, total: int | None, text: str = "") -> None: ...


@contextmanager
def shown(what: str) -> Iterator[Update]:
    """Yields what moves the bar of `what`, or makes its lines; with --quiet there are neither."""
    if is_quiet():
        yield lambda done, total, text="": None
        return
    if not sys.stderr.isatty():
        yield Lines(what)
        return
    from .bar import Bar

    with Bar(what) as bar:
        yield bar.move


class Lines:
    """A line whenever EVERY seconds have gone by since the last, or since the beginning: what is over sooner says nothing. Work
    without an end, such as a server's, has no lines: a log of it would only grow. `clock`: seconds."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic):
        self._what = what
        self._clock = clock
        self._told = clock()

    def __call__(self, done: int, total: int | None, text: str = "") -> None:
        now = self._clock()
        if total is not None and now - self._told >= EVERY:
            self._told = now
            complain(f"kvfpga: {self._what}, {done:,} of {total:,}{': ' if text else ''}{text}")
