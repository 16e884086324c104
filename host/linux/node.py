"""/dev/kvcpu0 in user space: a file that answers the ioctls of contract section 7, and the attributes that a driver has in sysfs.

`Kvcpu0` is the device as a program sees it, `serve` puts it into the file system with FUSE. One folder is mounted, beside PATH,
as .NAME.kvfpga; PATH is a symbolic link to the node in it, and DIR one to the folder of attributes. So one mount serves both;
what a killed server leaves behind (links, dead mount) can be told from anybody's files and is replaced by the next one; and in
DIR nothing can be made that is no attribute: whoever writes to a name that is none gets EACCES, as in a driver's sysfs.

    PATH                      the ioctls; read and write are EINVAL, as of a misc driver that has neither
    DIR/current_step          decimal; writing it is a STEP_ADVANCE
    DIR/w_r, w_f, w_s, w_d, evict_thresh, prefetch_thresh    decimal; written as the kernel reads numbers (kstrtou32, base 0)
    DIR/telemetry             name=value lines in the order of the structure, last_va in hex; read only
    DIR/tolerated             name=value lines: with --compat, how often what the device refused succeeded; read only

Each ioctl and each write of an attribute is done as a whole, whoever else is there, and is over when the call returns. It is EIO
once the device is in doubt: a difference from the reference model, or a target that died.

Unlike a character device: the node is a regular file, of the user who serves and for nobody else; a bad pointer is EFAULT even
where the command is unknown; reading or writing no bytes is no error; and a client whose server is gone gets ENOTCONN.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.commands import Command, Result, Set, Step
from ..contract.errors import DeviceRefused, KvfpgaError, TargetError, UsageError
from ..contract.presets import wrap_warning
from ..lockstep.lockstep import Lockstep
from ..session.serving import Served
from . import auto_load, ioctls

if TYPE_CHECKING:
    from ..lockstep.reference import Reference

NUMBER = re.compile(rb"\+?(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*))\n?")
"""What kstrtou32 and kstrtou64 take in base 0."""
READ_ONLY = ("telemetry", "tolerated")
ATTRIBUTES = ("current_step", *ioctls.SETTINGS, *READ_ONLY)


class Kvcpu0:
    """The device behind the node. Any thread may call; OSError is what the system call of the program ends with.

    `auto_load`: hints load blocks for what they do not find (auto_load.py). `compat`: what the kernel module accepts and the
    device refuses succeeds, does nothing, and is counted in `tolerated`. `say` gets warnings for people, one line each."""

    def __init__(
        self, served: Served, auto_load: bool = False, say: Callable[[str], None] = lambda text: None, compat: bool = False
    ):
        self.served = served
        self.auto_load = auto_load
        self.tolerated = dict.fromkeys(ioctls.MAY_BE_TOLERATED, 0)
        self._compat, self._say = compat, say
        self._told_of_compat = compat
        self._target_step: int | None = None
        """Of the last HOT, EVICT or SHARE, as the module reports it: the device, to which it means nothing, never gets it. None
        where the device's own last_target_step (of STEP and PREFETCH) is newer."""

    def ioctl(self, request: int, data: bytes) -> bytes:
        """`data`: what the argument points to, where the number says that it is read. The bytes to fill in there, where it says
        that it is written."""
        ioctl = ioctls.IOCTLS.get(request)
        if ioctl is None:
            raise OSError(errno.ENOTTY, f"no such ioctl: {request:#x}")
        if ioctl is ioctls.GET_TELEMETRY:
            return ioctls.pack_telemetry(self._telemetry())
        if len(data) != ioctl.layout.size:
            raise OSError(errno.EFAULT, f"{ioctl.name} takes {ioctl.layout.size} bytes")
        self._execute(ioctl.name, ioctls.commands(ioctl, data), ioctls.target_step(ioctl, data))
        return b""

    def show(self, attribute: str) -> bytes:
        """What reading an attribute gives."""
        if attribute == "tolerated":
            return _lines(self.tolerated)
        fields = self._telemetry()
        if attribute != "telemetry":
            return b"%d\n" % fields[attribute]
        return _lines(fields | {"last_va": f"{fields['last_va']:#x}"})

    def store(self, attribute: str, data: bytes) -> None:
        """Write an attribute; EINVAL for what is no number, or one that the device refuses."""
        if attribute in READ_ONLY:
            raise OSError(errno.EACCES, f"{attribute} is read only")
        if attribute == "current_step":
            self._execute(ioctls.STEP_ADVANCE.name, [Step(_number(data, 64))])
        else:
            self._execute(ioctls.SET_WEIGHTS.name, [Set(ioctls.SETTINGS[attribute], _number(data, 32))])

    def _execute(self, name: str, commands: Sequence[Command], target_step: int | None = None) -> None:
        """Run commands: one, or several that the device does not refuse. `name`: of the ioctl that they stand for;
        `target_step`: what last_target_step is then, None where the device knows."""
        with self._device() as device:
            more = auto_load.before(device.model, commands[0]) if self.auto_load else []
            for result in self.served.execute(*more, *commands):
                if ioctls.is_accepted_by_the_module(commands[0], result.code):
                    if self._compat:
                        self.tolerated[name] += 1
                        return
                    self._tell_of_compat(name, result)
                if result.code != "OK":
                    raise DeviceRefused(result.code, f"the device refused it: {result.code}")
            if not isinstance(commands[0], Set):
                self._target_step = target_step
            elif warning := wrap_warning(device.settings()):
                self._say(warning)

    def _tell_of_compat(self, name: str, refused: Result) -> None:
        """Once: the program sees a bare EINVAL where it never saw one, and whoever serves can help."""
        if not self._told_of_compat:
            self._told_of_compat = True
            why = f"{refused.code}: {refused.why}" if refused.why else refused.code
            self._say(f"{name} ended in EINVAL, {why}; the public kernel module accepts it, and so does --compat")

    def _telemetry(self) -> dict[str, int]:
        with self._device() as device, self.served.guarded():
            counters = device.telemetry()
            if self._target_step is not None:
                counters = counters | {"last_target_step": self._target_step}
            return ioctls.telemetry(counters, device.settings())

    @contextmanager
    def _device(self) -> Iterator[Lockstep | Reference]:
        """The device for this thread alone, and its errors as OSError."""
        try:
            with self.served.lock:
                if self.served.failed:
                    raise self.served.failed
                yield self.served.device
        except DeviceRefused as error:
            known = None if self.served.failed else ioctls.ERRNO.get(error.code)
            raise OSError(known or errno.EIO, error.message) from error
        except KvfpgaError as error:
            raise OSError(errno.EIO, error.message) from error


