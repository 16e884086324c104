"""How far a soak is, on stderr: a bar for people, a line now and then where nobody watches (a pipe, a file)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

EVERY = 10.0
"""Seconds between two lines."""
Item = TypeVar("Item")


def shown(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one after the other, and how many of them are done."""
    console = Console(stderr=True)
    return iter(track(items, what, console=console)) if console.is_terminal else _lines(items, what)


def _lines(items: Sequence[Item], what: str) -> Iterator[Item]:
    began = told = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == len(items) or now - told > EVERY:
            told = now
            print(f"{what}: {done} of {len(items)}, {now - began:.0f} s", file=sys.stderr, flush=True)
