"""How a command that runs until it is told to stop ends: by a signal, with what it is doing finished and the state stored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
