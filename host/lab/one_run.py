"""One `kvfpga lab run` at a time keeps its cells in a folder (`--out DIR`).

    with one_run.alone_in(Path("DIR")): ...

Two at once would compute the same cells twice, or take turns at writing those of different options over each other's. The lock is
the system's, on the file DIR/cells/lock, so it ends with its process, however that ends; the file says who has it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contract.errors import TargetError, UsageError
from ..contract.files import NO_LOCKS
from . import cells

NAME = "lock"


@contextmanager
def alone_in(place: Path) -> Iterator[None]:
    """Keeps others out of the folder, which is made where there is none. What a run that was killed has left half written is
    removed. TargetError where another process has it, UsageError where its file system has no locks."""
    folder = cells.folder(place)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TargetError(
                f"{os.pread(lock, 200, 0).decode(errors='replace') or 'another process'} computes cells for {place}",
                "wait until it has ended, or end it: what it has finished stays; or name another folder with --out",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise UsageError(
                f"the file system of {place} has no locks ({error.strerror})", "choose a folder on a local disk with --out"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"kvfpga lab run, process {os.getpid()} on {socket.gethostname()},".encode(), 0)
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)
