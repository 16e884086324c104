"""One client's connection to a server of the remote target (docs/remote.md): handshake, a place, requests and their replies.

Every wait ends: with what was waited for, or with a TargetError that says what became of the server. A connection that is lost is
never made again, and no request is ever sent twice, because nobody could tell whether it has run.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...contract.errors import TargetError
from ...contract.files import advice
from ...contract.version import __version__
from . import keys as remote_keys
from . import protocol as wire
from .protocol import NOT_A_MESSAGE, PROTOCOL, encode

if TYPE_CHECKING:
    from typing import TypeVar

    Answer = TypeVar("Answer", bound=wire.Answer)

CONNECT_SECONDS = 5.0
TICK_MS = 200
"""How often a client that waits looks whether the connection is still there."""
NEVER_MS = 10**9
HEARTBEAT = {"HEARTBEAT_IVL": 500, "HEARTBEAT_TIMEOUT": 2000}
"""Milliseconds: a frozen server, or a cut cable, is noticed after the sum. They also keep this client's place."""


class Link:
    """A connection to `address` with a place on its device. `keys`: None are the user's (read for tcp only). `wait`: seconds to
    stay in the queue, None for ever. `tell` gets a line for people at every step of the queue."""

    def __init__(
        self, address: str, keys: remote_keys.Keys | None = None, wait: float | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ):  # fmt: skip
        self.address = address
        self._remedy = f"start one with `kvfpga serve --listen {address}`"
        self._number = 0
        self._greeted = False
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._context = zmq.Context()
        try:
            self._dealer = _dealer(self._context)
            try:
                self._connect(keys)
                self.welcome = self._enter(wait, tell)
            except BaseException:
                self.close()
                raise
        except zmq.ZMQError as error:
            raise TargetError(f"cannot connect to {address}: {error.strerror}", advice(OSError(error.errno, None))) from None

    # ---- connecting ----------------------------------------------------------------------------------------------------
    def _connect(self, keys: remote_keys.Keys | None) -> None:
        dealer = self._dealer
        # For whoever forgets to close: a context that Python collects along with its sockets would wait for them for ever.
        weakref.finalize(self, _destroy, self._context, dealer)
        dealer.reconnect_ivl = NEVER_MS  # not -1, which throws away what came before the end
        dealer.linger = 500
        dealer.rcvtimeo = TICK_MS
        for name, value in HEARTBEAT.items():
            dealer.setsockopt(getattr(zmq, name), value)
        if path := wire.socket_path(self.address):
            self._check_socket(path)
            endpoint = f"ipc://{path}"
        else:
            keys = keys or remote_keys.load()
            dealer.curve_serverkey = keys.server(self.address)
            dealer.curve_publickey, dealer.curve_secretkey = keys.public, keys.secret
            endpoint, dealer.ipv6 = wire.tcp_endpoint(self.address)
        self._monitor = dealer.get_monitor_socket()
        dealer.connect(endpoint)
        deadline = time.monotonic() + CONNECT_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self._monitor.poll(int(left * 1000)):
            match recv_monitor_message(self._monitor)["event"]:
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    return
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    who = "its list of keys does not have this client's" if keys else "it is another user's"
                    raise TargetError(
                        f"{self.address} does not let this client in: {who}",
                        "give your public key (`kvfpga keys show`) to whoever runs it, for `kvfpga keys authorize`",
                    )
                case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED:
                    if path:  # there are no keys: it ended just then, or is no kvfpga
                        break
                    raise TargetError(
                        f"{self.address} ended the handshake: its key is another one than this client knows, or it is no kvfpga",
                        "compare its key (`kvfpga keys show` there) with what was given to `kvfpga keys trust` here",
                    )
                case zmq.EVENT_CLOSED:
                    break
        raise TargetError(f"nobody serves at {self.address}", self._remedy)

    def _check_socket(self, path: Path) -> None:
        try:
            about = path.stat()
        except OSError as error:
            raise TargetError(f"nobody serves at {path}: {error.strerror}", self._remedy) from None
        if not stat.S_ISSOCK(about.st_mode):
            raise TargetError(f"{path} is not a socket", "is the path right?")
        if about.st_uid != os.geteuid():
            raise TargetError(f"the socket {path} is another user's ({about.st_uid})", "a device of others is shared over tcp://")

    def _enter(self, wait: float | None, tell: Callable[[str], None]) -> wire.Welcome:
        """Say hello and wait for the place."""
        self._greeted = True
        self._send(wire.Hello(PROTOCOL, __version__, f"{socket.gethostname()[:100]}, process {os.getpid()}"))
        start = time.monotonic()
        place: int | None = None
        while True:
            reply = self._receive()
            if isinstance(reply, wire.Welcome):
                return reply
            if isinstance(reply, wire.Place) and reply.place != place:
                place = reply.place
                tell(f"waiting for {self.address}: place {place} in the queue")
            waited = time.monotonic() - start
            if place is None:
                if waited > CONNECT_SECONDS:
                    raise TargetError(f"{self.address} does not answer", "is it a kvfpga server, and does it still run?")
            elif wait is not None and waited >= wait:
                raise TargetError(
                    f"{self.address} is in use; place {place} in the queue after {wait:g} s", "try again later, or wait longer"
                )

    # ---- requests ------------------------------------------------------------------------------------------------------
    def ask(self, answer: type[Answer], kind: type[wire.Access], *arguments: Any) -> Answer:
        """Send a request of this kind and wait for its `answer`. What the device raised is raised here."""
        with self._lock:
            if self._lost:
                raise self._gone()
            self._number += 1
            number = self._number
            self._send(kind(number, *arguments))
            while True:
                reply = self._receive()
                # the reply to an earlier request, whose caller was interrupted, is nobody's any more
                if getattr(reply, "number", None) == number:
                    break
            if isinstance(reply, wire.Failed):
                raise wire.unpack_error(reply)
            if not isinstance(reply, answer):
                self._lost = f"it answered {kind.__name__} with {type(reply).__name__}"
                raise self._gone()
            return reply

    def close(self) -> None:
        """Give the place back."""
        with self._lock:
            if self._context.closed:
                return
            if self._greeted and not self._lost:
                try:
                    self._dealer.send(encode(wire.Bye()), zmq.NOBLOCK)
                except zmq.ZMQError:
                    pass
            self._lost = self._lost or "this client closed the connection"
            _destroy(self._context, self._dealer)

    def _send(self, message: wire.Hello | wire.Access) -> None:
        try:
            self._dealer.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            self._lost = "it takes no more messages"
            raise self._gone() from None

    def _receive(self) -> wire.Reply | None:
        """The next message; None when there was none for a while. TargetError where the server is gone."""
        try:
            data = self._dealer.recv()
        except zmq.Again:
            if self._disconnected():
                raise self._gone() from None
            return None
        try:
            reply: wire.Reply = wire.decode_reply(data)
        except NOT_A_MESSAGE as error:
            self._lost = f"it sent what is no message ({error})"
            raise self._gone() from None
        match reply:
            case wire.Refused(protocol, version, message, remedy):
                if protocol != PROTOCOL:
                    remedy = f"this kvfpga is {__version__}, the server's {version}: use the same on both sides"
                raise TargetError(f"{self.address}: {message}", remedy)
            case wire.Closing():
                self._lost = "it was ended"
                raise self._gone()
        return reply

    def _disconnected(self) -> bool:
        while self._monitor.poll(0):
            if recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED:
                self._lost = "it was killed, or the connection was cut"
        return self._lost is not None and not self._dealer.poll(0)  # its last messages first

    def _gone(self) -> TargetError:
        return TargetError(
            f"the server at {self.address} is gone: {self._lost}",
            "connect again; whether the last access still ran cannot be known, `kvfpga sync` takes the device as it is",
        )


def _dealer(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    try:
        return context.socket(zmq.DEALER)
    except zmq.ZMQError:  # such as no more file descriptors
        context.term()
        raise


def _destroy(context: zmq.Context[zmq.Socket[bytes]], dealer: zmq.Socket[bytes]) -> None:
    if not context.closed:
        dealer.disable_monitor()
        context.destroy()