def _lines(values: Mapping[str, object]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def _number(data: bytes, bits: int) -> int:
    match = NUMBER.fullmatch(data.partition(b"\0")[0])  # a C string, as the kernel takes it
    if match and match.lastgroup:
        value = int(match[match.lastgroup], {"hex": 16, "octal": 8, "decimal": 10}[match.lastgroup])
        if value < 1 << bits:
            return value
    raise OSError(errno.EINVAL, f"not a number of {bits} bits")


# ---- the file system ---------------------------------------------------------------------------------------------------
NODE = "/kvcpu0"
FOLDER = "/attributes"
TICK = 0.2
"""Seconds after which a stop is seen at the latest: a signal may reach a thread that does not wake the waiting one."""


def _refusal(number: int) -> Callable[..., int]:
    """An operation that no file here takes, by the errno that the kernel's sysfs has for it."""

    def refuse(self: Nodes, path: str, *more: object) -> int:
        raise OSError(number, f"{path}: what is here is the driver's")

    return refuse


class Nodes:
    """The node, and the attributes in a folder, as FUSE operations (mfusepy's names and arguments)."""

    use_ns = True

    def __init__(self, kvcpu0: Kvcpu0, mounted: Callable[[], None] = lambda: None):
        self.kvcpu0 = kvcpu0
        self._mounted = mounted
        self._handles = count(1)
        self._texts: dict[int, bytes] = {}
        """What an open attribute showed when it was read from its start: later reads go on in that."""

    def init(self, path: str) -> None:
        self._mounted()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        if path in ("/", FOLDER):
            return owner | {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        mode, size = (0o600, 0) if path == NODE else (0o444 if _attribute(path) in READ_ONLY else 0o644, 4096)
        return owner | {"st_mode": stat.S_IFREG | mode, "st_nlink": 1, "st_size": size}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *(ATTRIBUTES if path == FOLDER else (NODE[1:], FOLDER[1:]))]

    def open(self, path: str, flags: int) -> int:
        if path != NODE and _attribute(path) in READ_ONLY and flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EACCES, f"{_attribute(path)} is read only")  # of root as well, as in sysfs
        return next(self._handles)

    def release(self, path: str, fh: int) -> int:
        self._texts.pop(fh, None)
        return 0

    create = _refusal(errno.EACCES)
    mkdir = mknod = symlink = link = rename = unlink = rmdir = _refusal(errno.EPERM)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        return 0  # touch does it; there is no time to keep

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0  # a shell's > does it; there is no length to cut

    def chmod(self, path: str, mode: int) -> int:
        raise OSError(errno.EPERM, "the node is for the user who serves it")

    def chown(self, path: str, uid: int, gid: int) -> int:
        raise OSError(errno.EPERM, "the node is for the user who serves it")

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if path == NODE:
            raise OSError(errno.EINVAL, "not for reading")
        if offset == 0 or fh not in self._texts:
            self._texts[fh] = self.kvcpu0.show(_attribute(path))
        return self._texts[fh][offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == NODE:
            raise OSError(errno.EINVAL, "not for writing")
        self.kvcpu0.store(_attribute(path), data)  # each write is a value, wherever in the file
        return len(data)

    def ioctl(self, path: str, request: int, argument: int | None, fh: int, flags: int, data: int | None) -> int:
        request &= 0xFFFFFFFF
        if path != NODE or request not in ioctls.IOCTLS:
            raise OSError(errno.ENOTTY, f"no such ioctl: {request:#x}")
        if data is None:
            raise OSError(errno.EFAULT, "its argument is not there")
        answer = self.kvcpu0.ioctl(request, ctypes.string_at(data, ioctls.IOCTLS[request].layout.size))
        ctypes.memmove(data, answer, len(answer))
        return 0


def _attribute(path: str) -> str:
    folder, _, name = path.rpartition("/")
    if folder != FOLDER or name not in ATTRIBUTES:
        raise OSError(errno.ENOENT, path)
    return name


def serve(
    path: Path, kvcpu0: Kvcpu0, sysfs: Path | None = None, ready: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
) -> None:  # fmt: skip
    """Put the node at `path`, and the folder of attributes at `sysfs`, until `stop` is set or the mount is taken off. `ready()`
    once they are there. What runs then is finished first.

    Signals are the caller's, but for SIGTERM and SIGHUP that nobody handles: in the main thread they set `stop`. UsageError where
    a name is taken."""
    stop = stop or threading.Event()
    path = _absolute(path)
    mount = path.with_name(f".{path.name}.kvfpga")
    links = {path: mount / NODE[1:]}
    if sysfs:
        links[_absolute(sysfs)] = mount / FOLDER[1:]
    with _signals(stop), _folder(mount), _mounted(mount, kvcpu0, stop), _links(links):
        ready()
        while not stop.wait(TICK):
            pass


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """libfuse takes the signals that nobody handles, and then sleeps on until the next request, which it leaves unanswered."""
    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:  # in a thread of its own: the interrupted one may hold the event's lock
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def running(path: Path, kvcpu0: Kvcpu0, sysfs: Path | None = None) -> Iterator[None]:
    """`serve` in a thread while the block lasts: for programs of other processes, and for this one's, as system calls let go of
    the interpreter. (libfuse takes SIGTERM and SIGHUP where nobody handles them.)"""
    is_up, stop, failure = threading.Event(), threading.Event(), []

    def run() -> None:
        try:
            serve(path, kvcpu0, sysfs, is_up.set, stop)
        except KvfpgaError as error:
            failure.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run)
    thread.start()
    is_up.wait()
    try:
        if failure:
            raise failure[0]
        yield
    finally:
        stop.set()
        thread.join()


