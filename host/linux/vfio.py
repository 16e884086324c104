"""`kvfpga vfio`: the simulated device as a PCI function of a virtual machine, for a real driver of a real kernel.

One client, from its connection to its end. The device begins with its reset values; what the client maps of its memory is
the device's at 2^40 + its address, so that TIER_BASE2 and 3 can lie in the guest's RAM. The clock runs while the device has
something to do; a message interrupt follows its interrupt line.

Register accesses are served in C++ (transport/sim/guest.py), everything else by `vfio_user.Connection`. With a `Follower`
(following.py), what the driver does is done by the reference model too, and compared.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from ..contract.errors import UsageError
from ..transport.sim.guest import GuestPort, Why
from ..transport.sim.verilated import VerilatorSim
from .vfio_user import TIMEOUT, Connection, broken

PIPE = 1 << 16


class Watcher(Protocol):
    """Who follows what the guest does."""

    def begin(self, port: GuestPort) -> None:
        """The device has its reset values, and nobody has asked it anything yet."""

    def look(self, port: GuestPort) -> None:
        """The device is idle: compare. What is wrong is raised, and ends the connection."""

    def keep(self, port: GuestPort) -> None:
        """There is no room for more notes: take them over for the next look, as the device is not idle."""

    def settle(self) -> None:
        """The guest will not take anything more: let the device come to rest."""

    def was_reset(self) -> None:
        """The guest has reset the device, behind a `look`."""


def serve(
    path: Path, sim: VerilatorSim, ready: Callable[[], None] = lambda: None, stop: threading.Event | None = None,
    watcher: Watcher | None = None,
) -> dict[str, int]:  # fmt: skip
    """Wait at the UNIX socket `path` for a client and serve it until it goes away or `stop` is set. How many accesses and
    interrupts that were.

    UsageError where there can be no socket, TargetError where the client breaks the protocol or the device breaks down; what the
    watcher raises. `ready()` once a client may come."""
    stop = stop or threading.Event()
    with _wake_up(stop) as wake, _listening(path) as listener:
        ready()
        client = _accept(listener, stop)
        if client is None:
            return {}
        with client:
            return _serve(client, sim, stop, wake, watcher)


def _serve(
    client: socket.socket, sim: VerilatorSim, stop: threading.Event, wake: int, watcher: Watcher | None
) -> dict[str, int]:  # fmt: skip
    def reset() -> None:
        if watcher:
            watcher.settle()
            watcher.look(port)
        sim.reset()
        if watcher:
            watcher.was_reset()

    sim.reset()
    with closing(GuestPort(sim, client.fileno(), wake)) as port, closing(Connection(client, port, reset)) as connection:
        if watcher:
            watcher.begin(port)
        while not stop.is_set():
            why = port.serve()
            if why is Why.GONE or (why is Why.MESSAGE and not connection.handle()):
                break
            if why is Why.CUT:
                raise broken(f"a message has begun and not come to its end within {TIMEOUT:g} s")
            if why is Why.WAKE:
                os.read(wake, PIPE)
            if why is Why.LOOK and watcher:
                watcher.look(port)
            if why is Why.FULL and watcher:
                watcher.keep(port)
        if watcher:
            watcher.settle()
            watcher.look(port)
        return port.counts()


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A UNIX socket at `path` for its owner only; what a killed server left there is replaced."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                _require_unused(path)
                path.unlink()
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
        except OSError as error:
            remedy = "name a new file in a folder that may be written to"
            raise UsageError(f"cannot make the socket {path}: {error.strerror or error}", remedy) from None
        try:
            listener.listen(1)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _require_unused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise UsageError(f"another kvfpga serves {path}", "stop it, or use another socket")


def _accept(listener: socket.socket, stop: threading.Event) -> socket.socket | None:
    """The client; None once `stop` is set."""
    listener.settimeout(0.1)
    while not stop.is_set():
        try:
            return listener.accept()[0]
        except TimeoutError:
            continue
    return None


@contextmanager
def _wake_up(stop: threading.Event) -> Iterator[int]:
    """A descriptor that can be read once `stop` is set, or a signal has come for which somebody has a handler: Python only calls
    that when it is back from C++."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if stop.wait(0.1):
                os.write(writing, b"\0")
                return

    watching = threading.Thread(target=watch, daemon=True)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False) if is_main else -1
    watching.start()
    try:
        yield reading
    finally:
        done.set()
        watching.join()
        if is_main:
            signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
