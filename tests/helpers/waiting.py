"""Waiting for what another thread or process does: as long as it takes, but not for ever. No test measures time by it."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG = 120
"""Seconds, for what comes soon on a machine that has nothing else to do."""


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen")
        time.sleep(0.01)