def _absolute(path: Path) -> Path:
    """Without resolving its last part, which may be a link that was left over."""
    return path.parent.resolve() / path.name


@contextmanager
def _mounted(mount: Path, kvcpu0: Kvcpu0, stop: threading.Event) -> Iterator[None]:
    """FUSE in a thread of its own: `stop` is set when that ends, and it ends when this is left."""
    try:
        import mfusepy
    except (ImportError, OSError) as error:
        raise TargetError(f"FUSE is not installed: {error}", "install fuse3 (apt-get install fuse3) and mfusepy") from error
    library, here = mfusepy._libfuse, os.getcwd()
    library.fuse_get_session.argtypes, library.fuse_get_session.restype = [ctypes.c_void_p], ctypes.c_void_p
    library.fuse_session_exit.argtypes, library.fuse_session_exit.restype = [ctypes.c_void_p], None
    is_up, session, failure = threading.Event(), [], []

    def mounted() -> None:
        session.append(library.fuse_get_session(library.fuse_get_context().contents.fuse))
        is_up.set()

    def run() -> None:
        # One thread is twice as fast as several, which would only wait for the device in turn. With timeouts, the kernel would
        # answer for a server that is gone.
        options = {"foreground": True, "nothreads": True, "direct_io": True, "attr_timeout": 0, "entry_timeout": 0}
        try:
            mfusepy.FUSE(Nodes(kvcpu0, mounted), str(mount), fsname="kvfpga", **options)
        except RuntimeError as error:
            failure.append(error)
        finally:
            stop.set()
            is_up.set()

    thread = threading.Thread(target=run, name="kvcpu0", daemon=True)
    thread.start()
    is_up.wait()
    if not session:
        raise TargetError(
            f"could not mount on {mount} (FUSE error {failure})", "is fuse3 installed, and may /dev/fuse be opened?"
        )
    os.chdir(here)  # libfuse went to /
    try:
        yield
    finally:
        if thread.is_alive():
            library.fuse_session_exit(session[0])
        while thread.is_alive():  # a signal may take the question back before it is heard
            with suppress(OSError):
                os.stat(mount / "wake up")  # it sleeps until somebody asks
            thread.join(0.1)


