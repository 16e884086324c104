"""A serial port, with every way in which it can fail told as a TargetError that says what to do.

pyserial and the operating system raise SerialException, OSError, termios.error and ValueError; none of them leaves this file.
POSIX only: waiting is a select() on the port's descriptor, since pyserial's own timeouts cost a system call each to change.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import time
from pathlib import Path

import serial

from ...contract.errors import TargetError, UsageError

WRITE_TIMEOUT = 1.0
"""Seconds beyond its line time until a port that takes no bytes counts as stuck."""
_FAILURES = (serial.SerialException, OSError, termios.error, ValueError, OverflowError)


class SerialPort:
    """8N1, raw, for this process alone. In low-latency mode where the driver has it (FTDI: 1 ms instead of 16)."""

    now = staticmethod(time.monotonic)
    """Seconds on the clock by which `read` waits."""

    def __init__(self, path: str, baud: int):
        if baud <= 0:
            raise UsageError(f"{baud} is not a baud rate", "name one that the board has, such as 115200 or 3000000")
        self.path = path
        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=WRITE_TIMEOUT, exclusive=True)
        except _FAILURES as error:
            raise self._cannot_open(error, baud) from error
        with contextlib.suppress(*_FAILURES, AttributeError, NotImplementedError):
            self._port.set_low_latency_mode(True)

    @property
    def baud(self) -> int:
        return self._port.baudrate

    def set_baud(self, baud: int) -> bool:
        """False where the port cannot do that rate."""
        before = self._port.baudrate
        try:
            self._port.baudrate = baud
        except (ValueError, OverflowError):
            with contextlib.suppress(*_FAILURES):
                self._port.baudrate = before
            return False
        except _FAILURES as error:
            raise self._gone(error) from error
        return True

    def write(self, data: bytes) -> None:
        try:
            self._port.write_timeout = WRITE_TIMEOUT + 10 * len(data) / self.baud
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise TargetError(
                f"{self.path} takes no bytes", "does flow control hold it up, or hangs the adapter? plug it in again"
            ) from error
        except _FAILURES as error:
            raise self._gone(error) from error

    def read(self, timeout: float) -> bytes:
        """What has come; waits `timeout` seconds for something. Empty where nothing came."""
        try:
            if not select.select([self._port.fileno()], [], [], max(0.0, timeout))[0]:
                return b""
            return self._port.read(1 << 16)
        except _FAILURES as error:
            raise self._gone(error) from error

    def close(self) -> None:
        with contextlib.suppress(*_FAILURES):
            self._port.close()

    # ---- what goes wrong -----------------------------------------------------------------------------------------------
    def _gone(self, error: Exception) -> TargetError:
        return TargetError(
            f"{self.path} has gone away: {_reason(error)}", "was the board unplugged or switched off? connect it and begin again"
        )

    def _cannot_open(self, error: Exception, baud: int) -> TargetError:
        number = _errno(error)
        if number == errno.ENOENT:
            found = ", ".join(_ports())
            return TargetError(
                f"there is no port {self.path}",
                f"is the board at one of this machine's, {found}? then --target uart:PORT, beside --board as well"
                if found else "is the board connected?",
            )
        if number in (errno.EACCES, errno.EPERM):
            return TargetError(f"no permission to use {self.path}", _permission(self.path))
        if number in (errno.EBUSY, errno.EAGAIN):
            holders = users(self.path)
            who = " by " + " and ".join(holders) if holders else ""
            return TargetError(f"{self.path} is in use{who}", "end the other program first: a port has one user at a time")
        if isinstance(error, (ValueError, OverflowError)):
            return TargetError(f"{self.path} cannot do {baud} baud", "name another rate: uart:PORT@BAUD")
        if number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL, errno.ENODEV, errno.ENXIO):
            return TargetError(f"{self.path} is not a serial port", "name one such as /dev/ttyUSB0 in --target uart:PORT")
        return TargetError(f"{self.path} cannot be opened: {_reason(error)}", "is the board connected and powered?")


def _errno(error: BaseException) -> int | None:
    """Of the error itself, or of the one that pyserial has wrapped without its number."""
    number: int | None = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    return _errno(error.__context__) if number is None and error.__context__ else number


def _reason(error: Exception) -> str:
    number = _errno(error)
    return os.strerror(number) if number else str(error)


def _ports() -> list[str]:
    from serial.tools import list_ports

    return sorted(port.device for port in list_ports.comports())


def _permission(path: str) -> str:
    import grp

    try:
        group = grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    return f"it belongs to the group {group}: `sudo usermod -aG {group} $USER`, then log in again"


def users(path: str) -> list[str]:
    """Other processes that have the port open, as far as this user may see. Whoever holds the far end of a pseudo-terminal makes
    the port (a virtual board does), and takes nothing away by having it open itself."""
    device, found = os.path.realpath(path), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid():
                files = {entry.name: os.readlink(entry) for entry in (process / "fd").iterdir()}
                if device in files.values() and not _makes(process, files, device):
                    found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return found


def _makes(process: Path, files: dict[str, str], device: str) -> bool:
    masters = [number for number, name in files.items() if name in ("/dev/ptmx", "/dev/pts/ptmx")]
    return any(f"tty-index:\t{Path(device).name}\n" in (process / "fdinfo" / number).read_text() for number in masters)
