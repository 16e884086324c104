"""Reading from a device that one thread has for itself: others ask at a desk, and wait until that thread comes round."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from ..contract.errors import KvfpgaError, TargetError

Found = TypeVar("Found")
PATIENCE = 8.0
"""Seconds that somebody waits. Prometheus waits 10 for a scrape unless it is told otherwise."""


class Desk(Generic[Found]):
    """Lets other threads read from a device that one thread has for itself: they ask, and are answered when it comes round."""

    def __init__(self, read: Callable[[], Found]):
        self._read = read
        self._turn = threading.Lock()
        self._asked, self._answered = threading.Event(), threading.Event()
        self._found: Found | KvfpgaError | None = None

    def ask(self) -> Found:
        """From any thread. TargetError where nobody comes round in time."""
        with self._turn:
            self._answered.clear()
            self._asked.set()
            if not self._answered.wait(PATIENCE):
                self._asked.clear()
                raise TargetError(f"the device was in use for {PATIENCE:g} s", "scrape again")
            if isinstance(self._found, KvfpgaError):
                raise self._found
            return cast(Found, self._found)

    def answer(self) -> None:
        """From the thread that has the device, now and then."""
        if not self._asked.is_set():
            return
        self._asked.clear()
        try:
            self._found = self._read()
        except KvfpgaError as error:
            self._found = error
        self._answered.set()