# ---- names -------------------------------------------------------------------------------------------------------------
@contextmanager
def _folder(mount: Path) -> Iterator[None]:
    """A folder to mount on; a mount that a killed server left there is taken off."""
    try:
        if os.path.ismount(mount):
            raise UsageError(
                f"another kvfpga serves {mount.parent / mount.name[1:].removesuffix('.kvfpga')}", "stop it, or use another path"
            )
        _take_off(mount)
        mount.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(f"cannot make {mount}: {error.strerror}", "use a path in a folder that may be written to") from error
    try:
        yield
    finally:
        with suppress(OSError):
            mount.rmdir()


def _take_off(mount: Path) -> None:
    """Remove a left-over mount and its folder, if there is any."""
    with suppress(FileNotFoundError):
        try:
            os.stat(mount)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            subprocess.run(["fusermount3", "-u", "-z", str(mount)], capture_output=True)
        mount.rmdir()


@contextmanager
def _links(links: dict[Path, Path]) -> Iterator[None]:
    """Symbolic links to what is mounted, while this is entered; the folder that one is to be in is made where there is none."""
    made: list[tuple[Path, Path]] = []
    folders = []
    try:
        for link, target in links.items():
            try:
                if not link.parent.is_dir():
                    link.parent.mkdir(parents=True)
                    folders.append(link.parent)
                _free(link, target)
                link.symlink_to(target)
            except OSError as error:
                raise UsageError(f"cannot make {link}: {error.strerror}", "use a path that may be written to") from error
            made.append((link, target))
        yield
    finally:
        for link, target in made:
            with suppress(OSError):  # somebody has taken it away, or put something else there
                if os.readlink(link) == str(target):
                    link.unlink()
        for folder in folders:
            with suppress(OSError):  # somebody keeps a file there
                folder.rmdir()


def _free(link: Path, target: Path) -> None:
    """Remove a link that a killed server left; UsageError where something else has that name."""
    if not os.path.lexists(link):
        return
    old = link.parent / os.readlink(link) if link.is_symlink() else link
    if not old.parent.name.endswith(".kvfpga"):
        raise UsageError(f"{link} is there already", "remove it, or use another path")
    if old != target:
        if os.path.exists(old):
            raise UsageError(f"{link} is served by another kvfpga", "stop it, or use another path")
        _take_off(old.parent)
    link.unlink()
