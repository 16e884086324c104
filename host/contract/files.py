"""What file systems do not all do alike: having a folder on the disk, locks."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeGuard

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What flock says on a file system without locks."""

OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
"""Errors of reading that say something about the machine, and nothing about what is stored: no reason to throw that away."""


def is_of_the_system(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in OF_THE_SYSTEM


def sync(path: Path) -> None:
    """Have the file or folder on the disk before going on. File systems that keep folders in order by themselves refuse to be
    asked about them; that is no failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def without_waiting(path: str, flags: int) -> int:
    """An opener, for what is written: of a pipe that nobody reads it says so (ENXIO), where opening would wait for ever."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(handle, True)
    return handle


def why(error: OSError) -> str:
    """What the system refused to open for writing, in words."""
    return "it is a pipe that nobody reads" if error.errno == errno.ENXIO else error.strerror or str(error)


def advice(error: OSError) -> str:
    """What to do about an error of the file system that no command expects."""
    return {
        errno.ENOSPC: "make room on that disk, or name another place",
        errno.EDQUOT: "make room within your quota, or name another place",
        errno.ENOENT: "name a place that is there, or can be made",
        errno.ENOTDIR: "one part of the path is a file: name another place",
        errno.EROFS: "name a place that can be written",
        errno.EACCES: "change its permissions, or name another place",
        errno.EPERM: "change its permissions, or name another place",
        errno.EMFILE: "allow more open files (`ulimit -n 1024`)",
        errno.ENFILE: "the machine has too many open files: end what holds them",
        errno.ENOMEM: "the machine is out of memory: end what holds it, or use fewer --entries",
        errno.ENAMETOOLONG: "name a shorter path",
        errno.ELOOP: "the path has links that lead in a circle: name another one",
    }.get(error.errno or 0, "is the disk or the share that it is on in order?")
