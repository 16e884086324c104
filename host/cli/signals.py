"""Signals: how a command that runs until it is told to stop ends, with what it is doing finished and the state stored, and what
Ctrl-C does not come between."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


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
