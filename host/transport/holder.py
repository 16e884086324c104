"""Who has a device: one process at a time, by a lock on its node, since a driver lets anybody open that."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..contract.errors import TargetError


def lock(fd: int, node: Path) -> None:
    """Keep the device for this process, as long as `fd` is open. TargetError, naming the holder, where another has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TargetError(f"{node} is busy: {_holder(fd)} uses it", "wait until it has ended, or end it") from None
    except OSError as error:
        raise TargetError(f"{node} cannot be locked: {error.strerror}", "is it a node of the right driver?") from None


def _holder(fd: int) -> str:
    """The process that holds the lock on this file, as /proc/locks has it."""
    status = os.fstat(fd)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1:4:2] == ["FLOCK", "WRITE"] and words[5] == file:
                return f"process {words[4]} ({Path(f'/proc/{words[4]}/comm').read_text().strip()})"
    except (OSError, IndexError):
        pass
    return "another process"
