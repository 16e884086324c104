"""A device that several users share in one process: the session of a target, a lock around it, and its state stored in time.

`kvfpga serve` makes one and hands it to whatever it serves, such as the ioctl node (linux/node.py). Commands are checked in
lockstep as everywhere; a difference or a dead target ends the serving, for what comes after could not be trusted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.commands import Command, Result
from ..contract.errors import KvfpgaError, SessionError
from ..lockstep.lockstep import Lockstep
from ..targets.target import Target
from .open import open_session
from .purpose import Purpose

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

SAVE_SECONDS = 5.0
"""At most so much of what was done is lost when the server is killed."""


class Served:
    """Open on entering, stored and closed on leaving. `device` may only be used while `lock` is held; `execute` does both.

    `failed` is set, and `on_failure` called once, when a command met an error that leaves the device in doubt: from then on
    every use raises it.
    """

    device: Lockstep | Reference

    def __init__(
        self, target: Target, folder: Path | None = None, check: bool = True, say: Callable[[str], None] = lambda text: None,
        on_failure: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.lock = threading.RLock()
        self.failed: KvfpgaError | None = None
        self._check, self._on_failure, self._say = check, on_failure, say
        self._session = open_session(target, folder, say)
        self._clock = clock
        self._saved, self._saved_at = clock(), time.time()
        self._changed = False

    def __enter__(self) -> Served:
        self._session.__enter__()
        try:
            self.device = self._session.open(self._check, Purpose.RUN)
            self.save()
        except BaseException:
            self._session.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            try:
                if self._changed and self.failed:
                    self._say(f"what was answered since {self._when()}, when the session was stored last, is not in it")
                elif self._changed:
                    self.save()
            finally:
                self._session.__exit__()

    def execute(self, *commands: Command) -> list[Result]:
        """Run commands, all of them or up to the error that ends the serving."""
        with self.lock:
            self.changing()
            with self.guarded():
                return self.device.execute_many(commands)

    def changing(self) -> None:
        """The device is about to change. Raises what ended the serving, if anything did. The lock must be held."""
        if self.failed:
            raise self.failed
        self._changed = True

    def guarded(self) -> _Guard:
        """A context in which an error of the device or the comparison ends the serving."""
        return _Guard(self)

    def fail(self, error: KvfpgaError) -> None:
        """The device is in doubt from here on."""
        if self.failed is None:
            self.failed = error
            self._on_failure()

    def save(self) -> None:
        """Store the session."""
        with self.lock:
            if not self.failed:
                try:
                    self._session.save()
                except SessionError as error:
                    lost = f"; what was answered since {self._when()}, when it was stored last, is not in it"
                    raise SessionError(error.message + lost, error.remedy) from error
            self._changed, self._saved, self._saved_at = False, self._clock(), time.time()

    def _when(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._saved_at))

    def save_in_time(self) -> None:
        """Store the session if that is due; to be called now and then."""
        with self.lock:
            if self._changed and self._clock() - self._saved >= SAVE_SECONDS:
                self.save()


class _Guard:
    def __init__(self, served: Served):
        self._served = served

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KvfpgaError):
            self._served.fail(error)
