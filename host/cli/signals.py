"""Signals: how a command that runs until it is told to stop ends, with what it is doing finished and the state stored, what
Ctrl-C does not come between, and that none is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
AGAIN_SECONDS = 0.05
"""After which a Ctrl-C that was lost comes again: by then Python has left what lost it."""


@contextmanager
def on_signal(stop: Callable[[], object], is_up: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Call `stop` on Ctrl-C, SIGTERM or SIGHUP, in a thread of its own: the interrupted one may hold a lock that `stop` wants.
    Until `is_up`, nobody would look at what `stop` says: waiting for a session or a compiler ends by KeyboardInterrupt."""

    def handle(*_: object) -> None:
        if not is_up():
            raise KeyboardInterrupt
        threading.Thread(target=stop).start()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C meanwhile counts once this is left, so that nobody is told that what is stored is not. A second one counts at once:
    a disk may never answer."""
    came: list[FrameType | None] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(frame)

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):  # ignored, or not ours
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    for frame in came:
        before(signal.SIGINT, frame)


def interrupt_again(dropped: UnraisableHookArgs) -> None:
    """As sys.unraisablehook: Python drops what is raised where nobody could catch it, as in the callbacks of its import locks, of
    which a command that imports a large library runs thousands. A Ctrl-C that met one comes again, until it meets none."""
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(dropped)
