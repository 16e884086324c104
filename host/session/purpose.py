"""What a session is opened for. A file of its own, because every command of the command line names one."""

from __future__ import annotations

from enum import Enum


class Purpose(Enum):
    """What a command is going to do with the device."""

    RUN = "commands that change it, checked against the reference"
    VERIFY = "compare it with the reference, change nothing"
    LOOK = "read from it; what the reference holds does not matter"
    RESET = "reset it: a state that cannot be used does no harm"
    SYNC = "take its state as the reference's"

    @property
    def changes(self) -> bool:
        """Does it leave something to be stored?"""
        return self not in (Purpose.LOOK, Purpose.VERIFY)
